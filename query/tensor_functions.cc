#include "query/tensor_functions.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "query/element.h"
#include "query/pattern.h"
#include "query/tensor_handle.h"
#include "query/value.h"
#include "tenon/slice.h"

namespace tenon {

namespace {

using Arguments = std::span<const SqlValue>;

constexpr std::int64_t bins_unless_told = 20;
constexpr std::int64_t bins_max = 4096;

bool has_null(Arguments arguments) {
  for (const SqlValue& argument : arguments) {
    if (is_null(argument)) return true;
  }
  return false;
}

// at(tensor, i, j): an element, indices from the end if negative.
Cell at(SessionState& session, Arguments arguments) {
  if (arguments.empty()) {
    throw Error(ErrorKind::invalid_argument, {.what = "at() needs a tensor", .wanted = "at(tensor, i, j)"});
  }
  if (has_null(arguments)) return {};
  const TensorRef ref = find_tensor(session, require_text(arguments[0], "at: tensor"));
  const TensorRow row = ref.set->row(ref.row);
  std::vector<std::int64_t> index;
  for (std::size_t d = 1; d < arguments.size(); ++d) index.push_back(require_integer(arguments[d], "at: index"));
  bool is_in = index.size() == row.shape.size();
  for (std::size_t d = 0; is_in && d < index.size(); ++d) {
    is_in = index[d] < row.shape[d] && index[d] >= -row.shape[d];
    if (index[d] < 0) index[d] += row.shape[d];
  }
  if (!is_in) {
    std::string wanted = "an index for each extent of [";
    for (std::size_t d = 0; d < row.shape.size(); ++d) wanted += (d == 0 ? "" : ", ") + std::to_string(row.shape[d]);
    throw Error(ErrorKind::invalid_argument, {.what = "at() has a wrong index", .wanted = wanted + "]"});
  }
  const auto reader = elements_of(*ref.set, ref.row);
  return reader ? reader->at(index).value : Cell();
}

// Nested JSON arrays, as numpy's tolist() would nest them.
class SliceText {
 public:
  SliceText(SessionState& session, const ElementReader& reader, const std::vector<SliceRange>& ranges)
      : session_(session), reader_(reader), ranges_(ranges), index_(ranges.size()) {}

  std::string run() {
    append(0);
    return std::move(text_);
  }

 private:
  void append(std::size_t dimension) {
    if (dimension == ranges_.size()) return append_element();
    const SliceRange& range = ranges_[dimension];
    if (!range.is_index) text_ += '[';
    for (std::int64_t i = 0; i < range.count; ++i) {
      if (i != 0) text_ += ", ";
      index_[dimension] = range.start + i * range.step;
      append(dimension + 1);
    }
    if (!range.is_index) text_ += ']';
  }

  void append_element() {
    session_.poll();
    const Element element = reader_.at(index_);
    const auto* real = std::get_if<double>(&element.value);
    const bool is_plain = !element.imaginary && (real == nullptr || std::isfinite(*real)) &&
                          !std::holds_alternative<std::monostate>(element.value);
    if (is_plain) {
      text_ += element.text == "True" ? "true" : element.text == "False" ? "false" : element.text;
    } else {
      text_ += '"' + element.text + '"';
    }
    if (text_.size() <= session_.limits().value_bytes) return;
    throw Error(ErrorKind::limit, {.what = "slice() would be too long a text",
                                   .wanted = std::to_string(session_.limits().value_bytes) + " bytes",
                                   .hint = "elements(rev, path, slice) gives a row for each element"});
  }

  SessionState& session_;
  const ElementReader& reader_;
  const std::vector<SliceRange>& ranges_;
  std::vector<std::int64_t> index_;
  std::string text_;
};

Cell slice(SessionState& session, Arguments arguments) {
  if (has_null(arguments)) return {};
  const TensorRef ref = find_tensor(session, require_text(arguments[0], "slice: tensor"));
  const auto ranges = parse_slice(require_text(arguments[1], "slice: part"), ref.set->row(ref.row).shape);
  const auto reader = elements_of(*ref.set, ref.row);
  return reader ? Cell(SliceText(session, *reader, ranges).run()) : Cell();
}

Cell quantile(SessionState& session, Arguments arguments) {
  if (has_null(arguments)) return {};
  const TensorRef ref = find_tensor(session, require_text(arguments[0], "quantile: tensor"));
  const auto summary = ref.set->summarize(ref.row, {.quantiles = {require_real(arguments[1], "quantile: q")}});
  return summary ? Cell(summary->quantiles.front()) : Cell();
}

// histogram(tensor[, bins[, low, high]])
Cell histogram(SessionState& session, Arguments arguments) {
  if (has_null(arguments)) return {};
  const TensorRef ref = find_tensor(session, require_text(arguments[0], "histogram: tensor"));
  const std::int64_t bins = arguments.size() > 1 ? require_integer(arguments[1], "histogram: bins") : bins_unless_told;
  if (bins < 1 || bins > bins_max || arguments.size() == 3) {
    throw Error(ErrorKind::invalid_argument, {.what = "histogram() has wrong arguments",
                                              .got = std::to_string(bins) + " bins",
                                              .wanted = "histogram(tensor[, bins[, low, high]]), 1 to 4096 bins"});
  }
  SummaryRequest request{.bins = static_cast<std::uint32_t>(bins)};
  if (arguments.size() == 4) {
    request.range = {.low = require_real(arguments[2], "histogram: low"),
                     .high = require_real(arguments[3], "histogram: high")};
  }
  const auto summary = ref.set->summarize(ref.row, request);
  if (!summary || !summary->histogram || summary->histogram->counts.empty()) return {};
  std::string text = fmt::format(R"({{"low": {}, "high": {}, "counts": [)", summary->histogram->range.low,
                                 summary->histogram->range.high);
  for (std::size_t i = 0; i < summary->histogram->counts.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(summary->histogram->counts[i]);
  }
  return text + "]}";
}

// Of two tensors of one shape; nullopt for others, and where an argument is NULL.
std::optional<PairSummary> pair_of(SessionState& session, Arguments arguments, std::string_view function,
                                   const PairRequest& request) {
  if (has_null(arguments)) return std::nullopt;
  const TensorRef a = find_tensor(session, require_text(arguments[0], std::string(function) + ": a"));
  const TensorRef b = find_tensor(session, require_text(arguments[1], std::string(function) + ": b"));
  auto* const first = dynamic_cast<SnapshotTensors*>(a.set.get());
  auto* const second = dynamic_cast<SnapshotTensors*>(b.set.get());
  if (first != nullptr && second != nullptr) {
    return session.summaries().pair(first->opened(), a.row, second->opened(), b.row, request, session.poller());
  }
  const auto x = a.set->values(a.row), y = b.set->values(b.row);
  if (!x || !y) return std::nullopt;
  return summarize_pair(*x, *y, request, session.poller());
}

Cell dot(SessionState& session, Arguments arguments) {
  const auto pair = pair_of(session, arguments, "dot", {.dot = true});
  return pair ? Cell(pair->dot) : Cell();
}

Cell cosine(SessionState& session, Arguments arguments) {
  const auto pair = pair_of(session, arguments, "cosine", {.dot = true});
  return pair ? Cell(pair->cosine()) : Cell();
}

Cell distance(SessionState& session, Arguments arguments) {
  const auto pair = pair_of(session, arguments, "distance", {.difference = true});
  return pair ? Cell(pair->difference.l2) : Cell();
}

Cell max_abs_diff(SessionState& session, Arguments arguments) {
  const auto pair = pair_of(session, arguments, "max_abs_diff", {.difference = true});
  return pair ? Cell(pair->difference.max_abs) : Cell();
}

Cell changed_share(SessionState& session, Arguments arguments) {
  const auto pair = pair_of(session, arguments, "changed_share", {.difference = true});
  return pair ? Cell(pair->changed_share()) : Cell();
}

// `text REGEXP pattern` is regexp(pattern, text).
Cell regexp(SessionState&, Arguments arguments) {
  if (has_null(arguments)) return {};
  return cell_of(
      matches_regexp(require_text(arguments[0], "REGEXP: pattern"), require_text(arguments[1], "REGEXP: text")));
}

constexpr std::array<ScalarFunction, 10> all = {{
    {"at", "at(tensor, i, j)", "one element; an index for each dimension, from the end if negative", 0, -1, at},
    {"slice", "slice(tensor, '0:10,:')", "a part as nested JSON arrays; \"nan\", \"inf\" and complex numbers as texts",
     2, 2, slice},
    {"quantile", "quantile(tensor, q)", "the q-quantile of the elements, 0 to 1, NaNs left out, by straight line", 2, 2,
     quantile},
    {"histogram", "histogram(tensor[, bins[, low, high]])",
     "JSON: low, high and the counts of 20 or so many bins of equal width; from the least to the greatest finite "
     "element "
     "unless told",
     1, 4, histogram},
    {"dot", "dot(a, b)", "sum of products; NULL where the shapes differ", 2, 2, dot},
    {"cosine", "cosine(a, b)", "cosine of the angle between two tensors; NULL where one is 0", 2, 2, cosine},
    {"distance", "distance(a, b)", "2-norm of the difference", 2, 2, distance},
    {"max_abs_diff", "max_abs_diff(a, b)", "largest difference of two elements", 2, 2, max_abs_diff},
    {"changed_share", "changed_share(a, b)", "share of the elements that differ: 0 to 1", 2, 2, changed_share},
    {"regexp", "text REGEXP pattern", "whether the pattern (RE2's) matches somewhere in the text", 2, 2, regexp},
}};

}  // namespace

std::span<const ScalarFunction> tensor_functions() { return all; }

}  // namespace tenon
