// Binds the grouping methods.
#include <algorithm>

#include "bindings.hpp"
#include "people/linkage.hpp"
#include "people/links.hpp"
#include "people/map_equation.hpp"
#include "people/nearness.hpp"
#include "people/overlap.hpp"

namespace fastface {
namespace {

using Integers = py::array_t<std::int32_t>;
using Offsets = py::array_t<std::int64_t>;
using Floats = py::array_t<float>;

void require_that(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(what);
}

// Values in [0, bound), so that nothing below reads outside its arrays.
void require_below(const Integers& values, std::int64_t bound, const char* what) {
  require_that(is_c_contiguous(values), what);
  const std::int32_t* value = values.data();
  for (py::ssize_t i = 0; i < values.size(); ++i)
    require_that(value[i] >= 0 && value[i] < bound, what);
}

NeighborLists as_graph(const Integers& indices, const Floats& distances) {
  require_that(indices.ndim() == 2 && distances.ndim() == 2 && is_c_contiguous(distances) &&
                   indices.shape(0) == distances.shape(0) && indices.shape(1) == distances.shape(1),
               "indices and distances do not agree");
  require_below(indices, indices.shape(0), "neighbour out of range");
  return {indices.shape(0), indices.shape(1), indices.data(), distances.data()};
}

void require_offsets(const Offsets& offsets, std::int64_t n_items) {
  require_that(offsets.ndim() == 1 && offsets.size() >= 1 && is_c_contiguous(offsets) &&
                   offsets.data()[0] == 0 && offsets.data()[offsets.size() - 1] == n_items,
               "offsets do not agree with items");
  for (py::ssize_t i = 1; i < offsets.size(); ++i)
    require_that(offsets.data()[i] >= offsets.data()[i - 1], "offsets decrease");
}

Lists as_lists(const Offsets& offsets, const Integers& items, std::int64_t bound) {
  require_offsets(offsets, items.size());
  require_below(items, bound, "item out of range");
  return {{offsets.data(), offsets.data() + offsets.size()},
          {items.data(), items.data() + items.size()}};
}

SparseRows as_rows(const Offsets& offsets, const Integers& columns, const Floats& values) {
  require_offsets(offsets, columns.size());
  require_below(columns, offsets.size() - 1, "column out of range");
  require_that(values.size() == columns.size() && is_c_contiguous(values), "one value a column");
  return {{offsets.data(), offsets.data() + offsets.size()},
          {columns.data(), columns.data() + columns.size()},
          {values.data(), values.data() + values.size()}};
}

py::tuple hand_over(SparseRows&& rows) {
  return py::make_tuple(take(std::move(rows.offsets)), take(std::move(rows.columns)),
                        take(std::move(rows.values)));
}

// What cannot be joined: for every row the exclusions it is in.
struct ExclusionLists {
  Lists lists;
  std::int64_t count;
};

std::unique_ptr<ExclusionLists> exclusions(const Offsets& offsets, const Integers& items,
                                           std::int64_t count) {
  return std::make_unique<ExclusionLists>(ExclusionLists{as_lists(offsets, items, count), count});
}

// Shares of a graph's faces, kept between passes.
struct Shares {
  SparseRows rows;
};

std::unique_ptr<Shares> shares(const Integers& indices, const Floats& distances, double cutoff,
                               double smallest_radius, double radius_factor,
                               std::int64_t radius_neighbors, int n_threads) {
  const NeighborLists graph = as_graph(indices, distances);
  const NeighborhoodShape shape{cutoff, smallest_radius, radius_factor, radius_neighbors};
  return without_gil([&](Interrupt& interrupt) {
    return std::make_unique<Shares>(Shares{neighbor_shares(graph, shape, n_threads, interrupt)});
  });
}

Integers link(const Integers& indices, const Floats& distances, const Floats& x,
              const Shares& shares, const Integers& labels, std::int64_t n_groups,
              const ExclusionLists& exclusions, double cutoff, double overlap_weight,
              double longest_edge, double stop, std::int64_t fewest, int n_threads) {
  const NeighborLists graph = as_graph(indices, distances);
  require_that(x.ndim() == 2 && x.shape(0) == graph.n && is_c_contiguous(x) &&
                   shares.rows.size() == graph.n && labels.size() == graph.n &&
                   exclusions.lists.size() == graph.n,
               "arrays do not agree");
  require_below(labels, n_groups, "label out of range");
  std::vector<char> has_member(static_cast<std::size_t>(n_groups), 0);
  for (std::int64_t i = 0; i < graph.n; ++i) has_member[labels.data()[i]] = 1;
  require_that(std::count(has_member.begin(), has_member.end(), 0) == 0, "a group without faces");
  const LinkageProblem problem{graph,         x.data(),       x.shape(1),       shares.rows,
                               labels.data(), n_groups,       exclusions.lists, exclusions.count,
                               cutoff,        overlap_weight, longest_edge,     stop,
                               fewest};
  return take(without_gil(
      [&](Interrupt& interrupt) { return average_linkage(problem, n_threads, interrupt); }));
}

py::tuple probable(const Integers& indices, const Floats& distances, std::int64_t k, double sigma,
                   double farthest, double theta, int n_threads) {
  const NeighborLists graph = as_graph(indices, distances);
  require_that(k >= 0 && k <= graph.k, "k out of range");
  return hand_over(without_gil([&](Interrupt& interrupt) {
    return probable_links(graph, k, sigma, farthest, theta, n_threads, interrupt);
  }));
}

py::tuple rank_order(const Integers& indices, const Floats& distances, std::int64_t k,
                     double threshold, int n_threads) {
  const NeighborLists graph = as_graph(indices, distances);
  require_that(k >= 0 && k <= graph.k, "k out of range");
  return hand_over(without_gil([&](Interrupt& interrupt) {
    return rank_order_links(graph, k, threshold, n_threads, interrupt);
  }));
}

Integers join(const Integers& first, const Integers& second, const ExclusionLists& exclusions) {
  const std::int64_t n = exclusions.lists.size();
  require_that(first.size() == second.size(), "one end each");
  require_below(first, n, "link out of range");
  require_below(second, n, "link out of range");
  return take(without_gil([&](Interrupt&) {
    return join_links(n, first.data(), second.data(), first.size(), exclusions.lists);
  }));
}

Integers whispers(const Offsets& offsets, const Integers& columns, const Floats& values,
                  const ExclusionLists& exclusions, const Offsets& order, int max_sweeps) {
  const SparseRows network = as_rows(offsets, columns, values);
  require_that(exclusions.lists.size() == network.size() && order.size() == network.size() &&
                   is_c_contiguous(order),
               "arrays do not agree");
  for (py::ssize_t i = 0; i < order.size(); ++i)
    require_that(order.data()[i] >= 0 && order.data()[i] < order.size(), "order out of range");
  return take(without_gil([&](Interrupt& interrupt) {
    return chinese_whispers(network, exclusions.lists, exclusions.count, order.data(), max_sweeps,
                            interrupt);
  }));
}

py::tuple communities(const Offsets& offsets, const Integers& columns, const Floats& values,
                      const ExclusionLists& exclusions, std::uint64_t seed) {
  const SparseRows network = as_rows(offsets, columns, values);
  require_that(exclusions.lists.size() == network.size(), "arrays do not agree");
  Communities found = without_gil([&](Interrupt& interrupt) {
    return map_equation(network, exclusions.lists, exclusions.count, seed, interrupt);
  });
  return py::make_tuple(take(std::move(found.labels)), found.code_length);
}

double length(const Offsets& offsets, const Integers& columns, const Floats& values,
              const Integers& labels) {
  const SparseRows network = as_rows(offsets, columns, values);
  require_that(labels.size() == network.size(), "arrays do not agree");
  require_below(labels, labels.size(), "label out of range");
  return code_length(network, labels.data(), labels.size());
}

py::tuple near(const Integers& indices, const Floats& distances, const Floats& x,
               const Integers& labels, std::int64_t n_people, double alone, double nobody,
               std::int64_t n_candidates, int n_threads) {
  const NeighborLists graph = as_graph(indices, distances);
  require_that(
      x.ndim() == 2 && x.shape(0) == graph.n && is_c_contiguous(x) && labels.size() == graph.n,
      "arrays do not agree");
  require_below(labels, n_people, "label out of range");
  Nearness found = without_gil([&](Interrupt& interrupt) {
    return nearness(graph, x.data(), x.shape(1), labels.data(), n_people, alone, nobody,
                    n_candidates, n_threads, interrupt);
  });
  return py::make_tuple(take(std::move(found.own)), take(std::move(found.other)),
                        take(std::move(found.runner_up)));
}

}  // namespace

void bind_people(py::module_& m) {
  py::class_<ExclusionLists>(m, "Exclusions")
      .def(py::init(&exclusions), py::arg("offsets").noconvert(), py::arg("items").noconvert(),
           py::arg("count"));
  py::class_<Shares>(m, "NeighborShares")
      .def(py::init(&shares), py::arg("indices").noconvert(), py::arg("distances").noconvert(),
           py::arg("cutoff"), py::arg("smallest_radius"), py::arg("radius_factor"),
           py::arg("radius_neighbors"), py::arg("n_threads"))
      .def_static(
          "from_rows",
          [](const Offsets& offsets, const Integers& columns, const Floats& values) {
            return std::make_unique<Shares>(Shares{as_rows(offsets, columns, values)});
          },
          py::arg("offsets").noconvert(), py::arg("columns").noconvert(),
          py::arg("values").noconvert())
      .def("rows", [](const Shares& self) { return hand_over(SparseRows(self.rows)); });
  m.def("average_linkage", &link, py::arg("indices").noconvert(), py::arg("distances").noconvert(),
        py::arg("x").noconvert(), py::arg("shares"), py::arg("labels").noconvert(),
        py::arg("n_groups"), py::arg("exclusions"), py::arg("cutoff"), py::arg("overlap_weight"),
        py::arg("longest_edge"), py::arg("stop"), py::arg("fewest"), py::arg("n_threads"));
  m.def("probable_links", &probable, py::arg("indices").noconvert(),
        py::arg("distances").noconvert(), py::arg("k"), py::arg("sigma"), py::arg("farthest"),
        py::arg("theta"), py::arg("n_threads"));
  m.def("rank_order_links", &rank_order, py::arg("indices").noconvert(),
        py::arg("distances").noconvert(), py::arg("k"), py::arg("threshold"), py::arg("n_threads"));
  m.def("join_links", &join, py::arg("first").noconvert(), py::arg("second").noconvert(),
        py::arg("exclusions"));
  m.def("chinese_whispers", &whispers, py::arg("offsets").noconvert(),
        py::arg("columns").noconvert(), py::arg("values").noconvert(), py::arg("exclusions"),
        py::arg("order").noconvert(), py::arg("max_sweeps"));
  m.def("map_equation", &communities, py::arg("offsets").noconvert(),
        py::arg("columns").noconvert(), py::arg("values").noconvert(), py::arg("exclusions"),
        py::arg("seed"));
  m.def("code_length", &length, py::arg("offsets").noconvert(), py::arg("columns").noconvert(),
        py::arg("values").noconvert(), py::arg("labels").noconvert());
  m.def("nearness", &near, py::arg("indices").noconvert(), py::arg("distances").noconvert(),
        py::arg("x").noconvert(), py::arg("labels").noconvert(), py::arg("n_people"),
        py::arg("alone"), py::arg("nobody"), py::arg("n_candidates"), py::arg("n_threads"));
}

}  // namespace fastface
