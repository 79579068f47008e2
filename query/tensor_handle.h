// How a tensor is named in a statement, as text:
//
//   0f3a...(32 digits):layers.3.weight   pinned to a snapshot: what the column `tensor` has
//   file:8:model.pt:layers.3.weight      of a foreign file; 8 bytes are its path. Only of files that a read_ function
//                                        of this session has opened: a handle opens none
//   main:layers.3.weight                 REV:PATH, for people
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "query/tensor_set.h"

namespace tenon {

struct TensorRef {
  std::shared_ptr<TensorSet> set;
  std::uint32_t row = 0;
};

std::string snapshot_handle(const SnapshotId& id, std::string_view name);
std::string file_handle(std::string_view path, std::string_view name);

// Throws not_found, with close names; invalid_argument for a text that is none.
TensorRef find_tensor(SessionState& session, std::string_view handle);
// A row by its exact name. Throws not_found, with close names.
std::uint32_t find_row(const TensorSet& set, std::string_view name);

}  // namespace tenon
