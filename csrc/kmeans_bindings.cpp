// Binds what only k-means needs.
#include <pybind11/stl.h>

#include "bindings.hpp"
#include "lloyd.hpp"
#include "pruning.hpp"
#include "seeding.hpp"

namespace fastface {
namespace {

using Labels = py::array_t<std::int32_t>;
using Doubles = py::array_t<double>;
using Integers = py::array_t<std::int64_t>;

template <typename T>
void require(const py::array_t<T>& array, std::initializer_list<std::int64_t> shape) {
  bool fits = is_c_contiguous(array) && array.ndim() == static_cast<py::ssize_t>(shape.size());
  py::ssize_t axis = 0;
  for (const std::int64_t size : shape) fits = fits && array.shape(axis++) == size;
  if (!fits) throw std::invalid_argument("shapes do not agree");
}

const double* data_or_null(const std::optional<Doubles>& array, std::int64_t rows) {
  if (!array) return nullptr;
  require(*array, {rows});
  return array->data();
}

const std::int32_t* checked_labels(const Labels& labels, std::int64_t rows,
                                   std::int64_t n_clusters) {
  require(labels, {rows});
  const std::int32_t* label = labels.data();
  for (std::int64_t i = 0; i < rows; ++i)
    if (label[i] < 0 || label[i] >= n_clusters) throw std::invalid_argument("label out of range");
  return label;
}

std::int64_t accumulate(const py::array& x, const Labels& labels,
                        const std::optional<Labels>& previous,
                        const std::optional<Doubles>& factors, const std::optional<Doubles>& masses,
                        const Doubles& scales, double mass_scale, double low_scale, Integers sums,
                        Integers mass, int n_threads) {
  const Matrix mx = as_matrix(x);
  if (mass.ndim() != 2) throw std::invalid_argument("shapes do not agree");
  const std::int64_t n_clusters = mass.shape(1);
  require(mass, {2, n_clusters});
  require(sums, {2, n_clusters, mx.dim});
  require(scales, {mx.dim});
  const std::int32_t* label = checked_labels(labels, mx.rows, n_clusters);
  const std::int32_t* before = previous ? checked_labels(*previous, mx.rows, n_clusters) : nullptr;
  const double* factor = data_or_null(factors, mx.rows);
  const double* row_mass = data_or_null(masses, mx.rows);
  const Grid grid{scales.data(), mass_scale, low_scale};
  const ClusterSums totals{n_clusters, sums.mutable_data(), mass.mutable_data()};
  return without_gil([&](Interrupt& interrupt) {
    return accumulate_moves(mx, label, before, factor, row_mass, grid, totals, n_threads,
                            interrupt);
  });
}

Doubles distances_to_own(const py::array& x, const py::array& centers, const Labels& labels,
                         const std::string& metric, int n_threads) {
  const Matrix mx = as_matrix(x);
  const Matrix mc = as_matrix(centers);
  require_same_width(mx, mc);
  const std::int32_t* label = checked_labels(labels, mx.rows, mc.rows);
  const Metric parsed = parse_metric(metric);
  Doubles result(mx.rows);
  double* out = result.mutable_data();
  without_gil([&](Interrupt& interrupt) {
    own_distances(mx, mc, label, parsed, out, n_threads, interrupt);
  });
  return result;
}

Doubles norms_of_rows(const py::array& x, int n_threads) {
  const Matrix mx = as_matrix(x);
  Doubles result(mx.rows);
  double* out = result.mutable_data();
  without_gil([&](Interrupt& interrupt) { row_norms(mx, out, n_threads, interrupt); });
  return result;
}

Doubles range_of_columns(const py::array& x, int n_threads) {
  const Matrix mx = as_matrix(x);
  Doubles result(mx.dim);
  double* out = result.mutable_data();
  without_gil([&](Interrupt& interrupt) { column_range(mx, out, n_threads, interrupt); });
  return result;
}

Integers moments_of_columns(const py::array& x, const Doubles& scales, double low_scale,
                            int n_threads) {
  const Matrix mx = as_matrix(x);
  require(scales, {2, mx.dim});
  Integers result({py::ssize_t{2}, py::ssize_t{2}, static_cast<py::ssize_t>(mx.dim)});
  const double* scale = scales.data();
  std::int64_t* out = result.mutable_data();
  without_gil([&](Interrupt& interrupt) {
    column_moments(mx, scale, low_scale, out, n_threads, interrupt);
  });
  return result;
}

// A pruner that checks what it is given.
struct CheckedPruner {
  CheckedPruner(std::int64_t n_rows, std::int64_t n_centers, const std::string& metric,
                int n_threads, bool keep_rows)
      : pruner(n_rows, n_centers, parse_metric(metric), n_threads, keep_rows) {}

  void begin(const py::array& centers, const Labels& names) {
    const Matrix matrix = as_matrix(centers);
    if (matrix.rows != pruner.n_centers() || (dim != 0 && dim != matrix.dim))
      throw std::invalid_argument("shapes do not agree");
    dim = matrix.dim;
    const std::int32_t* name = checked_labels(names, matrix.rows, matrix.rows);
    without_gil([&](Interrupt& interrupt) { pruner.begin(matrix, name, interrupt); });
  }

  py::tuple assign(const py::array& x, std::int64_t first_row, bool anew, Labels labels) {
    const Matrix matrix = as_matrix(x);
    if (matrix.dim != dim || first_row < 0 || first_row + matrix.rows > pruner.n_rows())
      throw std::invalid_argument("shapes do not agree");
    checked_labels(labels, matrix.rows, pruner.n_centers());
    std::int32_t* label = labels.mutable_data();
    const PruningStatistics statistics = without_gil([&](Interrupt& interrupt) {
      return pruner.assign(matrix, first_row, anew, label, interrupt);
    });
    return py::make_tuple(statistics.scored_pairs, statistics.decided_pairs);
  }

  py::tuple look_inside() const {
    const PrunedRows& rows = pruner.state();
    py::array_t<float> uppers({pruner.n_rows(), pruner.n_groups()}, rows.uppers.data());
    py::array_t<float> bars(pruner.n_rows());
    for (std::int64_t i = 0; i < pruner.n_rows(); ++i)
      bars.mutable_at(i) = rows.records[static_cast<std::size_t>(i)].bar;
    const Frame frame = pruner.screen().frame();
    Doubles row_scales(pruner.n_rows());
    for (std::int64_t i = 0; i < pruner.n_rows(); ++i)
      row_scales.mutable_at(i) = rows.loaded[static_cast<std::size_t>(i)].scale;
    return py::make_tuple(
        uppers, bars, Doubles(static_cast<py::ssize_t>(frame.shift.size()), frame.shift.data()),
        row_scales, py::array_t<std::int32_t>(pruner.n_rows(), rows.left_out.data()));
  }

  std::int64_t dim = 0;
  Pruner pruner;
};

// A seeder and the arrays it looks at.
struct OwningSeeder {
  OwningSeeder(const py::array& x, const std::optional<Doubles>& row_weights,
               const std::string& metric, int n_threads)
      : rows(x),
        weights(row_weights),
        dim(as_matrix(x).dim),
        seeder(as_matrix(x), data_or_null(row_weights, as_matrix(x).rows), parse_metric(metric),
               n_threads) {}

  Matrix checked(const py::array& centers) const {
    const Matrix matrix = as_matrix(centers);
    if (matrix.dim != dim || matrix.rows < 1) throw std::invalid_argument("shapes do not agree");
    return matrix;
  }

  py::array rows;
  std::optional<Doubles> weights;
  std::int64_t dim;
  Seeder seeder;
};

}  // namespace

void bind_kmeans(py::module_& m) {
  m.def("accumulate", &accumulate, py::arg("x").noconvert(), py::arg("labels").noconvert(),
        py::arg("previous").noconvert(), py::arg("factors").noconvert(),
        py::arg("masses").noconvert(), py::arg("scales").noconvert(), py::arg("mass_scale"),
        py::arg("low_scale"), py::arg("sums").noconvert(), py::arg("mass").noconvert(),
        py::arg("n_threads"));
  m.def("own_distances", &distances_to_own, py::arg("x").noconvert(),
        py::arg("centers").noconvert(), py::arg("labels").noconvert(), py::arg("metric"),
        py::arg("n_threads"));
  m.def("row_norms", &norms_of_rows, py::arg("x").noconvert(), py::arg("n_threads"));
  m.def("column_range", &range_of_columns, py::arg("x").noconvert(), py::arg("n_threads"));
  m.def("column_moments", &moments_of_columns, py::arg("x").noconvert(),
        py::arg("scales").noconvert(), py::arg("low_scale"), py::arg("n_threads"));

  py::class_<CheckedPruner>(m, "Pruner")
      .def(py::init<std::int64_t, std::int64_t, const std::string&, int, bool>(), py::arg("n_rows"),
           py::arg("n_centers"), py::arg("metric"), py::arg("n_threads"), py::arg("keep_rows"))
      .def_static("bytes_per_row", &Pruner::bytes_per_row, py::arg("dim"), py::arg("n_centers"),
                  py::arg("keep_rows"))
      .def("begin", &CheckedPruner::begin, py::arg("centers").noconvert(),
           py::arg("names").noconvert())
      .def("assign", &CheckedPruner::assign, py::arg("x").noconvert(), py::arg("first_row"),
           py::arg("anew"), py::arg("labels").noconvert())
      .def_property_readonly("n_groups",
                             [](const CheckedPruner& self) { return self.pruner.n_groups(); })
      .def("look_inside", &CheckedPruner::look_inside);

  py::class_<OwningSeeder>(m, "Seeder")
      .def(py::init<const py::array&, const std::optional<Doubles>&, const std::string&, int>(),
           py::arg("x").noconvert(), py::arg("weights").noconvert(), py::arg("metric"),
           py::arg("n_threads"))
      .def(
          "begin",
          [](OwningSeeder& self, const py::array& center) {
            const Matrix matrix = self.checked(center);
            return without_gil(
                [&](Interrupt& interrupt) { return self.seeder.begin(matrix, interrupt); });
          },
          py::arg("center").noconvert())
      .def(
          "set_scale",
          [](OwningSeeder& self, double scale) { return self.seeder.set_scale(scale); },
          py::arg("scale"))
      .def(
          "locate",
          [](const OwningSeeder& self, std::int64_t target) { return self.seeder.locate(target); },
          py::arg("target"))
      .def(
          "evaluate",
          [](OwningSeeder& self, const py::array& candidates) {
            const Matrix matrix = self.checked(candidates);
            return without_gil(
                [&](Interrupt& interrupt) { return self.seeder.evaluate(matrix, interrupt); });
          },
          py::arg("candidates").noconvert())
      .def(
          "accept", [](OwningSeeder& self, std::size_t which) { self.seeder.accept(which); },
          py::arg("which"))
      .def_property_readonly("nearest", [](const OwningSeeder& self) {
        const std::vector<double>& nearest = self.seeder.nearest();
        return Doubles(static_cast<py::ssize_t>(nearest.size()), nearest.data());
      });
}

}  // namespace fastface
