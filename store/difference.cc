#include "store/difference.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstring>

#include "store/paired_runs.h"
#include "store/value_elements.h"
#include "store/value_kernels.h"
#include "store/value_statistics.h"

namespace tenon {

namespace {

template <typename Word>
std::uint64_t count_unequal(const std::byte* a, const std::byte* b, std::size_t count) noexcept {
  std::uint64_t unequal = 0;
  for (std::size_t i = 0; i < count; ++i) {
    Word x, y;
    std::memcpy(&x, a + i * sizeof x, sizeof x);
    std::memcpy(&y, b + i * sizeof y, sizeof y);
    unequal += x != y ? 1 : 0;
  }
  return unequal;
}

struct Pair128 {
  std::uint64_t low, high;
  friend bool operator==(const Pair128&, const Pair128&) = default;
};

std::uint64_t count_changed(std::uint64_t item, const std::byte* a, const std::byte* b, std::size_t count) noexcept {
  if (std::memcmp(a, b, count * item) == 0) return 0;
  switch (item) {
    case 1:
      return count_unequal<std::uint8_t>(a, b, count);
    case 2:
      return count_unequal<std::uint16_t>(a, b, count);
    case 4:
      return count_unequal<std::uint32_t>(a, b, count);
    case 8:
      return count_unequal<std::uint64_t>(a, b, count);
    default:
      return count_unequal<Pair128>(a, b, count);
  }
}

// One element as a complex number; reals have no second part.
struct Value {
  double real = 0;
  double imaginary = 0;
};

template <typename Element>
Value value_of(const std::byte* at) noexcept {
  typename Element::Stored stored;
  std::memcpy(&stored, at, sizeof stored);
  return {Element::value(stored), 0};
}

template <typename Part>
Value complex_value_of(const std::byte* at) noexcept {
  return {value_of<Part>(at).real, value_of<Part>(at + sizeof(typename Part::Stored)).real};
}

Value element_value(DType dtype, const std::byte* at) noexcept {
  switch (dtype) {
    case DType::float64:
      return value_of<PlainElement<double>>(at);
    case DType::float32:
      return value_of<PlainElement<float>>(at);
    case DType::float16:
      return value_of<Float16Element>(at);
    case DType::bfloat16:
      return value_of<BFloat16Element>(at);
    case DType::int64:
      return value_of<PlainElement<std::int64_t>>(at);
    case DType::uint64:
      return value_of<PlainElement<std::uint64_t>>(at);
    case DType::int32:
      return value_of<PlainElement<std::int32_t>>(at);
    case DType::uint32:
      return value_of<PlainElement<std::uint32_t>>(at);
    case DType::int16:
      return value_of<PlainElement<std::int16_t>>(at);
    case DType::uint16:
      return value_of<PlainElement<std::uint16_t>>(at);
    case DType::int8:
      return value_of<PlainElement<std::int8_t>>(at);
    case DType::uint8:
      return value_of<PlainElement<std::uint8_t>>(at);
    case DType::bool8:
      return value_of<BoolElement>(at);
    case DType::complex32:
      return complex_value_of<Float16Element>(at);
    case DType::complex64:
      return complex_value_of<PlainElement<float>>(at);
    case DType::complex128:
      return complex_value_of<PlainElement<double>>(at);
    default:
      return {float8_values(dtype)[std::to_integer<unsigned>(*at)], 0};
  }
}

double distance(double older, double newer) noexcept { return older == newer ? 0 : newer - older; }

// Any two types with numbers, one pair after the other.
void compare_slowly(DType older_type, DType newer_type, const std::byte* a, const std::byte* b, std::size_t count,
                    DenseDifference& totals, std::uint64_t& unequal_values) noexcept {
  const std::uint64_t item_a = item_bytes(older_type), item_b = item_bytes(newer_type);
  for (std::size_t i = 0; i < count; ++i) {
    const Value older = element_value(older_type, a + i * item_a);
    const Value newer = element_value(newer_type, b + i * item_b);
    const double norm = std::hypot(older.real, older.imaginary);
    const double change = std::hypot(distance(older.real, newer.real), distance(older.imaginary, newer.imaginary));
    if (!std::isnan(norm)) totals.older_sum_squares += norm * norm;
    const bool are_both_nan = std::isnan(norm) && std::isnan(std::hypot(newer.real, newer.imaginary));
    if (change != 0 && !are_both_nan) ++unequal_values;
    if (std::isnan(change)) continue;
    totals.max_abs = std::max(totals.max_abs, change);
    totals.sum_squares += change * change;
  }
}

bool has_sub_byte_items(DType dtype) noexcept { return dtype_info(dtype).bits < 8; }

bool is_dense(const StridedTensor& tensor) noexcept {
  std::int64_t wanted = 1;
  for (std::size_t d = tensor.shape.size(); d-- > 0;) {
    if (tensor.shape[d] != 1 && tensor.stride[d] != wanted) return false;
    wanted *= tensor.shape[d];
  }
  return true;
}

}  // namespace

std::optional<Difference> strided_difference(const StridedTensor& older, const StridedTensor& newer) {
  if (!std::equal(older.shape.begin(), older.shape.end(), newer.shape.begin(), newer.shape.end())) return std::nullopt;
  if (!has_statistics(older.dtype) || !has_statistics(newer.dtype)) return std::nullopt;
  const PairedRuns runs(older, newer);
  const std::uint64_t work = runs.work();
  if (work > PairedRuns::work_max) return std::nullopt;
  const bool is_same_type = older.dtype == newer.dtype;
  DenseDifference totals;
  std::uint64_t changed = 0;
  runs.visit([&](const std::byte* a, const std::byte* b, std::size_t count) {
    std::uint64_t unequal_values = 0;
    if (is_same_type && has_difference_kernel(older.dtype))
      add_dense_difference(older.dtype, a, b, count, totals);
    else
      compare_slowly(older.dtype, newer.dtype, a, b, count, totals, unequal_values);
    changed += is_same_type ? count_changed(item_bytes(older.dtype), a, b, count) : unequal_values;
    return true;
  });
  return Difference{.count = work * runs.weight_count(),
                    .changed_count = changed * runs.weight_count(),
                    .l2 = std::sqrt(totals.sum_squares * runs.weight()),
                    .max_abs = totals.max_abs,
                    .older_norm = std::sqrt(totals.older_sum_squares * runs.weight())};
}

std::optional<bool> have_same_bits(const StridedTensor& older, const StridedTensor& newer) {
  if (has_sub_byte_items(older.dtype)) {
    if (!is_dense(older) || !is_dense(newer)) return std::nullopt;
    std::uint64_t bits = dtype_info(older.dtype).bits;
    for (const std::int64_t size : older.shape) bits *= static_cast<std::uint64_t>(size);
    return std::memcmp(older.data, newer.data, (bits + 7) / 8) == 0;
  }
  const PairedRuns runs(older, newer);
  if (runs.work() > PairedRuns::work_max) return std::nullopt;
  bool is_same = true;
  const std::uint64_t item = item_bytes(older.dtype);
  runs.visit([&](const std::byte* a, const std::byte* b, std::size_t count) {
    is_same = std::memcmp(a, b, count * item) == 0;
    return is_same;
  });
  return is_same;
}

}  // namespace tenon
