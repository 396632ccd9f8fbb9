// The extension module fastface._kernels: takes arrays that Python has already validated, releases
// the GIL, calls the kernels.  Every array argument refuses implicit conversion, so nothing is
// ever copied in silence.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <stdexcept>

#include "cpu/dispatch.hpp"
#include "exact.hpp"
#include "search.hpp"

namespace py = pybind11;

namespace fastface {
namespace {

Metric parse_metric(const std::string& name) {
  if (name == "sqeuclidean") return Metric::kSquaredEuclidean;
  if (name == "euclidean") return Metric::kEuclidean;
  if (name == "cosine") return Metric::kCosine;
  if (name == "inner_product") return Metric::kInnerProduct;
  throw std::invalid_argument("unknown metric: " + name);
}

// Polled without the GIL from the calling thread.
Interrupt make_interrupt() {
  return Interrupt([] {
    const py::gil_scoped_acquire acquire;
    return PyErr_CheckSignals() != 0;
  });
}

void raise_if_interrupted() {
  if (PyErr_Occurred() != nullptr) throw py::error_already_set();
}

template <typename Storage>
Matrix<Storage> as_matrix(const py::array& array) {
  if (array.ndim() != 2 || !(array.flags() & py::array::c_style))
    throw std::invalid_argument("expected a C-contiguous matrix");
  return {static_cast<const Storage*>(array.data()), array.shape(0), array.shape(1)};
}

// Calls `work` with a value of the storage type that the array holds.
template <typename Work>
auto with_storage(const py::array& array, const Work& work) {
  const char kind = array.dtype().kind();
  const py::ssize_t size = array.dtype().itemsize();
  if (kind == 'f' && size == 4) return work(float{});
  if (kind == 'f' && size == 8) return work(double{});
  if (kind == 'f' && size == 2) return work(Half{});
  throw std::invalid_argument("expected float16, float32 or float64");
}

void require_same_kind(const py::array& x, const py::array& y) {
  if (!x.dtype().is(y.dtype()) && !x.dtype().equal(y.dtype()))
    throw std::invalid_argument("expected matrices of one dtype");
  if (x.ndim() != 2 || y.ndim() != 2 || x.shape(1) != y.shape(1))
    throw std::invalid_argument("expected matrices of one width");
}

py::tuple nearest(const py::array& x, const py::array& y, py::ssize_t k, const std::string& metric,
                  bool exclude_self, int n_threads) {
  require_same_kind(x, y);
  if (k < 1 || k > y.shape(0) - (exclude_self ? 1 : 0))
    throw std::invalid_argument("k out of range");
  py::array_t<float> distances({x.shape(0), k});
  py::array_t<std::int32_t> indices({x.shape(0), k});
  const SearchStatistics statistics = with_storage(x, [&](auto storage) {
    using Storage = decltype(storage);
    const SearchProblem<Storage> problem{as_matrix<Storage>(x), as_matrix<Storage>(y),
                                         parse_metric(metric), exclude_self, n_threads};
    float* d = distances.mutable_data();
    std::int32_t* i = indices.mutable_data();
    const py::gil_scoped_release release;
    Interrupt interrupt = make_interrupt();
    return search_nearest(problem, k, d, i, interrupt);
  });
  raise_if_interrupted();
  return py::make_tuple(distances, indices, statistics.rechecked_rows, statistics.exhaustive_rows);
}

// Hands a vector to NumPy without a copy.
template <typename T>
py::array_t<T> take(std::vector<T>&& values) {
  auto* owned = new std::vector<T>(std::move(values));
  const py::capsule owner(owned, [](void* p) { delete static_cast<std::vector<T>*>(p); });
  return py::array_t<T>(static_cast<py::ssize_t>(owned->size()), owned->data(), owner);
}

py::tuple radius(const py::array& x, const py::array& y, double radius, const std::string& metric,
                 bool exclude_self, int n_threads) {
  require_same_kind(x, y);
  RadiusNeighbors result = with_storage(x, [&](auto storage) {
    using Storage = decltype(storage);
    const SearchProblem<Storage> problem{as_matrix<Storage>(x), as_matrix<Storage>(y),
                                         parse_metric(metric), exclude_self, n_threads};
    const py::gil_scoped_release release;
    Interrupt interrupt = make_interrupt();
    return search_radius(problem, radius, interrupt);
  });
  raise_if_interrupted();
  return py::make_tuple(take(std::move(result.offsets)), take(std::move(result.indices)),
                        take(std::move(result.distances)));
}

void pairwise(const py::array& x, const py::array& y, py::array_t<float> out,
              const std::string& metric, int n_threads) {
  require_same_kind(x, y);
  if (out.ndim() != 2 || out.shape(0) != x.shape(0) || out.shape(1) != y.shape(0) ||
      !(out.flags() & py::array::c_style))
    throw std::invalid_argument("out has the wrong shape or layout");
  float* target = out.mutable_data();
  with_storage(x, [&](auto storage) {
    using Storage = decltype(storage);
    const Matrix<Storage> mx = as_matrix<Storage>(x);
    const Matrix<Storage> my = as_matrix<Storage>(y);
    const py::gil_scoped_release release;
    Interrupt interrupt = make_interrupt();
    pairwise_distances(mx, my, parse_metric(metric), target, n_threads, interrupt);
  });
  raise_if_interrupted();
}

void accumulate(const py::array& x, const py::array_t<std::int32_t>& labels,
                const std::optional<py::array_t<double>>& weights,
                const py::array_t<double>& scales, py::array_t<std::int64_t> sums, int n_threads) {
  if (labels.ndim() != 1 || scales.ndim() != 1 || sums.ndim() != 2 || x.ndim() != 2 ||
      labels.shape(0) != x.shape(0) || scales.shape(0) != x.shape(1) ||
      sums.shape(1) != x.shape(1) || (weights && weights->shape(0) != x.shape(0)))
    throw std::invalid_argument("shapes do not agree");
  const std::int32_t* label = labels.data();
  for (py::ssize_t i = 0; i < labels.shape(0); ++i)
    if (label[i] < 0 || label[i] >= sums.shape(0))
      throw std::invalid_argument("label out of range");
  const double* weight = weights ? weights->data() : nullptr;
  const double* scale = scales.data();
  std::int64_t* sum = sums.mutable_data();
  with_storage(x, [&](auto storage) {
    using Storage = decltype(storage);
    const Matrix<Storage> mx = as_matrix<Storage>(x);
    const py::gil_scoped_release release;
    Interrupt interrupt = make_interrupt();
    accumulate_sums(mx, label, weight, scale, sum, n_threads, interrupt);
  });
  raise_if_interrupted();
}

void seed(const py::array& x, const py::array& new_centers, py::array_t<double> nearest_squared,
          int n_threads) {
  require_same_kind(x, new_centers);
  if (nearest_squared.ndim() != 1 || nearest_squared.shape(0) != x.shape(0))
    throw std::invalid_argument("shapes do not agree");
  double* target = nearest_squared.mutable_data();
  with_storage(x, [&](auto storage) {
    using Storage = decltype(storage);
    const Matrix<Storage> mx = as_matrix<Storage>(x);
    const Matrix<Storage> mc = as_matrix<Storage>(new_centers);
    const py::gil_scoped_release release;
    Interrupt interrupt = make_interrupt();
    update_nearest(mx, mc, target, n_threads, interrupt);
  });
  raise_if_interrupted();
}

}  // namespace
}  // namespace fastface

PYBIND11_MODULE(_kernels, m) {
  using namespace fastface;
  m.doc() = "Compiled kernels; call them through fastface.backends.";
  m.def("available_isas", &available_isas);
  m.def("set_isa", &set_isa, py::arg("name"));
  m.def("active_isa", [] { return std::string(active_kernels().name); });
  m.def("nearest", &nearest, py::arg("x").noconvert(), py::arg("y").noconvert(), py::arg("k"),
        py::arg("metric"), py::arg("exclude_self"), py::arg("n_threads"));
  m.def("radius", &radius, py::arg("x").noconvert(), py::arg("y").noconvert(), py::arg("radius"),
        py::arg("metric"), py::arg("exclude_self"), py::arg("n_threads"));
  m.def("pairwise", &pairwise, py::arg("x").noconvert(), py::arg("y").noconvert(),
        py::arg("out").noconvert(), py::arg("metric"), py::arg("n_threads"));
  m.def("accumulate", &accumulate, py::arg("x").noconvert(), py::arg("labels").noconvert(),
        py::arg("weights").noconvert(), py::arg("scales").noconvert(), py::arg("sums").noconvert(),
        py::arg("n_threads"));
  m.def("seed", &seed, py::arg("x").noconvert(), py::arg("new_centers").noconvert(),
        py::arg("nearest_squared").noconvert(), py::arg("n_threads"));
}
