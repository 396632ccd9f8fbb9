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
  bool stopped() {
    if (on_calling_thread_) ask_if_due();
    return stopped_.load(std::memory_order_relaxed);
  }

 private:
  friend class Workers;
  void ask_if_due();

  static thread_local bool on_calling_thread_;
  std::function<bool()> ask_;
  std::atomic<bool> stopped_{false};
  std::int64_t next_question_ns_ = 0;
};

using Worker = std::function<void(std::int64_t block)>;

// Hands every block in [0, n_blocks) to some worker, each once, in any order.  `make_worker` is
// called once in every thread and owns that thread's scratch.  The first exception thrown by a
// worker is thrown again in the calling thread; after an interrupt some blocks are left undone.
void parallel_for(std::int64_t n_blocks, int n_threads, Interrupt& interrupt,
                  const std::function<Worker()>& make_worker);

}  // namespace fastface
