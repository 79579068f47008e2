// One snapshot whose tensors are filled in place: their memory is the segment being built, so that bytes that are
// computed, received, or copied from a device are nowhere else before.
//
//   FilledCommit filling(store, {.ref = "main"});
//   std::span<std::byte> memory = filling.allocate("model/w", DType::float32, {1024, 1024});
//   ... write into memory ...
//   filling.commit(head);
//
// Space on the disk is taken by allocate, so that a full one is an error there and no signal later. commit reads all of
// it once, compares it with the ref's tip, digests, gathers statistics, and gives back what the store has already.
// Threads: a FilledCommit belongs to one at a time; the memory may be written from any. Children do not inherit the
// memory. Errors: tenon::Error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tenon/export.h"
#include "tenon/store.h"

namespace tenon {

class TENON_API FilledCommit {
 public:
  // Throws as Store::commit does.
  explicit FilledCommit(Store& store, const CommitOptions& options = {});
  FilledCommit(FilledCommit&&) noexcept;
  FilledCommit& operator=(FilledCommit&&) noexcept;
  // Not committed: nothing remains.
  ~FilledCommit();

  // Zeroed memory of a new tensor in row-major order, a slot of its own; aligned to 64 bytes, to a page from 4 KiB on.
  // Valid until commit. Throws invalid_argument (name taken, no such shape), full.
  std::span<std::byte> allocate(std::string name, DType dtype, std::vector<std::int64_t> shape);

  // Nobody may write any more; the memory is gone afterwards. `head` says the rest: structure, attachments, message,
  // step, meta; its rows and slots must be none. Once only, whatever comes of it. Throws as Store::commit does.
  CommitResult commit(const Draft& head = {});

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace tenon
