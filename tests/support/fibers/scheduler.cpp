// Switches between fibers, and opens barriers once everybody who has to be there is.
#include "fibers.hpp"

extern unsigned char __start_fastface_shared[] __attribute__((weak));
extern unsigned char __stop_fastface_shared[] __attribute__((weak));

namespace fibers {

const void* scheduler_bottom = nullptr;
std::size_t scheduler_size = 0;

namespace {

void enter() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_bottom, &scheduler_size);
#endif
  (*body)();
  self().state = State::kDone;
  to_scheduler();
  std::abort();
}

void resume(int which) {
  current = which;
  Fiber& fiber = self();
#if defined(__SANITIZE_ADDRESS__)
  void* own = nullptr;
  __sanitizer_start_switch_fiber(&own, fiber.stack, kStackBytes);
#endif
  swapcontext(&scheduler, &fiber.context);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(own, nullptr, nullptr);
#endif
}

// Every block starts with shared memory that nobody has written; NaN for who reads it as floats.
__attribute__((no_sanitize("address"))) void spoil_shared(std::size_t dynamic_bytes) {
  for (unsigned char* p = __start_fastface_shared; p < __stop_fastface_shared; ++p) *p = 0xff;
  for (std::size_t i = 0; i < dynamic_bytes; ++i) dynamic[i] = 0xff;
}

void start(Fiber& fiber, int number) {
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack;
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  fiber.state = State::kRunning;
  fiber.sanitizer_stack = nullptr;
  fiber.round = 0;
  fiber.groups.clear();
  fiber.open.clear();
  fiber.product_groups.clear();
  fiber.open_products.clear();
  fiber.sums_under_way.clear();
  const unsigned n = static_cast<unsigned>(number);
  fiber.index = {n % block_size.x, n / block_size.x % block_size.y,
                 n / (block_size.x * block_size.y)};
  makecontext(&fiber.context, enter, 0);
}

// Lets a warp go on whose members all wait at the same thing.
bool open_warp(std::size_t first) {
  const std::size_t last = first + 32 < all.size() ? first + 32 : all.size();
  bool opened = false;
  for (std::size_t i = first; i < last; ++i) {
    if (all[i].state != State::kAtWarp) continue;
    bool complete = true;
    for (std::size_t j = first; j < last; ++j) {
      const Fiber& other = all[j];
      if (!(all[i].members >> (j - first) & 1u) || other.state == State::kDone) continue;
      complete = complete && other.state == State::kAtWarp && other.members == all[i].members;
      if (complete && std::strcmp(other.waits_for, all[i].waits_for) != 0)
        fail("lanes of a warp wait for different things", all[i].waits_for, block, all[i].index);
    }
    if (!complete) continue;
    const unsigned members = all[i].members;
    for (std::size_t j = first; j < last; ++j)
      if (members >> (j - first) & 1u && all[j].state == State::kAtWarp)
        all[j].state = State::kRunning;
    opened = true;
  }
  return opened;
}

// Opens the block's barrier; everybody has to be there.
void open_block() {
  last_vote = 0;
  last_count = 0;
  for (const Fiber& fiber : all) {
    if (fiber.state == State::kDone)
      fail("a thread has left before a barrier", "__syncthreads", block, fiber.index);
    if (fiber.state != State::kAtBlockBarrier)
      fail("waits for threads that never come", fiber.waits_for, block, fiber.index);
    last_vote |= fiber.vote;
    last_count += fiber.vote;
  }
  for (Fiber& fiber : all) fiber.state = State::kRunning;
}

// Runs the threads of one warp until all are done or wait for the block.
void run_warp(std::size_t first, bool reverse) {
  const std::size_t n = first + 32 < all.size() ? 32 : all.size() - first;
  do {
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t which = first + (reverse ? n - 1 - i : i);
      if (all[which].state == State::kRunning) resume(static_cast<int>(which));
    }
  } while (open_warp(first));
}

// A warp comes as far as it can alone before the next one begins: nothing but barriers keeps them
// together.
void run_block(bool reverse) {
  const std::size_t warps = (all.size() + 31) / 32;
  for (std::size_t i = 0; i < all.size(); ++i) start(all[i], static_cast<int>(i));
  for (;;) {
    for (std::size_t i = 0; i < warps; ++i) run_warp(32 * (reverse ? warps - 1 - i : i), reverse);
    bool left = false;
    for (const Fiber& fiber : all) left = left || fiber.state != State::kDone;
    if (!left) return;
    open_block();
  }
}

}  // namespace

void launch(Index grid, Index threads, std::size_t shared_bytes, bool reverse,
            const std::function<void()>& kernel) {
  grid_size = grid;
  block_size = threads;
  body = &kernel;
  all.resize(static_cast<std::size_t>(threads.x) * threads.y * threads.z);
  for (Fiber& fiber : all) fiber.stack = new unsigned char[kStackBytes];
  const std::size_t blocks = static_cast<std::size_t>(grid.x) * grid.y * grid.z;
  for (std::size_t i = 0; i < blocks; ++i) {
    const unsigned number = static_cast<unsigned>(reverse ? blocks - 1 - i : i);
    block = {number % grid.x, number / grid.x % grid.y, number / (grid.x * grid.y)};
    // Of exactly the size asked for, so that the sanitizer sees what goes beyond.
    dynamic = nullptr;
    if (shared_bytes != 0 &&
        posix_memalign(reinterpret_cast<void**>(&dynamic), 128, shared_bytes) != 0)
      std::abort();
    spoil_shared(shared_bytes);
    run_block(reverse);
    std::free(dynamic);
  }
  for (Fiber& fiber : all) delete[] fiber.stack;
}

}  // namespace fibers
