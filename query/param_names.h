// What parameter a tensor is, or belongs to, whatever it was wrapped in: so that runs can be matched, and an
// optimizer's moments with their weights.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "query/tensor_set.h"

namespace tenon {

// For each row its param_name(); for a row of an optimizer's state (`optim/state/0/exp_avg`) that of the parameter it
// belongs to: as it was recorded when it was saved; else where that is certain: the numbers count the parameters in the
// order of a sibling (`model/...`), and every state's shape is its parameter's or a scalar. Otherwise the name itself.
std::vector<std::string> param_names(const TensorSet& set);
// The first component of the name that is a whole number.
std::optional<std::int64_t> layer_of(std::string_view name) noexcept;

}  // namespace tenon
