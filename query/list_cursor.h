// A cursor over rows that are all found when it is begun: for tables that are short.
#pragma once

#include <vector>

#include "query/session_state.h"

namespace tenon {

template <typename Row>
class ListCursor : public Cursor {
 public:
  explicit ListCursor(SessionState& session) : session_(session) {}
  void begin(std::span<const Bound> bounds, RowOrder) final {
    at_ = 0;
    rows_ = list(bounds);
    session_.charge(rows_.size() * sizeof(Row));
  }
  bool at_end() const final { return at_ >= rows_.size(); }
  void next() final { ++at_; }
  RowKey key() const override { return {.number = at_}; }

 protected:
  virtual std::vector<Row> list(std::span<const Bound> bounds) = 0;
  const Row& row() const { return rows_[at_]; }
  SessionState& session_;

 private:
  std::vector<Row> rows_;
  std::size_t at_ = 0;
};

}  // namespace tenon
