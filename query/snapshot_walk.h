// Snapshots one after the other, read from the catalog in batches that grow: the first row comes early. What was
// forgotten since it was listed is left out.
#pragma once

#include <algorithm>
#include <memory>
#include <span>

#include "query/session_state.h"

namespace tenon {

class SnapshotWalk {
 public:
  SnapshotWalk() = default;
  // From the first to the last of `ids`, or the other way round.
  SnapshotWalk(SessionState& session, CatalogSnapshots::Ids ids, bool is_backwards = false)
      : session_(&session), ids_(std::move(ids)), is_backwards_(is_backwards) {
    look();
  }

  bool at_end() const noexcept { return !ids_ || at_ == ids_->size(); }
  const std::shared_ptr<const CatalogSnapshot>& snapshot() const noexcept { return snapshot_; }
  std::size_t position() const noexcept { return at_; }
  void next() {
    ++at_;
    look();
  }

 private:
  void look() {
    for (; !at_end(); ++at_) {
      session_->poll();
      if (at_ >= fetched_) fetch();
      snapshot_ = session_->history().try_find(id(at_));
      if (snapshot_) return;
    }
  }
  const SnapshotId& id(std::size_t i) const { return (*ids_)[is_backwards_ ? ids_->size() - 1 - i : i]; }
  void fetch() {
    const std::size_t count = std::min(batch_, ids_->size() - at_);
    const std::size_t first = is_backwards_ ? ids_->size() - at_ - count : at_;
    session_->history().prefetch(std::span(*ids_).subspan(first, count));
    fetched_ = at_ + count;
    batch_ = std::min<std::size_t>(batch_ * 2, 256);
  }

  SessionState* session_ = nullptr;
  CatalogSnapshots::Ids ids_;
  bool is_backwards_ = false;
  std::size_t at_ = 0;
  std::size_t fetched_ = 0;
  std::size_t batch_ = 4;
  std::shared_ptr<const CatalogSnapshot> snapshot_;
};

}  // namespace tenon
