// One element of a tensor as a value: every element type, whatever its stride.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "query/statistics.h"
#include "query/table.h"

namespace tenon {

struct Element {
  Cell value{};                       // INTEGER or REAL; the real part of a complex number; NULL for packed pairs
  std::optional<double> imaginary{};  // of a complex number
  bool is_nan = false;
  std::string text{};  // as Python would print it
};

// `index`: one per dimension, within the shape. Conjugation and negation are the caller's to say.
struct ElementReader {
  Values values;  // as they are stored; with scales, what numbers stand for
  bool is_conj = false;
  bool is_neg = false;

  Element at(std::span<const std::int64_t> index) const;
  // What functions count with: the value, a complex number's magnitude; nullopt for what is no number.
  std::optional<double> number_at(std::span<const std::int64_t> index) const;
};

// A row's elements; nullopt for a row without data.
class TensorSet;
std::optional<ElementReader> elements_of(TensorSet& set, std::uint32_t row);

}  // namespace tenon
