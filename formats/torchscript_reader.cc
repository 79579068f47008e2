#include "formats/torchscript_reader.h"

#include <algorithm>
#include <iterator>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>

#include "formats/record_attachments.h"
#include "formats/torch_archive.h"
#include "formats/torchscript_module.h"
#include "tenon/error.h"
#include "tenon/name.h"

namespace tenon {

namespace {

bool is_in_storage_directory(std::string_view name) {
  return name.starts_with("data/") || name.starts_with("constants/");
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

PickleGraph read_object(std::span<const AttachmentRow> records, std::string_view name, const TorchRecords& storages,
                        const ImportOptions& options) {
  const AttachmentRow* record = find_record(records, name);
  PickleReadOptions reading = object_read_options(options);
  reading.file = storages.pickle_label();
  reading.is_torchscript = true;
  if (record != nullptr) return read_whole_pickle(record->bytes, reading);
  throw Error(ErrorKind::corrupt, {.what = fmt::format("archive has no {}", name), .file = storages.pickle_label()});
}

TorchScriptClasses read_classes(std::span<const AttachmentRow> records) {
  TorchScriptClasses classes;
  for (const AttachmentRow& record : records) {
    if (record.name.starts_with("code/")) classes.add_source(record.name, as_text(record.bytes));
  }
  return classes;
}

// `constants/3`; a module's own attribute of that name keeps it.
std::string constant_name(const std::string& name, const std::unordered_set<std::string>& taken, std::size_t row) {
  std::string unique = name.empty() || name == "." ? "constants" : "constants/" + name;
  if (taken.contains(unique)) append_component(unique, OtherKey{fmt::format("constant {}", row)});
  return unique;
}

void append_constants(TorchScriptRows& rows, Draft constants, const std::vector<std::string>& keys) {
  const auto first_row = static_cast<std::uint32_t>(rows.draft.tensors.size());
  const auto first_slot = static_cast<std::uint32_t>(rows.draft.slots.size());
  std::unordered_set<std::string> taken;
  for (const TensorDraft& tensor : rows.draft.tensors) taken.insert(tensor.name);
  for (TensorDraft& tensor : constants.tensors) {
    tensor.name = constant_name(tensor.name, taken, rows.draft.tensors.size());
    if (tensor.slot != no_slot) tensor.slot += first_slot;
    if (tensor.object) *tensor.object += first_row;
    taken.insert(tensor.name);
    rows.draft.tensors.push_back(std::move(tensor));
  }
  std::move(constants.slots.begin(), constants.slots.end(), std::back_inserter(rows.draft.slots));
  for (const std::string& key : keys) rows.records.push_back(key.empty() ? "" : "constants/" + key);
}

}  // namespace

const AttachmentRow* find_record(std::span<const AttachmentRow> records, std::string_view name) noexcept {
  const auto found =
      std::find_if(records.begin(), records.end(), [&](const AttachmentRow& record) { return record.name == name; });
  return found == records.end() ? nullptr : &*found;
}

bool holds_torchscript(std::span<const AttachmentRow> records) noexcept {
  return find_record(records, "data.pkl") != nullptr && find_record(records, "constants.pkl") != nullptr;
}

TorchScriptRows read_torchscript_rows(std::span<const AttachmentRow> records, const TorchRecords& data,
                                      const TorchRecords& constants, const ImportOptions& options) {
  TorchScriptRows rows;
  TorchScriptModule module =
      flatten_torchscript(read_object(records, "data.pkl", data, options), read_classes(records), data.pickle_label());
  std::vector<std::string> keys;
  rows.draft = import_torch_object(std::move(module.graph), data, options, &keys);
  for (const std::string& key : keys) rows.records.push_back(key.empty() ? "" : "data/" + key);
  apply_kinds(module, rows.draft.tensors);
  PickleGraph tuple = read_object(records, "constants.pkl", constants, options);
  make_plain(tuple, constants.pickle_label());
  Draft of_constants = import_torch_object(std::move(tuple), constants, options, &keys);
  append_constants(rows, std::move(of_constants), keys);
  return rows;
}

Draft read_torchscript(const ForeignFile& file) {
  const TorchArchive archive(file);
  const ArchiveStorages data(archive, "data/", "data.pkl");
  const ArchiveStorages constants(archive, "constants/", "constants.pkl");
  RecordAttachments attachments(archive);
  attachments.take([](std::string_view name) { return !is_in_storage_directory(name); });
  TorchScriptRows rows = read_torchscript_rows(attachments.rows(), data, constants, file.options());
  const std::unordered_set<std::string> used(rows.records.begin(), rows.records.end());
  attachments.take(
      [&](std::string_view name) { return is_in_storage_directory(name) && !used.contains(std::string(name)); });
  rows.draft.attachments = std::move(attachments.drafts());
  return std::move(rows.draft);
}

}  // namespace tenon
