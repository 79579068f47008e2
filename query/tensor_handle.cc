#include "query/tensor_handle.h"

#include <charconv>
#include <vector>

#include "store/suggest.h"
#include "tenon/name.h"

namespace tenon {

namespace {

constexpr std::string_view file_prefix = "file:";

[[noreturn]] void throw_no_handle(std::string_view handle) {
  throw Error(ErrorKind::invalid_argument, {.what = "not a tensor",
                                            .got = "'" + std::string(handle) + "'",
                                            .wanted = "a value of the column `tensor`, or 'REV:NAME'"});
}

TensorRef find_in_file(SessionState& session, std::string_view handle) {
  const std::string_view rest = handle.substr(file_prefix.size());
  std::size_t path_bytes = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), path_bytes);
  const auto digits = static_cast<std::size_t>(end - rest.data());
  const bool is_whole = error == std::errc() && rest.size() > digits && rest[digits] == ':' &&
                        path_bytes < rest.size() - digits - 1 && rest[digits + 1 + path_bytes] == ':';
  if (!is_whole) throw_no_handle(handle);
  const std::string path(rest.substr(digits + 1, path_bytes));
  const auto file = session.opened_file(path);
  if (!file) {
    throw Error(ErrorKind::not_found, {.what = "a tensor of a file that this session has not read",
                                       .file = path,
                                       .hint = "name the file in a read_ function"});
  }
  auto set = std::make_shared<FileTensors>(session, file);
  const std::uint32_t row = find_row(*set, rest.substr(digits + 2 + path_bytes));
  return {std::move(set), row};
}

}  // namespace

std::string snapshot_handle(const SnapshotId& id, std::string_view name) { return to_hex(id).append(":").append(name); }

std::string file_handle(std::string_view path, std::string_view name) {
  std::string handle = std::string(file_prefix) + std::to_string(path.size()) + ":";
  return handle.append(path).append(":").append(name);
}

std::uint32_t find_row(const TensorSet& set, std::string_view name) {
  if (const auto row = set.find(name)) return *row;
  std::vector<std::string_view> names;
  for (std::uint32_t i = 0; i < set.size(); ++i) names.push_back(set.name(i));
  throw Error(ErrorKind::not_found, {.what = "no tensor '" + printable(name) + "'", .hint = suggest(name, names)});
}

TensorRef find_tensor(SessionState& session, std::string_view handle) {
  if (handle.starts_with(file_prefix) && handle.size() > file_prefix.size() &&
      std::isdigit(static_cast<unsigned char>(handle[file_prefix.size()])) != 0) {
    return find_in_file(session, handle);
  }
  if (handle.find(':') == std::string_view::npos) throw_no_handle(handle);
  const RevPath split = split_rev(handle);
  auto set = tensors_of(session, session.resolve(split.rev));
  const std::uint32_t row = find_row(*set, split.path);
  return {std::move(set), row};
}

}  // namespace tenon
