// attachments, attachments(rev): byte records that travel with a snapshot.
#include <array>

#include "query/snapshot_choice.h"
#include "query/snapshot_walk.h"
#include "query/tables.h"
#include "tenon/name.h"

namespace tenon {

namespace {

enum AttachmentColumn { snapshot_id, step, name, nbytes, content, rev };

constexpr std::array<Column, 6> columns_of_table = {{
    {"snapshot_id", "TEXT", "the snapshot, 32 hex digits", ColumnRole::plain, push_equal},
    {"step", "INTEGER", "training step of the snapshot"},
    {"name", "TEXT", "of the record: code/..., a tokenizer"},
    {"nbytes", "INTEGER", "bytes"},
    {"content", "BLOB", "TEXT where it is UTF-8, else BLOB"},
    {"rev", "TEXT", "the snapshot; without it, all", ColumnRole::argument},
}};

class AttachmentsCursor : public Cursor {
 public:
  explicit AttachmentsCursor(SessionState& session) : session_(session) {}

  void begin(std::span<const Bound> bounds, RowOrder) override {
    choice_ = {};
    for (const Bound& bound : bounds) {
      if (bound.column == rev) choice_.add_whole_rev(session_, bound);
      if (bound.column == snapshot_id) choice_.add_id(session_, bound);
    }
    walk_ = SnapshotWalk(session_, choice_.ids(session_));
    enter();
  }
  bool at_end() const override { return walk_.at_end(); }
  void next() override {
    if (++at_ < rows_.size()) return;
    walk_.next();
    enter();
  }
  Cell column(int index) override {
    const AttachmentRow& row = rows_[at_];
    switch (index) {
      case snapshot_id:
        return to_hex(walk_.snapshot()->info().id);
      case step:
        return cell_of(walk_.snapshot()->info().step);
      case name:
        return row.name;
      case nbytes:
        return cell_of(std::uint64_t{row.bytes.size()});
      case content: {
        const std::string_view text(reinterpret_cast<const char*>(row.bytes.data()), row.bytes.size());
        const bool is_text = is_valid_utf8(text) && text.find('\0') == std::string_view::npos;
        return is_text ? Cell(text) : Cell(row.bytes);
      }
      default:
        return choice_.rev().empty() ? Cell() : Cell(std::string_view(choice_.rev()));
    }
  }
  RowKey key() const override { return {walk_.snapshot()->info().id, at_}; }

 private:
  // Most snapshots have none, which their record tells.
  void enter() {
    for (; !walk_.at_end(); walk_.next()) {
      if (walk_.snapshot()->record.attachments == Digest{}) continue;
      snapshot_ = session_.open(walk_.snapshot()->info().id);
      rows_ = snapshot_->attachments();
      at_ = 0;
      if (!rows_.empty()) return;
    }
  }

  SessionState& session_;
  SnapshotChoice choice_;
  SnapshotWalk walk_;
  std::shared_ptr<const Snapshot> snapshot_;
  std::vector<AttachmentRow> rows_;
  std::size_t at_ = 0;
};

class AttachmentsTable : public Table {
 public:
  std::string_view name() const override { return "attachments"; }
  std::string_view about() const override { return "byte records of all snapshots, or of one: code, tokenizers"; }
  std::span<const Column> columns() const override { return columns_of_table; }
  void estimate(Plan& plan, std::span<const Ordering>, SessionState& session) const override {
    const bool is_single = plan.uses(rev, Op::equal) || plan.uses(snapshot_id, Op::equal);
    plan.rows = is_single ? 10 : 10 * session.snapshot_count();
    plan.cost = 20 + plan.rows * 20;
  }
  std::unique_ptr<Cursor> open(SessionState& session) const override {
    return std::make_unique<AttachmentsCursor>(session);
  }
};

}  // namespace

const Table& attachments_table() {
  static const AttachmentsTable table;
  return table;
}

}  // namespace tenon
