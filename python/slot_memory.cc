#include "python/slot_memory.h"

#include <algorithm>
#include <new>

#include "python/parallel.h"

namespace tenon::python {

namespace {

constexpr std::size_t alignment = 64;
constexpr std::uint64_t piece_bytes = std::uint64_t{4} << 20;  // whole leaves

std::shared_ptr<std::byte> allocate(std::size_t nbytes) {
  auto* bytes = static_cast<std::byte*>(::operator new (std::max<std::size_t>(nbytes, 1), std::align_val_t{alignment}));
  return {bytes, [](std::byte* p) { ::operator delete (p, std::align_val_t{alignment}); }};
}

struct Piece {
  const VerifiedReader* read;
  std::uint64_t offset;
  std::span<std::byte> out;
};

}  // namespace

SlotMemory::SlotMemory(const Snapshot& snapshot)
    : snapshot_(snapshot), owner_(std::make_shared<const Snapshot>(snapshot)) {}

SlotMemory::SlotMemory(const Snapshot& snapshot, std::span<const std::uint32_t> slots)
    : snapshot_(snapshot), copies_(snapshot.slot_count()) {
  std::vector<VerifiedReader> readers;
  readers.reserve(slots.size());
  std::vector<Piece> pieces;
  for (const std::uint32_t slot : slots) {
    Copy& copy = copies_[slot];
    if (copy.bytes) continue;
    copy.nbytes = snapshot.slot(slot).nbytes;
    copy.bytes = allocate(copy.nbytes);
    copy.owner = copy.bytes;
    readers.push_back(snapshot.verified_reader(slot));
    for (std::uint64_t at = 0; at < copy.nbytes; at += piece_bytes) {
      pieces.push_back({&readers.back(), at, {copy.bytes.get() + at, std::min(piece_bytes, copy.nbytes - at)}});
    }
  }
  in_parallel(pieces.size(), [&](std::size_t i) { (*pieces[i].read)(pieces[i].offset, pieces[i].out); });
}

std::span<std::byte> SlotMemory::bytes(std::uint32_t slot) const noexcept {
  if (!copies_.empty()) return {copies_[slot].bytes.get(), copies_[slot].nbytes};
  const auto bytes = snapshot_.slot_bytes(slot);
  return {const_cast<std::byte*>(bytes.data()), bytes.size()};  // who may write is told by is_read_only
}

const std::shared_ptr<const void>& SlotMemory::owner(std::uint32_t slot) const noexcept {
  return copies_.empty() ? owner_ : copies_[slot].owner;
}

}  // namespace tenon::python
