// A tensor's elements in pieces that several threads read side by side.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "query/statistics.h"
#include "store/value_walk.h"

namespace tenon {

// Dense elements: as they are stored, or made doubles.
struct ValueBlock {
  DType dtype;
  std::span<const std::byte> bytes;
  std::size_t count() const noexcept { return bytes.size() / item_bytes(dtype); }
};

class ValuePieces {
 public:
  // Throws limit. `values` must outlive this.
  ValuePieces(const Values& values, const ReadPoll& poll);

  std::size_t size() const noexcept { return pieces_.size(); }
  // Elements, those that an expanded dimension repeats once; and how often each of them counts.
  std::uint64_t distinct_count() const noexcept { return distinct_count_; }
  std::uint64_t weight() const noexcept { return weight_; }
  std::uint64_t count() const noexcept { return distinct_count_ * weight_; }

  // Calls task(index) for every piece, several at once, and the poll in between in the caller's thread.
  void for_each(const std::function<void(std::size_t index)>& task) const;
  // All elements of a piece, in blocks that stay in the cache, in the order of the memory.
  void read(std::size_t index, const std::function<void(const ValueBlock&)>& use) const;
  // The same as they are stored, without their scale.
  void read_stored(std::size_t index, const std::function<void(const ValueBlock&)>& use) const;
  // The same as doubles, whatever the type.
  void read_doubles(std::size_t index, const std::function<void(std::span<const double>)>& use) const;

 private:
  struct Piece {
    Walk walk;
    std::optional<ValueScale> scale;
  };
  void add(const StridedTensor& tensor, std::optional<ValueScale> scale);
  void split(const Walk& walk, std::optional<ValueScale> scale);

  DType dtype_;
  const ReadPoll& poll_;
  std::vector<Piece> pieces_;
  std::uint64_t distinct_count_ = 0;
  std::uint64_t weight_ = 1;
};

// `values` at one index of a dimension, which is left out. `shape` and `stride` get what the result points into.
StridedTensor slice_at(const StridedTensor& tensor, std::size_t dimension, std::int64_t index,
                       std::vector<std::int64_t>& shape, std::vector<std::int64_t>& stride);

}  // namespace tenon
