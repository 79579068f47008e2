// Writes fresh storages into a segment: one pass over each that digests its leaves, gathers statistics of the tensors
// that lie in it densely, and writes it, shared among the processors. Of a slot that is stitched only the new parts are
// digested and written; its statistics still need all of it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "store/format.h"
#include "store/segment.h"
#include "store/value_statistics.h"
#include "tenon/draft.h"

namespace tenon {

// A tensor whose elements fill one contiguous range of its slot, in whatever order.
struct DenseRange {
  std::uint32_t row = 0;
  DType dtype = DType::invalid;
  std::uint64_t begin = 0;  // bytes in the slot
  std::uint64_t end = 0;
};

// The range of a tensor that is dense, or nullopt (gaps, overlaps, expanded dimensions, elements not on a multiple of
// their size).
std::optional<DenseRange> dense_range(const TensorDraft& tensor, std::uint32_t row);

// A part of a slot; begins at a multiple of a leaf, and ends at one or with the slot.
struct SlotRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

// A slot, whole or some parts of it, each of which becomes a storage of its own in the segment's table.
struct StorageToWrite {
  std::uint32_t slot = 0;
  std::uint64_t sketch = 0;
  std::vector<SlotRange> parts{};    // ascending, apart; what lies between them is only counted
  std::vector<DenseRange> ranges{};  // whose statistics are wanted
  // Where in the file the slot lies already, whole: nothing is written then.
  std::optional<std::uint64_t> placed_at{};
};

struct WrittenStorages {
  std::vector<format::StorageEntry> storages;  // all parts, as in storages_to_write
  std::vector<Digest> leaves;                  // of those longer than one leaf
};

// Writes into `writer` (nothing else may be placed there meanwhile) and puts the statistics of row r into
// statistics[r].
WrittenStorages write_storages(const Draft& draft, std::span<const StorageToWrite> to_write, SegmentWriter& writer,
                               std::span<std::optional<Statistics>> statistics,
                               const std::function<void(std::uint64_t bytes)>& add_progress,
                               bool write_back_early = false);

}  // namespace tenon
