#include "python/staging.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <vector>

#include "python/parallel.h"

namespace tenon::python {

namespace {

constexpr std::uint64_t alignment = 64;
constexpr std::uint64_t piece_bytes = std::uint64_t{4} << 20;

std::uint64_t aligned(std::uint64_t nbytes) { return (nbytes + alignment - 1) / alignment * alignment; }

struct Piece {
  const Source* source;
  std::uint64_t offset;
  std::span<std::byte> out;
};

void copy(const Piece& piece) {
  if (piece.source->read) {
    piece.source->read(piece.offset, piece.out);
  } else if (!piece.out.empty()) {
    std::memcpy(piece.out.data(), piece.source->memory.data() + piece.offset, piece.out.size());
  }
}

}  // namespace

void StagingBuffer::reserve(std::uint64_t nbytes) {
  if (nbytes <= nbytes_) return;
  memory_.reset();  // before the new one, not beside it
  nbytes_ = 0;
  auto* bytes = static_cast<std::byte*>(::operator new (nbytes, std::align_val_t{alignment}));
  memory_ = {bytes, [](std::byte* p) { ::operator delete (p, std::align_val_t{alignment}); }};
  nbytes_ = nbytes;
}

void StagingBuffer::fill(Draft& draft) {
  std::uint64_t total = 0;
  for (const SlotDraft& slot : draft.slots) total += aligned(slot.nbytes);
  reserve(total);
  std::vector<Piece> pieces;
  std::vector<std::span<const std::byte>> copies;
  std::byte* next = memory_.get();
  for (const SlotDraft& slot : draft.slots) {
    copies.emplace_back(next, slot.nbytes);
    for (std::uint64_t at = 0; at < slot.nbytes; at += piece_bytes)
      pieces.push_back({&slot.source, at, {next + at, std::min(piece_bytes, slot.nbytes - at)}});
    next += aligned(slot.nbytes);
  }
  in_parallel(pieces.size(), [&](std::size_t i) { copy(pieces[i]); });
  for (std::size_t i = 0; i < copies.size(); ++i) draft.slots[i].source = {.memory = copies[i]};
}

}  // namespace tenon::python
