#include "cpu/dispatch.hpp"

#include <atomic>

namespace fastface {
namespace {

std::vector<const KernelTable*> supported_tables() {
  std::vector<const KernelTable*> tables{baseline_kernels()};
#if defined(__x86_64__) || defined(_M_X64)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("f16c"))
    tables.push_back(avx2_kernels());
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    tables.push_back(avx512_kernels());
    if (__builtin_cpu_supports("avx512vnni")) tables.push_back(avx512_vnni_kernels());
  }
#endif
  return tables;
}

std::atomic<const KernelTable*>& active() {
  static std::atomic<const KernelTable*> table{supported_tables().back()};
  return table;
}

}  // namespace

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const KernelTable* table : supported_tables()) names.emplace_back(table->name);
  return names;
}

bool set_isa(const std::string& name) {
  for (const KernelTable* table : supported_tables())
    if (name == table->name) {
      active() = table;
      return true;
    }
  return false;
}

const KernelTable& active_kernels() { return *active().load(); }

}  // namespace fastface
