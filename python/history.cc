#include "python/history.h"

#include <vector>

#include "tenon/diff.h"
#include "tenon/error.h"
#include "tenon/formats.h"

namespace tenon::python {

namespace {

using Release = py::call_guard<py::gil_scoped_release>;
using Unlocked = py::gil_scoped_release;

py::object hex_or_none(const std::optional<SnapshotId>& id) {
  return id ? py::object(py::str(to_hex(*id))) : py::object(py::none());
}

// REQUIRES: the GIL.
template <typename Rows, typename Describe>
py::list list_of(const Rows& rows, Describe describe_row) {
  py::list out;
  for (const auto& row : rows) out.append(describe_row(row));
  return out;
}

py::dict describe_change(const DiffRow& row) {
  py::dict out(py::arg("change") = change_name(row.change), py::arg("name") = text(row.name),
               py::arg("old_name") = row.old_name.empty() ? py::object(py::none()) : text(row.old_name));
  for (const char* name : {"numel", "changed_numel", "l2_diff", "max_abs_diff", "rel_change"}) out[name] = py::none();
  if (const auto& d = row.difference) {
    out["numel"] = d->count;
    out["changed_numel"] = d->changed_count;
    out["l2_diff"] = d->l2;
    out["max_abs_diff"] = d->max_abs;
    out["rel_change"] = d->relative_change();
  }
  return out;
}

py::list diff_of(const Snapshot& older, const Snapshot& newer, bool by_param, bool numeric, const std::string& prefix) {
  std::vector<DiffRow> rows;
  {
    const Unlocked unlocked;
    rows = diff(older, newer, {.by_param = by_param, .numeric = numeric, .prefix = prefix});
  }
  return list_of(rows, describe_change);
}

py::dict describe_entry(const ReflogEntry& entry) {
  return py::dict(py::arg("sequence") = entry.sequence, py::arg("at_ns") = entry.at_ns,
                  py::arg("action") = entry.action,
                  py::arg("ref") = entry.ref.empty() ? py::object(py::none()) : text(entry.ref),
                  py::arg("id") = hex_or_none(entry.id), py::arg("previous_id") = hex_or_none(entry.previous),
                  py::arg("undoes") = entry.undoes,
                  py::arg("snapshots") = list_of(entry.snapshots, [](const auto& id) { return to_hex(id); }));
}

KeepRules rules_of(const py::dict& given) {
  const auto count = [&](const char* name) {
    return given.contains(name) ? given[name].cast<std::uint64_t>() : std::uint64_t{0};
  };
  KeepRules rules{.last = count("last"),
                  .hourly = count("hourly"),
                  .daily = count("daily"),
                  .weekly = count("weekly"),
                  .monthly = count("monthly"),
                  .every = static_cast<std::int64_t>(count("every")),
                  .tagged = given.contains("tagged") && given["tagged"].cast<bool>()};
  if (given.contains("best")) {
    for (const py::handle rule : given["best"]) rules.best.push_back(parse_keep_best(rule.cast<std::string>()));
  }
  return rules;
}

py::dict describe_retention(const RetentionRow& row) {
  return py::dict(py::arg("info") = describe_info(row.info), py::arg("ref") = text(row.ref),
                  py::arg("is_kept") = row.is_kept, py::arg("reasons") = row.reasons);
}

py::list forget(Store& store, const py::dict& keep, const std::vector<std::string>& refs,
                const std::vector<std::string>& ids, bool unreachable, bool dry_run) {
  ForgetOptions options{.keep = rules_of(keep), .refs = refs, .unreachable = unreachable, .dry_run = dry_run};
  for (const std::string& id : ids) options.snapshots.push_back(digest_of(id));
  ForgetReport report;
  {
    const Unlocked unlocked;
    report = store.forget(options);
  }
  return list_of(report.rows, describe_retention);
}

py::dict gc(Store& store, bool dry_run) {
  GcReport report;
  {
    const Unlocked unlocked;
    report = store.gc({.dry_run = dry_run});
  }
  return py::dict(py::arg("snapshots") = report.snapshots, py::arg("segments_removed") = report.segments_removed,
                  py::arg("segments_thinned") = report.segments_thinned, py::arg("freed_bytes") = report.freed_bytes,
                  py::arg("strays_removed") = report.strays_removed, py::arg("skipped") = report.skipped);
}

py::dict du(const Store& store) {
  DiskUsage usage;
  {
    const Unlocked unlocked;
    usage = store.du();
  }
  return py::dict(py::arg("total_bytes") = usage.total_bytes, py::arg("segment_bytes") = usage.segment_bytes,
                  py::arg("reclaimable_bytes") = usage.reclaimable_bytes, py::arg("forgotten") = usage.forgotten,
                  py::arg("snapshots") = list_of(usage.snapshots, [](const SnapshotUsage& one) {
                    return py::make_tuple(to_hex(one.info.id), one.freed_bytes);
                  }));
}

using Writer = ExportResult (*)(const Snapshot&, const std::filesystem::path&, const ExportOptions&);

Writer writer_of(const std::string& format) {
  if (format == "pt") return export_torch;
  if (format == "torchscript") return export_torchscript;
  if (format == "safetensors") return export_safetensors;
  if (format == "npz") return export_npz;
  if (format == "npy") return export_npy;
  throw Error(ErrorKind::invalid_argument,
              {.what = "no such format", .got = format, .wanted = "pt, torchscript, safetensors, npz or npy"});
}

}  // namespace

Digest digest_of(const std::string& hex) {
  Digest digest;
  if (!from_hex(hex, digest))
    throw Error(ErrorKind::invalid_argument, {.what = "not a snapshot id", .got = hex, .wanted = "32 hex digits"});
  return digest;
}

std::optional<std::optional<SnapshotId>> expected_of(const py::object& expected) {
  if (expected.is(py::ellipsis())) return std::nullopt;
  if (expected.is_none()) return std::optional<std::optional<SnapshotId>>(std::in_place);
  return std::optional<SnapshotId>(digest_of(expected.cast<std::string>()));
}

py::dict describe_info(const SnapshotInfo& info) {
  py::list parents;
  for (const SnapshotId& parent : info.parents) parents.append(to_hex(parent));
  return py::dict(py::arg("id") = to_hex(info.id), py::arg("parents") = py::tuple(parents),
                  py::arg("created_at_ns") = info.created_at_ns, py::arg("step") = info.step,
                  py::arg("message") = info.message, py::arg("meta") = info.meta,
                  py::arg("tensor_count") = info.tensor_count, py::arg("slot_count") = info.slot_count,
                  py::arg("nbytes") = info.nbytes);
}

py::dict describe_commit(const CommitResult& result) {
  return py::dict(py::arg("id") = to_hex(result.id), py::arg("sequence") = result.sequence,
                  py::arg("written_bytes") = result.written_bytes, py::arg("reused_bytes") = result.reused_bytes,
                  py::arg("written_storages") = result.written_storages,
                  py::arg("reused_storages") = result.reused_storages);
}

void bind_history(py::class_<Store>& store) {
  store
      .def("refs",
           [](const Store& s) {
             return list_of(s.refs(),
                            [](const RefInfo& ref) { return py::make_tuple(ref.name, to_hex(ref.id), ref.is_tag); });
           })
      .def("log",
           [](const Store& s, const std::string& rev, std::optional<std::size_t> limit) {
             return list_of(s.log(rev, limit.value_or(SIZE_MAX)), [](const auto& info) { return describe_info(info); });
           })
      .def("create_tag",
           [](Store& s, const std::string& name, const std::string& id) { s.create_tag(name, digest_of(id)); })
      .def("set_ref", [](Store& s, const std::string& name, const std::string& id,
                         const py::object& expected) { s.set_ref(name, digest_of(id), expected_of(expected)); })
      .def("delete_ref", [](Store& s, const std::string& name) { s.delete_ref(name); })
      .def_static("diff", diff_of, py::arg("older"), py::arg("newer"), py::arg("by_param"), py::arg("numeric"),
                  py::arg("prefix"))
      .def("reflog",
           [](const Store& s, const std::string& ref, std::optional<std::size_t> limit) {
             return list_of(s.reflog(ref, limit.value_or(SIZE_MAX)), describe_entry);
           })
      .def("undo", [](Store& s, bool dry_run) { return describe_entry(s.undo(dry_run)); })
      .def("forget", forget, py::arg("keep"), py::arg("refs"), py::arg("ids"), py::arg("unreachable"),
           py::arg("dry_run"))
      .def("gc", gc, py::arg("dry_run"))
      .def("du", du)
      .def(
          "clone", [](const Store& s, const std::string& out) { s.clone(out); }, Release())
      .def(
          "bundle", [](const Store& s, const std::string& rev, const std::string& out) { s.bundle(rev, out); },
          Release());
}

void bind_files(py::class_<Store>& store) {
  store
      .def(
          "import_file",
          [](Store& s, const std::string& path, const std::string& ref, const std::string& message,
             std::optional<std::int64_t> step) {
            ImportedFile file = ImportedFile::open(path);
            Draft draft = file.take_draft();
            if (!message.empty()) draft.message = message;
            if (step) draft.step = step;
            return to_hex(s.commit(draft, {.ref = ref}).id);
          },
          py::arg("path"), py::arg("ref"), py::arg("message"), py::arg("step"), Release())
      .def_static(
          "export_file",
          [](const Snapshot& snapshot, const std::string& prefix, const std::string& out, const std::string& format) {
            writer_of(format)(snapshot, out, {.prefix = prefix});
          },
          py::arg("snapshot"), py::arg("prefix"), py::arg("out"), py::arg("format"), Release());
}

}  // namespace tenon::python
