#include <atomic>

#include "cpu/dispatch.hpp"
#include "nearest_sink.hpp"
#include "sweep.hpp"

namespace fastface {
namespace {

struct Scored {
  double key;
  std::int32_t index;
  bool operator<(const Scored& other) const {
    return key != other.key ? key < other.key : index < other.index;
  }
};

// The k first of what is offered, sorted when taken.
class Best {
 public:
  explicit Best(std::int64_t k) : k_(static_cast<std::size_t>(k)) { heap_.reserve(k_); }

  // True where this changed the worst of k.
  bool offer(const Scored& scored) {
    if (heap_.size() < k_) {
      heap_.push_back(scored);
      std::push_heap(heap_.begin(), heap_.end());
      return heap_.size() == k_;
    }
    if (!(scored < heap_.front())) return false;
    std::pop_heap(heap_.begin(), heap_.end());
    heap_.back() = scored;
    std::push_heap(heap_.begin(), heap_.end());
    return true;
  }
  double worst_key() const { return heap_.front().key; }
  const std::vector<Scored>& sort() {
    std::sort_heap(heap_.begin(), heap_.end());
    return heap_;
  }
  void clear() { heap_.clear(); }

 private:
  std::size_t k_;
  std::vector<Scored> heap_;
};

// What all threads of one search share.
struct Shared {
  const SearchProblem& problem;
  const Screen& screen;
  const Plan plan;
  const Panels* floats;    // null where they are packed on the way
  const Panels* integers;  // likewise
  std::int64_t k;
  float* distances;
  std::int32_t* indices;
  Interrupt& interrupt;
  std::atomic<std::int64_t> rechecked{0};
  std::atomic<std::int64_t> exhaustive{0};
  std::atomic<std::int64_t> rounded_rows{0};  // swept in integers
  std::atomic<std::int64_t> crowded_rows{0};  // of those, the ones that had to be swept again
};

template <bool kSingleNearest>
class NearestWorker {
  using Sink = NearestSink<kSingleNearest>;

 public:
  explicit NearestWorker(Shared& shared)
      : shared_(shared),
        judge_(shared.problem, shared.screen),
        read_(shared.problem.queries),
        best_(shared.k) {}

  void operator()(std::int64_t block) {
    const std::int64_t first = block * shared_.plan.block_rows;
    const std::int64_t count =
        std::min(shared_.plan.block_rows, shared_.problem.queries.rows - first);
    std::vector<std::int64_t> numbers(static_cast<std::size_t>(count));
    std::iota(numbers.begin(), numbers.end(), first);
    const bool integers = shared_.plan.precision == Precision::kInt8 && !integers_fail();
    if (!search(numbers, integers ? Precision::kInt8 : Precision::kFloat32)) return;
    if (shared_.problem.finished) shared_.problem.finished(first, count);
  }

 private:
  // Buffers of one precision, made when first needed.
  struct Tools {
    Tools(NearestWorker& worker, const Shared& shared, Precision precision)
        : block(shared.screen, precision, shared.plan.block_rows),
          panels(shared.screen, precision == Precision::kInt8 ? shared.integers : shared.floats,
                 precision, shared.plan.run_panels),
          sink(shared.plan.block_rows, shared.k, precision,
               [this, &worker](std::int64_t row, Survivor* begin, Survivor* end) {
                 worker.sharpen((*worker.numbers_)[static_cast<std::size_t>(row)],
                                block.loaded(row), begin, end);
               }) {}
    Block block;
    PanelRun panels;
    Sink sink;
  };

  // Whether so many rows had to be swept again that integers only cost time.
  bool integers_fail() const {
    const std::int64_t tried = shared_.rounded_rows.load(std::memory_order_relaxed);
    return tried >= 256 && 4 * shared_.crowded_rows.load(std::memory_order_relaxed) > tried;
  }

  bool search(const std::vector<std::int64_t>& numbers, Precision precision) {
    const bool integers = precision == Precision::kInt8;
    std::unique_ptr<Tools>& tools = integers ? integer_tools_ : float_tools_;
    if (!tools) tools = std::make_unique<Tools>(*this, shared_, precision);
    Block& block = tools->block;
    numbers_ = &numbers;
    if (!block.load(shared_.problem.queries, read_, numbers)) {
      shared_.rounded_rows.fetch_add(block.count(), std::memory_order_relaxed);
      shared_.crowded_rows.fetch_add(block.count(), std::memory_order_relaxed);
      return search(numbers, Precision::kFloat32);
    }
    Sink& sink = tools->sink;
    sink.open(block);
    if (!sweep(shared_.problem, shared_.screen, block, numbers, tools->panels, sink,
               shared_.interrupt))
      return false;

    std::vector<std::int64_t> again;
    for (std::int64_t row = 0; row < block.count(); ++row) {
      const std::int64_t query = numbers[static_cast<std::size_t>(row)];
      sink.compact(row);
      if (sink.crowded(row)) {
        if (integers)
          again.push_back(query);
        else
          search_everybody(query, block.loaded(row));
      } else {
        decide(query, block.loaded(row), sink, row);
      }
      if (shared_.interrupt.stopped()) return false;
    }
    if (!integers) return true;
    shared_.rounded_rows.fetch_add(block.count(), std::memory_order_relaxed);
    shared_.crowded_rows.fetch_add(static_cast<std::int64_t>(again.size()),
                                   std::memory_order_relaxed);
    return again.empty() || search(again, Precision::kFloat32);
  }

  // Sends to the definition those survivors that may be among the k nearest, the best first.
  void decide(std::int64_t query, const LoadedRow& loaded, Sink& sink, std::int64_t row) {
    Survivor* const begin = sink.begin(row);
    Survivor* const end = sink.end(row);
    const std::int64_t k = shared_.k;
    judge_.face(query, loaded);
    best_.clear();
    float bar = -kInfinity;
    std::int64_t judged = 0;
    constexpr int kAhead = 3;
    for (Survivor* s = begin; s < std::min(begin + kAhead, end); ++s) judge_.prefetch(s->index);
    for (Survivor* s = begin; s != end; ++s) {
      if (s + kAhead < end && s[kAhead].upper >= bar) judge_.prefetch(s[kAhead].index);
      if (s->upper < bar) continue;
      ++judged;
      const Scored scored{judge_.key(s->index), s->index};
      if (best_.offer(scored) && end - begin > k)
        bar = shared_.screen.bar_at(best_.worst_key(), loaded);
    }
    if (judged > k) shared_.rechecked.fetch_add(1, std::memory_order_relaxed);
    write(query);
  }

  // What sinks call when a row gets crowded.
  void sharpen(std::int64_t query, const LoadedRow& loaded, Survivor* begin, Survivor* end) {
    judge_.face(query, loaded);
    for (Survivor* s = begin; s != end; ++s) {
      const double score = shared_.screen.score_at(judge_.key(s->index), loaded);
      const double doubt = loaded.slack + kBarSlack * std::abs(score);
      s->lower = std::max(s->lower, static_cast<float>(score - doubt));
      s->upper = std::min(s->upper, static_cast<float>(score + doubt));
    }
  }

  void search_everybody(std::int64_t query, const LoadedRow& loaded) {
    shared_.exhaustive.fetch_add(1, std::memory_order_relaxed);
    judge_.face(query, loaded);
    best_.clear();
    for (std::int64_t j = 0; j < shared_.screen.candidates().rows; ++j) {
      if (shared_.problem.exclude_self && j == query) continue;
      best_.offer({judge_.key(j), static_cast<std::int32_t>(j)});
    }
    write(query);
  }

  void write(std::int64_t query) {
    float* distance = shared_.distances + query * shared_.k;
    std::int32_t* index = shared_.indices + query * shared_.k;
    for (const Scored& scored : best_.sort()) {
      *distance++ = judge_.distance(scored.key);
      *index++ = scored.index;
    }
  }

  Shared& shared_;
  Judge judge_;
  RowReader read_;
  Best best_;
  const std::vector<std::int64_t>* numbers_ = nullptr;  // of the queries in work
  std::unique_ptr<Tools> integer_tools_;
  std::unique_ptr<Tools> float_tools_;
};

template <bool kSingleNearest>
SearchStatistics search(const SearchProblem& problem, const Screen& screen, std::int64_t k,
                        float* distances, std::int32_t* indices, Interrupt& interrupt) {
  using Sink = NearestSink<kSingleNearest>;
  const Plan plan(problem, screen, Sink::bytes_per_row(k, Precision::kInt8));
  const SharedPanels panels(problem, screen, plan, interrupt);
  Shared shared{
      problem,   screen,  plan,     panels.of(Precision::kFloat32), panels.of(Precision::kInt8), k,
      distances, indices, interrupt};
  parallel_for(plan.n_blocks(), plan.n_threads, interrupt, [&]() -> Worker {
    return [worker = std::make_shared<NearestWorker<kSingleNearest>>(shared)](std::int64_t block) {
      (*worker)(block);
    };
  });
  return {shared.rechecked, shared.exhaustive};
}

// A few queries, by the definition alone.
class FewWorker {
 public:
  FewWorker(const SearchProblem& problem, std::int64_t k, float* distances, std::int32_t* indices,
            Interrupt& interrupt)
      : problem_(problem),
        kernels_(active_kernels()),
        definition_(kernels_, problem.metric, problem.queries, problem.candidates),
        read_query_(problem.queries),
        read_candidate_(problem.candidates),
        best_(k),
        k_(k),
        distances_(distances),
        indices_(indices),
        interrupt_(interrupt) {}

  void operator()(std::int64_t query) {
    const bool cosine = problem_.metric == Metric::kCosine;
    const void* x = read_query_(query);
    const double x_norm = cosine ? cosine_norm(squared_norm(problem_.queries, x, false)) : 0.0;
    best_.clear();
    for (std::int64_t j = 0; j < problem_.candidates.rows; ++j) {
      const void* y = read_candidate_(j);
      const double y_norm = cosine ? cosine_norm(squared_norm(problem_.candidates, y, true)) : 0.0;
      const double key = definition_.key(x, x_norm, y, y_norm);
      // Values that are no numbers, or too large, show in a distance; only then is it asked whose.
      if (!(std::abs(key) < kSafeKey)) {
        squared_norm(problem_.queries, x, false);
        squared_norm(problem_.candidates, y, true);
      }
      if (!(problem_.exclude_self && query == j)) best_.offer({key, static_cast<std::int32_t>(j)});
      if (j % 1024 == 0 && interrupt_.stopped()) return;
    }
    std::int64_t at = query * k_;
    for (const Scored& scored : best_.sort()) {
      distances_[at] = definition_.distance(scored.key);
      indices_[at++] = scored.index;
    }
  }

 private:
  static constexpr double kSafeKey = 1e100;

  double squared_norm(const Matrix& matrix, const void* row, bool is_candidate) const {
    return checked_squared_norm(kernels_, matrix.storage, row, matrix.dim, is_candidate);
  }

  const SearchProblem& problem_;
  const KernelTable& kernels_;
  Definition definition_;
  RowReader read_query_;
  RowReader read_candidate_;
  Best best_;
  std::int64_t k_;
  float* distances_;
  std::int32_t* indices_;
  Interrupt& interrupt_;
};

SearchStatistics search_few(const SearchProblem& problem, std::int64_t k, float* distances,
                            std::int32_t* indices, Interrupt& interrupt) {
  const std::int64_t n = problem.queries.rows;
  const bool small = problem.candidates.rows * problem.candidates.dim < (1 << 20);
  parallel_for(n, small ? 1 : problem.n_threads, interrupt, [&]() -> Worker {
    const auto worker = std::make_shared<FewWorker>(problem, k, distances, indices, interrupt);
    return [worker](std::int64_t query) { (*worker)(query); };
  });
  if (problem.finished && !interrupt.stopped()) problem.finished(0, n);
  return {0, n};
}

}  // namespace

Prepared::Prepared(const KernelTable& kernels, Metric metric, const Matrix& candidates,
                   int n_threads, Interrupt& interrupt)
    : screen(kernels, metric, candidates, n_threads, interrupt),
      floats(Panels::all(screen, Precision::kFloat32, n_threads, interrupt)) {
  if (screen.rounds_well())
    integers =
        std::make_unique<Panels>(Panels::all(screen, Precision::kInt8, n_threads, interrupt));
}

SearchStatistics search_nearest(const SearchProblem& problem, std::int64_t k, float* distances,
                                std::int32_t* indices, Interrupt& interrupt) {
  if (problem.queries.rows == 0) return {};
  if (problem.prepared == nullptr && problem.queries.rows <= kFewQueries)
    return search_few(problem, k, distances, indices, interrupt);
  const auto with = [&](const Screen& screen) {
    return k == 1 ? search<true>(problem, screen, k, distances, indices, interrupt)
                  : search<false>(problem, screen, k, distances, indices, interrupt);
  };
  if (problem.prepared != nullptr) return with(problem.prepared->screen);
  const Screen screen(active_kernels(), problem.metric, problem.candidates, problem.n_threads,
                      interrupt);
  return interrupt.stopped() ? SearchStatistics{} : with(screen);
}

}  // namespace fastface
