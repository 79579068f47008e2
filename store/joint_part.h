// What a rank hands to the coordinator of a joint commit: its rows, and where the bytes of its slots are.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "store/ingest.h"
#include "tenon/draft.h"

namespace tenon {

struct DecodedPart {
  SegmentWriter::Range range;  // of the segment in flight; offsets in `slots` count from its begin
  std::vector<TensorDraft> tensors;
  std::vector<SlotDraft> slot_drafts;  // their sources cannot be read
  StoredSlots slots;
};

std::vector<std::byte> encode_part(const Draft& draft, const StoredSlots& slots, const SegmentWriter& writer);
// Throws corrupt; invalid_argument if it was written for another segment than `uuid`.
DecodedPart decode_part(std::span<const std::byte> bytes, const Digest& uuid);

// One draft and one set of slots out of all parts: rows in the order given, storages in the order of the file.
struct JoinedParts {
  std::vector<SegmentWriter::Range> ranges;  // ascending
  Draft draft;                               // rows and slots alone
  StoredSlots slots;
};
JoinedParts join_parts(std::vector<DecodedPart> parts, const Digest& uuid);

}  // namespace tenon
