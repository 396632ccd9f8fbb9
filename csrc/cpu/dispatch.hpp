// Which instruction sets this machine has, and which one is in use.
#pragma once

#include <string>
#include <vector>

#include "cpu/kernels.hpp"

namespace fastface {

std::vector<std::string> available_isas();  // slowest first
bool set_isa(const std::string& name);      // false where the machine lacks it
const KernelTable& active_kernels();

}  // namespace fastface
