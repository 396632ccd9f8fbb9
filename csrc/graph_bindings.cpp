// Binds what only neighbour graphs need.
#include "bindings.hpp"
#include "directions.hpp"
#include "join.hpp"
#include "row_order.hpp"

namespace fastface {
namespace {

using Integers = py::array_t<std::int32_t>;
using Entries = py::array_t<std::uint32_t>;
using Doubles = py::array_t<double>;

void require(bool holds) {
  if (!holds) throw std::invalid_argument("shapes or values do not agree");
}

void require_rows(const Integers& numbers, std::int64_t rows) {
  require(is_c_contiguous(numbers));
  for (py::ssize_t i = 0; i < numbers.size(); ++i)
    require(numbers.data()[i] >= 0 && numbers.data()[i] < rows);
}

// Codes and the arrays that hold them.
class EncodedRows {
 public:
  EncodedRows(const py::array& x, const Integers& order, const Doubles& shift, int n_threads) {
    const Matrix matrix = as_matrix(x);
    require_rows(order, matrix.rows);
    require(order.ndim() == 1 && order.shape(0) == matrix.rows);
    const std::int32_t* which = order.data();
    require(is_c_contiguous(shift) && shift.ndim() == 1 && shift.shape(0) == matrix.dim);
    stride_ = round_up(matrix.dim, kCodeStep);
    integers_.resize(static_cast<std::size_t>(matrix.rows * stride_));
    scales_.resize(static_cast<std::size_t>(matrix.rows));
    halves_.resize(static_cast<std::size_t>(matrix.rows));
    const double* from = shift.data();
    without_gil([&](Interrupt& interrupt) {
      encode(matrix, which, from, integers_.data(), scales_.data(), halves_.data(), stride_,
             n_threads, interrupt);
    });
  }

  std::int64_t refine_lists(Entries from, Entries to, std::int64_t fan, int n_threads) {
    const Lists source = as_lists(from);
    const Lists target = as_lists(to);
    require(source.width == target.width);
    return without_gil([&](Interrupt& interrupt) {
      return refine(codes(), source, target, fan, n_threads, interrupt);
    });
  }

 private:
  std::int64_t rows() const { return static_cast<std::int64_t>(scales_.size()); }
  Codes codes() const {
    return {integers_.data(), scales_.data(), halves_.data(), rows(), stride_};
  }
  Lists as_lists(Entries& lists) const {
    require(is_c_contiguous(lists) && lists.ndim() == 2 && lists.shape(0) == rows());
    return {lists.mutable_data(), lists.shape(1)};
  }

  std::int64_t stride_;
  std::vector<std::int8_t> integers_;
  std::vector<float> scales_;
  std::vector<float> halves_;
};

Integers row_order(const py::array& x, int n_threads) {
  const Matrix matrix = as_matrix(x);
  Integers order(matrix.rows);
  std::int32_t* out = order.mutable_data();
  without_gil([&](Interrupt& interrupt) {
    order_rows(matrix, JoinRows::kGroup, out, n_threads, interrupt);
  });
  return order;
}

// Rows ready to be joined, and the arrays that they point to.
class SelfJoin {
 public:
  SelfJoin(const py::array& x, Integers order, Doubles shift, Doubles rotation, int n_threads)
      : x_(x), order_(std::move(order)), matrix_(as_matrix(x_)) {
    require_rows(order_, matrix_.rows);
    require(order_.ndim() == 1 && order_.shape(0) == matrix_.rows);
    require(is_c_contiguous(shift) && shift.ndim() == 1 && shift.shape(0) == matrix_.dim);
    require(is_c_contiguous(rotation) && rotation.ndim() == 2 && rotation.shape(0) == matrix_.dim);
    require(0 < rotation.shape(1) && rotation.shape(1) <= JoinRows::kMostHead);
    require_orthonormal(rotation);
    const std::int64_t n_directions = rotation.shape(1);
    without_gil([&](Interrupt& interrupt) {
      rows_ = std::make_unique<JoinRows>(matrix_, order_.data(), shift.data(), rotation.data(),
                                         n_directions, n_threads, interrupt);
    });
  }

  void exactly(const std::string& metric, py::array_t<float> distances, Integers indices,
               int n_threads) {
    require(is_c_contiguous(distances) && is_c_contiguous(indices));
    require(distances.ndim() == 2 && distances.shape(0) == matrix_.rows && indices.ndim() == 2 &&
            indices.shape(0) == matrix_.rows && indices.shape(1) == distances.shape(1) &&
            0 < indices.shape(1) && indices.shape(1) < matrix_.rows);
    const Metric parsed = parse_metric(metric);
    require(parsed == Metric::kEuclidean || parsed == Metric::kSquaredEuclidean);
    float* d = distances.mutable_data();
    std::int32_t* i = indices.mutable_data();
    const std::int64_t k = indices.shape(1);
    without_gil(
        [&](Interrupt& interrupt) { join_exactly(*rows_, parsed, k, d, i, n_threads, interrupt); });
  }

  void nearby(std::int64_t n_visited, Entries lists, int n_threads) {
    require(n_visited > 0);
    require(is_c_contiguous(lists) && lists.ndim() == 2 && lists.shape(0) == matrix_.rows);
    const Lists target{lists.mutable_data(), lists.shape(1)};
    without_gil([&](Interrupt& interrupt) {
      join_nearby(*rows_, n_visited, target, n_threads, interrupt);
    });
  }

 private:
  static void require_orthonormal(const Doubles& rotation) {
    const py::ssize_t dim = rotation.shape(0), n = rotation.shape(1);
    const double* v = rotation.data();
    for (py::ssize_t a = 0; a < n; ++a)
      for (py::ssize_t b = 0; b <= a; ++b) {
        double sum = 0.0;
        for (py::ssize_t i = 0; i < dim; ++i) sum += v[i * n + a] * v[i * n + b];
        require(std::abs(sum - (a == b ? 1.0 : 0.0)) < 1e-11);
      }
  }

  py::array x_;
  Integers order_;
  Matrix matrix_;
  std::unique_ptr<JoinRows> rows_;
};

void settle_lists(const py::array& x, const Integers& order, Entries lists,
                  const std::string& metric, const Integers& places, py::array_t<float> distances,
                  Integers indices, int n_threads) {
  const Matrix matrix = as_matrix(x);
  require_rows(order, matrix.rows);
  require_rows(places, matrix.rows);
  require(order.ndim() == 1 && order.shape(0) == matrix.rows);
  require(is_c_contiguous(lists) && lists.ndim() == 2 && lists.shape(0) == matrix.rows);
  require(is_c_contiguous(distances) && is_c_contiguous(indices) && distances.ndim() == 2 &&
          indices.ndim() == 2 && places.ndim() == 1 && distances.shape(0) == places.shape(0) &&
          indices.shape(0) == places.shape(0) && distances.shape(1) == indices.shape(1));
  const Lists source{lists.mutable_data(), lists.shape(1)};
  const std::int64_t n_places = places.shape(0);
  const std::int64_t k = indices.shape(1);
  const Metric parsed = parse_metric(metric);
  const std::int32_t* which = order.data();
  const std::int32_t* wanted = places.data();
  float* d = distances.mutable_data();
  std::int32_t* i = indices.mutable_data();
  without_gil([&](Interrupt& interrupt) {
    settle(matrix, which, parsed, source, wanted, n_places, k, d, i, n_threads, interrupt);
  });
}

py::array_t<std::uint8_t> directions_of(const Integers& indices,
                                        const py::array_t<float>& distances, double below,
                                        int n_threads) {
  require(indices.ndim() == 2 && distances.ndim() == 2 && is_c_contiguous(distances));
  require_rows(indices, indices.shape(0));
  require(indices.shape(0) == distances.shape(0) && indices.shape(1) == distances.shape(1));
  py::array_t<std::uint8_t> kinds({indices.shape(0), indices.shape(1)});
  std::uint8_t* out = kinds.mutable_data();
  const std::int32_t* ends = indices.data();
  const float* lengths = distances.data();
  const std::int64_t n = indices.shape(0), k = indices.shape(1);
  without_gil([&](Interrupt& interrupt) {
    edge_directions(ends, lengths, n, k, below, out, n_threads, interrupt);
  });
  return kinds;
}

}  // namespace

void bind_graph(py::module_& m) {
  py::class_<EncodedRows>(m, "EncodedRows")
      .def(py::init<const py::array&, const Integers&, const Doubles&, int>(),
           py::arg("x").noconvert(), py::arg("order").noconvert(), py::arg("shift").noconvert(),
           py::arg("n_threads"))
      .def("refine", &EncodedRows::refine_lists, py::arg("source").noconvert(),
           py::arg("target").noconvert(), py::arg("fan"), py::arg("n_threads"));
  m.def("row_order", &row_order, py::arg("x").noconvert(), py::arg("n_threads"));
  m.attr("GROUP_ROWS") = JoinRows::kGroup;
  py::class_<SelfJoin>(m, "SelfJoin")
      .def(py::init<const py::array&, Integers, Doubles, Doubles, int>(), py::arg("x").noconvert(),
           py::arg("order").noconvert(), py::arg("shift").noconvert(),
           py::arg("rotation").noconvert(), py::arg("n_threads"))
      .def("exactly", &SelfJoin::exactly, py::arg("metric"), py::arg("distances").noconvert(),
           py::arg("indices").noconvert(), py::arg("n_threads"))
      .def("nearby", &SelfJoin::nearby, py::arg("n_visited"), py::arg("lists").noconvert(),
           py::arg("n_threads"));
  m.attr("ONE_WAY") = static_cast<int>(kOneWay);
  m.attr("MUTUAL") = static_cast<int>(kMutual);
  m.def("edge_directions", &directions_of, py::arg("indices").noconvert(),
        py::arg("distances").noconvert(), py::arg("below"), py::arg("n_threads"));
  m.def("settle", &settle_lists, py::arg("x").noconvert(), py::arg("order").noconvert(),
        py::arg("lists").noconvert(), py::arg("metric"), py::arg("places").noconvert(),
        py::arg("distances").noconvert(), py::arg("indices").noconvert(), py::arg("n_threads"));
}

}  // namespace fastface
