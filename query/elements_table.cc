// elements(rev, path[, slice]): the elements of one tensor, one a row.
#include <algorithm>
#include <array>
#include <cmath>

#include "query/element.h"
#include "query/session_state.h"
#include "query/tables.h"
#include "query/tensor_columns.h"
#include "query/tensor_handle.h"
#include "query/value.h"
#include "tenon/slice.h"

namespace tenon {

namespace {

enum ElementColumn { position, i, j, k, at, value, imag, text, is_nan, is_inf, rev, path, slice };

constexpr std::array<Column, 13> columns_of_table = {{
    {"position", "INTEGER", "place in the whole tensor, in row-major order, from 0"},
    {"i", "INTEGER", "index in dimension 0; NULL if there is none", ColumnRole::plain, push_equal},
    {"j", "INTEGER", "index in dimension 1", ColumnRole::plain, push_equal},
    {"k", "INTEGER", "index in dimension 2", ColumnRole::plain, push_equal},
    {"at", "JSON", "index in every dimension"},
    {"value", "REAL", "the element, INTEGER of integer types; real part of a complex number; NULL for NaN: see is_nan"},
    {"imag", "REAL", "imaginary part of a complex number"},
    {"text", "TEXT", "the element as Python prints it: nan, inf, (1+2j), 0x1f"},
    {"is_nan", "BOOLEAN", "whether it is NaN, which SQL has not"},
    {"is_inf", "BOOLEAN", "whether it is infinite"},
    {"rev", "TEXT", "the snapshot, or REV:PATH, or a value of the column tensor", ColumnRole::required_argument},
    {"path", "TEXT", "the tensor's name", ColumnRole::argument},
    {"slice", "TEXT", "a part of it, as of numpy: 0:4,:,-1", ColumnRole::argument},
}};

class ElementsCursor : public Cursor {
 public:
  explicit ElementsCursor(SessionState& session) : session_(session) {}

  void begin(std::span<const Bound> bounds, RowOrder) override {
    arguments_ = {};
    for (const Bound& bound : bounds) {
      if (bound.column >= rev) arguments_[static_cast<std::size_t>(bound.column - rev)] = text_of(bound.value);
    }
    open();
    for (const Bound& bound : bounds) {
      if (bound.column < rev) narrow(static_cast<std::size_t>(bound.column - i), bound.value);
    }
    start();
  }

  bool at_end() const override { return is_over_; }

  void next() override {
    is_decoded_ = false;
    for (std::size_t d = ranges_.size(); d-- > 0;) {
      const SliceRange& range = ranges_[d];
      if (++steps_[d] < range.count) {
        index_[d] += range.step;
        return;
      }
      steps_[d] = 0;
      index_[d] = range.start;
    }
    is_over_ = true;
  }

  Cell column(int column) override {
    switch (column) {
      case position:
        return place() ? cell_of(*place()) : Cell();
      case i:
      case j:
      case k: {
        const auto d = static_cast<std::size_t>(column - i);
        return d < index_.size() ? Cell(index_[d]) : Cell();
      }
      case at:
        return json_of(index_);
      case rev:
      case path:
      case slice: {
        const auto& argument = arguments_[static_cast<std::size_t>(column - rev)];
        return argument ? Cell(std::string_view(*argument)) : Cell();
      }
      default:
        return value_column(column);
    }
  }
  RowKey key() const override { return {.number = place().value_or(0)}; }

 private:
  void open() {
    if (!arguments_[0]) {
      throw Error(ErrorKind::invalid_argument, {.what = "elements needs a tensor",
                                                .file = std::string(sql_source),
                                                .wanted = "elements(rev, path[, slice])"});
    }
    const TensorRef ref = find_tensor(session_, arguments_[1] ? *arguments_[0] + ":" + *arguments_[1] : *arguments_[0]);
    const TensorRow row = ref.set->row(ref.row);
    shape_.assign(row.shape.begin(), row.shape.end());
    ranges_ = parse_slice(arguments_[2].value_or(""), shape_);
    set_ = ref.set;
    reader_ = elements_of(*set_, ref.row);
  }

  // Of a condition on i, j or k; what is no whole number is left to the engine.
  void narrow(std::size_t dimension, const SqlValue& value) {
    const auto wanted = integer_of(value);
    if (!wanted || dimension >= ranges_.size()) return;
    SliceRange& range = ranges_[dimension];
    const std::int64_t distance = *wanted - range.start;
    const bool is_in = *wanted >= range.start && distance % range.step == 0 && distance / range.step < range.count;
    range = {.start = is_in ? *wanted : 0, .count = is_in ? 1 : 0, .step = 1};
  }

  void start() {
    const auto is_empty = [](const SliceRange& range) { return range.count == 0; };
    is_over_ = !reader_ || std::any_of(ranges_.begin(), ranges_.end(), is_empty);
    is_decoded_ = false;
    steps_.assign(ranges_.size(), 0);
    index_.clear();
    for (const SliceRange& range : ranges_) index_.push_back(range.start);
  }

  std::optional<std::uint64_t> place() const {
    std::uint64_t place = 0;  // below the number of elements, which has been counted where it fits
    for (std::size_t d = 0; d < index_.size(); ++d) {
      if (__builtin_mul_overflow(place, static_cast<std::uint64_t>(shape_[d]), &place)) return std::nullopt;
      place += static_cast<std::uint64_t>(index_[d]);
    }
    return place;
  }

  Cell value_column(int column) {
    if (!is_decoded_) element_ = reader_->at(index_);
    is_decoded_ = true;
    switch (column) {
      case value:
        return element_.value;
      case imag:
        return cell_of(element_.imaginary);
      case text:
        return std::string_view(element_.text);
      case is_nan:
        return cell_of(element_.is_nan);
      default: {
        const auto* real = std::get_if<double>(&element_.value);
        return cell_of((real != nullptr && std::isinf(*real)) ||
                       (element_.imaginary && std::isinf(*element_.imaginary)));
      }
    }
  }

  SessionState& session_;
  std::array<std::optional<std::string>, 3> arguments_;
  std::shared_ptr<TensorSet> set_;
  std::optional<ElementReader> reader_;
  std::vector<std::int64_t> shape_;
  std::vector<SliceRange> ranges_;
  std::vector<std::int64_t> steps_;
  std::vector<std::int64_t> index_;
  bool is_over_ = true;
  bool is_decoded_ = false;
  Element element_;
};

class ElementsTable : public Table {
 public:
  std::string_view name() const override { return "elements"; }
  std::string_view about() const override { return "the elements of one tensor, or of a part of it"; }
  std::span<const Column> columns() const override { return columns_of_table; }
  void estimate(Plan& plan, std::span<const Ordering>, SessionState&) const override {
    plan.rows = 1e6;
    for (const int dimension : {i, j, k}) {
      if (plan.uses(dimension, Op::equal)) plan.rows /= 100;
    }
    plan.cost = 50 + plan.rows;
  }
  std::unique_ptr<Cursor> open(SessionState& session) const override {
    return std::make_unique<ElementsCursor>(session);
  }
};

}  // namespace

const Table& elements_table() {
  static const ElementsTable table;
  return table;
}

}  // namespace tenon
