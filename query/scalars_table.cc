// scalars(rev), history_scalars(ref, glob): what stood beside the tensors: numbers, texts, booleans.
#include <array>
#include <cmath>

#include "formats/structure_scalars.h"
#include "query/engine.h"
#include "query/row_filter.h"
#include "query/snapshot_choice.h"
#include "query/snapshot_walk.h"
#include "query/tables.h"
#include "query/tensor_columns.h"
#include "query/value.h"

namespace tenon {

namespace {

enum ScalarColumn { snapshot_id, step, created_at, name, kind, value, text, is_nan, first_argument, pattern };

constexpr std::array<Column, 9> columns_of_scalars = {{
    {"snapshot_id", "TEXT", "the snapshot, 32 hex digits", ColumnRole::plain, push_equal},
    {"step", "INTEGER", "training step of the snapshot"},
    {"created_at", "TIMESTAMP", "when the snapshot was made, UTC"},
    {"name", "TEXT", "path as a name, as tensors have it", ColumnRole::plain, push_equal | push_patterns},
    {"kind", "TEXT", "integer, float, text, boolean, bytes, none or class"},
    {"value", "", "INTEGER, REAL, TEXT or BLOB; NULL for None, and for NaN: see is_nan"},
    {"text", "TEXT", "as Python writes it; a text without its quotes; NULL for what is longer than 256 bytes"},
    {"is_nan", "BOOLEAN", "whether it is NaN, which SQL has not"},
    {"rev", "TEXT", "REV or REV:PATH; without it, all snapshots", ColumnRole::argument},
}};

constexpr std::array<Column, 10> columns_of_history = [] {
  std::array<Column, 10> columns{};
  std::copy(columns_of_scalars.begin(), columns_of_scalars.end(), columns.begin());
  columns[snapshot_id].pushed = push_nothing;
  columns[first_argument] = {"ref", "TEXT", "where the history begins; main unless told", ColumnRole::argument};
  columns[pattern] = {"pattern", "TEXT", "a name, or a pattern as of GLOB; all unless told", ColumnRole::argument};
  return columns;
}();

std::string_view kind_of(PickleKind kind) {
  switch (kind) {
    case PickleKind::none:
      return "none";
    case PickleKind::boolean:
      return "boolean";
    case PickleKind::integer:
    case PickleKind::big_integer:
      return "integer";
    case PickleKind::floating:
      return "float";
    case PickleKind::string:
      return "text";
    case PickleKind::global:
      return "class";
    default:
      return "bytes";
  }
}

Cell value_of(const PickleGraph& graph, NodeId node) {
  switch (graph.kind(node)) {
    case PickleKind::boolean:
      return cell_of(graph.boolean(node));
    case PickleKind::integer:
      return graph.integer(node);
    case PickleKind::floating:
      return graph.floating(node);
    case PickleKind::string:
      return graph.text(node);
    case PickleKind::bytes:
    case PickleKind::bytearray:
      return std::as_bytes(std::span(graph.text(node)));
    case PickleKind::big_integer: {  // little-endian two's complement
      double number = 0;
      const std::string_view bytes = graph.text(node);
      for (std::size_t i = bytes.size(); i-- > 0;) {
        const auto byte = static_cast<unsigned char>(bytes[i]);
        number = number * 256 +
                 (i + 1 == bytes.size() && byte >= 128 ? static_cast<double>(byte) - 256 : static_cast<double>(byte));
      }
      return number;
    }
    default:
      return {};
  }
}

// One structure, understood once for all snapshots that have it.
struct Scalars {
  Digest structure;
  PickleGraph graph;
  std::vector<StructureScalar> rows;
};

class ScalarsCursor : public Cursor {
 public:
  ScalarsCursor(SessionState& session, bool is_history) : session_(session), is_history_(is_history) {}

  void begin(std::span<const Bound> bounds, RowOrder) override {
    choice_ = {};
    patterns_.clear();
    first_.reset();
    pattern_.reset();
    for (const Bound& bound : bounds) add(bound);
    const RevPath newest = split_rev(first_.value_or("main"));
    prefix_ = is_history_ ? newest.path : choice_.path();
    walk_ = is_history_ ? SnapshotWalk(session_, session_.history().chain(session_.resolve(newest.rev)), true)
                        : SnapshotWalk(session_, choice_.ids(session_));
    enter();
  }
  bool at_end() const override { return walk_.at_end(); }
  void next() override {
    ++at_;
    if (skip()) return;
    walk_.next();
    enter();
  }
  Cell column(int index) override {
    const SnapshotInfo& info = walk_.snapshot()->info();
    const StructureScalar& row = scalars_->rows[at_];
    const PickleGraph& graph = scalars_->graph;
    switch (index) {
      case snapshot_id:
        return to_hex(info.id);
      case step:
        return cell_of(info.step);
      case created_at:
        return utc_time(info.created_at_ns);
      case name:
        return std::string_view(row.name);
      case kind:
        return kind_of(graph.kind(row.node));
      case value:
        return value_of(graph, row.node);
      case text: {
        if (graph.is(row.node, PickleKind::string)) return graph.text(row.node);
        std::string literal = literal_of(graph, row.node);
        return literal.empty() ? Cell() : Cell(std::move(literal));
      }
      case is_nan:
        return cell_of(graph.is(row.node, PickleKind::floating) && std::isnan(graph.floating(row.node)));
      default:
        return argument(index == first_argument ? first_ : pattern_);
    }
  }
  RowKey key() const override { return {walk_.snapshot()->info().id, at_}; }

 private:
  static Cell argument(const std::optional<std::string>& given) {
    return given ? Cell(std::string_view(*given)) : Cell();
  }

  void add(const Bound& bound) {
    if (bound.column == first_argument && is_history_) {
      first_ = require_text(bound.value, "history_scalars: ref");
    } else if (bound.column == first_argument) {
      choice_.add_rev(session_, bound);
      first_ = choice_.rev();
    } else if (bound.column == snapshot_id) {
      choice_.add_id(session_, bound);
    } else if (bound.column == pattern) {
      pattern_ = require_text(bound.value, "history_scalars: pattern");
    } else {
      patterns_.push_back({bound.op, text_of(bound.value)});
    }
  }

  void enter() {
    for (; !walk_.at_end(); walk_.next()) {
      const CatalogSnapshot& snapshot = *walk_.snapshot();
      if (!scalars_ || scalars_->structure != snapshot.record.structure) scalars_ = read(snapshot);
      at_ = 0;
      if (skip()) return;
    }
  }

  std::unique_ptr<Scalars> read(const CatalogSnapshot& snapshot) {
    auto scalars = std::make_unique<Scalars>();
    scalars->structure = snapshot.record.structure;
    const auto structure = session_.history().structure(snapshot);
    if (structure->bytes.empty()) return scalars;
    const auto layout = session_.history().layout(snapshot);
    scalars->graph = decode_structure(structure->bytes, layout->layout.tensor_count(),
                                      [&](std::uint32_t row) { return layout->layout.tensor(row).object; });
    scalars->rows = list_scalars(scalars->graph, structure->segment->path().string());
    return scalars;
  }

  bool skip() {
    while (at_ < scalars_->rows.size() && !matches(scalars_->rows[at_].name)) ++at_;
    return at_ < scalars_->rows.size();
  }

  bool matches(const std::string& name) const {
    if (!is_under(name, prefix_)) return false;
    if (pattern_ && name != *pattern_ && !Engine::matches_glob(*pattern_, name)) return false;
    return std::all_of(patterns_.begin(), patterns_.end(), [&](const auto& one) {
      if (!one.second) return false;
      if (one.first == Op::equal) return name == *one.second;
      return one.first == Op::glob ? Engine::matches_glob(*one.second, name) : Engine::matches_like(*one.second, name);
    });
  }

  SessionState& session_;
  bool is_history_;
  SnapshotChoice choice_;
  std::optional<std::string> first_;
  std::optional<std::string> pattern_;
  std::string prefix_;  // a subtree
  std::vector<std::pair<Op, std::optional<std::string>>> patterns_;
  SnapshotWalk walk_;
  std::unique_ptr<Scalars> scalars_;
  std::size_t at_ = 0;
};

class ScalarsTable : public Table {
 public:
  explicit ScalarsTable(bool is_history) : is_history_(is_history) {}
  std::string_view name() const override { return is_history_ ? "history_scalars" : "scalars"; }
  std::string_view about() const override {
    return is_history_ ? "numbers and texts along the history of a ref, oldest first"
                       : "numbers and texts beside the tensors of all snapshots, or of one";
  }
  std::span<const Column> columns() const override {
    return is_history_ ? std::span<const Column>(columns_of_history) : std::span<const Column>(columns_of_scalars);
  }
  void estimate(Plan& plan, std::span<const Ordering>, SessionState& session) const override {
    const bool is_single = !is_history_ && (plan.uses(first_argument, Op::equal) || plan.uses(snapshot_id, Op::equal));
    const double snapshots = is_single ? 1 : session.snapshot_count();
    plan.rows = snapshots * (plan.uses(ScalarColumn::name, Op::equal) || plan.uses(pattern, Op::equal) ? 1 : 50);
    plan.cost = snapshots * 200 + plan.rows;
  }
  std::unique_ptr<Cursor> open(SessionState& session) const override {
    return std::make_unique<ScalarsCursor>(session, is_history_);
  }

 private:
  bool is_history_;
};

}  // namespace

const Table& scalars_table() {
  static const ScalarsTable table(false);
  return table;
}

const Table& history_scalars_table() {
  static const ScalarsTable table(true);
  return table;
}

}  // namespace tenon
