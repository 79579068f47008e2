// The mutations of a store as the truth tells them: commit sections of segments, and journal records.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "store/journal.h"
#include "store/store_state.h"

namespace tenon {

struct StoreEvent {
  JournalRecord record;  // of a commit: set_ref with sequence, time, ref, target and what was there before
  bool is_commit = false;
  std::string unreadable{};  // why; then of the record only the sequence is known
};

// Reads the journal once, and a segment for each commit that is asked for.
class EventReader {
 public:
  EventReader(const StoreState& store, std::uint64_t journal_bytes);
  // nullopt for a number whose segment gc has taken, and for one that no mutation has. A damaged segment is told, not
  // thrown.
  std::optional<StoreEvent> at(std::uint64_t sequence) const;

 private:
  const StoreState& store_;
  std::map<std::uint64_t, JournalRecord> records_;
};

// Newest first; see Store::reflog.
std::vector<ReflogEntry> read_reflog(const StoreState& store, std::string_view ref, std::size_t limit);
// See Store::undo.
ReflogEntry undo_newest(StoreState& store, bool dry_run);

}  // namespace tenon
