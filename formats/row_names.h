// The names of a draft's rows: unique, and bounded in what they and their rows take.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "formats/pickle.h"
#include "tenon/draft.h"

namespace tenon {

// Keeps indices only: each name is stored once, in its row. Lifetime: `rows` outlives it. Threads: one.
class RowNames {
 public:
  // `graph` was read from the pickle that `file` names: together with the rows it may take so much. `max_bytes`, if not
  // 0, is what the rows may take instead. Errors: limit, with `hint`.
  RowNames(const std::vector<TensorDraft>& rows, const PickleGraph& graph, std::uint64_t max_bytes, std::string file,
           std::string hint);

  // `name`, or where two keys of a dict are written alike (NaN, or a hostile file) one beside it. For the next row.
  std::string make_unique(const std::string& name) const;
  // After a row was added to the end. `has_own_storage`: the file has a record for this row alone. Throws limit.
  void add_last(bool has_own_storage);

 private:
  struct Hash {
    using is_transparent = void;
    const std::vector<TensorDraft>* rows;
    std::size_t operator()(std::string_view name) const { return std::hash<std::string_view>{}(name); }
    std::size_t operator()(std::uint32_t row) const { return (*this)((*rows)[row].name); }
  };
  struct Equal {
    using is_transparent = void;
    const std::vector<TensorDraft>* rows;
    std::string_view name_of(std::string_view name) const { return name; }
    std::string_view name_of(std::uint32_t row) const { return (*rows)[row].name; }
    template <class A, class B>
    bool operator()(const A& a, const B& b) const {
      return name_of(a) == name_of(b);
    }
  };

  const std::vector<TensorDraft>& rows_;
  std::unordered_set<std::uint32_t, Hash, Equal> known_;
  const std::uint64_t max_bytes_;
  std::uint64_t taken_bytes_ = 0;
  const std::string file_;
  const std::string hint_;
};

}  // namespace tenon
