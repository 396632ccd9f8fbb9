// Binds what discovers attributes.
#include "bindings.hpp"

#include "attributes/two_means.hpp"

namespace fastface {
namespace {

using Doubles = py::array_t<double>;
using Offsets = py::array_t<std::int64_t>;

RowGroups as_groups(const Doubles& rows, const Offsets& starts) {
  if (rows.ndim() != 2 || !is_c_contiguous(rows) || starts.ndim() != 1 || starts.size() < 1 ||
      !is_c_contiguous(starts))
    throw std::invalid_argument("expected contiguous rows and starts");
  const std::int64_t* start = starts.data();
  for (py::ssize_t g = 0; g < starts.size(); ++g)
    if (start[g] < (g == 0 ? 0 : start[g - 1]) || start[g] > rows.shape(0))
      throw std::invalid_argument("starts do not agree with rows");
  if (start[0] != 0 || start[starts.size() - 1] != rows.shape(0))
    throw std::invalid_argument("starts do not agree with rows");
  return {rows.data(), rows.shape(1), start, starts.size() - 1};
}

Doubles signs_of(const Doubles& rows, const Offsets& starts, int n_threads) {
  const RowGroups groups = as_groups(rows, starts);
  Doubles signs({rows.shape(0), rows.shape(1)});
  double* out = signs.mutable_data();
  without_gil([&](Interrupt& interrupt) { spatial_signs(groups, out, n_threads, interrupt); });
  return signs;
}

py::array_t<std::int8_t> sides_of(const Doubles& rows, const Offsets& starts, std::int64_t n_starts,
                                  std::uint64_t seed, int n_threads) {
  const RowGroups groups = as_groups(rows, starts);
  py::array_t<std::int8_t> sides(rows.shape(0));
  std::int8_t* out = sides.mutable_data();
  without_gil([&](Interrupt& interrupt) {
    two_means_of_each(groups, n_starts, seed, out, n_threads, interrupt);
  });
  return sides;
}

}  // namespace

void bind_attributes(py::module_& m) {
  m.def("spatial_signs", &signs_of, py::arg("rows").noconvert(), py::arg("starts").noconvert(),
        py::arg("n_threads"));
  m.def("two_means_of_each", &sides_of, py::arg("rows").noconvert(), py::arg("starts").noconvert(),
        py::arg("n_starts"), py::arg("seed"), py::arg("n_threads"));
}

}  // namespace fastface
