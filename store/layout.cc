#include "store/layout.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>
#include <map>
#include <numeric>
#include <unordered_map>

#include "mmap/seeded_bug.h"
#include "store/codec.h"
#include "tenon/error.h"
#include "tenon/name.h"

namespace tenon {

namespace {

using format::Extra;
using format::LayoutHeader;

constexpr std::size_t rank_max = 64;  // torch's own limit
constexpr std::uint64_t column_alignment = 64;

// Where every column begins, chained from the counts alone: there are no stored offsets that could be wrong.
struct Columns {
  std::uint64_t names_begin, order, name_index, dims_begin, slot, object, extra, offset, dtype, kind, flags;
  std::uint64_t slot_bytes, slot_location, slot_dtype, extras, strings_begin, dims, names, strings, end;

  explicit Columns(const LayoutHeader& h) {
    const std::uint64_t n = h.tensor_count, s = h.slot_count;
    std::uint64_t cursor = sizeof(LayoutHeader);
    const auto column = [&cursor](std::uint64_t count, std::uint64_t width) {
      const std::uint64_t begin = format::align_up(cursor, column_alignment);
      cursor = begin + count * width;
      return begin;
    };
    names_begin = column(n + 1, 4);
    order = column(n, 4);
    name_index = column(h.name_index_size, 4);
    dims_begin = column(n + 1, 4);
    slot = column(n, 4);
    object = column(n, 4);
    extra = column(n, 4);
    offset = column(n, 8);
    dtype = column(n, 1);
    kind = column(n, 1);
    flags = column(n, 2);
    slot_bytes = column(s, 8);
    slot_location = column(s, 4);
    slot_dtype = column(s, 1);
    extras = column(h.extra_count, sizeof(Extra));
    strings_begin = column(std::uint64_t{h.string_count} + 1, 4);
    dims = column(h.dims_count, 8);
    names = column(h.names_bytes, 1);
    strings = column(h.strings_bytes, 1);
    end = cursor;
  }
};

std::uint32_t name_index_size_for(std::size_t tensors) {
  return tensors == 0 ? 0 : static_cast<std::uint32_t>(std::bit_ceil(tensors * 2));
}

std::uint64_t hash_name(std::string_view name) { return checksum_bytes(std::as_bytes(std::span(name))); }

[[noreturn]] void refuse(const TensorDraft& tensor, std::string what, std::string got = {}, std::string wanted = {}) {
  throw Error(
      ErrorKind::invalid_argument,
      {.what = "tensor '" + printable(tensor.name) + "': " + what, .got = std::move(got), .wanted = std::move(wanted)});
}

void check_tensor_draft(const Draft& draft, const TensorDraft& t, std::size_t row) {
  if (t.name.empty()) refuse(t, "has no name");
  if (!is_valid(t.dtype)) refuse(t, "has no valid dtype");
  if (t.shape.size() != t.stride.size() || t.shape.size() > rank_max) {
    refuse(t, "shape and stride must have one rank of at most 64",
           std::to_string(t.shape.size()) + " and " + std::to_string(t.stride.size()));
  }
  if (t.global_shape.size() != t.global_offset.size()) refuse(t, "global shape and offset differ in rank");
  if (t.slot == no_slot) {
    if (!is_inside(t.dtype, t.shape, t.stride, 0, UINT64_MAX))
      refuse(t, "has a shape or stride that is negative or too large");
  } else {
    if (t.slot >= draft.slots.size()) refuse(t, "names a slot that is not there", std::to_string(t.slot));
    const std::uint64_t nbytes = draft.slots[t.slot].nbytes;
    if (!is_inside(t.dtype, t.shape, t.stride, t.storage_offset_bytes, nbytes)) {
      refuse(t, "reaches outside its storage", "offset " + std::to_string(t.storage_offset_bytes),
             "within " + std::to_string(nbytes) + " bytes");
    }
  }
  if (t.object) {
    if (*t.object >= row) refuse(t, "names a later row as the same object");
    const TensorDraft& first = draft.tensors[*t.object];
    if (first.slot != t.slot || first.dtype != t.dtype || first.shape != t.shape || first.stride != t.stride ||
        first.storage_offset_bytes != t.storage_offset_bytes) {
      refuse(t, "differs from the row it says it is");
    }
  }
}

// Interns strings; index 0 is always "".
class StringTable {
 public:
  std::uint32_t intern(const std::string& text) {
    const auto [it, is_new] = indices_.try_emplace(text, static_cast<std::uint32_t>(begins_.size() - 1));
    if (is_new) {
      begins_.push_back(length_32(bytes_.size() + text.size()));
      bytes_ += text;
    }
    return it->second;
  }
  std::uint32_t optional(const std::string& text) { return text.empty() ? format::none : intern(text); }
  const std::vector<std::uint32_t>& begins() const { return begins_; }
  const std::string& bytes() const { return bytes_; }

 private:
  std::map<std::string, std::uint32_t> indices_;
  std::vector<std::uint32_t> begins_{0};
  std::string bytes_;
};

// The variable-length columns, gathered before their sizes fix where the others begin.
struct Gathered {
  StringTable strings;
  std::vector<Extra> extras;
  std::vector<std::uint32_t> extra_of_row, dims_begin, names_begin{0}, slot_location;
  std::vector<std::int64_t> dims;
  std::string names;
};

Gathered gather(const Draft& draft) {
  Gathered g;
  g.strings.intern("");
  const auto append = [&g](const std::vector<std::int64_t>& values) {
    g.dims.insert(g.dims.end(), values.begin(), values.end());
  };
  for (const TensorDraft& t : draft.tensors) {
    g.names += t.name;
    g.names_begin.push_back(static_cast<std::uint32_t>(g.names.size()));
    g.dims_begin.push_back(static_cast<std::uint32_t>(g.dims.size()));
    append(t.shape);
    append(t.stride);
  }
  g.dims_begin.push_back(static_cast<std::uint32_t>(g.dims.size()));
  for (const TensorDraft& t : draft.tensors) {
    const bool is_shard = !t.global_shape.empty();
    if (t.wrapper.empty() && t.quantizer.empty() && t.param.empty() && !is_shard) {
      g.extra_of_row.push_back(format::none);
      continue;
    }
    g.extra_of_row.push_back(static_cast<std::uint32_t>(g.extras.size()));
    g.extras.push_back({.wrapper = g.strings.optional(t.wrapper),
                        .quantizer = g.strings.optional(t.quantizer),
                        .shard_dims = is_shard ? static_cast<std::uint32_t>(g.dims.size()) : format::none,
                        .shard_rank = static_cast<std::uint32_t>(t.global_shape.size()),
                        .param = g.strings.intern(t.param),
                        .reserved = {}});
    append(t.global_shape);
    append(t.global_offset);
  }
  for (const SlotDraft& slot : draft.slots) g.slot_location.push_back(g.strings.intern(slot.location));
  return g;
}

std::vector<std::uint32_t> sorted_order(const Draft& draft) {
  std::vector<std::uint32_t> order(draft.tensors.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(),
            [&](std::uint32_t a, std::uint32_t b) { return draft.tensors[a].name < draft.tensors[b].name; });
  return order;
}

// Open addressing with linear probing; half empty at least.
std::vector<std::uint32_t> build_name_index(const Draft& draft) {
  std::vector<std::uint32_t> index(name_index_size_for(draft.tensors.size()), format::none);
  for (std::uint32_t row = 0; row < draft.tensors.size(); ++row) {
    std::uint64_t probe = hash_name(draft.tensors[row].name);
    while (index[probe & (index.size() - 1)] != format::none) ++probe;
    index[probe & (index.size() - 1)] = row;
  }
  return index;
}

template <typename T>
void place(std::vector<std::byte>& out, std::uint64_t offset, const T& column) {
  const auto bytes = std::as_bytes(std::span(column));
  if (!bytes.empty()) std::memcpy(out.data() + offset, bytes.data(), bytes.size());
}

void place_rows(std::vector<std::byte>& out, const Columns& at, const Draft& draft) {
  std::vector<std::uint32_t> slot, object;
  std::vector<std::uint64_t> offset;
  std::vector<std::uint8_t> dtype, kind;
  std::vector<std::uint16_t> flags;
  for (std::uint32_t row = 0; row < draft.tensors.size(); ++row) {
    const TensorDraft& t = draft.tensors[row];
    slot.push_back(t.slot);
    object.push_back(t.object.value_or(row));
    offset.push_back(t.storage_offset_bytes);
    dtype.push_back(static_cast<std::uint8_t>(t.dtype));
    kind.push_back(static_cast<std::uint8_t>(t.kind));
    flags.push_back(static_cast<std::uint16_t>((t.requires_grad ? format::flag_requires_grad : 0) |
                                               (t.is_conj ? format::flag_conj : 0) |
                                               (t.is_neg ? format::flag_neg : 0)));
  }
  place(out, at.slot, slot);
  place(out, at.object, object);
  place(out, at.offset, offset);
  place(out, at.dtype, dtype);
  place(out, at.kind, kind);
  place(out, at.flags, flags);
}

void place_slots(std::vector<std::byte>& out, const Columns& at, const Draft& draft, const Gathered& g) {
  std::vector<std::uint64_t> nbytes;
  std::vector<std::uint8_t> dtype;
  for (const SlotDraft& slot : draft.slots) {
    nbytes.push_back(slot.nbytes);
    dtype.push_back(static_cast<std::uint8_t>(slot.storage_dtype));
  }
  place(out, at.slot_bytes, nbytes);
  place(out, at.slot_location, g.slot_location);
  place(out, at.slot_dtype, dtype);
}

bool is_prefix_of(std::string_view prefix, std::string_view name) {
  if (prefix.empty()) return true;
  if (!name.starts_with(prefix)) return false;
  return name.size() == prefix.size() || name[prefix.size()] == '/' || name[prefix.size()] == '.';
}

}  // namespace

bool is_inside(DType dtype, std::span<const std::int64_t> shape, std::span<const std::int64_t> stride,
               std::uint64_t offset_bytes, std::uint64_t slot_bytes) noexcept {
  std::int64_t numel = 1;
  std::int64_t last_element = 0;  // index of the last element, counted from the first
  bool is_empty = false;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] < 0 || stride[d] < 0) return false;
    if (shape[d] == 0) {
      is_empty = true;
      continue;
    }
    std::int64_t reach = 0;
    if (__builtin_mul_overflow(numel, shape[d], &numel) || __builtin_mul_overflow(shape[d] - 1, stride[d], &reach) ||
        __builtin_add_overflow(last_element, reach, &last_element)) {
      return false;
    }
  }
  if (is_empty) return true;
  std::uint64_t bits = 0;
  if (__builtin_mul_overflow(static_cast<std::uint64_t>(last_element) + 1, std::uint64_t{dtype_info(dtype).bits},
                             &bits) &&
      !seeded_bug("product_unchecked"))
    return false;
  const std::uint64_t bytes = bits / 8 + (bits % 8 != 0 ? 1 : 0);
  if (seeded_bug("offset_unchecked")) return bytes <= slot_bytes;
  const std::uint64_t room = slot_bytes - offset_bytes + (seeded_bug("size_check_off_by_one") ? 1 : 0);
  return offset_bytes <= slot_bytes && bytes <= room;
}

void check_draft(const Draft& draft) {
  if (draft.tensors.size() >= format::none || draft.slots.size() >= format::none) {
    throw Error(ErrorKind::limit, {.what = "a snapshot holds fewer than 2^32 - 1 tensors and slots"});
  }
  std::unordered_map<std::string_view, std::size_t> rows;
  std::uint64_t names_bytes = 0;
  std::uint64_t dims = 0;
  for (std::size_t row = 0; row < draft.tensors.size(); ++row) {
    const TensorDraft& t = draft.tensors[row];
    check_tensor_draft(draft, t, row);
    if (!rows.try_emplace(t.name, row).second) refuse(t, "its name is there twice");
    names_bytes += t.name.size();
    dims += 2 * (t.shape.size() + t.global_shape.size());
  }
  for (std::size_t slot = 0; slot < draft.slots.size(); ++slot) {
    const SlotDraft& s = draft.slots[slot];
    if (s.source.read || s.source.memory.size() == s.nbytes) continue;
    throw Error(ErrorKind::invalid_argument,
                {.what = "slot " + std::to_string(slot) + " has a source of another length",
                 .got = std::to_string(s.source.memory.size()) + " bytes",
                 .wanted = std::to_string(s.nbytes)});
  }
  if (names_bytes > UINT32_MAX || dims > UINT32_MAX) {
    throw Error(ErrorKind::limit, {.what = "names or dimensions of a snapshot exceed 2^32 bytes or entries"});
  }
}

std::vector<std::byte> encode_layout(const Draft& draft) {
  const Gathered g = gather(draft);
  LayoutHeader header{};
  std::memcpy(header.magic, format::layout_magic, sizeof header.magic);
  header.version = 1;
  header.tensor_count = static_cast<std::uint32_t>(draft.tensors.size());
  header.slot_count = static_cast<std::uint32_t>(draft.slots.size());
  header.string_count = static_cast<std::uint32_t>(g.strings.begins().size() - 1);
  header.extra_count = static_cast<std::uint32_t>(g.extras.size());
  header.name_index_size = name_index_size_for(draft.tensors.size());
  header.names_bytes = g.names.size();
  header.dims_count = g.dims.size();
  header.strings_bytes = g.strings.bytes().size();
  const Columns at(header);
  header.total_bytes = at.end;

  std::vector<std::byte> out(at.end);
  std::memcpy(out.data(), &header, sizeof header);
  place(out, at.names_begin, g.names_begin);
  place(out, at.order, sorted_order(draft));
  place(out, at.name_index, build_name_index(draft));
  place(out, at.dims_begin, g.dims_begin);
  place(out, at.extra, g.extra_of_row);
  place_rows(out, at, draft);
  place_slots(out, at, draft, g);
  place(out, at.extras, g.extras);
  place(out, at.strings_begin, g.strings.begins());
  place(out, at.dims, g.dims);
  place(out, at.names, g.names);
  place(out, at.strings, g.strings.bytes());
  return out;
}

Layout Layout::open(std::span<const std::byte> bytes, const std::string& file, std::uint64_t base_offset) {
  const auto fail = [&](std::string what, std::string got = {}, std::string wanted = {}) {
    throw Error(ErrorKind::corrupt, {.what = "layout " + what,
                                     .file = file,
                                     .offset = base_offset,
                                     .got = std::move(got),
                                     .wanted = std::move(wanted)});
  };
  if (bytes.size() < sizeof(LayoutHeader)) fail("is shorter than its header");
  Layout l;
  l.header_ = reinterpret_cast<const LayoutHeader*>(bytes.data());
  const LayoutHeader& h = *l.header_;
  if (std::memcmp(h.magic, format::layout_magic, sizeof h.magic) != 0 || h.version != 1)
    fail("has a wrong magic or version");
  // Counts are bounded by the bytes at hand before anything is multiplied by them.
  if (h.dims_count > bytes.size() || h.names_bytes > bytes.size() || h.strings_bytes > bytes.size())
    fail("counts more than it holds");
  const Columns at(h);
  if (at.end != bytes.size() || h.total_bytes != at.end) {
    fail("size does not follow from its counts", std::to_string(bytes.size()), std::to_string(at.end));
  }
  if (h.name_index_size != name_index_size_for(h.tensor_count)) fail("has a name index of the wrong size");
  const auto column = [&]<typename T>(const T*& pointer, std::uint64_t offset) {
    pointer = reinterpret_cast<const T*>(bytes.data() + offset);
  };
  column(l.names_begin_, at.names_begin);
  column(l.order_, at.order);
  column(l.name_index_, at.name_index);
  column(l.dims_begin_, at.dims_begin);
  column(l.slot_, at.slot);
  column(l.object_, at.object);
  column(l.extra_, at.extra);
  column(l.offset_, at.offset);
  column(l.dtype_, at.dtype);
  column(l.kind_, at.kind);
  column(l.flags_, at.flags);
  column(l.slot_bytes_, at.slot_bytes);
  column(l.slot_location_, at.slot_location);
  column(l.slot_dtype_, at.slot_dtype);
  column(l.extras_, at.extras);
  column(l.strings_begin_, at.strings_begin);
  column(l.dims_, at.dims);
  column(l.names_, at.names);
  column(l.strings_, at.strings);
  l.check_slots(file, base_offset);
  l.check_rows(file, base_offset);
  return l;
}

void Layout::check_slots(const std::string& file, std::uint64_t base_offset) const {
  const auto fail = [&](const char* what, const void* field) {
    throw Error(ErrorKind::corrupt, {.what = what, .file = file, .offset = base_offset + offset_of(field)});
  };
  for (std::uint32_t i = 0; i < header_->string_count; ++i) {
    if (strings_begin_[i] > strings_begin_[i + 1]) fail("layout strings are out of order", &strings_begin_[i]);
  }
  if (strings_begin_[0] != 0 || strings_begin_[header_->string_count] != header_->strings_bytes) {
    fail("layout strings do not fill their column", strings_begin_);
  }
  for (std::uint32_t s = 0; s < header_->slot_count; ++s) {
    if (slot_location_[s] >= header_->string_count) fail("slot location is no string", &slot_location_[s]);
    if (slot_dtype_[s] != 0 && !is_valid(slot_dtype(s))) fail("slot has an unknown storage dtype", &slot_dtype_[s]);
  }
  for (std::uint32_t e = 0; e < header_->extra_count; ++e) {
    const Extra& extra = extras_[e];
    const auto is_string = [&](std::uint32_t s) { return s == format::none || s < header_->string_count; };
    if (!is_string(extra.wrapper) || !is_string(extra.quantizer) || extra.param >= header_->string_count)
      fail("extra names a string that is not there", &extra);
    if (extra.shard_dims != format::none &&
        std::uint64_t{extra.shard_dims} + 2 * std::uint64_t{extra.shard_rank} > header_->dims_count) {
      fail("shard dimensions lie outside their column", &extra);
    }
  }
}

void Layout::check_rows(const std::string& file, std::uint64_t base_offset) const {
  const std::uint32_t n = tensor_count();
  if (names_begin_[0] != 0 || names_begin_[n] != header_->names_bytes || dims_begin_[n] > header_->dims_count) {
    throw Error(ErrorKind::corrupt, {.what = "layout names or dimensions do not fill their column",
                                     .file = file,
                                     .offset = base_offset + offset_of(names_begin_)});
  }
  for (std::uint32_t row = 0; row < n; ++row) check_row(row, file, base_offset);
}

void Layout::check_row(std::uint32_t row, const std::string& file, std::uint64_t base_offset) const {
  const auto fail = [&](const char* what, const void* field) {
    throw Error(
        ErrorKind::corrupt,
        {.what = "row " + std::to_string(row) + ": " + what, .file = file, .offset = base_offset + offset_of(field)});
  };
  if (names_begin_[row] > names_begin_[row + 1]) fail("names are out of order", &names_begin_[row]);
  if (dims_begin_[row] > dims_begin_[row + 1] || dims_begin_[row + 1] > header_->dims_count ||
      (dims_begin_[row + 1] - dims_begin_[row]) % 2 != 0)
    fail("dimensions are out of order", &dims_begin_[row]);
  if (shape(row).size() > rank_max) fail("more dimensions than 64", &dims_begin_[row]);
  if ((flags_[row] & ~(format::flag_requires_grad | format::flag_conj | format::flag_neg)) != 0)
    fail("unknown flags", &flags_[row]);
  if (!is_valid(dtype(row))) fail("unknown dtype", &dtype_[row]);
  if (kind_[row] > static_cast<std::uint8_t>(TensorKind::buffer)) fail("unknown kind", &kind_[row]);
  if (order_[row] >= tensor_count()) fail("order names no row", &order_[row]);
  if (object_[row] > row) fail("object is a later row", &object_[row]);
  if (extra_[row] != format::none && extra_[row] >= header_->extra_count) fail("extra is not there", &extra_[row]);
  if (slot_[row] == format::none) {
    if (!is_inside(dtype(row), shape(row), stride(row), 0, UINT64_MAX))
      fail("shape or stride overflows", &dims_[dims_begin_[row]]);
    return;
  }
  if (slot_[row] >= slot_count()) fail("slot is not there", &slot_[row]);
  if (!is_inside(dtype(row), shape(row), stride(row), offset_[row], slot_bytes_[slot_[row]])) {
    fail("tensor reaches outside its slot", &offset_[row]);
  }
}

std::uint64_t Layout::offset_of(const void* field) const noexcept {
  return static_cast<std::uint64_t>(static_cast<const std::byte*>(field) - reinterpret_cast<const std::byte*>(header_));
}

std::string_view Layout::string(std::uint32_t index) const noexcept {
  return {strings_ + strings_begin_[index], strings_begin_[index + 1] - strings_begin_[index]};
}

std::string_view Layout::name(std::uint32_t row) const noexcept {
  return {names_ + names_begin_[row], names_begin_[row + 1] - names_begin_[row]};
}

std::span<const std::int64_t> Layout::shape(std::uint32_t row) const noexcept {
  return {dims_ + dims_begin_[row], (dims_begin_[row + 1] - dims_begin_[row]) / 2};
}

std::span<const std::int64_t> Layout::stride(std::uint32_t row) const noexcept {
  const std::size_t rank = (dims_begin_[row + 1] - dims_begin_[row]) / 2;
  return {dims_ + dims_begin_[row] + rank, rank};
}

TensorRow Layout::tensor(std::uint32_t row) const noexcept {
  TensorRow t;
  t.name = name(row);
  t.dtype = dtype(row);
  t.kind = static_cast<TensorKind>(kind_[row]);
  t.requires_grad = (flags_[row] & format::flag_requires_grad) != 0;
  t.is_conj = (flags_[row] & format::flag_conj) != 0;
  t.is_neg = (flags_[row] & format::flag_neg) != 0;
  t.slot = slot_[row];
  t.object = object_[row];
  t.storage_offset_bytes = offset_[row];
  t.shape = shape(row);
  t.stride = stride(row);
  if (extra_[row] == format::none) return t;
  const Extra& extra = extras_[extra_[row]];
  if (extra.wrapper != format::none) t.wrapper = string(extra.wrapper);
  if (extra.quantizer != format::none) t.quantizer = string(extra.quantizer);
  t.param = string(extra.param);
  if (extra.shard_dims != format::none) {
    t.global_shape = {dims_ + extra.shard_dims, extra.shard_rank};
    t.global_offset = {dims_ + extra.shard_dims + extra.shard_rank, extra.shard_rank};
  }
  return t;
}

std::optional<std::uint32_t> Layout::find(std::string_view wanted) const noexcept {
  const std::uint64_t size = header_->name_index_size;
  if (size == 0) return std::nullopt;
  const std::uint64_t first = hash_name(wanted);
  for (std::uint64_t probe = 0; probe < size; ++probe) {  // bounded, should the index be a forged one
    const std::uint32_t row = name_index_[(first + probe) & (size - 1)];
    if (row >= tensor_count()) return std::nullopt;
    if (name(row) == wanted) return row;
  }
  return std::nullopt;
}

std::vector<std::uint32_t> Layout::select(std::string_view prefix) const {
  const auto rows = order();
  auto begin = std::lower_bound(rows.begin(), rows.end(), prefix,
                                [this](std::uint32_t row, std::string_view wanted) { return name(row) < wanted; });
  std::vector<std::uint32_t> selected;
  for (; begin != rows.end() && name(*begin).starts_with(prefix); ++begin) {
    if (is_prefix_of(prefix, name(*begin))) selected.push_back(*begin);
  }
  return selected;
}

void Layout::check_names(const std::string& file) const {
  const auto rows = order();
  for (std::size_t i = 1; i < rows.size(); ++i) {
    if (name(rows[i - 1]) >= name(rows[i])) {
      throw Error(ErrorKind::corrupt, {.what = "layout's sorted order is wrong at " + std::to_string(i), .file = file});
    }
  }
  for (std::uint32_t row = 0; row < tensor_count(); ++row) {
    if (find(name(row)) != row)
      throw Error(ErrorKind::corrupt, {.what = "layout's name index misses row " + std::to_string(row), .file = file});
  }
}

}  // namespace tenon
