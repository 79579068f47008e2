// Step 1 of a commit: a draft becomes a segment that lacks only its record and footer.
#pragma once

#include <optional>
#include <vector>

#include "store/binding.h"
#include "store/dedupe.h"
#include "store/record.h"
#include "store/segment.h"

namespace tenon {

struct Ingested {
  Record record;  // all but parents
  BindingDraft binding;
  std::vector<std::byte> keys_section;
  std::vector<std::byte> binding_section;
  std::vector<format::StorageEntry> storages;  // written ones, for the digest hints; pieces have no sketch
  std::uint64_t written_bytes = 0;
  std::uint64_t reused_bytes = 0;
  std::uint32_t written_storages = 0;  // of slots, also of those that were written in part
  std::uint32_t reused_storages = 0;
};

struct IngestInputs {
  const Draft& draft;
  const SnapshotState* parent = nullptr;  // whose layout and structure may be shared; may be null
  const DedupeResult& origins;
  bool statistics = true;
  bool is_durable = true;  // a sync will follow
  std::function<void(std::uint64_t bytes)> add_progress;
};

// Writes storages and sections into `writer`; syncs nothing.
Ingested ingest(const IngestInputs& inputs, SegmentWriter& writer);

}  // namespace tenon
