// Candidates packed side by side, `panel_width` of them a panel, in the layout tiles read.
#pragma once

#include <memory>
#include <new>
#include <vector>

#include "screen.hpp"

namespace fastface {

// A 64-byte aligned buffer.
template <typename T>
class Aligned {
 public:
  Aligned() = default;
  explicit Aligned(std::int64_t size)
      : data_(static_cast<T*>(::operator new(
            static_cast<std::size_t>(size > 0 ? size : 1) * sizeof(T), std::align_val_t{64}))) {}
  T* get() const { return data_.get(); }

 private:
  struct Free {
    void operator()(T* pointer) const { ::operator delete(pointer, std::align_val_t{64}); }
  };
  std::unique_ptr<T, Free> data_;
};

// What a score is off by at most: norm of the row * slope + what rounding the row to integers lost
// * reach + offset.  The derivation is in docs/exactness.md.
struct ErrorBound {
  ErrorBound() = default;
  // For candidates of at most this norm, of which rounding to integers lost at most `residual`.
  ErrorBound(const Screen& screen, double norm, double residual);

  float slope;
  float offset;
  float reach;
};

// Scratch of whoever packs: one reader and the rows of one panel.
class Packer {
 public:
  explicit Packer(const Screen& screen);

 private:
  friend class Panels;
  RowReader read_;
  Aligned<float> rows_;
  std::vector<std::int8_t> rounded_;
};

// Room for some panels.  Different slots may be packed at the same time, each by its own Packer.
class Panels {
 public:
  Panels(const Screen& screen, Precision precision, std::int64_t capacity);

  // All panels of the screen, packed by several threads.
  static Panels all(const Screen& screen, Precision precision, int n_threads, Interrupt& interrupt);

  static std::int64_t bytes(const Screen& screen, Precision precision);  // of one panel

  void pack(std::int64_t slot, std::int64_t panel, Packer& packer);

  // Lets a tile read the panel in a slot.
  void show(std::int64_t slot, Int8Tile& tile) const;

  Precision precision() const { return precision_; }

 private:
  void pack_values(std::int64_t slot, Packer& packer);
  void pack_integers(std::int64_t slot, Packer& packer, double& largest_residual);

  const Screen* screen_;
  Precision precision_;
  int width_;
  std::int64_t padded_dim_;
  Aligned<float> values_;
  Aligned<std::uint8_t> integers_;
  std::vector<float> scales_;
  std::vector<float> biases_;
  std::vector<ErrorBound> bounds_;
};

}  // namespace fastface
