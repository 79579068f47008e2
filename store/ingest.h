// Step 1 of a commit: a draft becomes a segment that lacks only its record and footer.
#pragma once

#include <optional>
#include <vector>

#include "store/binding.h"
#include "store/dedupe.h"
#include "store/record.h"
#include "store/segment.h"
#include "tenon/statistics.h"

namespace tenon {

struct IngestedCounts {
  std::uint64_t written_bytes = 0;
  std::uint64_t reused_bytes = 0;
  std::uint32_t written_storages = 0;  // of slots, also of those that were written in part
  std::uint32_t reused_storages = 0;
};

// Where the bytes of a draft's slots are: written into the segment in flight, or found.
struct StoredSlots {
  BindingDraft binding;  // not yet where layout and structure are
  std::vector<Digest> keys;
  std::vector<format::StorageEntry> storages;         // written ones; pieces have no sketch
  std::vector<Digest> leaves;                         // of those longer than one leaf
  std::vector<std::optional<Statistics>> statistics;  // by row
  IngestedCounts counts;
};

struct Ingested {
  Record record;  // all but parents
  BindingDraft binding;
  std::vector<std::byte> keys_section;
  std::vector<std::byte> binding_section;
  std::vector<format::StorageEntry> storages;  // for the digest hints
  IngestedCounts counts;
};

struct IngestInputs {
  const Draft& draft;
  const DedupeResult& origins;
  bool statistics = true;
  bool is_durable = true;  // a sync will follow
  std::function<void(std::uint64_t bytes)> add_progress;
  std::span<const std::uint64_t> placed{};  // by slot: where it lies in the segment in flight already; empty: nowhere
};

// Writes what is fresh into `writer`; no sections, no sync.
StoredSlots store_slots(const IngestInputs& inputs, SegmentWriter& writer);

// Adds the sections that go with the slots. `parent` may be null, `statistics` false: none are kept.
Ingested describe_slots(const Draft& draft, const SnapshotState* parent, StoredSlots slots, bool statistics,
                        SegmentWriter& writer);

}  // namespace tenon
