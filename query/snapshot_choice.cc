#include "query/snapshot_choice.h"

#include "query/value.h"

namespace tenon {

void SnapshotChoice::choose(const SnapshotId& id) {
  is_impossible_ = is_impossible_ || (chosen_ && *chosen_ != id);
  chosen_ = id;
}

void SnapshotChoice::add_rev(SessionState& session, const Bound& bound) {
  rev_ = require_text(bound.value, "rev");
  RevPath split = split_rev(rev_);
  choose(session.resolve(split.rev));
  path_ = std::move(split.path);
}

void SnapshotChoice::add_whole_rev(SessionState& session, const Bound& bound) {
  rev_ = require_text(bound.value, "rev");
  choose(session.resolve(require_no_path(rev_)));
}

// What is no id, or none of this store's, is no error in a condition: nothing equals it.
void SnapshotChoice::add_id(SessionState& session, const Bound& bound) {
  SnapshotId id;
  const auto text = text_of(bound.value);
  const bool is_id = text && from_hex(*text, id) && to_hex(id) == *text;
  if (!is_id || !session.history().try_find(id)) {
    is_impossible_ = true;
    chosen_ = SnapshotId{};
    return;
  }
  choose(id);
}

CatalogSnapshots::Ids SnapshotChoice::ids(SessionState& session) const {
  if (is_impossible_) return std::make_shared<const std::vector<SnapshotId>>();
  if (chosen_) return std::make_shared<const std::vector<SnapshotId>>(1, *chosen_);
  return session.history().all();
}

}  // namespace tenon
