// What the files that bind kernels to Python share.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#if defined(__GLIBC__)
#include <cxxabi.h>
#endif

#include <chrono>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "matrix.hpp"
#include "parallel.hpp"

namespace fastface {

namespace py = pybind11;

void bind_kmeans(py::module_& m);      // in kmeans_bindings.cpp
void bind_faces(py::module_& m);       // in faces/bindings.cpp
void bind_people(py::module_& m);      // in people_bindings.cpp
void bind_graph(py::module_& m);       // in graph_bindings.cpp
void bind_attributes(py::module_& m);  // in attributes/bindings.cpp

inline Metric parse_metric(const std::string& name) {
  if (name == "sqeuclidean") return Metric::kSquaredEuclidean;
  if (name == "euclidean") return Metric::kEuclidean;
  if (name == "cosine") return Metric::kCosine;
  if (name == "inner_product") return Metric::kInnerProduct;
  throw std::invalid_argument("unknown metric: " + name);
}

inline Storage storage_of(const py::array& array) {
  const char kind = array.dtype().kind();
  const py::ssize_t size = array.dtype().itemsize();
  if (kind == 'f' && size == 2) return kFloat16;
  if (kind == 'f' && size == 4) return kFloat32;
  if (kind == 'f' && size == 8) return kFloat64;
  throw std::invalid_argument("expected float16, float32 or float64");
}

// Any strides will do: nothing is ever copied.
inline Matrix as_matrix(const py::array& array) {
  if (array.ndim() != 2) throw std::invalid_argument("expected a matrix");
  return {static_cast<const char*>(array.data()),
          storage_of(array),
          array.shape(0),
          array.shape(1),
          array.strides(0),
          array.strides(1)};
}

inline void require_same_width(const Matrix& x, const Matrix& y) {
  if (x.dim != y.dim) throw std::invalid_argument("expected matrices of one width");
}

template <typename T>
bool is_c_contiguous(const py::array_t<T>& array) {
  return (array.flags() & py::array::c_style) != 0;
}

// Hands a vector to NumPy without a copy.
template <typename T>
py::array_t<T> take(std::vector<T>&& values) {
  auto* owned = new std::vector<T>(std::move(values));
  const py::capsule owner(owned, [](void* p) { delete static_cast<std::vector<T>*>(p); });
  return py::array_t<T>(static_cast<py::ssize_t>(owned->size()), owned->data(), owner);
}

// Calls something of Python's that waits for the GIL.  Where the interpreter ends meanwhile,
// CPython before 3.14 ends the waiting thread by unwinding its stack, which C++ answers with an
// abort at the first destructor.  Such a thread sleeps instead, until the process is gone.
template <typename Wait>
auto or_sleep(const Wait& wait) {
#if defined(__GLIBC__)
  try {
    return wait();
  } catch (abi::__forced_unwind&) {
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
#else
  return wait();
#endif
}

// Asks Python, from a thread without the GIL, whether the user wants to stop.
inline bool asked_to_stop() {
  const PyGILState_STATE state = or_sleep([] { return PyGILState_Ensure(); });
  const bool stop = PyErr_CheckSignals() != 0;
  PyGILState_Release(state);
  return stop;
}

// Runs `work(interrupt)` without the GIL, which is taken back now and then, in the calling thread
// alone, to ask whether the user wants to stop.
template <typename Work>
auto without_gil(const Work& work) {
  Interrupt interrupt(asked_to_stop);
  PyThreadState* const state = PyEval_SaveThread();
  const auto take_back = [state] { or_sleep([state] { PyEval_RestoreThread(state); }); };
  const auto finish = [&] {
    take_back();
    if (PyErr_Occurred() != nullptr) throw py::error_already_set();
  };
  std::exception_ptr failure;
  try {
    if constexpr (std::is_void_v<decltype(work(interrupt))>) {
      work(interrupt);
      return finish();
    } else {
      auto result = work(interrupt);
      finish();
      return result;
    }
  } catch (py::error_already_set&) {  // from `finish`, which has the GIL
    throw;
  } catch (...) {
    failure = std::current_exception();
  }
  take_back();
  std::rethrow_exception(failure);
}

}  // namespace fastface
