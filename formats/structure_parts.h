// What known calls hold, and how that is named: a sparse tensor `w` has rows `w.indices` and `w.values`.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "formats/pickle.h"

namespace tenon {

struct StructurePart {
  NodeId node = no_node;
  std::string_view suffix;  // ".indices"; empty: the name of what holds it
};

// The parts of an object in the order of their walk; all else in it is of no interest. nullopt where the object is not
// known, and is walked as any other.
std::optional<std::vector<StructurePart>> parts_of_object(const PickleGraph& graph, const PickleObject& object);

}  // namespace tenon
