// What the files of the extension share: pybind11, names of Python's that are looked up once, owned references.
//
// All functions here need the GIL.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <span>
#include <string_view>

#include "tenon/dtype.h"

namespace tenon::python {

namespace py = pybind11;

// Takes over a new reference; a null one is the Python exception that is set.
inline py::object own(PyObject* reference) {
  if (reference == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(reference);
}

inline py::object integer(std::int64_t value) { return own(PyLong_FromLongLong(value)); }

inline py::object text(std::string_view value) {
  return own(PyUnicode_DecodeUTF8(value.data(), static_cast<Py_ssize_t>(value.size()), "surrogatepass"));
}

inline py::object bytes(std::string_view value) {
  return own(PyBytes_FromStringAndSize(value.data(), static_cast<Py_ssize_t>(value.size())));
}

inline py::object integers(std::span<const std::int64_t> values) {
  const py::object tuple = own(PyTuple_New(static_cast<Py_ssize_t>(values.size())));
  for (std::size_t i = 0; i < values.size(); ++i)
    PyTuple_SET_ITEM(tuple.ptr(), static_cast<Py_ssize_t>(i), integer(values[i]).release().ptr());
  return tuple;
}

// A module of Python's that is there already; null where the program has not imported it.
inline py::object imported(const char* name) {
  PyObject* module = PyDict_GetItemString(PyImport_GetModuleDict(), name);
  return module == nullptr || module == Py_None ? py::object() : py::reinterpret_borrow<py::object>(module);
}

// Throws a Python exception of the class for `kind` from tenon.errors.
void translate_error(std::exception_ptr error);

}  // namespace tenon::python
