#include "python/joint.h"

#include <optional>
#include <string>
#include <vector>

#include "python/history.h"
#include "python/saver.h"
#include "tenon/joint_commit.h"
#include "tenon/store.h"

namespace tenon::python {

namespace {

using Unlocked = py::gil_scoped_release;

std::vector<std::byte> bytes_of(std::string_view content) {
  const auto* data = reinterpret_cast<const std::byte*>(content.data());
  return {data, data + content.size()};
}

// The part, and the names of its rows in their order.
py::tuple write_part(Store& store, const std::string& ticket, Saver& saver) {
  JointPart part;
  {
    const Unlocked unlocked;
    part = JointCommit::write_part(store, ticket, saver.draft());
  }
  py::list names;
  for (const TensorDraft& row : saver.draft().tensors) names.append(text(row.name));
  return py::make_tuple(bytes({reinterpret_cast<const char*>(part.data()), part.size()}), names);
}

py::dict commit(JointCommit& joint, const py::list& given, const py::bytes& structure, const std::string& message,
                std::optional<std::int64_t> step, const std::string& meta, const py::dict& attachments) {
  std::vector<JointPart> parts;
  for (const py::handle part : given) parts.push_back(bytes_of(part.cast<std::string_view>()));
  Draft head{.structure = bytes_of(structure), .message = message, .step = step, .meta = meta};
  for (const auto& [name, content] : attachments)
    head.attachments.push_back({name.cast<std::string>(), bytes_of(content.cast<std::string_view>())});
  CommitResult result;
  {
    const Unlocked unlocked;
    result = joint.commit(parts, head);
  }
  return describe_commit(result);
}

}  // namespace

void bind_joint(py::module_& module) {
  py::class_<JointCommit>(module, "JointCommit")
      .def(py::init([](Store& store, const std::string& ref, bool statistics) {
             const Unlocked unlocked;
             return JointCommit(store, {.ref = ref, .statistics = statistics});
           }),
           py::arg("store"), py::arg("ref"), py::arg("statistics"))
      .def("ticket", &JointCommit::ticket)
      .def("commit", commit, py::arg("parts"), py::arg("structure"), py::arg("message"), py::arg("step"),
           py::arg("meta"), py::arg("attachments"));
  module.def("write_part", write_part, py::arg("store"), py::arg("ticket"), py::arg("saver"));
}

}  // namespace tenon::python
