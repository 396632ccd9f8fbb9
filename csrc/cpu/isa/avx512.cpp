#include "cpu/isa/avx512.hpp"

namespace fastface {

const KernelTable* avx512_kernels() {
  static const KernelTable table = avx512_table();
  return &table;
}

}  // namespace fastface
