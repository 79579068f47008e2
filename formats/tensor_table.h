// What is exported to torch: rows, slots and structure of a snapshot, or of whatever else has such.
//
// Errors: not_found for a prefix that selects nothing, corrupt for a structure that contradicts the rows.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "formats/pickle.h"
#include "tenon/snapshot.h"

namespace tenon {

// What is exported, wherever it is. Rows and slots are views, valid as long as what they come from.
struct TensorTable {
  std::uint32_t size = 0;
  std::uint32_t slot_count = 0;
  std::function<TensorRow(std::uint32_t)> row{};
  std::function<SlotRow(std::uint32_t)> slot{};
  std::span<const std::byte> structure{};                      // empty: a plain mapping of names to tensors
  std::function<VerifiedReader(std::uint32_t slot)> reader{};  // as Snapshot::verified_reader
};

// Valid as long as the snapshot.
TensorTable make_tensor_table(const Snapshot& snapshot);

// A record of the archive: a slot, or a part of it that was a storage of its own.
struct TorchObjectRecord {
  std::uint32_t slot = 0;
  std::uint64_t offset = 0;
  std::uint64_t nbytes = 0;
};

// Reads a part of a slot, digests checked; offsets count from the part. Valid as long as `table`.
VerifiedReader part_reader(const TensorTable& table, const TorchObjectRecord& part);

// The same from its begin to its end, a piece at a time.
void send_part(const TensorTable& table, const TorchObjectRecord& part,
               const std::function<void(std::span<const std::byte>)>& sink);

// What is exported, as a decoded structure: everything, or the part below `prefix` as in ExportOptions.
PickleGraph select_object(const TensorTable& table, const std::string& prefix);

}  // namespace tenon
