#include "parallel.hpp"

#include <algorithm>
#include <chrono>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace fastface {

bool Interrupt::stopped(bool calling_thread) {
  if (calling_thread && !stopped_.load(std::memory_order_relaxed)) {
    constexpr std::int64_t kPauseNs = 50'000'000;
    const std::int64_t now = std::chrono::steady_clock::now().time_since_epoch().count();
    if (next_question_ns_ == 0) next_question_ns_ = now + kPauseNs;
    if (now >= next_question_ns_) {
      next_question_ns_ = now + kPauseNs;
      if (ask_()) stopped_ = true;
    }
  }
  return stopped_.load(std::memory_order_relaxed);
}

void parallel_for(std::int64_t n_blocks, int n_threads, Interrupt& interrupt,
                  const std::function<void(std::int64_t, bool)>& work) {
  std::atomic<std::int64_t> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr failure;
  std::mutex failure_lock;

  const auto run = [&](bool calling_thread) {
    try {
      while (!failed && !interrupt.stopped(calling_thread)) {
        const std::int64_t block = next.fetch_add(1);
        if (block >= n_blocks) return;
        work(block, calling_thread);
      }
    } catch (...) {
      const std::lock_guard<std::mutex> guard(failure_lock);
      if (!failure) failure = std::current_exception();
      failed = true;
    }
  };

  std::vector<std::thread> helpers;
  const std::int64_t useful = std::min<std::int64_t>(n_threads, n_blocks);
  for (std::int64_t i = 1; i < useful; ++i) helpers.emplace_back(run, false);
  run(true);
  // The helpers may still be busy: keep asking whether the user wants to stop while they are.
  for (std::thread& helper : helpers) helper.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace fastface
