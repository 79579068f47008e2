#include "python/torch_names.h"

#include <string>

#include "python/dlpack.h"
#include "tenon/error.h"

namespace tenon::python {

namespace {

TorchNames* make_names() {
  const py::module_ torch = py::module_::import("torch");
  const py::module_ helpers = py::module_::import("tenon._torch");
  auto names = std::make_unique<TorchNames>();
  names->tensor = torch.attr("Tensor");
  names->parameter = torch.attr("nn").attr("Parameter");
  names->untyped_storage_class = torch.attr("UntypedStorage");
  names->typed_storage_class = torch.attr("TypedStorage");
  names->from_dlpack = torch.attr("_C").attr("_from_dlpack");
  names->empty = torch.attr("empty");
  names->empty_strided = torch.attr("empty_strided");
  names->strided = torch.attr("strided");
  names->untyped_storage = helpers.attr("untyped_storage");
  names->typed_storage = helpers.attr("typed_storage");
  names->make_parameter = helpers.attr("make_parameter");
  names->set_bits = helpers.attr("set_bits");
  names->rebuild_typed = helpers.attr("rebuild_typed");
  names->rebuild_quantized = helpers.attr("rebuild_quantized");
  names->describe_storage = helpers.attr("describe_storage");
  names->device_reader = helpers.attr("DeviceReader");
  for (const DTypeInfo& info : all_dtypes()) {
    const std::string name(info.name);
    if (!py::hasattr(torch, name.c_str())) continue;
    py::object dtype = torch.attr(name.c_str());
    names->dtype_of_object.emplace(dtype.ptr(), info.dtype);
    names->dtypes[static_cast<std::size_t>(info.dtype)] = std::move(dtype);
  }
  return names.release();
}

}  // namespace

TorchNames& torch_names() {
  static TorchNames* names = nullptr;  // the GIL orders; an import that failed is tried again
  if (names == nullptr) names = make_names();
  return *names;
}

py::object TorchNames::dtype(DType dtype) const {
  const py::object& known = dtypes[static_cast<std::size_t>(dtype)];
  if (known) return known;
  throw Error(ErrorKind::unsupported, {.what = "this release of torch has no element type of that name",
                                       .got = std::string(dtype_info(dtype).name)});
}

DType TorchNames::dtype_of(PyObject* dtype) const {
  const auto found = dtype_of_object.find(dtype);
  return found == dtype_of_object.end() ? DType::invalid : found->second;
}

bool TorchNames::may_take(DType dtype) const {
  return has_dlpack(dtype) && !is_forbidden[static_cast<std::size_t>(dtype)];
}

}  // namespace tenon::python
