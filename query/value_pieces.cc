#include "query/value_pieces.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <string>
#include <thread>

#include "query/summary_kernels.h"
#include "store/parallel.h"
#include "store/value_statistics.h"
#include "tenon/error.h"

namespace tenon {

namespace {

constexpr std::uint64_t piece_bytes = 4 << 20;              // a millisecond or less
constexpr std::size_t block_bytes = 32 * 1024;              // stays in the first- or second-level cache for all kernels
constexpr std::size_t expanded = 2048;                      // elements that are made doubles at a time
constexpr std::uint64_t work_max = std::uint64_t{1} << 36;  // elements

std::uint64_t inner_count(std::span<const WalkDimension> dimensions) {
  std::uint64_t count = 1;
  for (const WalkDimension& dimension : dimensions.subspan(1)) count *= dimension.size;
  return count;
}

}  // namespace

StridedTensor slice_at(const StridedTensor& tensor, std::size_t dimension, std::int64_t index,
                       std::vector<std::int64_t>& shape, std::vector<std::int64_t>& stride) {
  shape.assign(tensor.shape.begin(), tensor.shape.end());
  stride.assign(tensor.stride.begin(), tensor.stride.end());
  shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(dimension));
  stride.erase(stride.begin() + static_cast<std::ptrdiff_t>(dimension));
  const std::int64_t offset = index * tensor.stride[dimension] * static_cast<std::int64_t>(item_bytes(tensor.dtype));
  return {tensor.dtype, tensor.data + offset, shape, stride};
}

ValuePieces::ValuePieces(const Values& values, const ReadPoll& poll) : dtype_(values.tensor.dtype), poll_(poll) {
  const StridedTensor& tensor = values.tensor;
  const std::uint64_t work = strided_work(tensor.shape, tensor.stride);
  if (work > work_max) {
    throw Error(ErrorKind::limit, {.what = "too many elements to read",
                                   .got = std::to_string(work),
                                   .wanted = "at most " + std::to_string(work_max)});
  }
  if (values.scales.size() <= 1) {
    add(tensor, values.scales.empty() ? std::nullopt : std::optional(values.scales.front()));
    return;
  }
  assert(values.scales.size() == static_cast<std::uint64_t>(tensor.shape[values.axis]));
  std::vector<std::int64_t> shape, stride;
  for (std::size_t i = 0; i < values.scales.size(); ++i) {
    add(slice_at(tensor, values.axis, static_cast<std::int64_t>(i), shape, stride), values.scales[i]);
  }
}

void ValuePieces::add(const StridedTensor& tensor, std::optional<ValueScale> scale) {
  const Walk walk = plan_walk(item_bytes(dtype_), tensor.data, tensor.shape, tensor.stride);
  if (walk.is_empty) return;
  weight_ = walk.weight;  // the same for all slices along an axis
  split(walk, scale);
}

void ValuePieces::split(const Walk& walk, std::optional<ValueScale> scale) {
  const std::uint64_t piece_count = piece_bytes / walk.item_bytes;
  if (walk.count() <= piece_count) {
    distinct_count_ += walk.count();
    pieces_.push_back({walk, scale});
    return;
  }
  const std::uint64_t inner = inner_count(walk.dimensions);
  const std::uint64_t step = std::max<std::uint64_t>(1, piece_count / inner);
  const WalkDimension outer = walk.dimensions.front();
  for (std::uint64_t begin = 0; begin < outer.size; begin += step) {
    Walk part = walk;
    part.first += static_cast<std::int64_t>(begin) * outer.stride_bytes;
    part.dimensions.front().size = std::min(step, outer.size - begin);
    if (part.dimensions.front().size == 1 && part.dimensions.size() > 1) part.dimensions.erase(part.dimensions.begin());
    split(part, scale);
  }
}

void ValuePieces::for_each(const std::function<void(std::size_t index)>& task) const {
  const auto caller = std::this_thread::get_id();
  parallel_for(pieces_.size(), threads_for_bytes(distinct_count_ * item_bytes(dtype_)), [&](std::size_t index) {
    if (poll_ && std::this_thread::get_id() == caller) poll_();
    task(index);
  });
}

void ValuePieces::read(std::size_t index, const std::function<void(const ValueBlock&)>& use) const {
  if (!pieces_[index].scale) return read_stored(index, use);
  read_doubles(index, [&](std::span<const double> values) { use({DType::float64, std::as_bytes(values)}); });
}

void ValuePieces::read_stored(std::size_t index, const std::function<void(const ValueBlock&)>& use) const {
  visit_runs(pieces_[index].walk, [&](std::span<const std::byte> bytes) {
    for (; !bytes.empty(); bytes = bytes.subspan(std::min(bytes.size(), block_bytes))) {
      use({dtype_, bytes.first(std::min(bytes.size(), block_bytes))});
    }
  });
}

void ValuePieces::read_doubles(std::size_t index, const std::function<void(std::span<const double>)>& use) const {
  const Piece& piece = pieces_[index];
  const std::size_t item = piece.walk.item_bytes;
  std::array<double, expanded> values;
  visit_runs(piece.walk, [&](std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const auto some = bytes.first(std::min(bytes.size(), expanded * item));
      const std::span<double> made = std::span(values).first(some.size() / item);
      expand_values(dtype_, some.data(), made.size(), made.data());
      if (piece.scale) {
        for (double& value : made) value = (value - piece.scale->zero_point) * piece.scale->scale;
      }
      use(made);
      bytes = bytes.subspan(some.size());
    }
  });
}

}  // namespace tenon
