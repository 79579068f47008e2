#include "formats/row_names.h"

#include <utility>

#include <fmt/format.h>

#include "tenon/error.h"
#include "tenon/name.h"

namespace tenon {

namespace {

constexpr std::size_t max_rows = std::size_t{1} << 23;
constexpr std::uint64_t any_object_bytes = std::uint64_t{16} << 20;

}  // namespace

RowNames::RowNames(const std::vector<TensorDraft>& rows, std::uint64_t pickle_bytes, std::uint64_t max_bytes,
                   std::string file, std::string hint)
    : rows_(rows),
      known_(0, Hash{&rows}, Equal{&rows}),
      max_bytes_(max_bytes != 0 ? max_bytes : any_object_bytes + 4 * pickle_bytes),
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
void RowNames::add_last() {
  if (rows_.size() > max_rows) {
    throw Error(
        ErrorKind::limit,
        {.what = "object holds too many tensors", .file = file_, .wanted = fmt::format("at most {}", max_rows)});
  }
  const TensorDraft& row = rows_.back();
  taken_bytes_ += sizeof(row) + row.name.size() + 16 * row.shape.size();
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
