// Tensor names as a tree with sizes, its repetitions folded.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tools/content.h"

namespace tenon::tools {

// Labels keep the separator that follows ("model/", "layers.", "0."), so that joined they are the name.
struct NameNode {
  std::string label;
  std::optional<std::uint32_t> row;  // set: a tensor, without children
  std::vector<NameNode> children;    // in insertion order
  std::uint64_t tensors = 0;
  std::uint64_t nbytes = 0;  // sum over the tensors, or uncountable
  std::uint64_t folded = 1;  // nodes that this one stands for, alike but for their number
};

// The root has no label.
NameNode build_name_tree(const Content& content, std::span<const std::uint32_t> rows);

// Puts neighbours that differ in nothing but a running number into one: "0." to "11." become "[0-11].".
void fold(NameNode& node, const Content& content);
// Joins each node below `node` that has one child only with that child: "attn." and "weight" become "attn.weight".
void join_chains(NameNode& node);

// A name cut behind each '/' and, in string keys that are not quoted, behind each '.'.
std::vector<std::string> split_name(std::string_view name);

}  // namespace tenon::tools
