#include "store/ingest.h"

#include <algorithm>
#include <cassert>
#include <map>

#include "store/codec.h"
#include "store/parallel.h"
#include "store/row_statistics.h"
#include "store/source.h"
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

// Step by step: write, bind, count.
class Ingestion {
 public:
  Ingestion(const IngestInputs& inputs, SegmentWriter& writer)
      : in_(inputs), draft_(inputs.draft), writer_(writer), budget_(inputs.draft) {
    out_.statistics.resize(draft_.tensors.size());
  }

  StoredSlots run() {
    out_.binding.segments.push_back({writer_.uuid(), 0, 0});  // entry 0: the segment being written
    write_fresh();
    bind_slots();
    if (in_.statistics) complete_statistics();
    return std::move(out_);
  }

 private:
  const SlotOrigin& origin(std::uint32_t slot) const { return in_.origins.slots[slot]; }

  void write_fresh() {
    std::vector<StorageToWrite> to_write;
    write_index_.assign(draft_.slots.size(), format::none);
    first_storage_.assign(draft_.slots.size(), 0);
    std::size_t storages = 0;
    for (std::uint32_t slot = 0; slot < draft_.slots.size(); ++slot) {
      StorageToWrite storage{slot, origin(slot).sketch, parts_to_write(slot)};
      if (storage.parts.empty()) continue;
      if (!in_.placed.empty()) storage.placed_at = in_.placed[slot];
      write_index_[slot] = static_cast<std::uint32_t>(to_write.size());
      first_storage_[slot] = storages;
      storages += storage.parts.size();
      for (const SlotRange& part : storage.parts) out_.counts.written_bytes += part.end - part.begin;
      to_write.push_back(std::move(storage));
    }
    out_.counts.written_storages = static_cast<std::uint32_t>(to_write.size());
    if (in_.statistics) add_ranges(to_write);
    WrittenStorages written =
        write_storages(draft_, to_write, writer_, out_.statistics, in_.add_progress, in_.is_durable);
    out_.storages = std::move(written.storages);
    out_.leaves = std::move(written.leaves);
  }

  std::vector<SlotRange> parts_to_write(std::uint32_t slot) const {
    const SlotOrigin& from = origin(slot);
    if (from.kind == Kind::fresh && draft_.slots[slot].nbytes != 0) return {{0, draft_.slots[slot].nbytes}};
    std::vector<SlotRange> parts;
    for (const StitchedPiece& piece : from.pieces) {
      if (!piece.stored) parts.push_back({piece.begin, piece.end()});
    }
    return parts;
  }

  void add_ranges(std::vector<StorageToWrite>& to_write) {
    for (std::uint32_t row = 0; row < draft_.tensors.size(); ++row) {
      const TensorDraft& tensor = draft_.tensors[row];
      if (tensor.object || tensor.slot == no_slot || write_index_[tensor.slot] == format::none) continue;
      const auto range = dense_range(tensor, row);
      if (range && budget_.spend(tensor)) to_write[write_index_[tensor.slot]].ranges.push_back(*range);
    }
  }

  void bind_slots() {
    out_.keys.resize(draft_.slots.size());
    out_.binding.slots.resize(draft_.slots.size());
    for (std::uint32_t slot = 0; slot < draft_.slots.size(); ++slot) {
      out_.keys[slot] = draft_.slots[slot].nbytes == 0 ? digest_bytes({}) : bind(slot, out_.binding.slots[slot]);
    }
  }

  // Says where the slot's bytes are, and returns its key.
  Digest bind(std::uint32_t slot, Placement& placement) {
    const SlotOrigin& from = origin(slot);
    switch (from.kind) {
      case Kind::stored:
        for (const StoredExtent& extent : from.extents) placement.push_back(stored(extent));
        count_reused(draft_.slots[slot].nbytes);
        return from.key;
      case Kind::stitched:
        return bind_stitched(slot, placement);
      case Kind::same_as_slot:
        count_reused(draft_.slots[slot].nbytes);
        break;
      case Kind::fresh:
        break;
    }
    const std::uint32_t written = from.kind == Kind::same_as_slot ? from.same_slot : slot;
    const format::StorageEntry& entry = out_.storages[first_storage_[written]];
    placement = {{0, 0, entry.offset, entry.nbytes}};
    return entry.key;
  }

  Digest bind_stitched(std::uint32_t slot, Placement& placement) {
    const std::uint64_t nbytes = draft_.slots[slot].nbytes;
    std::vector<Digest> leaves;
    leaves.reserve(leaf_count(nbytes));
    std::size_t written = first_storage_[slot];
    for (const StitchedPiece& piece : origin(slot).pieces) {
      if (piece.stored) {
        placement.push_back(stored(*piece.stored));
        add_stored_leaves(leaves, slot, piece);
      } else {
        const format::StorageEntry& entry = out_.storages[written++];
        placement.push_back({0, 0, entry.offset, entry.nbytes});
        add_written_leaves(leaves, entry);
      }
    }
    out_.counts.reused_bytes += nbytes - bytes_to_write(origin(slot).pieces);
    return combine_leaves(leaves, nbytes);
  }

  format::Extent stored(const StoredExtent& extent) {
    return {out_.binding.segment_index(extent.segment), 0, extent.offset, extent.size};
  }

  void add_written_leaves(std::vector<Digest>& leaves, const format::StorageEntry& entry) const {
    const std::uint64_t count = leaf_count(entry.nbytes);
    if (count == 1) return leaves.push_back(entry.key);
    const auto first = out_.leaves.begin() + static_cast<std::ptrdiff_t>(entry.first_leaf);
    leaves.insert(leaves.end(), first, first + static_cast<std::ptrdiff_t>(count));
  }

  // The base's leaves were digested when they were written, and its bytes are equal. Where its table is not to be
  // believed, the bytes are digested again.
  void add_stored_leaves(std::vector<Digest>& leaves, std::uint32_t slot, const StitchedPiece& piece) {
    const std::vector<Digest>& base = base_leaves(origin(slot));
    if (!base.empty()) {
      const auto first = base.begin() + static_cast<std::ptrdiff_t>(piece.begin / leaf_bytes);
      leaves.insert(leaves.end(), first, first + static_cast<std::ptrdiff_t>(leaf_count(piece.size)));
      return;
    }
    std::vector<std::byte> buffer;
    for (std::uint64_t at = piece.begin; at < piece.end(); at += leaf_bytes) {
      const std::uint64_t size = std::min(leaf_bytes, piece.end() - at);
      leaves.push_back(digest_bytes(source_piece(draft_.slots[slot], at, size, buffer)));
    }
  }

  const std::vector<Digest>& base_leaves(const SlotOrigin& from) {
    const auto [found, is_new] = base_leaves_.try_emplace({from.base, *from.base_slot});
    if (is_new) found->second = from.base->slot_leaves(*from.base_slot);
    return found->second;
  }

  void count_reused(std::uint64_t nbytes) {
    out_.counts.reused_bytes += nbytes;
    ++out_.counts.reused_storages;
  }

  // Rows that the writing pass did not count: of slots that were there already (from the base's row over the same
  // bytes, if it has the same geometry), of views with gaps, and of repeated objects.
  void complete_statistics() {
    std::vector<std::uint32_t> missing;
    std::uint64_t work = 0;
    for (std::uint32_t row = 0; row < draft_.tensors.size(); ++row) {
      const TensorDraft& tensor = draft_.tensors[row];
      if (tensor.slot == no_slot || tensor.object || out_.statistics[row] || take_from_base(row)) continue;
      if (!budget_.spend(tensor)) continue;
      missing.push_back(row);
      work += draft_.slots[tensor.slot].nbytes;
    }
    if (!missing.empty()) {
      const Mapping fresh = writer_.map_written();
      parallel_for(missing.size(), threads_for_bytes(work), [&](std::size_t i) {
        const TensorDraft& tensor = draft_.tensors[missing[i]];
        std::vector<std::byte> buffer;
        const std::byte* data = slot_data(tensor.slot, fresh, buffer);
        out_.statistics[missing[i]] = row_statistics(tensor, data, draft_.slots[tensor.slot].nbytes);
      });
    }
    for (std::uint32_t row = 0; row < draft_.tensors.size(); ++row) {
      if (draft_.tensors[row].object) out_.statistics[row] = out_.statistics[*draft_.tensors[row].object];
    }
  }

  bool take_from_base(std::uint32_t row) {
    const TensorDraft& tensor = draft_.tensors[row];
    const SlotOrigin& from = origin(tensor.slot);
    if (from.kind != Kind::stored || !from.base_slot) return false;
    const Layout& layout = from.base->layout();
    const auto base_row = parent_row_of(layout, tensor);
    if (!base_row || layout.slot(*base_row) != *from.base_slot || !has_same_geometry(layout, *base_row, tensor))
      return false;
    try {
      out_.statistics[row] = from.base->statistics(*base_row);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::corrupt) throw;  // damaged ones are computed anew
    }
    return out_.statistics[row].has_value();
  }

  // In one piece: as stored, or, of a stitched slot, as the draft gives it.
  const std::byte* slot_data(std::uint32_t slot, const Mapping& fresh, std::vector<std::byte>& buffer) const {
    const SlotOrigin& from = origin(slot);
    if (from.kind == Kind::stored) return from.data;
    if (from.kind == Kind::stitched) {
      return source_piece(draft_.slots[slot], 0, draft_.slots[slot].nbytes, buffer).data();
    }
    const Placement& placement = out_.binding.slots[slot];
    return fresh.data() + (placement.empty() ? 0 : placement[0].offset);
  }

  const IngestInputs& in_;
  const Draft& draft_;
  SegmentWriter& writer_;
  StatisticsBudget budget_;
  StoredSlots out_;
  std::vector<std::uint32_t> write_index_;  // per slot: index among those that are written, or none
  std::vector<std::size_t> first_storage_;  // per slot that is written: its first in out_.storages
  std::map<std::pair<const SnapshotState*, std::uint32_t>, std::vector<Digest>> base_leaves_;
};

// The sections of a snapshot, and its record.
class Description {
 public:
  Description(const Draft& draft, const SnapshotState* parent, StoredSlots slots, SegmentWriter& writer)
      : draft_(draft), parent_(parent), slots_(std::move(slots)), writer_(writer) {}

  Ingested run(bool statistics) {
    out_.binding = std::move(slots_.binding);
    add_storages();
    add_layout_and_structure();
    add_binding();
    if (statistics) writer_.add_section(SectionKind::statistics, encode_statistics(slots_.statistics));
    add_attachments();
    describe();
    out_.storages = std::move(slots_.storages);
    out_.counts = slots_.counts;
    return std::move(out_);
  }

 private:
  void add_storages() {
    writer_.add_section(SectionKind::storages, std::as_bytes(std::span(slots_.storages)));
    if (!slots_.leaves.empty()) writer_.add_section(SectionKind::leaves, std::as_bytes(std::span(slots_.leaves)));
  }

  void add_layout_and_structure() {
    const auto layout = encode_layout(draft_);
    out_.record.layout = digest_bytes(layout);
    out_.record.structure = digest_bytes(draft_.structure);
    out_.binding.layout_segment =
        share_or_add(SectionKind::layout, layout, out_.record.layout, parent_ ? &parent_->record().layout : nullptr,
                     parent_ ? parent_->binding().layout_segment() : 0);
    out_.binding.structure_segment = share_or_add(SectionKind::structure, draft_.structure, out_.record.structure,
                                                  parent_ ? &parent_->record().structure : nullptr,
                                                  parent_ ? parent_->binding().structure_segment() : 0);
  }

  // Layout and structure that the parent has already are referred to, not written again.
  std::uint32_t share_or_add(SectionKind kind, std::span<const std::byte> bytes, const Digest& digest,
                             const Digest* parent_digest, std::uint32_t parent_segment) {
    if (parent_digest != nullptr && *parent_digest == digest) {
      return out_.binding.segment_index(parent_->reference(parent_segment));
    }
    writer_.add_section(kind, bytes);
    return 0;
  }

  void add_binding() {
    const auto keys = std::as_bytes(std::span(slots_.keys));
    out_.keys_section.assign(keys.begin(), keys.end());
    out_.record.keys = digest_bytes(keys);
    out_.binding_section = encode_binding(out_.binding);
    writer_.add_section(SectionKind::keys, out_.keys_section);
    writer_.add_section(SectionKind::binding, out_.binding_section);
  }

  void add_attachments() {
    if (draft_.attachments.empty()) return;
    const auto attachments = encode_attachments(draft_.attachments);
    out_.record.attachments = digest_bytes(attachments);
    writer_.add_section(SectionKind::attachments, attachments);
  }

  void describe() {
    SnapshotInfo& info = out_.record.info;
    info.created_at_ns = draft_.created_at_ns.value_or(now_ns());
    info.step = draft_.step;
    info.message = draft_.message;
    info.meta = draft_.meta;
    info.created_by = created_by;
    info.tensor_count = draft_.tensors.size();
    info.slot_count = draft_.slots.size();
    for (const SlotDraft& slot : draft_.slots) info.nbytes += slot.nbytes;
  }

  const Draft& draft_;
  const SnapshotState* parent_;
  StoredSlots slots_;
  SegmentWriter& writer_;
  Ingested out_;
};

}  // namespace

StoredSlots store_slots(const IngestInputs& inputs, SegmentWriter& writer) { return Ingestion(inputs, writer).run(); }

Ingested describe_slots(const Draft& draft, const SnapshotState* parent, StoredSlots slots, bool statistics,
                        SegmentWriter& writer) {
  return Description(draft, parent, std::move(slots), writer).run(statistics);
}

}  // namespace tenon
