#include <algorithm>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "formats/pending_file.h"
#include "formats/torch_archive.h"
#include "formats/torch_object.h"
#include "formats/torch_tensor.h"
#include "formats/torchscript_container.h"
#include "formats/torchscript_reader.h"
#include "formats/zip_writer.h"
#include "tenon/error.h"
#include "tenon/formats.h"
#include "tenon/name.h"

namespace tenon {

namespace {

constexpr std::uint64_t longest_item_bytes = 16;

std::span<const std::byte> as_record(std::string_view text) { return std::as_bytes(std::span(text)); }

// The storages that a pickle claims, as far as it tells: their bytes are in the snapshot.
class ClaimedStorages final : public TorchRecords {
 public:
  ClaimedStorages(std::span<const AttachmentRow> records, std::string pickle) : pickle_(std::move(pickle)) {
    const PickleGraph graph =
        read_whole_pickle(find_record(records, pickle_)->bytes, {.file = pickle_, .is_torchscript = true});
    for (NodeId node = 0; node < graph.size(); ++node) {
      if (!graph.is(node, PickleKind::persistent)) continue;
      const TorchStorage storage = parse_torch_storage(graph, node, pickle_);
      nbytes_.emplace(storage.key, storage.nbytes);
    }
  }

  std::optional<TorchRecord> find(const std::string& key) const override {
    const auto found = nbytes_.find(key);
    if (found == nbytes_.end()) return std::nullopt;
    return TorchRecord{.nbytes = found->second, .source = [](std::uint64_t) { return Source{}; }};
  }
  std::string label(const std::string& key) const override { return fmt::format("{} ({})", pickle_, key); }
  std::string pickle_label() const override { return pickle_; }

 private:
  const std::string pickle_;
  std::unordered_map<std::string, std::uint64_t> nbytes_;
};

[[noreturn]] void refuse_other_tensors(std::string got, std::string wanted) {
  throw Error(ErrorKind::unsupported, {.what = "snapshot's tensors are not those of its TorchScript code",
                                       .got = std::move(got),
                                       .wanted = std::move(wanted),
                                       .hint = "export it with --format torch"});
}

bool is_as_described(const TensorRow& row, const TensorDraft& wanted) {
  return row.name.ends_with(wanted.name) && row.dtype == wanted.dtype && row.is_conj == wanted.is_conj &&
         row.is_neg == wanted.is_neg && (row.slot == no_slot) == (wanted.slot == no_slot) &&
         row.storage_offset_bytes == wanted.storage_offset_bytes && row.quantizer == wanted.quantizer &&
         std::ranges::equal(row.shape, wanted.shape) && std::ranges::equal(row.stride, wanted.stride);
}

// Of each slot that the pickles describe, the snapshot's.
std::vector<std::uint32_t> match_slots(const Snapshot& snapshot, const Draft& described) {
  if (snapshot.size() != described.tensors.size()) {
    refuse_other_tensors(fmt::format("{} tensors", snapshot.size()), fmt::format("{}", described.tensors.size()));
  }
  std::vector<std::uint32_t> slots(described.slots.size(), no_slot);
  for (std::uint32_t i = 0; i < snapshot.size(); ++i) {
    const TensorRow row = snapshot.row(i);
    const TensorDraft& wanted = described.tensors[i];
    if (!is_as_described(row, wanted)) refuse_other_tensors(printable(row.name), printable(wanted.name));
    if (wanted.slot == no_slot) continue;
    std::uint32_t& slot = slots[wanted.slot];
    if (slot != no_slot && slot != row.slot) refuse_other_tensors(printable(row.name), "tensors that share a storage");
    slot = row.slot;
    const std::uint64_t nbytes = snapshot.slot(slot).nbytes;
    const std::uint64_t claimed = described.slots[wanted.slot].nbytes;
    if (nbytes < claimed || nbytes - claimed >= longest_item_bytes) {
      refuse_other_tensors(fmt::format("{}: storage of {} bytes", printable(row.name), nbytes),
                           fmt::format("{} bytes", claimed));
    }
  }
  return slots;
}

struct StorageRecord {
  std::string name;
  std::uint32_t slot = no_slot;  // no_slot: an empty record
};

// An archive in the making, and who is told of it.
class ArchiveWriter {
 public:
  ArchiveWriter(const Snapshot& snapshot, const std::filesystem::path& out, const ExportOptions& options)
      : snapshot_(snapshot), options_(options), pending_(out), zip_(pending_.file(), archive_name(out)) {}

  void expect(std::uint64_t nbytes) { progress_.total += nbytes; }
  void add(std::string_view name, std::span<const std::byte> bytes) { zip_.add(name, bytes); }
  void add(const StorageRecord& record);
  void publish() {
    zip_.add("byteorder", as_record("little"));
    zip_.finish();
    pending_.publish(options_.sync);
  }

 private:
  void tell(std::uint64_t nbytes);

  const Snapshot& snapshot_;
  const ExportOptions& options_;
  PendingFile pending_;
  ZipWriter zip_;
  std::mutex telling_;
  Progress progress_;
};

void ArchiveWriter::add(const StorageRecord& record) {
  if (record.slot == no_slot) return zip_.add(record.name, {});
  const VerifiedReader read = snapshot_.verified_reader(record.slot);
  zip_.add_filled(record.name, snapshot_.slot(record.slot).nbytes, [&](std::uint64_t offset, std::span<std::byte> out) {
    read(offset, out);
    tell(out.size());
  });
}

void ArchiveWriter::tell(std::uint64_t nbytes) {
  const std::lock_guard lock(telling_);
  progress_.done += nbytes;
  if (options_.progress) options_.progress(progress_);
}

std::vector<StorageRecord> storage_records(const Snapshot& snapshot, std::span<const AttachmentRow> records) {
  const ClaimedStorages data(records, "data.pkl");
  const ClaimedStorages constants(records, "constants.pkl");
  const TorchScriptRows rows = read_torchscript_rows(records, data, constants, {});
  const std::vector<std::uint32_t> slots = match_slots(snapshot, rows.draft);
  std::vector<StorageRecord> storages;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (!rows.records[i].empty()) storages.push_back({rows.records[i], slots[i]});
  }
  return storages;
}

// In the order of the imported archive: storages stand before the pickle that names them.
void export_again(const Snapshot& snapshot, std::span<const AttachmentRow> records, const std::filesystem::path& out,
                  const ExportOptions& options) {
  const std::vector<StorageRecord> storages = storage_records(snapshot, records);
  ArchiveWriter archive(snapshot, out, options);
  for (const StorageRecord& storage : storages) {
    if (storage.slot != no_slot) archive.expect(snapshot.slot(storage.slot).nbytes);
  }
  for (const AttachmentRow& record : records) {
    for (const auto& [pickle, directory] : {std::pair("data.pkl", "data/"), std::pair("constants.pkl", "constants/")}) {
      if (record.name != pickle) continue;
      for (const StorageRecord& storage : storages) {
        if (storage.name.starts_with(directory)) archive.add(storage);
      }
    }
    archive.add(record.name, record.bytes);
  }
  archive.publish();
}

void export_container(const Snapshot& snapshot, const std::filesystem::path& out, const ExportOptions& options) {
  const TorchScriptContainer container = make_torchscript_container(make_tensor_table(snapshot), options.prefix);
  ArchiveWriter archive(snapshot, out, options);
  for (const TorchObjectRecord& record : container.records) archive.expect(record.nbytes);
  for (std::size_t key = 0; key < container.records.size(); ++key) {
    archive.add(StorageRecord{fmt::format("data/{}", key), container.records[key].slot});
  }
  archive.add("data.pkl", container.object);
  archive.add("code/__torch__.py", as_record(container.code));
  archive.add("constants.pkl", as_record("\x80\x02)."));
  archive.add("version", as_record("3\n"));
  archive.publish();
}

std::uint64_t count_objects(const Snapshot& snapshot, const std::string& prefix) {
  std::unordered_set<std::uint32_t> objects;
  for (const std::uint32_t row : snapshot.select(prefix)) objects.insert(snapshot.row(row).object);
  return objects.size();
}

}  // namespace

bool holds_torchscript(const Snapshot& snapshot) { return holds_torchscript(snapshot.attachments()); }

ExportResult export_torchscript(const Snapshot& snapshot, const std::filesystem::path& out,
                                const ExportOptions& options) {
  const std::vector<AttachmentRow> records = snapshot.attachments();
  const bool runs = options.prefix.empty() && holds_torchscript(records);
  if (runs) {
    export_again(snapshot, records, out, options);
  } else {
    export_container(snapshot, out, options);
  }
  return {.tensors = count_objects(snapshot, options.prefix)};
}

}  // namespace tenon
