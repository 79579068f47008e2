// What Python sees of a store's history and of foreign files: facts as dicts, whose keys are the names of SQL and the
// command.
#pragma once

#include <optional>
#include <string>

#include "python/binding.h"
#include "tenon/store.h"

namespace tenon::python {

Digest digest_of(const std::string& hex);
// Of an argument `expected`: ... any tip, None no such ref, else the id.
std::optional<std::optional<SnapshotId>> expected_of(const py::object& expected);
py::dict describe_info(const SnapshotInfo& info);
py::dict describe_commit(const CommitResult& result);

void bind_history(py::class_<Store>& store);
void bind_files(py::class_<Store>& store);

}  // namespace tenon::python
