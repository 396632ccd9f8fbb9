// CUDA's threads as fibers on one CPU thread, so that kernels can be built by an ordinary compiler
// and its sanitizers.  A fiber runs until it has to wait for others; then the next one runs, in
// forward or in reverse order.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <list>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace fibers {

struct Index {
  unsigned x, y, z;
};

[[noreturn]] inline void fail(const char* what, const char* detail, Index block, Index thread) {
  std::fprintf(stderr, "fibers: %s (%s), block (%u, %u, %u) thread (%u, %u, %u)\n", what, detail,
               block.x, block.y, block.z, thread.x, thread.y, thread.z);
  std::exit(3);
}

enum class State { kRunning, kAtBlockBarrier, kAtWarp, kDone };

// What lanes of a warp show each other; twice, because the fastest lane may be one step ahead.
struct Message {
  unsigned char bytes[64];
};

struct Copy {
  void* to;
  const void* from;
};

// Sums that products add to at present, and their values.
struct Sums {
  float* place;
  std::vector<float> values;
};

// Lets the sanitizer report who touches these bytes, until they are allowed again.
inline void forbid([[maybe_unused]] void* bytes, [[maybe_unused]] std::size_t n) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(bytes, n);
#endif
}
inline void allow([[maybe_unused]] void* bytes, [[maybe_unused]] std::size_t n) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(bytes, n);
#endif
}

struct Fiber {
  ucontext_t context;
  unsigned char* stack;
  void* sanitizer_stack;
  State state;
  Index index;
  const char* waits_for;
  unsigned members;
  unsigned round;
  int vote;
  Message messages[2];
  std::vector<std::vector<Copy>> groups;
  std::vector<Copy> open;
  std::vector<std::vector<std::function<void()>>> product_groups;
  std::vector<std::function<void()>> open_products;
  std::list<Sums> sums_under_way;
};

inline constexpr std::size_t kStackBytes = 256 << 10;
inline std::vector<Fiber> all;
inline ucontext_t scheduler;
inline int current = 0;
inline Index block, block_size, grid_size;
inline unsigned char* dynamic = nullptr;
inline const std::function<void()>* body = nullptr;
inline int last_vote = 0;
inline int last_count = 0;

// The scheduler's own stack, as the sanitizer knows it.
extern const void* scheduler_bottom;
extern std::size_t scheduler_size;

inline Fiber& self() { return all[static_cast<std::size_t>(current)]; }
inline int lane() { return current % 32; }

inline void to_scheduler() {
  Fiber& me = self();
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(me.state == State::kDone ? nullptr : &me.sanitizer_stack,
                                 scheduler_bottom, scheduler_size);
#endif
  swapcontext(&me.context, &scheduler);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(me.sanitizer_stack, nullptr, nullptr);
#endif
  // The sanitizer allows all of a stack that is switched to.
  for (Sums& sums : me.sums_under_way) forbid(sums.place, sums.values.size() * sizeof(float));
}

inline void wait_for_block(const char* what, int vote) {
  Fiber& me = self();
  me.state = State::kAtBlockBarrier;
  me.waits_for = what;
  me.vote = vote;
  to_scheduler();
}

inline void wait_for_warp(const char* what, unsigned members) {
  Fiber& me = self();
  if (!(members >> lane() & 1u)) fail("not in its own member mask", what, block, me.index);
  me.state = State::kAtWarp;
  me.waits_for = what;
  me.members = members;
  to_scheduler();
}

// Shows `value` to the warp and waits for it; afterwards `shown_by` reads what others show.
template <typename T>
void show(const char* what, unsigned members, const T& value) {
  static_assert(sizeof(T) <= sizeof(Message), "a message is too small");
  Fiber& me = self();
  ++me.round;
  std::memcpy(me.messages[me.round % 2].bytes, &value, sizeof value);
  wait_for_warp(what, members);
}

template <typename T>
T shown_by(int lane_of_warp, const char* what, unsigned members) {
  const std::size_t other = static_cast<std::size_t>(current / 32 * 32 + lane_of_warp);
  if (other >= all.size() || !(members >> lane_of_warp & 1u))
    fail("reads a lane that does not take part", what, block, self().index);
  T value;
  std::memcpy(&value, all[other].messages[self().round % 2].bytes, sizeof value);
  return value;
}

// Runs every block of a grid, one after the other.
void launch(Index grid, Index threads, std::size_t shared_bytes, bool reverse,
            const std::function<void()>& kernel);

}  // namespace fibers
