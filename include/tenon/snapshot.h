// A snapshot opened in this process: one immutable checkpoint, its tensors resolved to memory.
//
// Owner and lifetime: a handle; copying is cheap. It keeps its mappings, so it stays readable after the
// snapshot was forgotten and its segments were removed.
// Threads: every const method may be called from any thread.
// Errors: opening checks every checksum of the metadata and every bound (offset, shape, stride, dtype,
// slot size) once; afterwards views are made without further checks. The tensors' own bytes are not
// hashed on opening: that is verify's work.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/digest.h"
#include "tenon/dtype.h"
#include "tenon/export.h"
#include "tenon/statistics.h"
#include "tenon/view.h"

namespace tenon {

// How the bytes of a snapshot come into this process.
enum class Mode : std::uint8_t {
  shared,    // read-only mapping; one physical copy for all processes
  private_,  // copy-on-write mapping: writes are seen by every view of that slot in this snapshot object,
             // by nobody else, and never reach the store. Slots with equal content do not share pages.
  copy,      // plain memory, filled by parallel reads
};

enum class TensorKind : std::uint8_t { plain = 0, parameter = 1, buffer = 2 };

inline constexpr std::uint32_t no_slot = 0xFFFFFFFFu;

// One row of the tensors table. Views into the snapshot: valid as long as the snapshot.
struct TensorRow {
  std::string_view name;
  DType dtype = DType::invalid;
  TensorKind kind = TensorKind::plain;
  bool requires_grad = false;
  bool is_conj = false;
  bool is_neg = false;
  std::uint32_t slot = no_slot;  // no_slot: a tensor without bytes (meta)
  std::uint32_t object = 0;      // first row that is the very same tensor object (its own row if none)
  std::uint64_t storage_offset_bytes = 0;
  std::span<const std::int64_t> shape;         // elements
  std::span<const std::int64_t> stride;        // elements
  std::string_view wrapper;                    // wrapper subclass, empty if none
  std::string_view quantizer;                  // encoded quantizer, empty if none
  std::string_view param;                      // of optimizer state: the parameter it belongs to; else empty
  std::span<const std::int64_t> global_shape;  // of the tensor this is a shard of; empty if it is no shard
  std::span<const std::int64_t> global_offset;
};

// One slot: the unit of aliasing.
struct SlotRow {
  std::uint64_t nbytes = 0;
  DType storage_dtype = DType::invalid;  // of a typed storage; invalid: untyped
  std::string_view location;             // "cpu", "cuda:0"
  Digest key;                            // digest of the bytes
};

struct SnapshotInfo {
  SnapshotId id;
  std::vector<SnapshotId> parents;  // first parent first
  std::int64_t created_at_ns = 0;   // since 1970, UTC
  std::optional<std::int64_t> step;
  std::string message;
  std::string meta;  // a JSON object as text, "{}" if none
  std::string created_by;
  std::uint64_t tensor_count = 0;
  std::uint64_t slot_count = 0;
  std::uint64_t nbytes = 0;  // sum over slots
};

struct AttachmentRow {
  std::string_view name;
  std::span<const std::byte> bytes;
};

// Fills `out` with the bytes of one slot from `offset` on, read through the file and their digests checked. Whole
// leaves only: `offset` is a multiple of 64 KiB, and so is the length of `out`, unless it ends with the slot. Any
// number of threads at once. Keeps the snapshot. Throws corrupt (names segment and offset); `out` then holds rubbish.
using VerifiedReader = std::function<void(std::uint64_t offset, std::span<std::byte> out)>;

class TENON_API Snapshot {
 public:
  Snapshot() = default;

  const SnapshotInfo& info() const noexcept;
  const SnapshotId& id() const noexcept { return info().id; }
  Mode mode() const noexcept;

  std::uint32_t size() const noexcept;  // rows; index in insertion order
  std::uint32_t slot_count() const noexcept;
  TensorRow row(std::uint32_t index) const noexcept;
  SlotRow slot(std::uint32_t index) const noexcept;
  // nullopt where no statistics were kept for that row. The first call checks the column: throws corrupt.
  std::optional<Statistics> statistics(std::uint32_t index) const;

  std::optional<std::uint32_t> find(std::string_view name) const noexcept;
  // Rows under `prefix`, sorted by name: equal to it, or continuing after it with '/' or '.'. "" selects all.
  std::vector<std::uint32_t> select(std::string_view prefix) const;
  // Throws not_found naming close matches.
  View operator[](std::string_view name) const;
  // REQUIRES: index < size(). A row without a slot throws invalid_argument.
  View view(std::uint32_t index) const;
  // The bytes of a whole slot in this process, writable unless the mode is shared.
  std::span<const std::byte> slot_bytes(std::uint32_t slot) const noexcept;

  // Rows of this snapshot that `older` does not have just so: by name, dtype, shape, stride, flags, offset and bytes of
  // the slot. What a serving engine copies into the addresses that it keeps. Bytes are looked at only where their
  // places and keys do not tell.
  std::vector<std::uint32_t> changed_since(const Snapshot& older) const;

  // The structure that held the tensors: a protocol-2 pickle whose persistent ids are row indices; empty
  // when the snapshot is a plain mapping of names to tensors.
  std::span<const std::byte> structure() const noexcept;
  std::vector<AttachmentRow> attachments() const;

  // Reads one slot through the file, not the mapping, checks its digest, and hands it over piece by piece
  // in order. Throws corrupt (names segment and offset) before handing over a piece of a damaged leaf.
  void read_verified(std::uint32_t slot, const std::function<void(std::span<const std::byte>)>& sink) const;
  // The same in any order, for several threads. Throws corrupt where the slot's leaves do not make up its key.
  VerifiedReader verified_reader(std::uint32_t slot) const;

 private:
  friend class SnapshotState;
  explicit Snapshot(std::shared_ptr<const SnapshotState> state) noexcept : state_(std::move(state)) {}
  std::shared_ptr<const SnapshotState> state_;
};

}  // namespace tenon
