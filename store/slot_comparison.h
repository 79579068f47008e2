// Bytes of a draft's slots beside bytes that are stored, or beside each other. Equal means equal bytes, whatever
// digests say.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "store/loaded_memory.h"
#include "store/snapshot_state.h"
#include "tenon/draft.h"

namespace tenon {

inline constexpr std::uint64_t compare_task_bytes = 4 << 20;  // what a thread takes at a time

// What a slot of the draft is compared with: the parent's at the same path, or the one that its memory was loaded from.
struct Base {
  const SnapshotState* snapshot = nullptr;  // nothing, if null
  std::uint32_t slot = 0;
  const std::byte* data() const { return snapshot->slot_data(slot); }
  std::uint64_t nbytes() const { return snapshot->layout().slot_bytes(slot); }
};

// All of `slot` and as many bytes at `stored`.
bool equals_memory(const SlotDraft& slot, const std::byte* stored);
// REQUIRES: both are as long.
bool equals_source(const SlotDraft& a, const SlotDraft& b);
std::uint64_t sketch_of(const SlotDraft& slot);

// For each leaf of `loaded` whether it is untouched and the base has those very bytes: a place in a segment, which
// never changes. REQUIRES: both are as long.
std::vector<std::uint8_t> known_equal(const LoadedSlot& loaded, const Base& base);

// A long slot and its base, granule by granule.
struct Comparison {
  std::uint32_t slot;
  Base base;
  const std::byte* stored;
  std::uint64_t common_bytes;  // of the granules that both have in full, and of the last one if both end with it
  std::vector<std::uint8_t> is_known;  // to be equal, without a look; empty: none
  std::vector<std::uint8_t> is_equal;
};

// How much of two slots can be compared in place: whole granules, and the last one if both end with it.
std::uint64_t common_bytes(std::uint64_t nbytes, std::uint64_t base_bytes);
// False for a storage of which none of eight granules is as before: it is taken to have changed everywhere, for
// comparing the rest would read all of the source a second time.
bool is_worth_comparing(const Comparison& comparison, const SlotDraft& slot);
// Sets `is_equal` for [begin, end), multiples of the granule but for the slot's end.
void compare_granules(Comparison& comparison, const SlotDraft& slot, std::uint64_t begin, std::uint64_t end);

}  // namespace tenon
