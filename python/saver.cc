#include "python/saver.h"

#include <algorithm>
#include <exception>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>

#include "python/arrays.h"
#include "python/dlpack.h"
#include "python/torch_names.h"
#include "tenon/error.h"

namespace tenon::python {

namespace {

// Interned once: attribute look-ups by name are most of what saving a tensor costs.
struct Attributes {
  PyObject *dict, *dtype, *layout, *is_cpu, *is_meta, *is_nested, *requires_grad, *backward_hooks, *grad_fn, *untyped,
      *size, *stride, *storage_offset, *is_conj, *is_neg, *is_zerotensor, *cdata, *data_ptr, *nbytes, *dlpack;
};

const Attributes& attributes() {
  static const Attributes names{
      PyUnicode_InternFromString("__dict__"),       PyUnicode_InternFromString("dtype"),
      PyUnicode_InternFromString("layout"),         PyUnicode_InternFromString("is_cpu"),
      PyUnicode_InternFromString("is_meta"),        PyUnicode_InternFromString("is_nested"),
      PyUnicode_InternFromString("requires_grad"),  PyUnicode_InternFromString("_backward_hooks"),
      PyUnicode_InternFromString("grad_fn"),        PyUnicode_InternFromString("untyped_storage"),
      PyUnicode_InternFromString("size"),           PyUnicode_InternFromString("stride"),
      PyUnicode_InternFromString("storage_offset"), PyUnicode_InternFromString("is_conj"),
      PyUnicode_InternFromString("is_neg"),         PyUnicode_InternFromString("_is_zerotensor"),
      PyUnicode_InternFromString("_cdata"),         PyUnicode_InternFromString("data_ptr"),
      PyUnicode_InternFromString("nbytes"),         PyUnicode_InternFromString("__dlpack__")};
  return names;
}

py::object get(PyObject* object, PyObject* name) { return own(PyObject_GetAttr(object, name)); }
py::object call(PyObject* object, PyObject* name) { return own(PyObject_CallMethodNoArgs(object, name)); }
bool is_true(PyObject* object, PyObject* name) { return get(object, name).is(py::bool_(true)); }
bool calls_true(PyObject* object, PyObject* name) { return call(object, name).is(py::bool_(true)); }

std::int64_t to_integer(const py::object& value) {
  const std::int64_t number = PyLong_AsLongLong(value.ptr());
  if (number == -1 && PyErr_Occurred() != nullptr) throw py::error_already_set();
  return number;
}

std::vector<std::int64_t> to_integers(const py::object& sequence) {
  const auto fast = own(PySequence_Fast(sequence.ptr(), "a shape or stride is no sequence"));
  std::vector<std::int64_t> out;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(fast.ptr()); ++i) {
    out.push_back(to_integer(py::reinterpret_borrow<py::object>(PySequence_Fast_GET_ITEM(fast.ptr(), i))));
  }
  return out;
}

std::vector<std::int64_t> contiguous(std::span<const std::int64_t> shape) {
  std::vector<std::int64_t> stride(shape.size(), 1);
  for (std::size_t d = shape.size(); d-- > 1;) stride[d - 1] = stride[d] * std::max<std::int64_t>(shape[d], 1);
  return stride;
}

// From the first to past the last element, as strides in elements say; nullopt for negative strides.
std::optional<std::uint64_t> spanned_bytes(const TensorDraft& row) {
  std::int64_t last = 0;
  for (std::size_t d = 0; d < row.shape.size(); ++d) {
    if (row.shape[d] == 0) return 0;
    if (row.stride[d] < 0) return std::nullopt;
    last += (row.shape[d] - 1) * row.stride[d];
  }
  return (static_cast<std::uint64_t>(last) + 1) * item_bytes(row.dtype);
}

// What pickle knows by itself, and never is a tensor.
bool is_plain(PyObject* object) {
  const PyTypeObject* type = Py_TYPE(object);
  return type == &PyUnicode_Type || type == &PyLong_Type || type == &PyTuple_Type || type == &PyDict_Type ||
         type == &PyFloat_Type || type == &PyList_Type || type == &PyBool_Type || object == Py_None ||
         type == &PyBytes_Type || type == &PyType_Type || type == &PyFunction_Type || type == &PySet_Type;
}

const py::object& numpy_class() {
  static py::object* found = nullptr;
  if (found == nullptr) {
    const py::object numpy = imported("numpy");
    static const py::object* none = new py::object();
    if (!numpy) return *none;
    found = new py::object(numpy.attr("ndarray"));
  }
  return *found;
}

// What a tracer hands around has a shape and no bytes; torch would pickle it all the same.
void refuse_fake(const PyTypeObject* type) {
  const std::string_view name(type->tp_name);
  if (name != "FakeTensor" && name != "FunctionalTensor") return;
  throw Error(ErrorKind::unsupported, {.what = "a tensor of that class has no bytes to save",
                                       .got = std::string(name),
                                       .hint = "save outside of torch's fake or functional mode"});
}

PyObject* persistent_id_of(PyObject* capsule, PyObject* object) {
  auto* saver = static_cast<Saver*>(PyCapsule_GetPointer(capsule, nullptr));
  try {
    return saver->persistent_id(object).release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const Error&) {
    translate_error(std::current_exception());
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

PyMethodDef persistent_id_method = {"persistent_id", persistent_id_of, METH_O, nullptr};

}  // namespace

// A buffer that is held until its array was committed.
struct Saver::BufferHolder {
  Py_buffer view{};
  BufferHolder() = default;
  BufferHolder(const BufferHolder&) = delete;
  BufferHolder& operator=(const BufferHolder&) = delete;
  ~BufferHolder() { PyBuffer_Release(&view); }
};

py::object Saver::persistent_id_function() {
  const py::object self = own(PyCapsule_New(this, nullptr, nullptr));
  return own(PyCFunction_New(&persistent_id_method, self.ptr()));
}

py::object Saver::persistent_id(PyObject* object) {
  if (is_plain(object)) return py::none();
  if (const auto known = number_of_object_.find(object); known != number_of_object_.end())
    return integer(known->second);
  py::object number = tensor_number(object);
  return number ? number : storage_id(object);
}

// Null for what is no tensor, or one that torch's own pickling has to take apart.
py::object Saver::tensor_number(PyObject* object) {
  TensorDraft row;
  const auto* type = reinterpret_cast<PyObject*>(Py_TYPE(object));
  const bool has_torch = static_cast<bool>(imported("torch"));
  if (has_torch) {
    const TorchNames& torch = torch_names();
    if (type == torch.tensor.ptr() || type == torch.parameter.ptr())
      return describe_torch(object, row) ? add(object, std::move(row)) : py::object();
    if (PyObject_IsInstance(object, torch.tensor.ptr()) == 1) {
      refuse_fake(Py_TYPE(object));
      return {};
    }
  }
  if (const py::object& ndarray = numpy_class()) {
    if (type == ndarray.ptr()) return describe_array(object, row) ? add(object, std::move(row)) : py::object();
    if (PyObject_IsInstance(object, ndarray.ptr()) == 1) return {};
  }
  if (PyType_Check(object) || PyObject_HasAttr(reinterpret_cast<PyObject*>(Py_TYPE(object)), attributes().dlpack) == 0)
    return {};
  return describe_foreign(object, row) ? add(object, std::move(row)) : py::object();
}

py::object Saver::add(PyObject* object, TensorDraft row) {
  const auto number = static_cast<std::int64_t>(tensors_.size());
  tensors_.push_back(std::move(row));
  kept_.push_back(py::reinterpret_borrow<py::object>(object));
  number_of_object_.emplace(object, number);
  return integer(number);
}

bool Saver::describe_torch(PyObject* object, TensorDraft& row) {
  const Attributes& names = attributes();
  TorchNames& torch = torch_names();
  row.dtype = torch.dtype_of(get(object, names.dtype).ptr());
  const bool is_dense = row.dtype != DType::invalid && dtype_info(row.dtype).kind != DTypeClass::quantized &&
                        get(object, names.layout).is(torch.strided) && !is_true(object, names.is_meta) &&
                        !is_true(object, names.is_nested) && get(object, names.backward_hooks).is_none() &&
                        PyDict_Size(get(object, names.dict).ptr()) == 0 && !calls_true(object, names.is_zerotensor);
  if (!is_dense) return false;
  row.is_neg = calls_true(object, names.is_neg);
  row.is_conj = dtype_info(row.dtype).kind == DTypeClass::complex && calls_true(object, names.is_conj);
  row.requires_grad = is_true(object, names.requires_grad);
  const bool is_parameter = reinterpret_cast<PyObject*>(Py_TYPE(object)) == torch.parameter.ptr();
  if (is_parameter) row.kind = TensorKind::parameter;
  row.shape = to_integers(call(object, names.size));
  row.stride = to_integers(call(object, names.stride));
  row.storage_offset_bytes =
      static_cast<std::uint64_t>(to_integer(call(object, names.storage_offset))) * item_bytes(row.dtype);
  row.slot = torch_storage(torch.untyped_storage(py::reinterpret_borrow<py::object>(object)));
  return true;
}

// The number of an untyped storage, which is its key.
std::uint32_t Saver::torch_storage(const py::object& untyped) {
  const Attributes& names = attributes();
  const auto address = static_cast<std::uint64_t>(to_integer(get(untyped.ptr(), names.cdata)));
  const auto [entry, is_new] = storage_of_address_.try_emplace(address, static_cast<std::uint32_t>(storages_.size()));
  if (!is_new) return entry->second;
  Storage storage{.pickled = {.nbytes = static_cast<std::uint64_t>(to_integer(call(untyped.ptr(), names.nbytes)))},
                  .owner = untyped};
  if (py::str(untyped.attr("device").attr("type")).equal(py::str("cpu"))) {
    const auto data = static_cast<std::uintptr_t>(to_integer(call(untyped.ptr(), names.data_ptr)));
    storage.pickled.source.memory = {reinterpret_cast<const std::byte*>(data), storage.pickled.nbytes};
  } else {
    const py::object reader = torch_names().device_reader(untyped);
    storage.pickled.location = py::str(reader.attr("location"));
    storage.owner = reader;
    storage.pickled.source.read = [reader = reader.ptr()](std::uint64_t offset, std::span<std::byte> out) {
      const py::gil_scoped_acquire gil;
      const auto view = py::memoryview::from_memory(out.data(), static_cast<Py_ssize_t>(out.size()));
      py::handle(reader).attr("read_into")(offset, view);
    };
  }
  storages_.push_back(std::move(storage));
  return entry->second;
}

bool Saver::describe_array(PyObject* object, TensorDraft& row) {
  const auto holder = std::make_shared<BufferHolder>();
  if (PyObject_GetBuffer(object, &holder->view, PyBUF_STRIDED_RO | PyBUF_FORMAT) != 0) {
    PyErr_Clear();  // an element type without a buffer format: numpy pickles it
    return false;
  }
  const Py_buffer& view = holder->view;
  row.dtype = dtype_of_format(view.format, view.itemsize);
  if (row.dtype == DType::invalid) return false;
  for (int d = 0; d < view.ndim; ++d) {
    if (view.strides[d] % view.itemsize != 0) return false;
    row.shape.push_back(view.shape[d]);
    row.stride.push_back(view.strides[d] / view.itemsize);
  }
  const auto nbytes = spanned_bytes(row);
  if (!nbytes) return false;
  if (*nbytes == 0) row.stride = contiguous(row.shape);
  row.wrapper = "numpy.ndarray";
  row.slot = static_cast<std::uint32_t>(storages_.size());
  storages_.push_back(
      {.pickled = {.nbytes = *nbytes, .source = {.memory = {static_cast<std::byte*>(view.buf), *nbytes}}},
       .owner = {},
       .foreign = holder});
  return true;
}

// Whatever hands out its memory by DLPack becomes a tensor.
bool Saver::describe_foreign(PyObject* object, TensorDraft& row) {
  const ImportedTensor imported = take_capsule(py::handle(object).attr("__dlpack__")());
  const dlpack::Tensor& tensor = imported.tensor;
  const auto rank = static_cast<std::size_t>(tensor.rank);
  row.dtype = imported.dtype;
  row.shape.assign(tensor.shape, tensor.shape + rank);
  row.stride = tensor.strides == nullptr ? contiguous(row.shape)
                                         : std::vector<std::int64_t>(tensor.strides, tensor.strides + rank);
  const auto nbytes = spanned_bytes(row);
  if (!nbytes) {
    throw Error(ErrorKind::unsupported, {.what = "a tensor with negative strides cannot be saved",
                                         .got = Py_TYPE(object)->tp_name,
                                         .hint = "copy it first"});
  }
  row.slot = static_cast<std::uint32_t>(storages_.size());
  const auto* data = static_cast<const std::byte*>(tensor.data) + tensor.byte_offset;
  storages_.push_back(
      {.pickled = {.nbytes = *nbytes, .source = {.memory = {data, *nbytes}}}, .owner = {}, .foreign = imported.owner});
  return true;
}

// ('storage', class, key, location, numel), as torch.save has it; None for what is no storage.
py::object Saver::storage_id(PyObject* object) {
  if (!imported("torch")) return py::none();
  TorchNames& torch = torch_names();
  const bool is_storage =
      PyObject_TypeCheck(object, reinterpret_cast<PyTypeObject*>(torch.typed_storage_class.ptr())) ||
      PyObject_TypeCheck(object, reinterpret_cast<PyTypeObject*>(torch.untyped_storage_class.ptr()));
  if (!is_storage) return py::none();
  const py::tuple described = torch.describe_storage(py::reinterpret_borrow<py::object>(object));
  const std::uint32_t key = torch_storage(described[0]);
  const Storage& storage = storages_[key];
  return py::make_tuple("storage", described[1], std::to_string(key), storage.pickled.location,
                        storage.pickled.nbytes / described[2].cast<std::uint64_t>());
}

namespace {

// "optim/state/0/exp_avg" belongs to what `params` has for "optim/state/0".
void name_params(Draft& draft, const std::unordered_map<std::string, std::string>& params) {
  for (TensorDraft& row : draft.tensors) {
    for (std::size_t end = row.name.find('/'); end != row.name.npos; end = row.name.find('/', end + 1)) {
      const auto found = params.find(row.name.substr(0, end));
      if (found != params.end()) row.param = found->second;
    }
  }
}

void place_shards(Draft& draft, const SaveExtras& extras) {
  for (TensorDraft& row : draft.tensors) {
    const auto found = extras.shards.find(row.name);
    if (found != extras.shards.end()) std::tie(row.global_shape, row.global_offset) = found->second;
  }
}

}  // namespace

void Saver::finish(std::span<const std::byte> pickle, const SaveExtras& extras) {
  PickleSources sources;
  sources.storage = [this](const std::string& key) -> std::optional<PickledStorage> {
    const std::size_t number = std::stoul(key);
    return storages_.at(number).pickled;
  };
  sources.tensor = [this](std::int64_t number) { return &tensors_.at(static_cast<std::size_t>(number)); };
  draft_ = read_torch_pickle(pickle, sources);
  merge_overlapping(draft_);
  if (extras.is_compact) compact(draft_);
  if (!extras.params.empty()) name_params(draft_, extras.params);
  if (!extras.shards.empty()) place_shards(draft_, extras);
  draft_.attachments = extras.attachments;
}

void Saver::stage(StagingBuffer& buffer) {
  {
    const py::gil_scoped_release unlocked;
    buffer.fill(draft_);
  }
  number_of_object_.clear();
  storage_of_address_.clear();
  tensors_.clear();
  storages_.clear();
  kept_.clear();
}

}  // namespace tenon::python
