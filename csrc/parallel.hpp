// Threads for one call: started when it begins, joined when it ends, so that forking is safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

namespace fastface {

// Asks, now and then and from the calling thread alone, whether the user wants to stop.
class Interrupt {
 public:
  explicit Interrupt(std::function<bool()> asked_to_stop) : ask_(std::move(asked_to_stop)) {}

  // To be called often (every few milliseconds of work) by every thread.
  bool stopped(bool calling_thread);

 private:
  std::function<bool()> ask_;
  std::atomic<bool> stopped_{false};
  std::int64_t next_question_ns_ = 0;
};

// Runs work(block, calling_thread) for every block in [0, n_blocks), each once, in any order.
// The first exception thrown by `work` is thrown again in the calling thread.
void parallel_for(std::int64_t n_blocks, int n_threads, Interrupt& interrupt,
                  const std::function<void(std::int64_t block, bool calling_thread)>& work);

}  // namespace fastface
