// The extension module fastface._kernels: takes arrays that Python has already validated, releases
// the GIL, calls the kernels.  Every array argument refuses implicit conversion, so nothing is
// ever copied in silence.
#include "bindings.hpp"

#include <pybind11/stl.h>

#include "cpu/dispatch.hpp"
#include "pairwise.hpp"
#include "search.hpp"

namespace fastface {
namespace {

// Candidates packed for many searches, and the array they come from.
struct PreparedCandidates {
  py::array array;
  Matrix matrix;
  Prepared prepared;
};

std::unique_ptr<PreparedCandidates> prepare(const py::array& y, const std::string& metric,
                                            int n_threads) {
  const Matrix matrix = as_matrix(y);
  const Metric parsed = parse_metric(metric);
  if (matrix.rows < 1) throw std::invalid_argument("no candidates");
  py::array kept = y;
  return without_gil([&](Interrupt& interrupt) {
    return std::unique_ptr<PreparedCandidates>(new PreparedCandidates{
        std::move(kept), matrix, Prepared(active_kernels(), parsed, matrix, n_threads, interrupt)});
  });
}

SearchProblem make_problem(const py::array& x, const Matrix& candidates, Metric metric,
                           bool exclude_self, int n_threads, std::int64_t memory_limit,
                           const Prepared* prepared) {
  SearchProblem problem{as_matrix(x), candidates};
  problem.metric = metric;
  problem.exclude_self = exclude_self;
  problem.n_threads = n_threads;
  problem.memory_limit = memory_limit;
  problem.prepared = prepared;
  require_same_width(problem.queries, problem.candidates);
  return problem;
}

py::tuple find_nearest(const SearchProblem& problem, py::ssize_t k) {
  if (k < 1 || k > problem.candidates.rows - (problem.exclude_self ? 1 : 0))
    throw std::invalid_argument("k out of range");
  py::array_t<float> distances({static_cast<py::ssize_t>(problem.queries.rows), k});
  py::array_t<std::int32_t> indices({static_cast<py::ssize_t>(problem.queries.rows), k});
  float* d = distances.mutable_data();
  std::int32_t* i = indices.mutable_data();
  const SearchStatistics statistics = without_gil(
      [&](Interrupt& interrupt) { return search_nearest(problem, k, d, i, interrupt); });
  return py::make_tuple(distances, indices, statistics.rechecked_rows, statistics.exhaustive_rows);
}

py::tuple find_within(const SearchProblem& problem, double radius) {
  RadiusNeighbors result =
      without_gil([&](Interrupt& interrupt) { return search_radius(problem, radius, interrupt); });
  return py::make_tuple(take(std::move(result.offsets)), take(std::move(result.indices)),
                        take(std::move(result.distances)));
}

py::tuple nearest(const py::array& x, const py::array& y, py::ssize_t k, const std::string& metric,
                  bool exclude_self, int n_threads, std::int64_t memory_limit) {
  return find_nearest(make_problem(x, as_matrix(y), parse_metric(metric), exclude_self, n_threads,
                                   memory_limit, nullptr),
                      k);
}

py::tuple radius(const py::array& x, const py::array& y, double radius, const std::string& metric,
                 bool exclude_self, int n_threads, std::int64_t memory_limit) {
  return find_within(make_problem(x, as_matrix(y), parse_metric(metric), exclude_self, n_threads,
                                  memory_limit, nullptr),
                     radius);
}

void pairwise(const py::array& x, const py::array& y, py::array_t<float> out,
              const std::string& metric, int n_threads) {
  const Matrix mx = as_matrix(x);
  const Matrix my = as_matrix(y);
  require_same_width(mx, my);
  if (out.ndim() != 2 || out.shape(0) != mx.rows || out.shape(1) != my.rows ||
      !is_c_contiguous(out))
    throw std::invalid_argument("out has the wrong shape or layout");
  const Metric parsed = parse_metric(metric);
  float* target = out.mutable_data();
  without_gil([&](Interrupt& interrupt) {
    pairwise_distances(mx, my, parsed, target, n_threads, interrupt);
  });
}

void translate(std::exception_ptr thrown) {
  try {
    if (thrown) std::rethrow_exception(thrown);
  } catch (const BadValues& bad) {
    PyErr_SetString(PyExc_FloatingPointError, bad.in_candidates ? "candidates" : "queries");
  } catch (const TooLittleMemory& memory) {
    PyErr_SetString(PyExc_MemoryError, std::to_string(memory.needed).c_str());
  }
}

}  // namespace
}  // namespace fastface

// By this symbol thread-limiting libraries recognise the module.
extern "C" __attribute__((visibility("default"))) int fastface_kernels() { return 1; }

PYBIND11_MODULE(_kernels, m) {
  using namespace fastface;
  m.doc() = "Compiled kernels; call them through fastface.backends.";
  py::register_local_exception_translator(&translate);
  m.def("available_isas", &available_isas);
  m.def("set_isa", &set_isa, py::arg("name"));
  m.def("active_isa", [] { return std::string(active_kernels().name); });
  m.def("nearest", &nearest, py::arg("x").noconvert(), py::arg("y").noconvert(), py::arg("k"),
        py::arg("metric"), py::arg("exclude_self"), py::arg("n_threads"), py::arg("memory_limit"));
  m.def("radius", &radius, py::arg("x").noconvert(), py::arg("y").noconvert(), py::arg("radius"),
        py::arg("metric"), py::arg("exclude_self"), py::arg("n_threads"), py::arg("memory_limit"));
  m.def("pairwise", &pairwise, py::arg("x").noconvert(), py::arg("y").noconvert(),
        py::arg("out").noconvert(), py::arg("metric"), py::arg("n_threads"));
  bind_kmeans(m);
  bind_faces(m);
  bind_people(m);
  bind_graph(m);
  bind_attributes(m);

  py::class_<PreparedCandidates>(m, "PreparedCandidates")
      .def(py::init(&prepare), py::arg("y").noconvert(), py::arg("metric"), py::arg("n_threads"))
      .def(
          "nearest",
          [](const PreparedCandidates& self, const py::array& x, py::ssize_t k, bool exclude_self,
             int n_threads, std::int64_t memory_limit) {
            return find_nearest(make_problem(x, self.matrix, self.prepared.screen.metric(),
                                             exclude_self, n_threads, memory_limit, &self.prepared),
                                k);
          },
          py::arg("x").noconvert(), py::arg("k"), py::arg("exclude_self"), py::arg("n_threads"),
          py::arg("memory_limit"))
      .def(
          "radius",
          [](const PreparedCandidates& self, const py::array& x, double radius, bool exclude_self,
             int n_threads, std::int64_t memory_limit) {
            return find_within(make_problem(x, self.matrix, self.prepared.screen.metric(),
                                            exclude_self, n_threads, memory_limit, &self.prepared),
                               radius);
          },
          py::arg("x").noconvert(), py::arg("radius"), py::arg("exclude_self"),
          py::arg("n_threads"), py::arg("memory_limit"));
}
