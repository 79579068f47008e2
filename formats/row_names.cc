#include "formats/row_names.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "tenon/error.h"
#include "tenon/name.h"

namespace tenon {

namespace {

constexpr std::size_t max_rows = std::size_t{1} << 23;
// What a graph and the rows made of it may take together, whatever they were read from, and rows alone.
constexpr std::uint64_t graph_and_rows_bytes = std::uint64_t{48} << 20;
constexpr std::uint64_t any_rows_bytes = std::uint64_t{8} << 20;
// A row that is only a reference to what stands elsewhere is two bytes of a pickle, and this in memory until the commit
// is done. A name is in memory four times then.
constexpr std::uint64_t reference_bytes = 700;
constexpr std::uint64_t copies_of_name = 4;

std::uint64_t rows_memory_max(const PickleGraph& graph) {
  const std::uint64_t left = graph_and_rows_bytes - std::min(graph_and_rows_bytes, graph.taken_bytes);
  return std::max(left, any_rows_bytes) + 4 * graph.pickle_bytes;
}

}  // namespace

RowNames::RowNames(const std::vector<TensorDraft>& rows, const PickleGraph& graph, std::uint64_t max_bytes,
                   std::string file, std::string hint)
    : rows_(rows),
      known_(0, Hash{&rows}, Equal{&rows}),
      max_bytes_(max_bytes != 0 ? max_bytes : rows_memory_max(graph)),
      file_(std::move(file)),
      hint_(std::move(hint)) {}

std::string RowNames::make_unique(const std::string& name) const {
  std::string unique = name.empty() ? "." : name;
  for (std::size_t i = rows_.size(); known_.contains(std::string_view(unique)); ++i) {
    unique = name;
    append_component(unique, OtherKey{fmt::format("place {}", i)});
  }
  return unique;
}

// A long key counts once for each tensor below it, and a shared container's tensors for each place where it is.
void RowNames::add_last(bool has_own_storage) {
  if (rows_.size() > max_rows) {
    throw Error(
        ErrorKind::limit,
        {.what = "object holds too many tensors", .file = file_, .wanted = fmt::format("at most {}", max_rows)});
  }
  const TensorDraft& row = rows_.back();
  taken_bytes_ += sizeof(row) + copies_of_name * row.name.size() + 16 * row.shape.size();
  if (!has_own_storage) taken_bytes_ += reference_bytes;
  if (taken_bytes_ > max_bytes_) {
    throw Error(ErrorKind::limit, {.what = "names of the object's tensors need more memory than its size accounts for",
                                   .file = file_,
                                   .got = fmt::format("{} tensors so far", rows_.size()),
                                   .wanted = fmt::format("at most {} bytes", max_bytes_),
                                   .hint = hint_});
  }
  known_.insert(static_cast<std::uint32_t>(rows_.size() - 1));
}

}  // namespace tenon
