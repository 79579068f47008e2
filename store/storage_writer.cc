#include "store/storage_writer.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <numeric>

#include "store/parallel.h"
#include "store/source.h"

namespace tenon {

namespace {

using format::StorageEntry;

// A run is what one thread takes at a time and one pwrite writes: part of a large storage, or several small ones that
// lie side by side.
constexpr std::uint64_t run_bytes = 2 << 20;
static_assert(run_bytes % leaf_bytes == 0);

// A part of one slot within a run.
struct Part {
  std::size_t storage;        // index in to_write
  std::size_t entry;          // index in the entries; counted_only: it is there already
  std::uint64_t slot_offset;  // multiple of leaf_bytes
  std::uint64_t file_offset;
  std::uint64_t size;
  std::size_t first_count;  // into the counts: one per range of the slot that meets the part
  std::size_t counts;
};

constexpr std::size_t counted_only = SIZE_MAX;

// The statistics of one range of a storage over one part.
struct Count {
  std::size_t range;  // index in the storage's ranges
  StatisticsAccumulator accumulator;
};

struct Run {
  std::uint64_t file_offset = 0;
  std::uint64_t size = 0;  // gaps between its parts included
  std::vector<Part> parts{};
  bool is_in_place = false;  // the bytes are in the file already
  bool is_counted_only() const noexcept { return parts.front().entry == counted_only; }
};

class Pass {
 public:
  Pass(const Draft& draft, std::span<const StorageToWrite> to_write, SegmentWriter& writer)
      : draft_(draft), to_write_(to_write), writer_(writer) {
    place();
    cut_into_runs();
  }

  WrittenStorages run(std::span<std::optional<Statistics>> statistics,
                      const std::function<void(std::uint64_t)>& add_progress, bool write_back_early) {
    std::uint64_t total = 0;
    for (const Run& r : runs_) total += r.size;
    writer_.reserve_placed();
    parallel_for(runs_.size(), threads_for_bytes(total), [&](std::size_t i) {
      write_run(runs_[i]);
      if (runs_[i].is_counted_only()) return;
      if (write_back_early) writer_.start_writeback(runs_[i].file_offset, runs_[i].size);
      add_progress(runs_[i].size);
    });
    collect_statistics(statistics);
    return finish();
  }

 private:
  std::uint64_t nbytes(std::size_t storage) const { return draft_.slots[to_write_[storage].slot].nbytes; }
  const SlotRange& range(std::size_t storage, std::size_t part) const { return to_write_[storage].parts[part]; }

  void place() {
    std::uint64_t leaves = 0;
    for (std::size_t i = 0; i < to_write_.size(); ++i) {
      first_entry_.push_back(entries_.size());
      const bool is_whole = to_write_[i].parts.size() == 1 && range(i, 0).end - range(i, 0).begin == nbytes(i);
      for (const SlotRange& part : to_write_[i].parts) {
        StorageEntry entry{};
        entry.nbytes = part.end - part.begin;
        if (to_write_[i].placed_at) {
          entry.offset = *to_write_[i].placed_at + part.begin;
        } else {
          entry.offset = is_whole ? writer_.place_storage(entry.nbytes) : writer_.place_piece(entry.nbytes);
        }
        entry.sketch = to_write_[i].sketch;
        leaf_begin_.push_back(leaves);
        leaves += leaf_count(entry.nbytes);
        entries_.push_back(entry);
      }
    }
    leaf_digests_.resize(leaves);
  }

  void cut_into_runs() {
    for (std::size_t i = 0; i < to_write_.size(); ++i) {
      std::uint64_t at = 0;
      for (std::size_t p = 0; p < to_write_[i].parts.size(); ++p) {
        add_parts(i, counted_only, {at, range(i, p).begin});
        add_parts(i, first_entry_[i] + p, range(i, p));
        at = range(i, p).end;
      }
      add_parts(i, counted_only, {at, nbytes(i)});
    }
  }

  void add_parts(std::size_t storage, std::size_t entry, const SlotRange& part) {
    for (std::uint64_t at = part.begin; at < part.end; at += run_bytes) {
      const std::uint64_t size = std::min(run_bytes, part.end - at);
      const std::size_t first = counts_.size();
      for (std::size_t r = 0; r < to_write_[storage].ranges.size(); ++r) {
        const DenseRange& range = to_write_[storage].ranges[r];
        if (range.begin < at + size && range.end > at) counts_.push_back({r, StatisticsAccumulator(range.dtype)});
      }
      const std::size_t counts = counts_.size() - first;
      if (entry != counted_only) {
        add_part({storage, entry, at, entries_[entry].offset + (at - part.begin), size, first, counts});
      } else if (counts != 0) {
        runs_.push_back({0, size, {{storage, entry, at, 0, size, first, counts}}});
      }
    }
  }

  void add_part(const Part& part) {
    const bool is_in_place = to_write_[part.storage].placed_at.has_value();
    const bool can_join = !is_in_place && !runs_.empty() && !runs_.back().is_counted_only() &&
                          !runs_.back().is_in_place && part.file_offset >= runs_.back().file_offset;
    if (!can_join || part.file_offset + part.size - runs_.back().file_offset > run_bytes) {
      runs_.push_back({.file_offset = part.file_offset, .is_in_place = is_in_place});
    }
    Run& r = runs_.back();
    r.size = part.file_offset + part.size - r.file_offset;
    r.parts.push_back(part);
  }

  // A run of one part is written from where its bytes are; several are gathered, gaps zeroed, and written at once.
  void write_run(const Run& r) {
    std::vector<std::byte> buffer;
    if (r.parts.size() == 1) {
      const auto piece = take(r.parts.front(), buffer);
      if (!r.is_counted_only() && !r.is_in_place) writer_.write(r.file_offset, piece);
      return;
    }
    std::vector<std::byte> gathered(r.size);
    for (const Part& part : r.parts) {
      const auto piece = take(part, buffer);
      std::memcpy(gathered.data() + (part.file_offset - r.file_offset), piece.data(), piece.size());
    }
    writer_.write(r.file_offset, gathered);
  }

  // The part's bytes, digested and counted leaf by leaf while they are in the cache.
  std::span<const std::byte> take(const Part& part, std::vector<std::byte>& buffer) {
    const StorageToWrite& storage = to_write_[part.storage];
    const auto piece = source_piece(draft_.slots[storage.slot], part.slot_offset, part.size, buffer);
    for (std::uint64_t at = 0; at < piece.size(); at += leaf_bytes) {
      const auto leaf = piece.subspan(at, std::min<std::uint64_t>(leaf_bytes, piece.size() - at));
      if (part.entry != counted_only) {
        const std::uint64_t in_entry = part.file_offset + at - entries_[part.entry].offset;
        leaf_digests_[leaf_begin_[part.entry] + in_entry / leaf_bytes] = digest_bytes(leaf);
      }
      for (Count& count : std::span(counts_).subspan(part.first_count, part.counts)) {
        accumulate(count.accumulator, storage.ranges[count.range], part.slot_offset + at, leaf);
      }
    }
    return piece;
  }

  static void accumulate(StatisticsAccumulator& accumulator, const DenseRange& range, std::uint64_t slot_offset,
                         std::span<const std::byte> leaf) {
    const std::uint64_t begin = std::max(range.begin, slot_offset);
    const std::uint64_t end = std::min(range.end, slot_offset + leaf.size());
    if (begin < end) accumulator.add(leaf.subspan(begin - slot_offset, end - begin));
  }

  // Parts are merged in the order of the storage, so that the sums do not depend on which thread was first.
  void collect_statistics(std::span<std::optional<Statistics>> statistics) {
    std::vector<std::vector<StatisticsAccumulator>> merged(to_write_.size());
    for (std::size_t i = 0; i < to_write_.size(); ++i) {
      for (const DenseRange& range : to_write_[i].ranges) merged[i].emplace_back(range.dtype);
    }
    for (const Run& r : runs_) {
      for (const Part& part : r.parts) {
        for (const Count& count : std::span(counts_).subspan(part.first_count, part.counts)) {
          merged[part.storage][count.range].merge(count.accumulator);
        }
      }
    }
    for (std::size_t i = 0; i < to_write_.size(); ++i) {
      for (std::size_t k = 0; k < merged[i].size(); ++k) statistics[to_write_[i].ranges[k].row] = merged[i][k].result();
    }
  }

  WrittenStorages finish() {
    WrittenStorages written;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      const std::span leaves(leaf_digests_.data() + leaf_begin_[i], leaf_count(entries_[i].nbytes));
      entries_[i].key = combine_leaves(leaves, entries_[i].nbytes);
      entries_[i].first_leaf = leaves.size() > 1 ? written.leaves.size() : 0;
      if (leaves.size() > 1) written.leaves.insert(written.leaves.end(), leaves.begin(), leaves.end());
    }
    written.storages = std::move(entries_);
    return written;
  }

  const Draft& draft_;
  std::span<const StorageToWrite> to_write_;
  SegmentWriter& writer_;
  std::vector<std::size_t> first_entry_;  // by storage to write
  std::vector<StorageEntry> entries_;
  std::vector<std::uint64_t> leaf_begin_;  // by entry
  std::vector<Digest> leaf_digests_;
  std::vector<Run> runs_;
  std::vector<Count> counts_;
};

}  // namespace

std::optional<DenseRange> dense_range(const TensorDraft& tensor, std::uint32_t row) {
  if (!has_statistics(tensor.dtype)) return std::nullopt;
  const std::uint64_t item = item_bytes(tensor.dtype);
  if (tensor.storage_offset_bytes % item != 0) return std::nullopt;
  std::vector<std::size_t> by_stride(tensor.shape.size());
  std::iota(by_stride.begin(), by_stride.end(), std::size_t{0});
  std::sort(by_stride.begin(), by_stride.end(),
            [&](std::size_t a, std::size_t b) { return tensor.stride[a] < tensor.stride[b]; });
  std::int64_t count = 1;
  for (const std::size_t d : by_stride) {
    if (tensor.shape[d] == 1) continue;
    if (tensor.shape[d] != 0 && tensor.stride[d] != count) return std::nullopt;
    count *= tensor.shape[d];
    if (count == 0) break;
  }
  const std::uint64_t begin = tensor.storage_offset_bytes;
  return DenseRange{row, tensor.dtype, begin, begin + static_cast<std::uint64_t>(count) * item};
}

WrittenStorages write_storages(const Draft& draft, std::span<const StorageToWrite> to_write, SegmentWriter& writer,
                               std::span<std::optional<Statistics>> statistics,
                               const std::function<void(std::uint64_t)>& add_progress, bool write_back_early) {
  return Pass(draft, to_write, writer).run(statistics, add_progress, write_back_early);
}

}  // namespace tenon
