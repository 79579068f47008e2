#include "python/live.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include "tenon/live.h"
#include "tenon/processes.h"

namespace tenon::python {

namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// How long Ctrl-C may wait.
constexpr milliseconds look_for_signals_after{100};

// Waits without the interpreter's lock, and comes back now and then for Python's signal handlers. None: for ever.
std::optional<Snapshot> next(Watch& watch, std::optional<double> timeout_s) {
  const auto begin = Clock::now();
  for (;;) {
    auto slice = std::chrono::duration<double>(look_for_signals_after);
    if (timeout_s) {
      const std::chrono::duration<double> left = std::chrono::duration<double>(*timeout_s) - (Clock::now() - begin);
      slice = std::clamp(left, std::chrono::duration<double>::zero(), slice);
    }
    std::optional<Snapshot> snapshot;
    {
      const py::gil_scoped_release unlocked;
      snapshot = watch.next(std::chrono::ceil<milliseconds>(slice));
    }
    if (snapshot) return snapshot;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (timeout_s && Clock::now() - begin >= std::chrono::duration<double>(*timeout_s)) return std::nullopt;
  }
}

template <typename T, typename Convert>
py::object or_none(const std::optional<T>& value, Convert convert) {
  return value ? py::cast(convert(*value)) : py::none();
}

}  // namespace

void bind_watch(py::module_& module) {
  py::class_<Watch>(module, "Watch")
      .def("poll", &Watch::poll, py::call_guard<py::gil_scoped_release>())
      .def("next", next, py::arg("timeout_s"));
}

py::list describe_processes(const Store& store) {
  std::vector<StoreProcess> processes;
  {
    const py::gil_scoped_release unlocked;
    processes = store.processes();
  }
  py::list all;
  for (const StoreProcess& one : processes) {
    const auto figure = [&](std::uint64_t ProcessMemory::*field) -> py::object {
      return one.memory ? py::cast((*one.memory).*field) : py::none();
    };
    all.append(py::dict(py::arg("pid") = one.pid, py::arg("inner_pid") = one.inner_pid,
                        py::arg("name") = text(one.name), py::arg("ref") = text(one.ref),
                        py::arg("snapshot_id") = or_none(one.snapshot, [](const SnapshotId& id) { return to_hex(id); }),
                        py::arg("snapshot_bytes") = one.snapshot_bytes,
                        py::arg("mapped_bytes") = figure(&ProcessMemory::mapped_bytes),
                        py::arg("resident_bytes") = figure(&ProcessMemory::resident_bytes),
                        py::arg("proportional_bytes") = figure(&ProcessMemory::proportional_bytes),
                        py::arg("private_bytes") = figure(&ProcessMemory::private_bytes)));
  }
  return all;
}

}  // namespace tenon::python
