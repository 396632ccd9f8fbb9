#include "cpu/face_kernels_impl.hpp"

namespace fastface {

const FaceKernels* baseline_face_kernels() {
  static const FaceKernels kernels = make_face_kernels<4, 1>();
  return &kernels;
}

}  // namespace fastface
