#include "cpu/face_kernels_impl.hpp"

namespace fastface {

const FaceKernels* avx2_face_kernels() {
  static const FaceKernels kernels = make_face_kernels<8, 1>();
  return &kernels;
}

}  // namespace fastface
