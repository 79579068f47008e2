// Which of a draft's slots the store already has. Bytes decide: a digest or a sketch only says where to look.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "store/catalog.h"
#include "store/loaded_memory.h"
#include "store/segment.h"
#include "store/snapshot_state.h"
#include "store/stitching.h"
#include "tenon/draft.h"

namespace tenon {

struct SlotOrigin {
  enum class Kind : std::uint8_t {
    fresh,
    stored,       // all of it
    stitched,     // a part of it
    same_as_slot  // as an earlier fresh slot of the draft
  } kind = Kind::fresh;
  // stored: where, and its key
  std::vector<StoredExtent> extents{};
  Digest key{};
  const std::byte* data = nullptr;  // mapped, in a segment kept by DedupeResult
  // stored: the slot that it equals, if that was found by path or by address; stitched: that it was compared with
  const SnapshotState* base = nullptr;  // the parent, or one kept by DedupeResult
  std::optional<std::uint32_t> base_slot{};
  std::vector<StitchedPiece> pieces{};  // stitched
  std::uint32_t same_slot = 0;          // same_as_slot: an earlier fresh slot of the draft with equal bytes
  std::uint64_t sketch = 0;             // fresh
  bool leaves_segments = false;         // fresh, though stored: its segments hold too little else
};

struct DedupeResult {
  std::vector<SlotOrigin> slots;
  std::vector<std::shared_ptr<const Segment>> kept;  // keeps `data` mapped, whatever happens to the files
  std::vector<std::shared_ptr<const SnapshotState>> bases;
};

struct DedupeInputs {
  const Draft& draft;
  const SnapshotState* parent = nullptr;  // may be null
  // For each sketch, hinted places of a storage with it. Called once.
  std::function<std::vector<std::vector<StorageHint>>(std::span<const std::uint64_t> sketches)> hints;
  // A segment by its sequence; null if it is not there any more.
  std::function<std::shared_ptr<const Segment>(std::uint64_t sequence)> segment;
  std::function<void(std::uint64_t bytes)> add_progress;
  // By slot of the draft, or empty: what was loaded, and is not read where it is as it was.
  std::vector<std::optional<LoadedSlot>> loaded{};
  // The same snapshot opened shared in the store that is committed to; null if that has not got it.
  std::function<std::shared_ptr<const SnapshotState>(const SnapshotState& loaded)> reopen{};
};

// The row of the parent that stands for a row of the draft (same name), or nullopt.
std::optional<std::uint32_t> parent_row_of(const Layout& parent, const TensorDraft& tensor);

DedupeResult find_stored_slots(const DedupeInputs& inputs);

}  // namespace tenon
