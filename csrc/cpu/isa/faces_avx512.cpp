#include "cpu/face_kernels_impl.hpp"

namespace fastface {

const FaceKernels* avx512_face_kernels() {
  static const FaceKernels kernels = make_face_kernels<16, 4>();
  return &kernels;
}

}  // namespace fastface
