#include "store/ingest.h"

#include <algorithm>
#include <cassert>

#include "store/codec.h"
#include "store/parallel.h"
#include "store/row_statistics.h"
#include "store/storage_writer.h"
#include "store/superblock.h"

namespace tenon {

namespace {

using format::SectionKind;
using Kind = SlotOrigin::Kind;

std::vector<std::byte> encode_statistics(std::span<const std::optional<Statistics>> rows) {
  ByteWriter out;
  out.put(format::StatisticsHeader{static_cast<std::uint32_t>(rows.size()), {}});
  for (const auto& row : rows) out.put(row.value_or(Statistics{}));
  for (const auto& row : rows) out.put(static_cast<std::uint8_t>(row.has_value()));
  return out.take();
}

std::vector<std::byte> encode_attachments(std::span<const AttachmentDraft> attachments) {
  ByteWriter out;
  out.put(static_cast<std::uint64_t>(attachments.size()));
  for (const AttachmentDraft& attachment : attachments) {
    out.put_string(attachment.name);
    out.put(static_cast<std::uint64_t>(attachment.bytes.size()));
    out.put_bytes(attachment.bytes);
  }
  return out.take();
}

class Ingestion {
 public:
  Ingestion(const IngestInputs& inputs, SegmentWriter& writer)
      : in_(inputs), draft_(inputs.draft), writer_(writer), statistics_(inputs.draft.tensors.size()) {}

  Ingested run() {
    out_.binding.segments.push_back({writer_.uuid(), 0, 0});  // entry 0: the segment being written
    write_fresh();
    bind_slots();
    add_sections();
    if (in_.statistics) complete_statistics();
    add_statistics_and_attachments();
    describe();
    return std::move(out_);
  }

 private:
  const SlotOrigin& origin(std::uint32_t slot) const { return in_.origins.slots[slot]; }

  void write_fresh() {
    std::vector<StorageToWrite> to_write;
    fresh_index_.assign(draft_.slots.size(), format::none);
    for (std::uint32_t slot = 0; slot < draft_.slots.size(); ++slot) {
      if (draft_.slots[slot].nbytes == 0 || origin(slot).kind != Kind::fresh) continue;
      fresh_index_[slot] = static_cast<std::uint32_t>(to_write.size());
      to_write.push_back({slot, origin(slot).sketch});
      out_.written_bytes += draft_.slots[slot].nbytes;
    }
    if (in_.statistics) add_ranges(to_write);
    WrittenStorages written = write_storages(draft_, to_write, writer_, statistics_, in_.add_progress, in_.is_durable);
    out_.storages = std::move(written.storages);
    writer_.add_section(SectionKind::storages, std::as_bytes(std::span(out_.storages)));
    if (!written.leaves.empty()) writer_.add_section(SectionKind::leaves, std::as_bytes(std::span(written.leaves)));
  }

  void add_ranges(std::vector<StorageToWrite>& to_write) const {
    for (std::uint32_t row = 0; row < draft_.tensors.size(); ++row) {
      const TensorDraft& tensor = draft_.tensors[row];
      if (tensor.object || tensor.slot == no_slot || fresh_index_[tensor.slot] == format::none) continue;
      if (const auto range = dense_range(tensor, row)) to_write[fresh_index_[tensor.slot]].ranges.push_back(*range);
    }
  }

  void bind_slots() {
    std::vector<Digest> keys(draft_.slots.size());
    out_.binding.slots.resize(draft_.slots.size());
    for (std::uint32_t slot = 0; slot < draft_.slots.size(); ++slot) {
      const SlotOrigin& from = origin(slot);
      if (draft_.slots[slot].nbytes == 0) {
        keys[slot] = digest_bytes({});
      } else if (from.kind == Kind::stored) {
        keys[slot] = from.key;
        for (const StoredExtent& extent : from.extents) {
          out_.binding.slots[slot].push_back(
              {out_.binding.segment_index(extent.segment), 0, extent.offset, extent.size});
        }
        count_reused(slot);
      } else {
        const bool is_copy = from.kind == Kind::same_as_slot;
        const format::StorageEntry& entry = out_.storages[fresh_index_[is_copy ? from.same_slot : slot]];
        keys[slot] = entry.key;
        out_.binding.slots[slot] = {{0, 0, entry.offset, entry.nbytes}};
        if (is_copy) count_reused(slot);
      }
    }
    const auto bytes = std::as_bytes(std::span(keys));
    out_.keys_section.assign(bytes.begin(), bytes.end());
    out_.record.keys = digest_bytes(bytes);
  }

  void count_reused(std::uint32_t slot) {
    out_.reused_bytes += draft_.slots[slot].nbytes;
    ++out_.reused_storages;
  }

  // Layout and structure that the parent has already are referred to, not written again.
  std::uint32_t share_or_add(SectionKind kind, std::span<const std::byte> bytes, const Digest& digest,
                             const Digest* parent_digest, std::uint32_t parent_segment) {
    if (parent_digest != nullptr && *parent_digest == digest) {
      return out_.binding.segment_index(in_.parent->reference(parent_segment));
    }
    writer_.add_section(kind, bytes);
    return 0;
  }

  void add_sections() {
    const SnapshotState* parent = in_.parent;
    const auto layout = encode_layout(draft_);
    out_.record.layout = digest_bytes(layout);
    out_.record.structure = digest_bytes(draft_.structure);
    out_.binding.layout_segment =
        share_or_add(SectionKind::layout, layout, out_.record.layout, parent ? &parent->record().layout : nullptr,
                     parent ? parent->binding().layout_segment() : 0);
    out_.binding.structure_segment = share_or_add(SectionKind::structure, draft_.structure, out_.record.structure,
                                                  parent ? &parent->record().structure : nullptr,
                                                  parent ? parent->binding().structure_segment() : 0);
    out_.binding_section = encode_binding(out_.binding);
    writer_.add_section(SectionKind::keys, out_.keys_section);
    writer_.add_section(SectionKind::binding, out_.binding_section);
  }

  // Rows that the writing pass did not count: of slots that were there already (from the parent's row over the same
  // bytes, if it has the same geometry), of views with gaps, and of repeated objects.
  void complete_statistics() {
    std::vector<std::uint32_t> missing;
    std::uint64_t work = 0;
    for (std::uint32_t row = 0; row < draft_.tensors.size(); ++row) {
      const TensorDraft& tensor = draft_.tensors[row];
      if (tensor.slot == no_slot || tensor.object || statistics_[row] || take_from_parent(row)) continue;
      missing.push_back(row);
      work += draft_.slots[tensor.slot].nbytes;
    }
    if (!missing.empty()) {
      const Mapping fresh = writer_.map_written();
      parallel_for(missing.size(), threads_for_bytes(work), [&](std::size_t i) {
        const TensorDraft& tensor = draft_.tensors[missing[i]];
        statistics_[missing[i]] =
            row_statistics(tensor, slot_data(tensor.slot, fresh), draft_.slots[tensor.slot].nbytes);
      });
    }
    for (std::uint32_t row = 0; row < draft_.tensors.size(); ++row) {
      if (draft_.tensors[row].object) statistics_[row] = statistics_[*draft_.tensors[row].object];
    }
  }

  bool take_from_parent(std::uint32_t row) {
    const TensorDraft& tensor = draft_.tensors[row];
    const SlotOrigin& from = origin(tensor.slot);
    if (from.kind != Kind::stored || !from.parent_slot) return false;
    const Layout& layout = in_.parent->layout();
    const auto parent_row = parent_row_of(layout, tensor);
    if (!parent_row || layout.slot(*parent_row) != *from.parent_slot || !has_same_geometry(layout, *parent_row, tensor))
      return false;
    try {
      statistics_[row] = in_.parent->statistics(*parent_row);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::corrupt) throw;  // damaged ones are computed anew
    }
    return statistics_[row].has_value();
  }

  const std::byte* slot_data(std::uint32_t slot, const Mapping& fresh) const {
    const SlotOrigin& from = origin(slot);
    if (from.kind == Kind::stored) return from.data;
    const Placement& placement = out_.binding.slots[slot];
    return fresh.data() + (placement.empty() ? 0 : placement[0].offset);
  }

  void add_statistics_and_attachments() {
    if (in_.statistics) writer_.add_section(SectionKind::statistics, encode_statistics(statistics_));
    if (draft_.attachments.empty()) return;
    const auto attachments = encode_attachments(draft_.attachments);
    out_.record.attachments = digest_bytes(attachments);
    writer_.add_section(SectionKind::attachments, attachments);
  }

  void describe() {
    SnapshotInfo& info = out_.record.info;
    info.created_at_ns = now_ns();
    info.step = draft_.step;
    info.message = draft_.message;
    info.meta = draft_.meta;
    info.created_by = created_by;
    info.tensor_count = draft_.tensors.size();
    info.slot_count = draft_.slots.size();
    for (const SlotDraft& slot : draft_.slots) info.nbytes += slot.nbytes;
  }

  const IngestInputs& in_;
  const Draft& draft_;
  SegmentWriter& writer_;
  Ingested out_;
  std::vector<std::uint32_t> fresh_index_;  // per slot: index in out_.storages, or none
  std::vector<std::optional<Statistics>> statistics_;
};

}  // namespace

Ingested ingest(const IngestInputs& inputs, SegmentWriter& writer) { return Ingestion(inputs, writer).run(); }

}  // namespace tenon
