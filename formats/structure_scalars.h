// What a structure holds beside its tensors: numbers, texts, booleans, each with its name.
#pragma once

#include <string>
#include <vector>

#include "formats/structure.h"

namespace tenon {

struct StructureScalar {
  std::string name;  // as of a tensor in its place
  NodeId node = no_node;
};

// In the order of the walk. What is shared by several places is listed at the first. `file` is for messages. Throws
// limit as walk_structure does.
std::vector<StructureScalar> list_scalars(const PickleGraph& graph, const std::string& file);

}  // namespace tenon
