// Runs one launch that comes in on standard input, and writes the buffers back to standard output.
#pragma once

#include <cstdio>
#include <map>
#include <string>
#include <tuple>
#include <type_traits>

#include "fibers.hpp"

namespace fibers {

inline std::int64_t read_number() {
  std::int64_t number = 0;
  if (std::fread(&number, sizeof number, 1, stdin) != 1) std::exit(4);
  return number;
}

// Buffers of exactly their size: the sanitizer sees what goes beyond.
inline std::vector<std::pair<unsigned char*, std::size_t>> buffers;

template <typename T>
T read_argument() {
  if constexpr (std::is_pointer<T>::value) {
    const std::int64_t which = read_number();
    return which < 0 ? nullptr
                     : reinterpret_cast<T>(buffers[static_cast<std::size_t>(which)].first);
  } else if constexpr (std::is_floating_point<T>::value) {
    const std::int64_t bits = read_number();
    double value;
    std::memcpy(&value, &bits, sizeof value);
    return static_cast<T>(value);
  } else {
    return static_cast<T>(read_number());
  }
}

template <typename... Arguments>
std::function<void()> bound(void (*kernel)(Arguments...)) {
  return [kernel] {
    if (read_number() != static_cast<std::int64_t>(sizeof...(Arguments))) std::exit(5);
    // Braces: the order of evaluation is that of the arguments.
    const std::tuple<Arguments...> arguments{read_argument<Arguments>()...};
    const Index grid = {static_cast<unsigned>(read_number()), static_cast<unsigned>(read_number()),
                        static_cast<unsigned>(read_number())};
    const Index threads = {static_cast<unsigned>(read_number()),
                           static_cast<unsigned>(read_number()),
                           static_cast<unsigned>(read_number())};
    const std::size_t shared = static_cast<std::size_t>(read_number());
    const bool reverse = read_number() != 0;
    launch(grid, threads, shared, reverse, [&] { std::apply(kernel, arguments); });
  };
}

inline int run(const char* name, const std::map<std::string, std::function<void()>>& kernels) {
  const std::int64_t count = read_number();
  for (std::int64_t i = 0; i < count; ++i) {
    const std::size_t size = static_cast<std::size_t>(read_number());
    void* bytes = nullptr;
    if (posix_memalign(&bytes, 256, size == 0 ? 1 : size) != 0) return 6;
    if (size != 0 && std::fread(bytes, 1, size, stdin) != size) return 4;
    buffers.emplace_back(static_cast<unsigned char*>(bytes), size);
  }
  const auto found = kernels.find(name);
  if (found == kernels.end()) return 7;
  found->second();
  for (const auto& buffer : buffers) std::fwrite(buffer.first, 1, buffer.second, stdout);
  for (const auto& buffer : buffers) std::free(buffer.first);
  return 0;
}

}  // namespace fibers
