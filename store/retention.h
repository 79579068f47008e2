// The rules of forgetting. What they decide is pure; what is done about it is in forget_by_rules.
#pragma once

#include <span>
#include <vector>

#include "store/store_state.h"
#include "tenon/retention.h"

namespace tenon {

// Of one history, newest first: the reasons to keep each snapshot, empty where no rule does.
std::vector<std::vector<std::string>> reasons_to_keep(std::span<const SnapshotInfo> newest_first,
                                                      const KeepRules& rules);

ForgetReport forget_by_rules(StoreState& store, const ForgetOptions& options);

}  // namespace tenon
