// One line of C++ for each kernel that differs between instruction sets in its Simd struct alone.
#pragma once

#include "cpu/rows.hpp"

namespace fastface {
namespace {

template <typename Simd, typename X>
void fill_row_kernels_of(Storage storage, KernelTable& table) {
  table.load_row[storage] = load_row<Simd, X>;
  table.dot[storage][kFloat16] = exact_dot<Simd, X, Half>;
  table.dot[storage][kFloat32] = exact_dot<Simd, X, float>;
  table.dot[storage][kFloat64] = exact_dot<Simd, X, double>;
  table.squared_distance[storage][kFloat16] = exact_squared_distance<Simd, X, Half>;
  table.squared_distance[storage][kFloat32] = exact_squared_distance<Simd, X, float>;
  table.squared_distance[storage][kFloat64] = exact_squared_distance<Simd, X, double>;
}

template <typename Simd>
void fill_row_kernels(KernelTable& table) {
  fill_row_kernels_of<Simd, Half>(kFloat16, table);
  fill_row_kernels_of<Simd, float>(kFloat32, table);
  fill_row_kernels_of<Simd, double>(kFloat64, table);
}

}  // namespace
}  // namespace fastface
