#include "tenon/filled_commit.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "mmap/writable_mapping.h"
#include "store/commit.h"
#include "store/failpoint.h"
#include "store/ingest.h"
#include "store/origins.h"
#include "store/publication.h"
#include "store/store_state.h"
#include "tenon/dtype.h"

namespace tenon {

namespace {

// Small tensors share a mapping.
constexpr std::uint64_t chunk_bytes_min = 16 << 20;
constexpr std::uint64_t tensor_bytes_max = std::uint64_t{1} << 46;  // 64 TiB, as much as a segment
constexpr std::size_t rank_max = 64;

[[noreturn]] void refuse(const std::string& name, std::string what) {
  throw Error(ErrorKind::invalid_argument, {.what = "tensor '" + name + "': " + std::move(what)});
}

std::uint64_t bytes_of(const std::string& name, DType dtype, std::span<const std::int64_t> shape) {
  if (!is_valid(dtype)) refuse(name, "no such element type");
  if (shape.size() > rank_max) refuse(name, "more than 64 dimensions");
  std::uint64_t count = 1;
  bool is_empty = false;
  for (const std::int64_t size : shape) {
    if (size < 0) refuse(name, "a dimension is negative");
    is_empty |= size == 0;
    const auto factor = static_cast<std::uint64_t>(std::max<std::int64_t>(size, 1));
    if (factor > tensor_bytes_max / count) refuse(name, "larger than a segment can be");
    count *= factor;
  }
  if (is_empty) return 0;
  const std::uint64_t bits = dtype_info(dtype).bits;
  if (count > tensor_bytes_max / bits) refuse(name, "larger than a segment can be");
  return (count * bits + 7) / 8;
}

std::vector<std::int64_t> row_major(const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> stride(shape.size(), 1);
  for (std::size_t d = shape.size(); d-- > 1;) stride[d - 1] = stride[d] * std::max<std::int64_t>(shape[d], 1);
  return stride;
}

}  // namespace

class FilledCommit::State {
 public:
  State(std::shared_ptr<StoreState> store, const CommitOptions& options)
      : store_(std::move(store)), options_(options), writer_(begin_segment(*store_, options)) {}

  std::span<std::byte> allocate(std::string name, DType dtype, std::vector<std::int64_t> shape) {
    require_unused();
    const std::uint64_t nbytes = bytes_of(name, dtype, shape);
    if (names_.contains(name)) refuse(name, "its name is there twice");
    const auto [offset, memory] = take(nbytes);
    names_.insert(name);
    placed_.push_back(offset);
    draft_.slots.push_back({.nbytes = nbytes, .source = {.memory = memory}});
    auto stride = row_major(shape);
    draft_.tensors.push_back({.name = std::move(name),
                              .dtype = dtype,
                              .slot = static_cast<std::uint32_t>(draft_.slots.size() - 1),
                              .shape = std::move(shape),
                              .stride = std::move(stride)});
    return memory;
  }

  CommitResult commit(const Draft& head) {
    require_unused();
    if (!head.tensors.empty() || !head.slots.empty()) {
      throw Error(ErrorKind::invalid_argument, {.what = "the head of a filled commit has rows or slots of its own"});
    }
    Draft draft = head;
    draft.tensors = std::move(draft_.tensors);
    draft.slots = std::move(draft_.slots);
    is_used_ = true;
    check_draft(draft);
    return publish(draft);
  }

 private:
  void require_unused() const {
    store_->require_same_process();
    if (is_used_) throw Error(ErrorKind::invalid_argument, {.what = "the filled commit is over"});
  }

  struct Taken {
    std::uint64_t offset;
    std::span<std::byte> memory;
  };
  Taken take(std::uint64_t nbytes) {
    if (nbytes == 0) return {0, {}};
    std::uint64_t offset = aligned_storage_offset(next_, nbytes);
    if (chunks_.empty() || offset > chunk_end_ || nbytes > chunk_end_ - offset) {
      add_chunk(nbytes);
      offset = next_;
    }
    next_ = offset + nbytes;
    return {offset, {chunks_.back().data() + (offset - chunk_begin_), nbytes}};
  }

  void add_chunk(std::uint64_t nbytes) {
    const std::uint64_t size =
        format::align_up(std::max(nbytes, chunk_bytes_min), std::uint64_t{format::granule_bytes});
    const std::uint64_t begin = writer_.place_piece(size);
    chunks_.push_back(writer_.map_writable(begin, size));
    chunk_begin_ = next_ = begin;
    chunk_end_ = begin + size;
  }

  CommitResult publish(const Draft& draft) {
    const auto parent = open_tip(*store_, options_.ref);
    const auto add_progress = progress_counter(draft, options_.progress);
    const DedupeResult origins = find_origins(*store_, draft, parent.get(), add_progress);
    StoredSlots slots =
        store_slots({draft, origins, options_.statistics, store_->is_durable(), add_progress, placed_}, writer_);
    chunks_.clear();  // a finished segment is written by nobody
    give_back(slots);
    Ingested ingested = describe_slots(draft, parent.get(), std::move(slots), options_.statistics, writer_);
    if (store_->is_durable()) writer_.sync();
    failpoint("filled_commit.before_lock");
    if (const auto result = publish_snapshot(*store_, options_, writer_, ingested)) return *result;
    const Mapping written = writer_.map_written();
    return commit_draft(*store_, with_sources(draft, origins, written), options_);
  }

  // For when gc took what was to be reused, and the memory that was filled is gone: the bytes are in the segment in
  // flight and in what they were found equal to, which stays mapped for as long as `origins` lives.
  Draft with_sources(const Draft& draft, const DedupeResult& origins, const Mapping& written) const {
    Draft out = draft;
    for (std::size_t slot = 0; slot < out.slots.size(); ++slot) {
      const SlotOrigin& from = origins.slots[slot];
      Source& source = out.slots[slot].source;
      const std::size_t owner = from.kind == SlotOrigin::Kind::same_as_slot ? from.same_slot : slot;
      const std::byte* own = written.data() + placed_[owner] - writer_.part_begin();
      const std::uint64_t nbytes = out.slots[slot].nbytes;
      if (from.kind == SlotOrigin::Kind::stitched) {
        source = stitched_source(from, own);
      } else {
        source.memory = {from.kind == SlotOrigin::Kind::stored ? from.data : own, nbytes};
      }
    }
    return out;
  }

  // Pieces lie where they lie in the slot, of the base and of what was filled.
  static Source stitched_source(const SlotOrigin& from, const std::byte* own) {
    const std::byte* base = from.base->slot_data(*from.base_slot);
    return {.read = [&from, own, base](std::uint64_t offset, std::span<std::byte> out) {
      for (const StitchedPiece& piece : from.pieces) {
        const std::uint64_t begin = std::max(piece.begin, offset);
        const std::uint64_t end = std::min(piece.end(), offset + out.size());
        if (begin >= end) continue;
        std::memcpy(out.data() + (begin - offset), (piece.stored ? base : own) + begin, end - begin);
      }
    }};
  }

  // What the store has already, and what was left of chunks.
  void give_back(const StoredSlots& slots) {
    std::vector<SegmentWriter::Range> kept;
    for (const format::StorageEntry& entry : slots.storages)
      kept.push_back({entry.offset, entry.offset + entry.nbytes});
    writer_.adopt(kept);
  }

  std::shared_ptr<StoreState> store_;
  CommitOptions options_;
  SegmentWriter writer_;
  std::vector<WritableMapping> chunks_;
  std::uint64_t chunk_begin_ = 0;  // of the last chunk, in the file
  std::uint64_t chunk_end_ = 0;
  std::uint64_t next_ = 0;
  std::set<std::string, std::less<>> names_;
  Draft draft_;                        // rows and slots
  std::vector<std::uint64_t> placed_;  // by slot
  bool is_used_ = false;
};

FilledCommit::FilledCommit(Store& store, const CommitOptions& options)
    : state_(std::make_unique<State>(store.state_, options)) {}
FilledCommit::FilledCommit(FilledCommit&&) noexcept = default;
FilledCommit& FilledCommit::operator=(FilledCommit&&) noexcept = default;
FilledCommit::~FilledCommit() = default;

std::span<std::byte> FilledCommit::allocate(std::string name, DType dtype, std::vector<std::int64_t> shape) {
  return state_->allocate(std::move(name), dtype, std::move(shape));
}

CommitResult FilledCommit::commit(const Draft& head) { return state_->commit(head); }

}  // namespace tenon
