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
  std::string meta = "{}";  // a JSON object as text
};

}  // namespace tenon
