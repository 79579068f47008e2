// Pieces of a slot draft's bytes, wherever they come from.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tenon/draft.h"

namespace tenon {

// [offset, offset + size) of the slot: in place if it is memory, else read into `buffer`, which grows as needed. Valid
// until `buffer` is used again. What is hashed, compared or written comes from one such piece, so that a source that
// changes meanwhile (a file that somebody writes to) is stored as it was hashed.
inline std::span<const std::byte> source_piece(const SlotDraft& slot, std::uint64_t offset, std::uint64_t size,
                                               std::vector<std::byte>& buffer) {
  assert(offset <= slot.nbytes && size <= slot.nbytes - offset);
  if (!slot.source.read) return slot.source.memory.subspan(offset, size);
  if (buffer.size() < size) buffer.resize(size);
  slot.source.read(offset, {buffer.data(), size});
  return {buffer.data(), size};
}

}  // namespace tenon
