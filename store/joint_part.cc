#include "store/joint_part.h"

#include <algorithm>
#include <numeric>

#include "store/codec.h"

namespace tenon {

namespace {

constexpr std::uint32_t part_version = 1;
constexpr const char* part_name = "part of a joint commit";

template <typename T>
void put_all(ByteWriter& out, const std::vector<T>& values) {
  out.put(static_cast<std::uint64_t>(values.size()));
  out.put_bytes(std::as_bytes(std::span(values)));
}

template <typename T>
std::vector<T> get_all(ByteReader& in) {
  const auto count = in.get<std::uint64_t>();
  const auto bytes = in.get_bytes(count <= in.remaining() / sizeof(T) ? count * sizeof(T) : UINT64_MAX);
  std::vector<T> values(count);
  if (count != 0) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

void put_tensor(ByteWriter& out, const TensorDraft& tensor) {
  out.put_string(tensor.name);
  out.put(tensor.dtype);
  out.put(tensor.kind);
  for (const bool flag : {tensor.requires_grad, tensor.is_conj, tensor.is_neg, tensor.object.has_value()}) {
    out.put(static_cast<std::uint8_t>(flag));
  }
  out.put(tensor.slot);
  out.put(tensor.object.value_or(0));
  out.put(tensor.storage_offset_bytes);
  for (const auto* sizes : {&tensor.shape, &tensor.stride, &tensor.global_shape, &tensor.global_offset}) {
    put_all(out, *sizes);
  }
  out.put_string(tensor.wrapper);
  out.put_string(tensor.quantizer);
  out.put_string(tensor.param);
}

TensorDraft get_tensor(ByteReader& in) {
  TensorDraft tensor;
  tensor.name = in.get_string();
  tensor.dtype = in.get<DType>();
  tensor.kind = in.get<TensorKind>();
  bool is_repeated = false;
  for (bool* flag : {&tensor.requires_grad, &tensor.is_conj, &tensor.is_neg, &is_repeated}) {
    *flag = in.get<std::uint8_t>() != 0;
  }
  tensor.slot = in.get<std::uint32_t>();
  const auto object = in.get<std::uint32_t>();
  if (is_repeated) tensor.object = object;
  tensor.storage_offset_bytes = in.get<std::uint64_t>();
  for (auto* sizes : {&tensor.shape, &tensor.stride, &tensor.global_shape, &tensor.global_offset}) {
    *sizes = get_all<std::int64_t>(in);
  }
  tensor.wrapper = in.get_string();
  tensor.quantizer = in.get_string();
  tensor.param = in.get_string();
  return tensor;
}

// A part is read where its bytes are no more.
void refuse_to_read(std::uint64_t, std::span<std::byte>) {
  throw Error(ErrorKind::invalid_argument, {.what = "the bytes of a part are its rank's"});
}

void put_slots(ByteWriter& out, const Draft& draft) {
  out.put(static_cast<std::uint64_t>(draft.slots.size()));
  for (const SlotDraft& slot : draft.slots) {
    out.put(slot.nbytes);
    out.put(slot.storage_dtype);
    out.put_string(slot.location);
  }
}

std::vector<SlotDraft> get_slots(ByteReader& in) {
  std::vector<SlotDraft> slots;
  for (auto left = in.get<std::uint64_t>(); left > 0; --left) {
    SlotDraft slot;
    slot.nbytes = in.get<std::uint64_t>();
    slot.storage_dtype = in.get<DType>();
    slot.location = in.get_string();
    slot.source.read = refuse_to_read;
    slots.push_back(std::move(slot));
  }
  return slots;
}

void put_statistics(ByteWriter& out, const std::vector<std::optional<Statistics>>& rows) {
  for (const auto& row : rows) {
    out.put(static_cast<std::uint8_t>(row.has_value()));
    if (row) out.put(*row);
  }
}

std::vector<std::optional<Statistics>> get_statistics(ByteReader& in, std::size_t count) {
  std::vector<std::optional<Statistics>> rows;
  for (; count > 0; --count) {
    rows.emplace_back();
    if (in.get<std::uint8_t>() != 0) rows.back() = in.get<Statistics>();
  }
  return rows;
}

[[noreturn]] void refuse(std::string what) { throw Error(ErrorKind::corrupt, {.what = part_name + (": " + what)}); }

// Everything in it lies in the part, or in a segment that it names; the checksum has told of accidents before.
void check(const DecodedPart& part) {
  const StoredSlots& slots = part.slots;
  const std::size_t count = part.slot_drafts.size();
  if (part.range.begin > part.range.end) refuse("ends before it begins");
  const std::uint64_t part_bytes = part.range.end - part.range.begin;
  if (slots.keys.size() != count || slots.binding.slots.size() != count) refuse("slots and keys differ in number");
  if (slots.binding.segments.empty()) refuse("no segment");
  for (std::size_t slot = 0; slot < count; ++slot) {
    std::uint64_t left = part.slot_drafts[slot].nbytes;
    for (const format::Extent& extent : slots.binding.slots[slot]) {
      if (extent.segment >= slots.binding.segments.size() || extent.size > left) refuse("an extent is out of bounds");
      left -= extent.size;
      if (extent.segment == 0 && (extent.size > part_bytes || extent.offset > part_bytes - extent.size))
        refuse("an extent is outside the part");
    }
    if (left != 0) refuse("extents do not add up");
  }
  for (const format::StorageEntry& entry : slots.storages) {
    const std::uint64_t leaves = leaf_count(entry.nbytes);
    if (entry.nbytes > part_bytes || entry.offset > part_bytes - entry.nbytes) refuse("a storage is outside the part");
    if (leaves > 1 && (entry.first_leaf > slots.leaves.size() || leaves > slots.leaves.size() - entry.first_leaf))
      refuse("a storage has no leaves");
  }
}

class Joining {
 public:
  Joining(std::vector<DecodedPart> parts, const Digest& uuid) : parts_(std::move(parts)) {
    out_.slots.binding.segments.push_back({uuid, 0, 0});
  }

  JoinedParts run() {
    for (DecodedPart& part : parts_) add_rows(part);
    std::vector<const DecodedPart*> by_place;
    for (const DecodedPart& part : parts_) by_place.push_back(&part);
    std::sort(by_place.begin(), by_place.end(),
              [](const DecodedPart* a, const DecodedPart* b) { return a->range.begin < b->range.begin; });
    for (const DecodedPart* part : by_place) add_storages(*part);
    return std::move(out_);
  }

 private:
  void add_rows(DecodedPart& part) {
    const auto first_row = static_cast<std::uint32_t>(out_.draft.tensors.size());
    const auto first_slot = static_cast<std::uint32_t>(out_.draft.slots.size());
    for (TensorDraft& tensor : part.tensors) {
      if (tensor.slot != no_slot) tensor.slot += first_slot;
      if (tensor.object) *tensor.object += first_row;
      out_.draft.tensors.push_back(std::move(tensor));
    }
    std::move(part.slot_drafts.begin(), part.slot_drafts.end(), std::back_inserter(out_.draft.slots));
    StoredSlots& to = out_.slots;
    for (const Placement& placement : part.slots.binding.slots) to.binding.slots.push_back(placed(part, placement));
    to.keys.insert(to.keys.end(), part.slots.keys.begin(), part.slots.keys.end());
    to.statistics.insert(to.statistics.end(), part.slots.statistics.begin(), part.slots.statistics.end());
    to.counts.written_bytes += part.slots.counts.written_bytes;
    to.counts.reused_bytes += part.slots.counts.reused_bytes;
    to.counts.written_storages += part.slots.counts.written_storages;
    to.counts.reused_storages += part.slots.counts.reused_storages;
  }

  Placement placed(const DecodedPart& part, Placement placement) {
    for (format::Extent& extent : placement) {
      if (extent.segment == 0) {
        extent.offset += part.range.begin;
      } else {
        extent.segment = out_.slots.binding.segment_index(part.slots.binding.segments[extent.segment]);
      }
    }
    return placement;
  }

  void add_storages(const DecodedPart& part) {
    if (part.range.begin == part.range.end) return;
    if (!out_.ranges.empty() && part.range.begin < out_.ranges.back().end) refuse("given twice, or over another");
    out_.ranges.push_back(part.range);
    const std::uint64_t first_leaf = out_.slots.leaves.size();
    for (format::StorageEntry entry : part.slots.storages) {
      entry.offset += part.range.begin;
      if (leaf_count(entry.nbytes) > 1) entry.first_leaf += first_leaf;
      out_.slots.storages.push_back(entry);
    }
    out_.slots.leaves.insert(out_.slots.leaves.end(), part.slots.leaves.begin(), part.slots.leaves.end());
  }

  std::vector<DecodedPart> parts_;
  JoinedParts out_;
};

}  // namespace

std::vector<std::byte> encode_part(const Draft& draft, const StoredSlots& slots, const SegmentWriter& writer) {
  ByteWriter out;
  out.put(part_version);
  out.put(writer.uuid());
  out.put(writer.part_begin());
  out.put(writer.part_begin() + writer.part_bytes());
  out.put(static_cast<std::uint64_t>(draft.tensors.size()));
  for (const TensorDraft& tensor : draft.tensors) put_tensor(out, tensor);
  put_slots(out, draft);
  put_all(out, slots.keys);
  put_all(out, slots.storages);
  put_all(out, slots.leaves);
  put_all(out, slots.binding.segments);
  out.put(static_cast<std::uint64_t>(slots.binding.slots.size()));
  for (const Placement& placement : slots.binding.slots) put_all(out, placement);
  put_statistics(out, slots.statistics);
  out.put(slots.counts);
  out.put(digest_bytes(out.bytes()));
  return out.take();
}

DecodedPart decode_part(std::span<const std::byte> bytes, const Digest& uuid) {
  if (bytes.size() < sizeof(Digest)) refuse("too short");
  const auto body = bytes.first(bytes.size() - sizeof(Digest));
  Digest checksum;
  std::memcpy(&checksum, bytes.data() + body.size(), sizeof checksum);
  if (digest_bytes(body) != checksum) refuse("its checksum differs");
  ByteReader in(body, {}, part_name);
  if (in.get<std::uint32_t>() != part_version) refuse("of another version");
  if (in.get<Digest>() != uuid) {
    throw Error(ErrorKind::invalid_argument, {.what = "a part was written for another joint commit"});
  }
  DecodedPart part;
  part.range.begin = in.get<std::uint64_t>();
  part.range.end = in.get<std::uint64_t>();
  for (auto left = in.get<std::uint64_t>(); left > 0; --left) part.tensors.push_back(get_tensor(in));
  part.slot_drafts = get_slots(in);
  part.slots.keys = get_all<Digest>(in);
  part.slots.storages = get_all<format::StorageEntry>(in);
  part.slots.leaves = get_all<Digest>(in);
  part.slots.binding.segments = get_all<format::SegmentReference>(in);
  for (auto left = in.get<std::uint64_t>(); left > 0; --left) {
    part.slots.binding.slots.push_back(get_all<format::Extent>(in));
  }
  part.slots.statistics = get_statistics(in, part.tensors.size());
  part.slots.counts = in.get<IngestedCounts>();
  in.require_end();
  check(part);
  return part;
}

JoinedParts join_parts(std::vector<DecodedPart> parts, const Digest& uuid) {
  return Joining(std::move(parts), uuid).run();
}

}  // namespace tenon
