// What a fuzzer's bytes become: numbers, rows, labels; and the comparison of two ways to an answer.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "cpu/dispatch.hpp"
#include "matrix.hpp"
#include "parallel.hpp"
#include "people/shuffle.hpp"
#include "search.hpp"

using namespace fastface;

namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz_kernels: %s\n", what);
  std::abort();
}

// Numbers from the fuzzer's bytes; when they are used up, from a generator seeded by them.
class Source {
 public:
  Source(const std::uint8_t* data, std::size_t size) : at_(data), end_(data + size) {
    for (const std::uint8_t* p = data; p < end_; ++p) state_ = state_ * 31 + *p;
  }

  std::uint8_t byte() {
    if (at_ < end_) return *at_++;
    return static_cast<std::uint8_t>(next_random(state_));
  }
  std::int64_t below(std::int64_t bound) {
    return static_cast<std::int64_t>((byte() | byte() << 8) % bound);
  }
  double value(int kind) {
    const double plain = (byte() - 127.5) / 64 + byte() / 65536.0;
    switch (kind) {
      case 0:
        return plain;
      case 1:  // few different values: ties and duplicates
        return static_cast<double>(byte() % 3);
      case 2:  // of all magnitudes that float32 has
        return std::ldexp(plain, byte() % 280 - 150);
      default:  // now and then something that is no number
        switch (byte()) {
          case 0:
            return NAN;
          case 1:
            return INFINITY;
          case 2:
            return 0.0;
          default:
            return plain;
        }
    }
  }

 private:
  const std::uint8_t* at_;
  const std::uint8_t* end_;
  std::uint64_t state_ = 1;
};

// A matrix in a buffer of exactly its size, of any storage and layout.
struct Rows {
  std::unique_ptr<char[]> bytes;
  Matrix matrix;
};

Rows draw_rows(Source& source, std::int64_t rows, std::int64_t dim, int kind) {
  const auto storage = static_cast<Storage>(source.below(kStorages));
  const std::int64_t item = std::int64_t{2} << static_cast<int>(storage);
  const bool by_columns = source.below(4) == 0;
  Rows drawn{std::unique_ptr<char[]>(new char[static_cast<std::size_t>(rows * dim * item)]), {}};
  drawn.matrix = {drawn.bytes.get(),
                  storage,
                  rows,
                  dim,
                  by_columns ? item : dim * item,
                  by_columns ? rows * item : item};
  for (std::int64_t i = 0; i < rows * dim; ++i) {
    const double value = source.value(kind);
    char* target = drawn.bytes.get() + i * item;
    if (storage == kFloat64) {
      std::memcpy(target, &value, sizeof value);
    } else if (storage == kFloat32) {
      const float narrow = static_cast<float>(value);
      std::memcpy(target, &narrow, sizeof narrow);
    } else {
      // Any 16 bits are a number: of them only those that are finite, but for the last kind.
      std::uint16_t bits = static_cast<std::uint16_t>(source.byte() | source.byte() << 8);
      if (kind != 3 && (bits & 0x7c00) == 0x7c00) bits &= 0x83ff;
      std::memcpy(target, &bits, sizeof bits);
    }
  }
  return drawn;
}

std::vector<std::int32_t> draw_labels(Source& source, std::int64_t n, std::int64_t bound) {
  std::vector<std::int32_t> labels(static_cast<std::size_t>(n));
  for (auto& label : labels) label = static_cast<std::int32_t>(source.below(bound));
  return labels;
}

using Answer = std::vector<char>;

template <typename T>
void add(Answer& answer, const T* values, std::size_t n) {
  const char* bytes = reinterpret_cast<const char*>(values);
  answer.insert(answer.end(), bytes, bytes + n * sizeof(T));
}
template <typename T>
void add(Answer& answer, const std::vector<T>& values) {
  add(answer, values.data(), values.size());
}

// Computes twice.  What a kernel refuses, it has to refuse both times.
template <typename Compute>
void compare(Source& source, const Compute& compute) {
  const std::vector<std::string> isas = available_isas();
  const std::string other = isas[static_cast<std::size_t>(source.below(isas.size()))];
  const int n_threads = static_cast<int>(1 + source.below(4));
  const auto run = [&](const std::string& isa, int threads) {
    require(set_isa(isa), "an instruction set that is there cannot be chosen");
    Interrupt never([] { return false; });
    Answer answer;
    try {
      answer = compute(threads, never);
    } catch (const BadValues& bad) {
      answer = {'b', static_cast<char>(bad.in_candidates)};
    } catch (const TooLittleMemory&) {
      answer = {'m'};
    }
    return answer;
  };
  require(run(isas.front(), 1) == run(other, n_threads), "two ways give different bits");
}

}  // namespace
