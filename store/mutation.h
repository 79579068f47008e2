// One change of a store, from the write transaction's begin to the head file: everything that happens under the commit
// lock.
//
//   1. begin: lock, open the write transaction, sweep away what a killed predecessor left (a segment or a journal tail
//   that the catalog
//      does not know; a head that lags behind its ref)
//   2. the caller checks its conditions and writes its record: a segment published under sequence(), or
//   append_journal()
//   3. commit: rows and root, LMDB commit
//   4. the head file, after which the change may be acknowledged
//
// Destroyed before commit(), nothing has changed but what sweeping removed. docs/design.md lists the crash cases.
#pragma once

#include <optional>
#include <string>

#include "store/catalog.h"
#include "store/heads.h"
#include "store/journal.h"
#include "store/store_state.h"

namespace tenon {

class Mutation {
 public:
  // Throws busy, corrupt, io, full.
  explicit Mutation(StoreState& store);

  std::uint64_t sequence() const noexcept { return root_.sequence + 1; }
  CatalogWriter& catalog() noexcept { return writer_; }
  const RefRow* find_ref(std::string_view name) const noexcept;
  // The ref that stands where mutation `sequence` put it; null if there is none.
  const RefRow* find_ref_set_by(std::uint64_t sequence) const noexcept;
  // Throws conflict unless `name` points to `expected` (nullopt: does not exist).
  void require_tip(std::string_view name, const std::optional<SnapshotId>& expected) const;

  // What the change does to the refs; takes effect with commit().
  void set_ref(const std::string& name, const SnapshotId& target, bool is_tag, const format::SegmentReference& holder);
  void delete_ref(const std::string& name);
  void count_snapshot() noexcept { ++root_.snapshot_count; }
  void uncount_snapshot() noexcept { --root_.snapshot_count; }
  // What a ref is now, as a journal record has it.
  PreviousRef previous_of(std::string_view name) const noexcept;
  std::uint64_t journal_bytes() const noexcept { return root_.journal_bytes; }
  // Writes the record of a change that has no segment, and syncs it.
  void append_journal(JournalRecord record);

  // Commits the catalog, then brings the head file up. Throws io with "outcome unknown" where a sync failed half-way.
  void commit();
  // Commits what changed in the index alone (gc): no mutation, so no number and no head.
  void commit_index() { commit_catalog(); }
  // After commit() threw: true if the catalog was not changed for certain. The commit lock is still held.
  bool is_surely_void() const noexcept { return !is_committed_ && !writer_.outcome_unknown(); }

 private:
  void sweep();
  void sweep_segment();
  void sweep_journal();
  void mend_newest_head();
  std::optional<Head> whole_head(const std::string& ref) const;
  void commit_catalog();
  void require_not_acknowledged(std::uint64_t sequence, const std::string& file) const;

  StoreState& store_;
  CatalogWriter writer_;
  CatalogRoot root_;
  std::optional<Head> head_;
  std::optional<std::string> deleted_;
  bool is_committed_ = false;
};

}  // namespace tenon
