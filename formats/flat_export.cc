#include "formats/flat_export.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>

#include "formats/strides.h"
#include "tenon/error.h"
#include "tenon/name.h"

namespace tenon {

namespace {

constexpr std::uint64_t leaf_bytes = std::uint64_t{64} << 10;  // what a verified reader reads at least
// An expanded tensor has more elements than its storage: above this it is not written out.
constexpr std::uint64_t max_expanded_bytes = std::uint64_t{1} << 30;

[[noreturn]] void refuse(const TensorRow& row, const std::string& format, ErrorKind kind, std::string why,
                         std::string got = {}) {
  throw Error(kind, {.what = fmt::format("tensor {} {}, which {} cannot say", printable(row.name), why, format),
                     .got = std::move(got),
                     .hint = "export to .pt, or select other tensors with REV:PREFIX"});
}

// Valid rows have extents that multiply to a number of elements, but their bytes may be more than can be counted.
std::uint64_t dense_bytes(const TensorRow& row) {
  return array_bytes(row.shape, 8 * item_bytes(row.dtype)).value_or(UINT64_MAX);
}

void require_plain(const Snapshot& snapshot, const TensorRow& row, const std::string& format) {
  if (row.slot == no_slot) refuse(row, format, ErrorKind::unsupported, "has no data");
  if (row.is_conj) refuse(row, format, ErrorKind::unsupported, "is lazily conjugated");
  if (row.is_neg) refuse(row, format, ErrorKind::unsupported, "is lazily negated");
  if (!row.quantizer.empty() || dtype_info(row.dtype).kind == DTypeClass::quantized) {
    refuse(row, format, ErrorKind::unsupported, "is quantized", std::string(dtype_info(row.dtype).name));
  }
  const std::uint64_t nbytes = dense_bytes(row);
  if (nbytes <= snapshot.slot(row.slot).nbytes || nbytes <= max_expanded_bytes) return;
  throw Error(ErrorKind::limit, {.what = fmt::format("tensor {} repeats its storage too often", printable(row.name)),
                                 .got = fmt::format("{} bytes from {}", nbytes, snapshot.slot(row.slot).nbytes),
                                 .wanted = fmt::format("at most {}", max_expanded_bytes),
                                 .hint = "export to .pt, which keeps views"});
}

// What remains of a name below a prefix, and the string it stands for if it is one component.
std::string key_of(std::string_view name, std::string_view prefix) {
  const bool is_cut_in_component = !prefix.empty() && name.size() > prefix.size() && name[prefix.size()] == '.';
  const std::string_view rest = prefix.empty() || name == prefix ? name : name.substr(prefix.size() + 1);
  if (is_cut_in_component || !rest.starts_with('"')) return std::string(rest);
  const Path path = parse_name(rest);
  const auto* text = path.size() == 1 ? std::get_if<std::string>(&path[0]) : nullptr;
  return text == nullptr ? std::string(rest) : *text;
}

void require_different_keys(const Snapshot& snapshot, const std::vector<FlatTensor>& tensors,
                            const std::string& format) {
  std::unordered_map<std::string_view, std::uint32_t> row_of_key;
  for (const FlatTensor& tensor : tensors) {
    const auto [entry, is_new] = row_of_key.try_emplace(tensor.key, tensor.row);
    if (is_new) continue;
    refuse(snapshot.row(tensor.row), format, ErrorKind::unsupported, "would have the name of another",
           printable(snapshot.row(entry->second).name));
  }
}

std::uint64_t last_element(const TensorRow& row) {
  std::uint64_t last = 0;
  for (std::size_t d = 0; d < row.shape.size(); ++d) {
    last += static_cast<std::uint64_t>(row.shape[d] - 1) * static_cast<std::uint64_t>(row.stride[d]);
  }
  return last;
}

// Walks the elements of a strided tensor in row-major order from any one on.
class Walk {
 public:
  Walk(const TensorRow& row, std::uint64_t first) : row_(row), index_(row.shape.size()) {
    for (std::size_t d = row.shape.size(); d-- > 0;) {
      const auto extent = static_cast<std::uint64_t>(row.shape[d]);
      index_[d] = first % extent;
      first /= extent;
      at_ += index_[d] * static_cast<std::uint64_t>(row.stride[d]);
    }
  }

  std::uint64_t at() const noexcept { return at_; }

  void advance() noexcept {
    for (std::size_t d = index_.size(); d-- > 0;) {
      const auto stride = static_cast<std::uint64_t>(row_.stride[d]);
      at_ += stride;
      if (++index_[d] < static_cast<std::uint64_t>(row_.shape[d])) return;
      at_ -= stride * index_[d];
      index_[d] = 0;
    }
  }

 private:
  const TensorRow& row_;
  std::vector<std::uint64_t> index_;
  std::uint64_t at_ = 0;
};

template <std::size_t item>
void gather_items(Walk walk, std::span<const std::byte> from, std::span<std::byte> out) {
  for (std::size_t at = 0; at < out.size(); at += item, walk.advance()) {
    std::memcpy(out.data() + at, from.data() + walk.at() * item, item);
  }
}

}  // namespace

void refuse_dtype(const TensorRow& row, const std::string& format) {
  refuse(row, format, ErrorKind::unsupported, "has an element type", std::string(dtype_info(row.dtype).name));
}

std::vector<FlatTensor> select_flat(const Snapshot& snapshot, const std::string& prefix, const std::string& format) {
  std::vector<std::uint32_t> rows = snapshot.select(prefix);
  std::sort(rows.begin(), rows.end());
  if (rows.empty() && !prefix.empty()) {
    throw Error(ErrorKind::not_found, {.what = "no tensor is named " + printable(prefix) + " or lies below it"});
  }
  std::vector<FlatTensor> tensors;
  tensors.reserve(rows.size());
  for (const std::uint32_t index : rows) {
    const TensorRow row = snapshot.row(index);
    require_plain(snapshot, row, format);
    tensors.push_back({.key = key_of(row.name, prefix), .row = index, .nbytes = dense_bytes(row)});
  }
  require_different_keys(snapshot, tensors, format);
  return tensors;
}

std::uint64_t count_sharing(const Snapshot& snapshot, const std::vector<FlatTensor>& tensors) {
  std::unordered_set<std::uint32_t> slots;
  std::uint64_t count = 0;
  for (const FlatTensor& tensor : tensors) count += slots.insert(snapshot.row(tensor.row).slot).second ? 0u : 1u;
  return count;
}

bool is_fortran_order(const TensorRow& row) noexcept {
  return is_column_major(row.shape, row.stride) && !is_row_major(row.shape, row.stride);
}

DenseElements::DenseElements(const Snapshot& snapshot, const FlatTensor& tensor, ElementOrder order)
    : snapshot_(snapshot), row_(snapshot.row(tensor.row)), nbytes_(tensor.nbytes) {
  slot_bytes_ = snapshot_.slot(row_.slot).nbytes;
  is_one_range_ =
      is_row_major(row_.shape, row_.stride) || (order == ElementOrder::as_it_lies && is_fortran_order(row_));
  if (nbytes_ == 0) return;
  reader_ = snapshot_.verified_reader(row_.slot);
  if (!is_one_range_) load_reach();
}

void DenseElements::read(std::uint64_t offset, std::span<std::byte> out) const {
  if (out.empty()) return;
  is_one_range_ ? read_range(row_.storage_offset_bytes + offset, out) : gather(offset, out);
}

// Whole leaves are read, and what was asked for is taken from them.
void DenseElements::read_range(std::uint64_t offset, std::span<std::byte> out) const {
  const std::uint64_t begin = offset / leaf_bytes * leaf_bytes;
  const std::uint64_t wanted_end = offset + out.size();
  const std::uint64_t end = std::min((wanted_end + leaf_bytes - 1) / leaf_bytes * leaf_bytes, slot_bytes_);
  if (begin == offset && end == wanted_end) return reader_(offset, out);
  std::vector<std::byte> leaves(end - begin);
  reader_(begin, leaves);
  std::memcpy(out.data(), leaves.data() + (offset - begin), out.size());
}

void DenseElements::load_reach() {
  reach_.resize((last_element(row_) + 1) * item_bytes(row_.dtype));
  read_range(row_.storage_offset_bytes, reach_);
}

void DenseElements::gather(std::uint64_t offset, std::span<std::byte> out) const {
  const std::uint64_t item = item_bytes(row_.dtype);
  if (offset % item != 0 || out.size() % item != 0) {
    const std::uint64_t begin = offset / item * item;
    const std::uint64_t end = (offset + out.size() + item - 1) / item * item;
    std::vector<std::byte> whole(end - begin);
    gather(begin, whole);
    std::memcpy(out.data(), whole.data() + (offset - begin), out.size());
    return;
  }
  const Walk walk(row_, offset / item);
  switch (item) {
    case 1:
      return gather_items<1>(walk, reach_, out);
    case 2:
      return gather_items<2>(walk, reach_, out);
    case 4:
      return gather_items<4>(walk, reach_, out);
    case 8:
      return gather_items<8>(walk, reach_, out);
    default:
      assert(item == 16);
      return gather_items<16>(walk, reach_, out);
  }
}

}  // namespace tenon
