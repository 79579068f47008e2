#include "python/slot_memory.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <new>
#include <thread>

namespace tenon::python {

namespace {

constexpr std::size_t alignment = 64;
constexpr std::uint64_t piece_bytes = std::uint64_t{4} << 20;  // whole leaves
constexpr unsigned threads_max = 8;

std::shared_ptr<std::byte> allocate(std::size_t nbytes) {
  auto* bytes = static_cast<std::byte*>(::operator new (std::max<std::size_t>(nbytes, 1), std::align_val_t{alignment}));
  return {bytes, [](std::byte* p) { ::operator delete (p, std::align_val_t{alignment}); }};
}

struct Piece {
  const VerifiedReader* read;
  std::uint64_t offset;
  std::span<std::byte> out;
};

// Each thread takes the next piece; the first failure ends the work and is thrown.
void read_all(const std::vector<Piece>& pieces) {
  std::atomic<std::size_t> next = 0;
  std::exception_ptr failure;
  std::mutex failing;
  const auto work = [&] {
    try {
      for (std::size_t i = next++; i < pieces.size(); i = next++) (*pieces[i].read)(pieces[i].offset, pieces[i].out);
    } catch (...) {
      next = pieces.size();
      const std::lock_guard lock(failing);
      if (!failure) failure = std::current_exception();
    }
  };
  const auto wanted = std::min<std::size_t>(pieces.size(), std::min(threads_max, std::thread::hardware_concurrency()));
  std::vector<std::jthread> threads;
  for (std::size_t i = 1; i < wanted; ++i) threads.emplace_back(work);
  work();
  threads.clear();
  if (failure) std::rethrow_exception(failure);
}

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
  read_all(pieces);
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
