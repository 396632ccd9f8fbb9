#include "parallel.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fastface {
namespace {

constexpr std::int64_t kPauseNs = 50'000'000;

// Round to nearest, keep denormals: other libraries may have set this thread otherwise, and results
// must not depend on it.
class FloatingPointDefaults {
 public:
#if defined(__x86_64__)
  FloatingPointDefaults() : before_(_mm_getcsr()) { _mm_setcsr(0x1f80); }
  ~FloatingPointDefaults() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#endif
};

}  // namespace

thread_local bool Interrupt::on_calling_thread_ = false;

void Interrupt::ask_if_due() {
  if (stopped_.load(std::memory_order_relaxed)) return;
  const std::int64_t now = std::chrono::steady_clock::now().time_since_epoch().count();
  if (next_question_ns_ == 0) next_question_ns_ = now + kPauseNs;
  if (now < next_question_ns_) return;
  if (ask_()) stopped_ = true;
  next_question_ns_ = now + kPauseNs;
}

// The threads of one parallel_for.
class Workers {
 public:
  Workers(std::int64_t n_blocks, Interrupt& interrupt, const std::function<Worker()>& make_worker)
      : n_blocks_(n_blocks), interrupt_(interrupt), make_worker_(make_worker) {}

  void run(std::int64_t n_threads) {
    std::vector<std::thread> helpers;
    helpers.reserve(static_cast<std::size_t>(n_threads));
    try {
      for (std::int64_t i = 1; i < n_threads; ++i) {
        busy_helpers_ += 1;
        helpers.emplace_back([this] {
          work();
          const std::lock_guard<std::mutex> guard(lock_);
          busy_helpers_ -= 1;
          helper_done_.notify_one();
        });
      }
    } catch (const std::system_error&) {  // no more threads to be had: go on with fewer
      busy_helpers_ -= 1;
    }
    const bool nested = Interrupt::on_calling_thread_;
    Interrupt::on_calling_thread_ = true;
    work();
    wait_for_helpers();
    Interrupt::on_calling_thread_ = nested;
    for (std::thread& helper : helpers) helper.join();
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void work() {
    const FloatingPointDefaults defaults;
    try {
      const Worker worker = make_worker_();
      while (!failed_ && !interrupt_.stopped()) {
        const std::int64_t block = next_.fetch_add(1);
        if (block >= n_blocks_) return;
        worker(block);
      }
    } catch (...) {
      const std::lock_guard<std::mutex> guard(lock_);
      if (!failure_) failure_ = std::current_exception();
      failed_ = true;
    }
  }

  // The user may want to stop while only helpers are still busy.
  void wait_for_helpers() {
    std::unique_lock<std::mutex> guard(lock_);
    while (busy_helpers_ > 0) {
      helper_done_.wait_for(guard, std::chrono::nanoseconds(kPauseNs));
      if (busy_helpers_ == 0) return;
      guard.unlock();
      interrupt_.stopped();
      guard.lock();
    }
  }

  const std::int64_t n_blocks_;
  Interrupt& interrupt_;
  const std::function<Worker()>& make_worker_;
  std::atomic<std::int64_t> next_{0};
  std::atomic<bool> failed_{false};
  std::mutex lock_;
  std::condition_variable helper_done_;
  std::int64_t busy_helpers_ = 0;
  std::exception_ptr failure_;
};

void parallel_for(std::int64_t n_blocks, int n_threads, Interrupt& interrupt,
                  const std::function<Worker()>& make_worker) {
  if (n_blocks <= 0) return;
  Workers(n_blocks, interrupt, make_worker).run(std::min<std::int64_t>(n_threads, n_blocks));
}

}  // namespace fastface
