// tenon._core: the store as Python sees it, without policy. What is friendly about the package is in its .py files.
#include <optional>
#include <string>

#include "python/arrays.h"
#include "python/binding.h"
#include "python/dlpack.h"
#include "python/history.h"
#include "python/joint.h"
#include "python/live.h"
#include "python/loader.h"
#include "python/query.h"
#include "python/saver.h"
#include "python/torch_tensors.h"
#include "tenon/error.h"
#include "tenon/live.h"
#include "tenon/name.h"
#include "tenon/store.h"

namespace tenon::python {

namespace {

using Release = py::call_guard<py::gil_scoped_release>;

Mode mode_of(const std::string& name) {
  if (name == "private") return Mode::private_;
  if (name == "shared") return Mode::shared;
  if (name == "copy") return Mode::copy;
  throw Error(ErrorKind::invalid_argument, {.what = "no such mode", .got = name, .wanted = "private, shared or copy"});
}

Durability durability_of(const std::string& name) {
  if (name == "full") return Durability::full;
  if (name == "relaxed") return Durability::relaxed;
  throw Error(ErrorKind::invalid_argument, {.what = "no such durability", .got = name, .wanted = "full or relaxed"});
}

const char* kind_name(TensorKind kind) {
  switch (kind) {
    case TensorKind::plain:
      return "plain";
    case TensorKind::parameter:
      return "parameter";
    case TensorKind::buffer:
      return "buffer";
  }
  return "plain";
}

py::dict describe(const Snapshot& snapshot, std::uint32_t index) {
  const TensorRow row = snapshot.row(index);
  const std::string_view location = row.slot == no_slot ? "meta" : snapshot.slot(row.slot).location;
  return py::dict(py::arg("name") = text(row.name), py::arg("dtype") = text(dtype_info(row.dtype).name),
                  py::arg("shape") = integers(row.shape), py::arg("stride") = integers(row.stride),
                  py::arg("kind") = kind_name(row.kind), py::arg("requires_grad") = row.requires_grad,
                  py::arg("param") = text(row.param), py::arg("wrapper") = text(row.wrapper),
                  py::arg("quantizer") = text(row.quantizer),
                  py::arg("slot") = row.slot == no_slot ? py::none() : py::object(py::int_(row.slot)),
                  py::arg("storage_offset_bytes") = row.storage_offset_bytes, py::arg("location") = text(location),
                  py::arg("item_bytes") = item_bytes(row.dtype), py::arg("global_shape") = integers(row.global_shape),
                  py::arg("global_offset") = integers(row.global_offset));
}

py::object describe_statistics(const Snapshot& snapshot, std::uint32_t row) {
  const auto found = snapshot.statistics(row);
  if (!found) return py::none();
  std::uint64_t count = 1;
  for (const std::int64_t size : snapshot.row(row).shape) count *= static_cast<std::uint64_t>(size);
  return py::dict(py::arg("nan_count") = found->nan_count, py::arg("inf_count") = found->inf_count,
                  py::arg("zero_count") = found->zero_count, py::arg("min") = found->min, py::arg("max") = found->max,
                  py::arg("mean") = mean_of(*found, count), py::arg("std") = std_of(*found, count),
                  py::arg("norm") = norm_of(*found, count));
}

py::object capsule_of(const Snapshot& snapshot, std::uint32_t row, bool is_versioned, bool is_read_only) {
  const ForeignView view = view_of(snapshot, row);
  return is_versioned ? make_versioned_capsule(view, is_read_only) : make_capsule(view);
}

Memory memory_of(const Snapshot& snapshot, std::uint32_t row) {
  const View view = snapshot.view(row);
  const auto bytes = view.bytes();
  return {.owner = std::make_shared<const View>(view),
          .data = const_cast<std::byte*>(bytes.data()),
          .nbytes = bytes.size(),
          .is_read_only = snapshot.mode() == Mode::shared};
}

py::dict commit(Saver& saver, Store& store, const std::string& ref, const std::string& message,
                std::optional<std::int64_t> step, const std::string& meta, bool statistics,
                const py::object& expected) {
  Draft& draft = saver.draft();
  draft.message = message;
  draft.step = step;
  draft.meta = meta;
  const CommitOptions options{.ref = ref, .expected_tip = expected_of(expected), .statistics = statistics};
  CommitResult result;
  {
    const py::gil_scoped_release unlocked;
    result = store.commit(draft, options);
  }
  return describe_commit(result);
}

py::object verify(const std::string& path, bool read_data) {
  VerifyReport report;
  {
    const py::gil_scoped_release unlocked;
    report = Store::verify(path, {.read_data = read_data});
  }
  py::list damage;
  for (const Damage& one : report.damage) {
    damage.append(py::dict(py::arg("file") = one.file, py::arg("offset") = one.offset, py::arg("what") = one.what,
                           py::arg("snapshots") = one.snapshots));
  }
  return py::dict(py::arg("damage") = damage, py::arg("segments") = report.segments,
                  py::arg("snapshots") = report.snapshots, py::arg("storages") = report.storages,
                  py::arg("read_bytes") = report.read_bytes);
}

py::object load(const Snapshot& snapshot, const std::string& prefix, bool copies_part, bool as_arrays,
                const py::object& place, bool place_cpu, const py::object& policy, const py::object& make_handle) {
  return load_object(snapshot, {.prefix = prefix,
                                .copies_part = copies_part,
                                .tensors = as_arrays ? Tensors::arrays : Tensors::torch,
                                .placement = {place, place_cpu},
                                .policy = policy,
                                .make_handle = make_handle});
}

void bind_memory(py::module_& module) {
  py::class_<Memory>(module, "Memory", py::buffer_protocol())
      .def_buffer([](const Memory& memory) {
        return py::buffer_info(memory.data, 1, "B", 1, {static_cast<py::ssize_t>(memory.nbytes)}, {py::ssize_t{1}},
                               memory.is_read_only);
      })
      .def("__len__", [](const Memory& memory) { return memory.nbytes; });
}

void bind_snapshot(py::module_& module) {
  py::class_<Snapshot>(module, "Snapshot")
      .def("info", [](const Snapshot& s) { return describe_info(s.info()); })
      .def("__len__", &Snapshot::size)
      .def("row", [](const Snapshot& s, std::uint32_t row) { return describe(s, row); })
      .def("name", [](const Snapshot& s, std::uint32_t row) { return text(s.row(row).name); })
      .def("find", [](const Snapshot& s, const std::string& name) { return s.find(name); })
      .def("require",
           [](const Snapshot& s, const std::string& name) {
             const auto row = s.find(name);
             return row ? *row : s[name].row();
           })
      .def("select", [](const Snapshot& s, const std::string& prefix) { return s.select(prefix); })
      .def("statistics", describe_statistics)
      .def("changed_since", &Snapshot::changed_since, py::arg("older"), Release())
      .def("array",
           [](const Snapshot& s, std::uint32_t row) {
             py::object array = Arrays(s, SlotMemory(s)).array(row);
             return array ? array : py::none();
           })
      .def("tensor",
           [](const Snapshot& s, std::uint32_t row) { return TorchTensors(s, SlotMemory(s), {}).tensor(row); })
      .def("capsule", capsule_of, py::arg("row"), py::arg("versioned"), py::arg("read_only"))
      .def("memory", memory_of)
      .def("attachments",
           [](const Snapshot& s) {
             py::list names;
             for (const AttachmentRow& one : s.attachments()) names.append(text(one.name));
             return names;
           })
      .def("attachment",
           [](const Snapshot& s, const std::string& name) -> py::object {
             for (const AttachmentRow& one : s.attachments()) {
               if (one.name == name) return bytes({reinterpret_cast<const char*>(one.bytes.data()), one.bytes.size()});
             }
             return py::none();
           })
      .def("load", load, py::arg("prefix"), py::arg("copies_part"), py::arg("as_arrays"), py::arg("place"),
           py::arg("place_cpu"), py::arg("policy"), py::arg("make_handle"));
}

void bind_store(py::module_& module) {
  py::class_<Store> store(module, "Store");
  store
      .def_static(
          "init",
          [](const std::string& path, const std::string& durability) {
            return Store::init(path, {.durability = durability_of(durability)});
          },
          Release())
      .def_static(
          "open", [](const std::string& path) { return Store::open(path); }, Release())
      .def_static("verify", verify, py::arg("path"), py::arg("read_data"))
      .def("path", [](const Store& s) { return s.path().string(); })
      .def("is_bundle", &Store::is_bundle)
      .def(
          "snapshot",
          [](const Store& s, const std::string& rev, const std::string& mode) {
            return s.snapshot(rev, {.mode = mode_of(mode)});
          },
          py::arg("rev"), py::arg("mode"), Release())
      .def(
          "watch",
          [](const Store& s, const std::string& ref, const std::string& name) { return s.watch(ref, {.name = name}); },
          py::arg("ref"), py::arg("name"), Release())
      .def("processes", describe_processes)
      .def(
          "resolve", [](const Store& s, const std::string& rev) { return to_hex(s.resolve(rev)); }, Release());
  bind_history(store);
  bind_files(store);
}

// Of strings and integers.
py::object name_of(const py::list& path) {
  Path keys;
  for (const py::handle key : path) {
    if (py::isinstance<py::str>(key)) {
      keys.emplace_back(key.cast<std::string>());
    } else {
      keys.emplace_back(key.cast<std::int64_t>());
    }
  }
  return text(render_name(keys));
}

SaveExtras extras_of(const py::dict& given) {
  SaveExtras extras{.is_compact = given["compact"].cast<bool>()};
  extras.params = given["params"].cast<decltype(extras.params)>();
  extras.shards = given["shards"].cast<decltype(extras.shards)>();
  for (const auto& [name, value] : given["attachments"].cast<py::dict>()) {
    const auto content = value.cast<std::string_view>();
    const auto* data = reinterpret_cast<const std::byte*>(content.data());
    extras.attachments.push_back({name.cast<std::string>(), {data, data + content.size()}});
  }
  return extras;
}

void bind_saver(py::module_& module) {
  py::class_<StagingBuffer>(module, "StagingBuffer").def(py::init<>()).def("__len__", &StagingBuffer::nbytes);
  py::class_<Saver>(module, "Saver")
      .def(py::init<>())
      .def("persistent_id_function", &Saver::persistent_id_function, py::keep_alive<0, 1>())
      .def(
          "finish",
          [](Saver& saver, const py::buffer& pickle, const py::dict& extras) {
            const py::buffer_info info = pickle.request();
            saver.finish({static_cast<const std::byte*>(info.ptr), static_cast<std::size_t>(info.size)},
                         extras_of(extras));
          },
          py::arg("pickle"), py::arg("extras"))
      .def("stage", &Saver::stage, py::keep_alive<1, 2>())
      .def("commit", commit, py::arg("store"), py::arg("ref"), py::arg("message"), py::arg("step"), py::arg("meta"),
           py::arg("statistics"), py::arg("expected"));
}

}  // namespace

void translate_error(std::exception_ptr error) {
  try {
    std::rethrow_exception(std::move(error));
  } catch (const Error& failure) {
    const Facts& facts = failure.facts();
    const py::object raised = py::module_::import("tenon.errors")
                                  .attr("_from_facts")(error_kind_name(failure.kind()), failure.what(), facts.what,
                                                       facts.file, facts.offset, facts.got, facts.wanted, facts.hint);
    PyErr_SetObject(py::type::of(raised).ptr(), raised.ptr());
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
}

PYBIND11_MODULE(_core, module) {
  module.doc() = "The C++ side of tenon. Its names are no contract: use the package.";
  py::register_exception_translator([](std::exception_ptr error) {
    if (error) translate_error(std::move(error));
  });
  bind_memory(module);
  bind_snapshot(module);
  bind_watch(module);
  bind_store(module);
  bind_saver(module);
  bind_joint(module);
  bind_query(module);
  module.def("name_of", name_of);
  module.attr("__version__") = TENON_VERSION;
}

}  // namespace tenon::python
