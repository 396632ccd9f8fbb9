// Calls the kernels with whatever bytes a fuzzer invents, in buffers without a byte to spare.
//
// Every answer is computed twice, by the baseline with one thread and by another instruction set
// with several, and has to have the same bits.  Built by scripts/fuzz_kernels.sh with libFuzzer and
// AddressSanitizer, or as a program that draws its own bytes (FASTFACE_FUZZ_MAIN), as for
// ThreadSanitizer.
#include <algorithm>
#include <chrono>

#include "drawing.hpp"
#include "faces/hog.hpp"
#include "faces/resample.hpp"
#include "faces/warp.hpp"
#include "lloyd.hpp"
#include "pairwise.hpp"
#include "people/linkage.hpp"
#include "people/links.hpp"
#include "people/map_equation.hpp"
#include "people/nearness.hpp"
#include "people/overlap.hpp"
#include "pruning.hpp"
#include "seeding.hpp"

namespace {

void search(Source& source) {
  const auto metric = static_cast<Metric>(source.below(kMetrics));
  const int kind = static_cast<int>(source.below(4));
  const std::int64_t dim = 1 + source.below(source.below(4) == 0 ? 300 : 40);
  const std::int64_t n = 1 + source.below(80), m = 1 + source.below(140);
  const Rows x = draw_rows(source, n, dim, kind), y = draw_rows(source, m, dim, kind);
  const bool exclude_self = source.below(2) == 1 && m > 1;
  const std::int64_t k = 1 + source.below(m - (exclude_self ? 1 : 0));
  const std::int64_t memory = source.below(3) == 0 ? 1 + source.below(60000) * 16 : 0;
  const bool prepared = source.below(2) == 1;
  const double radius = source.value(0);
  compare(source, [&](int n_threads, Interrupt& interrupt) {
    SearchProblem problem{x.matrix, y.matrix, metric};
    problem.exclude_self = exclude_self;
    problem.n_threads = n_threads;
    problem.memory_limit = memory == 0 ? 0 : memory * n_threads;
    std::unique_ptr<Prepared> packed;
    if (prepared) {
      packed = std::make_unique<Prepared>(active_kernels(), metric, y.matrix, n_threads, interrupt);
      problem.prepared = packed.get();
    }
    Answer answer;
    std::vector<float> distances(static_cast<std::size_t>(n * k));
    std::vector<std::int32_t> indices(static_cast<std::size_t>(n * k));
    if (memory == 0) {  // how much is too little depends on the instruction set
      search_nearest(problem, k, distances.data(), indices.data(), interrupt);
      add(answer, distances);
      add(answer, indices);
    }
    problem.memory_limit = 0;
    const RadiusNeighbors near = search_radius(problem, radius, interrupt);
    add(answer, near.offsets);
    add(answer, near.indices);
    add(answer, near.distances);
    return answer;
  });
}

void pairwise(Source& source) {
  const auto metric = static_cast<Metric>(source.below(kMetrics));
  const int kind = static_cast<int>(source.below(4));
  const std::int64_t n = 1 + source.below(40), m = 1 + source.below(70);
  const std::int64_t dim = 1 + source.below(70);
  const Rows x = draw_rows(source, n, dim, kind), y = draw_rows(source, m, dim, kind);
  compare(source, [&](int n_threads, Interrupt& interrupt) {
    std::vector<float> out(static_cast<std::size_t>(n * m));
    pairwise_distances(x.matrix, y.matrix, metric, out.data(), n_threads, interrupt);
    Answer answer;
    add(answer, out);
    return answer;
  });
}

void lloyd(Source& source) {
  const auto metric = static_cast<Metric>(source.below(3));
  const int kind = static_cast<int>(source.below(2));
  const std::int64_t n = 1 + source.below(200), k = 1 + source.below(20);
  const std::int64_t dim = 1 + source.below(40);
  const Rows x = draw_rows(source, n, dim, kind), centers = draw_rows(source, k, dim, kind);
  const auto labels = draw_labels(source, n, k), before = draw_labels(source, n, k);
  const bool moves = source.below(2) == 1;
  compare(source, [&](int n_threads, Interrupt& interrupt) {
    const std::vector<double> scales(static_cast<std::size_t>(dim), 0x1p24);
    std::vector<std::int64_t> sums(static_cast<std::size_t>(2 * k * dim)),
        mass(static_cast<std::size_t>(2 * k));
    std::vector<double> own(static_cast<std::size_t>(n)), norms(static_cast<std::size_t>(n)),
        largest(static_cast<std::size_t>(dim));
    const Grid grid{scales.data(), 1.0, 0x1p30};
    accumulate_moves(x.matrix, labels.data(), moves ? before.data() : nullptr, nullptr, nullptr,
                     grid, {k, sums.data(), mass.data()}, n_threads, interrupt);
    own_distances(x.matrix, centers.matrix, labels.data(), metric, own.data(), n_threads,
                  interrupt);
    row_norms(x.matrix, norms.data(), n_threads, interrupt);
    column_range(x.matrix, largest.data(), n_threads, interrupt);
    Answer answer;
    add(answer, sums);
    add(answer, mass);
    add(answer, own);
    add(answer, norms);
    add(answer, largest);
    return answer;
  });
}

void seeding(Source& source) {
  const Metric metric = source.below(2) == 0 ? Metric::kSquaredEuclidean : Metric::kCosine;
  const int kind = static_cast<int>(source.below(2));
  const std::int64_t n = 1 + source.below(150), dim = 1 + source.below(40);
  const Rows x = draw_rows(source, n, dim, kind), first = draw_rows(source, 1, dim, kind);
  const Rows more = draw_rows(source, 1 + source.below(6), dim, kind);
  compare(source, [&](int n_threads, Interrupt& interrupt) {
    Seeder seeder(x.matrix, nullptr, metric, n_threads);
    Answer answer;
    const double largest = seeder.begin(first.matrix, interrupt);
    add(answer, &largest, 1);
    const double scale = largest > 0 ? std::ldexp(1.0, 40 - std::ilogb(largest)) : 1.0;
    const std::int64_t potential = seeder.set_scale(scale);
    add(answer, &potential, 1);
    if (potential > 0) {
      const std::int64_t place = seeder.locate(potential / 2);
      add(answer, &place, 1);
    }
    add(answer, seeder.evaluate(more.matrix, interrupt));
    seeder.accept(0);
    add(answer, seeder.nearest());
    return answer;
  });
}

void pruning(Source& source) {
  const Metric metric = source.below(2) == 0 ? Metric::kSquaredEuclidean : Metric::kCosine;
  const int kind = static_cast<int>(source.below(2));
  const std::int64_t n = 1 + source.below(150), k = 1 + source.below(60);
  const std::int64_t dim = 1 + source.below(40);
  const Rows x = draw_rows(source, n, dim, kind);
  std::vector<Rows> passes;
  for (int pass = 0; pass < 3; ++pass) passes.push_back(draw_rows(source, k, dim, kind));
  for (auto& pass : passes) pass.matrix.storage = pass.matrix.storage;
  std::vector<std::int32_t> names(static_cast<std::size_t>(k));
  for (std::int64_t i = 0; i < k; ++i) names[static_cast<std::size_t>(i)] = static_cast<int>(i);
  shuffle(names, static_cast<std::uint64_t>(source.below(1 << 15)));
  const bool keep = source.below(2) == 1;
  // Centers of one fit have one storage; float64 is what Python gives them.
  for (auto& pass : passes)
    if (pass.matrix.storage != passes[0].matrix.storage) return;
  compare(source, [&](int n_threads, Interrupt& interrupt) {
    Pruner pruner(n, k, metric, n_threads, keep);
    std::vector<std::int32_t> labels(static_cast<std::size_t>(n));
    Answer answer;
    bool anew = true;
    for (const Rows& pass : passes) {
      pruner.begin(pass.matrix, names.data(), interrupt);
      pruner.assign(x.matrix, 0, anew, labels.data(), interrupt);
      add(answer, labels);
      anew = false;
    }
    return answer;
  });
}

void people(Source& source) {
  const std::int64_t n = 2 + source.below(60), k = 1 + source.below(std::min<std::int64_t>(n, 9));
  std::vector<std::int32_t> indices = draw_labels(source, n * k, n);
  std::vector<float> distances(static_cast<std::size_t>(n * k));
  for (float& distance : distances) distance = source.byte() / 128.0f;
  for (std::int64_t i = 0; i < n; ++i)
    std::sort(distances.begin() + i * k, distances.begin() + (i + 1) * k);
  const std::int64_t dim = 1 + source.below(20);
  std::vector<float> x(static_cast<std::size_t>(n * dim));
  for (float& value : x) value = static_cast<float>(source.value(0));
  const std::int64_t n_groups = 1 + source.below(n), n_exclusions = 1 + source.below(5);
  auto labels = draw_labels(source, n, n_groups);
  for (std::int64_t group = 0; group < n_groups; ++group)  // none is empty
    labels[static_cast<std::size_t>(group)] = static_cast<std::int32_t>(group);
  Lists exclusions;
  for (std::int64_t i = 0; i < n; ++i) {
    if (source.below(3) == 0)
      exclusions.items.push_back(static_cast<std::int32_t>(source.below(n_exclusions)));
    exclusions.offsets.push_back(static_cast<std::int64_t>(exclusions.items.size()));
  }
  const NeighborLists graph{n, k, indices.data(), distances.data()};
  const double cutoff = 0.1 + source.byte() / 128.0;
  const std::uint64_t seed = source.byte();
  compare(source, [&](int n_threads, Interrupt& interrupt) {
    Answer answer;
    const SparseRows shares = neighbor_shares(
        graph, {cutoff, cutoff / 4, 1.5, std::min<std::int64_t>(k, 4)}, n_threads, interrupt);
    add(answer, shares.offsets);
    add(answer, shares.columns);
    add(answer, shares.values);
    const LinkageProblem problem{graph,      x.data(),     dim,    shares, labels.data(), n_groups,
                                 exclusions, n_exclusions, cutoff, 0.5,    cutoff,        0.0};
    add(answer, average_linkage(problem, n_threads, interrupt));
    const SparseRows links = probable_links(graph, k, cutoff, cutoff, 0.1, n_threads, interrupt);
    add(answer, links.columns);
    add(answer, links.values);
    const SparseRows ranked = rank_order_links(graph, k, cutoff, n_threads, interrupt);
    add(answer, ranked.columns);
    const Nearness near =
        nearness(graph, x.data(), dim, labels.data(), n_groups, 1.0, 4.0, 3, n_threads, interrupt);
    add(answer, near.own);
    add(answer, near.runner_up);
    // A symmetric network without self-links.
    std::vector<std::vector<std::pair<std::int32_t, float>>> sides(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t p = 0; p < k; ++p) {
        const std::int32_t j = indices[static_cast<std::size_t>(i * k + p)];
        if (j <= i) continue;
        const float weight = 1.0f + distances[static_cast<std::size_t>(i * k + p)];
        sides[static_cast<std::size_t>(i)].emplace_back(j, weight);
        sides[static_cast<std::size_t>(j)].emplace_back(static_cast<std::int32_t>(i), weight);
      }
    SparseRows network;
    for (auto& side : sides) {
      std::sort(side.begin(), side.end());
      side.erase(std::unique(side.begin(), side.end(),
                             [](const auto& a, const auto& b) { return a.first == b.first; }),
                 side.end());
      for (const auto& [column, weight] : side) {
        network.columns.push_back(column);
        network.values.push_back(weight);
      }
      network.offsets.push_back(static_cast<std::int64_t>(network.columns.size()));
    }
    const Communities found = map_equation(network, exclusions, n_exclusions, seed, interrupt);
    add(answer, found.labels);
    std::vector<std::int64_t> order(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i) order[static_cast<std::size_t>(i)] = i;
    shuffle(order, seed);
    add(answer, chinese_whispers(network, exclusions, n_exclusions, order.data(), 10, interrupt));
    return answer;
  });
}

void faces(Source& source) {
  const std::int64_t rows = 1 + source.below(90), columns = 1 + source.below(90);
  const std::size_t n_bytes = static_cast<std::size_t>(rows * columns * 3);
  const std::unique_ptr<std::uint8_t[]> photo(new std::uint8_t[n_bytes]);
  for (std::size_t i = 0; i < n_bytes; ++i) photo[i] = source.byte();
  const std::int64_t target_rows = 1 + source.below(120), target_columns = 1 + source.below(120);
  SampleGrid grid{source.value(0) * 40, source.value(0) * 40, source.value(0),
                  source.value(0),      1 + source.below(60), 0.5};
  std::vector<SeparableFilter> filters(static_cast<std::size_t>(1 + source.below(6)));
  int parts = 1;
  for (auto& filter : filters) {
    filter.plane = static_cast<std::int32_t>(source.below(kHogPlanes));
    filter.part = static_cast<std::int32_t>(source.below(parts + 1));
    if (filter.part == parts) ++parts;
    for (float& tap : filter.row) tap = static_cast<float>(source.value(0));
    for (float& tap : filter.column) tap = static_cast<float>(source.value(0));
  }
  const int levels = static_cast<int>(1 + source.below(3));
  compare(source, [&](int, Interrupt&) {
    const FaceKernels& kernels = *active_kernels().faces;
    Answer answer;
    Planes planes, resized;
    load_planes(kernels, photo.get(), rows, columns, planes);
    resized.resize(target_rows, target_columns);
    resample(kernels, planes, resized);
    for (int color = 0; color < 3; ++color)
      for (std::int64_t y = 0; y < target_rows; ++y)
        add(answer, resized.row(color, y), static_cast<std::size_t>(target_columns));
    const PhotoView view{photo.get(), rows, columns, columns * 3};
    if (rows >= 5 && columns >= 5) {
      std::vector<std::uint8_t> half(static_cast<std::size_t>(halved(rows) * halved(columns) * 3));
      halve(view, half.data());
      add(answer, half);
    }
    std::vector<std::uint8_t> crop(static_cast<std::size_t>(grid.size * grid.size * 3));
    sample(view, grid, crop.data());
    add(answer, crop);
    const HogSearch hog(filters);
    const std::vector<float> least(static_cast<std::size_t>(hog.parts()), 0.0f);
    for (const HogHit& hit : hog.run(kernels, photo.get(), rows, columns, levels, least.data()))
      add(answer, &hit.response, 1);
    return answer;
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static constexpr void (*kTargets[])(Source&) = {search,  pairwise, lloyd, seeding,
                                                  pruning, people,   faces};
  if (size == 0) return 0;
  Source source(data + 1, size - 1);
  kTargets[data[0] % (sizeof kTargets / sizeof *kTargets)](source);
  return 0;
}

#ifdef FASTFACE_FUZZ_MAIN
// fuzz_kernels SECONDS SEED
int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 10;
  std::uint64_t state = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
  const auto start = std::chrono::steady_clock::now();
  std::int64_t runs = 0;
  while (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() <
         seconds) {
    std::vector<std::uint8_t> data(static_cast<std::size_t>(1 + next_random(state) % 400));
    for (auto& byte : data) byte = static_cast<std::uint8_t>(next_random(state));
    data[0] = static_cast<std::uint8_t>(runs % 7);
    LLVMFuzzerTestOneInput(data.data(), data.size());
    ++runs;
  }
  std::printf("%lld executions, nothing found\n", static_cast<long long>(runs));
  return 0;
}
#endif
