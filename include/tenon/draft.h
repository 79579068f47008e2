// What a commit is made of, as plain data: fill one in, give it to Store::commit.
//
// Lifetime: memory and readers named by a Source must stay valid and unchanging until commit returns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tenon/snapshot.h"

namespace tenon {

// The bytes of one slot: memory of this process, or a reader for anything else (a region of a file, bytes to
// be swapped or inflated, a device). `read` may be called more than once for the same range, from several
// threads, and fills `out` completely or throws; what it returns is hashed and stored from the same buffer.
struct Source {
  std::span<const std::byte> memory{};
  std::function<void(std::uint64_t offset, std::span<std::byte> out)> read{};
};

struct SlotDraft {
  std::uint64_t nbytes = 0;
  Source source{};
  DType storage_dtype = DType::invalid;  // of a typed torch storage; invalid: untyped
  std::string location = "cpu";
};

struct TensorDraft {
  std::string name;  // unique in the draft; see tenon/name.h
  DType dtype = DType::invalid;
  TensorKind kind = TensorKind::plain;
  bool requires_grad = false;
  bool is_conj = false;
  bool is_neg = false;
  std::uint32_t slot = no_slot;
  std::optional<std::uint32_t> object{};  // earlier row that is the very same tensor object
  std::uint64_t storage_offset_bytes = 0;
  std::vector<std::int64_t> shape{};
  std::vector<std::int64_t> stride{};
  std::string wrapper{};
  std::string quantizer{};
  std::string param{};  // of optimizer state: the parameter it belongs to
  std::vector<std::int64_t> global_shape{};
  std::vector<std::int64_t> global_offset{};
};

struct AttachmentDraft {
  std::string name;
  std::vector<std::byte> bytes;
};

struct Draft {
  std::vector<TensorDraft> tensors{};
  std::vector<SlotDraft> slots{};
  std::vector<std::byte> structure{};  // see Snapshot::structure()
  std::vector<AttachmentDraft> attachments{};
  std::string message{};
  std::optional<std::int64_t> step{};
  std::string meta = "{}";                      // a JSON object as text
  std::optional<std::int64_t> created_at_ns{};  // since 1970, UTC; nothing: when it is committed
};

// Slots whose memory overlaps become one, so that tensors that shared memory share it again. Only sources that are
// memory are looked at. `draft` keeps its tensors and their order.
TENON_API void merge_overlapping(Draft& draft);

// Shrinks every slot to the ranges that its tensors reach, from first to last element, and splits it where they do not
// overlap; tensors that overlapped still do. Slots that no tensor reaches are left out. A typed slot keeps its type.
// With `read_all`, sources that are no memory are still read as a whole, so that what checks itself is checked.
TENON_API void compact(Draft& draft, bool read_all = false);

}  // namespace tenon
