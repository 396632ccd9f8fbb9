// Binds what searches photos for faces.
#include "bindings.hpp"

#include <pybind11/complex.h>

#include <complex>

#include "cpu/dispatch.hpp"
#include "faces/hog.hpp"
#include "faces/resample.hpp"
#include "faces/warp.hpp"

namespace fastface {
namespace {

using Bytes = py::array_t<std::uint8_t>;
using Floats = py::array_t<float>;

void require_photo(const Bytes& image) {
  if (image.ndim() != 3 || image.shape(2) != 3 || image.size() == 0 || !is_c_contiguous(image))
    throw std::invalid_argument("expected a contiguous photo (height, width, 3)");
}

std::unique_ptr<HogSearch> make_search(const py::array_t<std::int32_t>& planes,
                                       const py::array_t<std::int32_t>& parts, const Floats& rows,
                                       const Floats& columns) {
  const py::ssize_t n = planes.size();
  for (const Floats* filters : {&rows, &columns})
    if (filters->ndim() != 2 || filters->shape(0) != n || filters->shape(1) != kHogTaps)
      throw std::invalid_argument("expected filters of ten taps");
  if (planes.ndim() != 1 || parts.ndim() != 1 || parts.size() != n || n == 0)
    throw std::invalid_argument("expected a plane and a template for every filter");
  std::vector<SeparableFilter> filters(static_cast<std::size_t>(n));
  for (py::ssize_t i = 0; i < n; ++i) {
    SeparableFilter& filter = filters[static_cast<std::size_t>(i)];
    filter.plane = planes.at(i);
    filter.part = parts.at(i);
    if (filter.plane < 0 || filter.plane >= kHogPlanes || filter.part < 0)
      throw std::invalid_argument("no such plane or template");
    for (int tap = 0; tap < kHogTaps; ++tap) {
      filter.row[tap] = rows.at(i, tap);
      filter.column[tap] = columns.at(i, tap);
    }
  }
  return std::make_unique<HogSearch>(std::move(filters));
}

py::tuple search(const HogSearch& self, const Bytes& image, int levels, const Floats& least) {
  require_photo(image);
  if (least.ndim() != 1 || least.size() != self.parts() || !is_c_contiguous(least))
    throw std::invalid_argument("expected a least response for every template");
  const std::uint8_t* rgb = image.data();
  const float* bars = least.data();
  const std::vector<HogHit> hits = without_gil([&](Interrupt&) {
    return self.run(*active_kernels().faces, rgb, image.shape(0), image.shape(1), levels, bars);
  });
  const auto n = static_cast<py::ssize_t>(hits.size());
  py::array_t<std::int32_t> places({n, py::ssize_t{4}});
  Floats responses(n);
  for (py::ssize_t i = 0; i < n; ++i) {
    const HogHit& hit = hits[static_cast<std::size_t>(i)];
    const std::int32_t place[4] = {hit.level, hit.part, hit.row, hit.column};
    std::copy(place, place + 4, places.mutable_data(i, 0));
    *responses.mutable_data(i) = hit.response;
  }
  return py::make_tuple(responses, places);
}

Bytes resample_photo(const Bytes& image, py::ssize_t rows, py::ssize_t columns) {
  require_photo(image);
  if (rows < 1 || columns < 1) throw std::invalid_argument("expected a size");
  Bytes out({rows, columns, py::ssize_t{3}});
  const std::uint8_t* rgb = image.data();
  std::uint8_t* to = out.mutable_data();
  without_gil([&](Interrupt&) {
    const FaceKernels& kernels = *active_kernels().faces;
    Planes source, target;
    load_planes(kernels, rgb, image.shape(0), image.shape(1), source);
    target.resize(rows, columns);
    resample(kernels, source, target);
    for (py::ssize_t y = 0; y < rows; ++y) {
      const std::uint8_t* planes[3] = {target.row(0, y), target.row(1, y), target.row(2, y)};
      for (py::ssize_t x = 0; x < columns; ++x)
        for (const std::uint8_t* plane : planes) *to++ = plane[x];
    }
  });
  return out;
}

// Rows may lie apart, so that parts of a larger plane can be read and written.
void resample_plane(const Floats& source, Floats target) {
  constexpr py::ssize_t kSize = sizeof(float);
  for (const Floats* plane : {&source, static_cast<const Floats*>(&target)})
    if (plane->ndim() != 2 || plane->size() == 0 || plane->strides(1) != kSize ||
        plane->strides(0) % kSize != 0)
      throw std::invalid_argument("expected planes whose columns lie side by side");
  const float* from = source.data();
  float* to = target.mutable_data();
  without_gil([&](Interrupt&) {
    resample(from, source.strides(0) / kSize, source.shape(0), source.shape(1), to,
             target.strides(0) / kSize, target.shape(0), target.shape(1));
  });
}

// A part of a photo, cut out without a copy.
PhotoView view_photo(const Bytes& image) {
  if (image.ndim() != 3 || image.shape(2) != 3 || image.size() == 0 || image.strides(2) != 1 ||
      image.strides(1) != 3)
    throw std::invalid_argument("expected a photo whose pixels lie side by side");
  return {image.data(), image.shape(0), image.shape(1), image.strides(0)};
}

Bytes halve_photo(const Bytes& image) {
  const PhotoView photo = view_photo(image);
  if (photo.rows < 5 || photo.columns < 5) throw std::invalid_argument("too small to halve");
  Bytes out({py::ssize_t{halved(photo.rows)}, py::ssize_t{halved(photo.columns)}, py::ssize_t{3}});
  std::uint8_t* to = out.mutable_data();
  without_gil([&](Interrupt&) { halve(photo, to); });
  return out;
}

Bytes sample_photo(const Bytes& image, std::complex<double> origin, std::complex<double> step,
                   py::ssize_t size, double rounding) {
  const PhotoView photo = view_photo(image);
  if (size < 1) throw std::invalid_argument("expected a size");
  Bytes out({size, size, py::ssize_t{3}});
  std::uint8_t* to = out.mutable_data();
  const SampleGrid grid{origin.real(), origin.imag(), step.real(), step.imag(), size, rounding};
  without_gil([&](Interrupt&) { sample(photo, grid, to); });
  return out;
}

}  // namespace

void bind_faces(py::module_& m) {
  m.def("resample_photo", &resample_photo, py::arg("image").noconvert(), py::arg("rows"),
        py::arg("columns"));
  m.def("resample_plane", &resample_plane, py::arg("source").noconvert(),
        py::arg("target").noconvert());
  m.def("halve_photo", &halve_photo, py::arg("image").noconvert());
  m.def("sample_photo", &sample_photo, py::arg("image").noconvert(), py::arg("origin"),
        py::arg("step"), py::arg("size"), py::arg("rounding"));
  m.def("gradient_directions", [] { return take(std::vector(gradient_directions())); });
  py::class_<HogSearch>(m, "HogSearch")
      .def(py::init(&make_search), py::arg("planes").noconvert(), py::arg("parts").noconvert(),
           py::arg("row_filters").noconvert(), py::arg("column_filters").noconvert())
      .def("run", &search, py::arg("image").noconvert(), py::arg("levels"),
           py::arg("least").noconvert());
}

}  // namespace fastface
