// Slots of a draft joined or cut, before anything is written.
#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <utility>

#include "store/layout.h"
#include "tenon/draft.h"
#include "tenon/error.h"

namespace tenon {

namespace {

constexpr std::size_t discard_bytes = std::size_t{1} << 20;

// Bytes [begin, end) of one slot, and whose they are.
struct Range {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t alignment = 1;  // the largest element in it
  std::vector<std::uint32_t> rows{};
};

std::uint64_t reached_end(const TensorDraft& t) {
  std::int64_t last = 0;
  for (std::size_t d = 0; d < t.shape.size(); ++d) {
    if (t.shape[d] == 0) return t.storage_offset_bytes;
    last += (t.shape[d] - 1) * t.stride[d];
  }
  const std::uint64_t bits = (static_cast<std::uint64_t>(last) + 1) * dtype_info(t.dtype).bits;
  return t.storage_offset_bytes + (bits + 7) / 8;
}

// What the tensors of each slot reach, overlapping ranges joined, in ascending order. Tensors without elements come
// first, in a range of no bytes.
std::vector<Range> joined(std::vector<Range> ranges) {
  std::ranges::stable_sort(ranges, {}, [](const Range& r) { return std::pair(r.begin != r.end, r.begin); });
  std::vector<Range> out;
  for (Range& range : ranges) {
    const bool is_empty = range.begin == range.end;
    const bool joins = !out.empty() && (is_empty || range.begin < out.back().end);
    if (!joins) {
      if (is_empty) range.begin = range.end = 0;
      out.push_back(std::move(range));
      continue;
    }
    out.back().end = std::max(out.back().end, is_empty ? out.back().end : range.end);
    out.back().alignment = std::max(out.back().alignment, range.alignment);
    out.back().rows.insert(out.back().rows.end(), range.rows.begin(), range.rows.end());
  }
  return out;
}

// Elements of every type in a range must still begin at a multiple of their size; ranges that meet by that are joined.
std::vector<Range> aligned(std::vector<Range> ranges, DType storage_dtype, std::uint64_t slot_bytes) {
  const std::uint64_t item = storage_dtype == DType::invalid ? 1 : item_bytes(storage_dtype);
  for (Range& range : ranges) {
    const std::uint64_t alignment = std::max(range.alignment, item);
    range.begin -= range.begin % alignment;
    range.end = std::min(slot_bytes, (range.end + item - 1) / item * item);
  }
  return ranges;
}

std::vector<std::vector<Range>> ranges_of_slots(const Draft& draft) {
  std::vector<std::vector<Range>> of_slot(draft.slots.size());
  for (std::uint32_t row = 0; row < draft.tensors.size(); ++row) {
    const TensorDraft& t = draft.tensors[row];
    if (t.slot == no_slot) continue;
    const std::uint64_t end = reached_end(t);
    of_slot[t.slot].push_back({std::min(t.storage_offset_bytes, end), end, item_bytes(t.dtype), {row}});
  }
  for (std::size_t slot = 0; slot < of_slot.size(); ++slot) {
    std::size_t before = 0;
    of_slot[slot] = joined(std::move(of_slot[slot]));
    while (before != of_slot[slot].size()) {
      before = of_slot[slot].size();
      of_slot[slot] =
          joined(aligned(std::move(of_slot[slot]), draft.slots[slot].storage_dtype, draft.slots[slot].nbytes));
    }
  }
  return of_slot;
}

using Reader = std::function<void(std::uint64_t, std::span<std::byte>)>;

// Reads what is dropped, before the first piece that is kept: a source may know only from all of it that it is sound.
class DroppedReader {
 public:
  DroppedReader(Reader read, std::uint64_t nbytes, const std::vector<Range>& kept) : read_(std::move(read)) {
    std::uint64_t at = 0;
    for (const Range& range : kept) {
      if (range.begin > at) dropped_.emplace_back(at, range.begin);
      at = std::max(at, range.end);
    }
    if (at < nbytes) dropped_.emplace_back(at, nbytes);
  }
  void read_once() {
    std::call_once(once_, [this] {
      for (const auto& [begin, end] : dropped_) read_range(begin, end);
    });
  }

 private:
  void read_range(std::uint64_t begin, std::uint64_t end) {
    std::vector<std::byte> scratch(std::min<std::uint64_t>(discard_bytes, end - begin));
    for (std::uint64_t at = begin; at < end; at += scratch.size()) {
      read_(at, std::span(scratch).first(std::min<std::uint64_t>(scratch.size(), end - at)));
    }
  }

  Reader read_;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> dropped_;
  std::once_flag once_;
};

Source part_of(const Source& source, const Range& range, const std::shared_ptr<DroppedReader>& dropped) {
  if (!source.read) return {.memory = source.memory.subspan(range.begin, range.end - range.begin)};
  return {.read = [read = source.read, begin = range.begin, dropped](std::uint64_t offset, std::span<std::byte> out) {
    if (dropped) dropped->read_once();
    read(begin + offset, out);
  }};
}

// A run of slots, in the order of their memory, that becomes one.
struct Union {
  const std::byte* begin;
  const std::byte* end;
  std::vector<std::uint32_t> slots;
};

std::vector<Union> unions_of_memory(const Draft& draft) {
  std::vector<std::uint32_t> order;
  for (std::uint32_t slot = 0; slot < draft.slots.size(); ++slot) {
    const bool is_memory = !draft.slots[slot].source.read && draft.slots[slot].nbytes != 0;
    if (is_memory) order.push_back(slot);
  }
  const auto begin = [&](std::uint32_t slot) { return draft.slots[slot].source.memory.data(); };
  std::ranges::stable_sort(order, std::less<>{}, begin);
  std::vector<Union> unions;
  for (const std::uint32_t slot : order) {
    const std::byte* end = begin(slot) + draft.slots[slot].nbytes;
    if (unions.empty() || begin(slot) >= unions.back().end) {
      unions.push_back({begin(slot), end, {slot}});
    } else {
      unions.back().end = std::max(unions.back().end, end);
      unions.back().slots.push_back(slot);
    }
  }
  return unions;
}

}  // namespace

void merge_overlapping(Draft& draft) {
  std::vector<std::uint32_t> target(draft.slots.size());
  std::iota(target.begin(), target.end(), 0u);
  std::vector<std::uint64_t> shift(draft.slots.size(), 0);
  for (const Union& whole : unions_of_memory(draft)) {
    if (whole.slots.size() == 1) continue;
    const std::uint32_t first = *std::ranges::min_element(whole.slots);
    for (const std::uint32_t slot : whole.slots) {
      target[slot] = first;
      shift[slot] = static_cast<std::uint64_t>(draft.slots[slot].source.memory.data() - whole.begin);
      if (draft.slots[slot].storage_dtype != draft.slots[first].storage_dtype)
        draft.slots[first].storage_dtype = DType::invalid;
    }
    draft.slots[first].nbytes = static_cast<std::uint64_t>(whole.end - whole.begin);
    draft.slots[first].source = {.memory = {whole.begin, whole.end}};
  }
  std::vector<std::uint32_t> index(draft.slots.size());
  std::vector<SlotDraft> kept;
  for (std::uint32_t slot = 0; slot < draft.slots.size(); ++slot) {
    index[slot] = static_cast<std::uint32_t>(kept.size());
    if (target[slot] == slot) kept.push_back(std::move(draft.slots[slot]));
  }
  for (TensorDraft& t : draft.tensors) {
    if (t.slot == no_slot) continue;
    t.storage_offset_bytes += shift[t.slot];
    t.slot = index[target[t.slot]];
  }
  draft.slots = std::move(kept);
}

void compact(Draft& draft, bool read_all) {
  check_draft(draft);
  const auto of_slot = ranges_of_slots(draft);
  std::vector<SlotDraft> slots;
  for (std::size_t s = 0; s < of_slot.size(); ++s) {
    const SlotDraft& old = draft.slots[s];
    std::shared_ptr<DroppedReader> dropped;
    if (read_all && old.source.read) dropped = std::make_shared<DroppedReader>(old.source.read, old.nbytes, of_slot[s]);
    for (const Range& range : of_slot[s]) {
      for (const std::uint32_t row : range.rows) {
        TensorDraft& t = draft.tensors[row];
        t.slot = static_cast<std::uint32_t>(slots.size());
        t.storage_offset_bytes =
            range.begin == range.end ? 0 : t.storage_offset_bytes - std::min(t.storage_offset_bytes, range.begin);
      }
      slots.push_back({.nbytes = range.end - range.begin,
                       .source = part_of(old.source, range, dropped),
                       .storage_dtype = old.storage_dtype,
                       .location = old.location});
    }
  }
  draft.slots = std::move(slots);
}

}  // namespace tenon
