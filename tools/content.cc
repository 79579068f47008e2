#include "tools/content.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <filesystem>

#include "tenon/name.h"
#include "tenon/rev_path.h"
#include "tenon/snapshot_draft.h"
#include "tools/failure.h"
#include "tools/target.h"
#include "tools/text.h"

namespace tenon::tools {
namespace {

namespace fs = std::filesystem;

// The rule of Snapshot::select: whole components only.
bool is_under(std::string_view name, std::string_view prefix) {
  if (prefix.empty()) return true;
  if (!name.starts_with(prefix)) return false;
  return name.size() == prefix.size() || name[prefix.size()] == '/' || name[prefix.size()] == '.';
}

// Hands over the part of a stream of pieces that lies in [begin, end).
class RangeSink {
 public:
  RangeSink(std::uint64_t begin, std::uint64_t end, const std::function<void(std::span<const std::byte>)>& sink)
      : begin_(begin), end_(end), sink_(sink) {}

  void operator()(std::span<const std::byte> piece) {
    const std::uint64_t from = std::clamp(begin_, at_, at_ + piece.size());
    const std::uint64_t to = std::clamp(end_, at_, at_ + piece.size());
    if (from < to) sink_(piece.subspan(from - at_, to - from));
    at_ += piece.size();
  }

 private:
  std::uint64_t begin_;
  std::uint64_t end_;
  std::uint64_t at_ = 0;
  const std::function<void(std::span<const std::byte>)>& sink_;
};

// nullopt: whatever it is, it is not to be read as a store.
std::optional<Store> open_if_store(const fs::path& path) {
  try {
    return Store::open(path);
  } catch (const Error&) {
    return std::nullopt;
  }
}

// A file is looked into, a store by its path answers with main. Bundles may have any name.
Content open_path(const fs::path& path) {
  if (path.extension() == ".tenon") return Content(Store::open(path).snapshot());
  try {
    return Content(open_file(path));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::unsupported) throw;
    if (auto store = open_if_store(path)) return Content(store->snapshot());
    throw;
  }
}

bool names_content(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_regular_file(path, ignored)) return true;
  return fs::is_directory(path, ignored) && path.extension() == ".tenon";
}

// Where an argument that begins with the path of a file or store has its end of that path.
std::optional<std::size_t> path_end(const std::string& argument) {
  if (names_content(argument)) return argument.size();
  for (std::size_t colon = argument.find(':'); colon != std::string::npos; colon = argument.find(':', colon + 1)) {
    if (names_content(argument.substr(0, colon))) return colon;
  }
  return std::nullopt;
}

std::string hex_digits(std::string_view bytes) {
  std::string digits;
  for (const char byte : bytes) digits += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return digits;
}

[[noreturn]] void throw_no_tensor(std::string_view name, std::string hint) {
  throw Error(ErrorKind::not_found, {.what = "no such tensor", .got = std::string(name), .hint = std::move(hint)});
}

bool has_ending_of_file(const fs::path& path) {
  constexpr std::array<std::string_view, 10> endings = {".pt",  ".pth", ".bin", ".ckpt",        ".tenon",
                                                        ".tar", ".pkl", ".npy", ".safetensors", ".npz"};
  return std::find(endings.begin(), endings.end(), path.extension().string()) != endings.end();
}

// What is no rev either was meant as a file, if it looks like one.
[[noreturn]] void throw_no_file(const std::string& rev) {
  throw Error(ErrorKind::not_found, {.what = has_ending_of_file(rev) ? "no such file" : "no such file, nor such a ref",
                                     .file = rev,
                                     .got = fs::current_path().string() + " as the working folder"});
}

Snapshot open_rev(const std::string& store, const std::string& rev) {
  const bool is_like_file = has_ending_of_file(rev) || rev.find('/') != std::string::npos;
  try {
    return open_store(store).snapshot(rev);
  } catch (const Error& error) {
    const bool is_missing = error.kind() == ErrorKind::not_found || error.kind() == ErrorKind::no_store;
    if (is_missing && is_like_file && (store.empty() || error.kind() == ErrorKind::not_found)) throw_no_file(rev);
    throw;
  }
}

}  // namespace

std::optional<std::string> Content::snapshot_id() const {
  if (!snapshot_) return std::nullopt;
  return to_hex(snapshot_->id());
}

std::uint32_t Content::size() const noexcept {
  return snapshot_ ? snapshot_->size() : static_cast<std::uint32_t>(file_->draft().tensors.size());
}

std::uint32_t Content::slot_count() const noexcept {
  return snapshot_ ? snapshot_->slot_count() : static_cast<std::uint32_t>(file_->draft().slots.size());
}

TensorRow Content::row(std::uint32_t index) const noexcept {
  return snapshot_ ? snapshot_->row(index) : as_row(file_->draft().tensors[index], index);
}

SlotRow Content::slot(std::uint32_t index) const noexcept {
  if (snapshot_) return snapshot_->slot(index);
  return as_row(file_->draft().slots[index]);
}

std::optional<Statistics> Content::statistics(std::uint32_t index) const noexcept {
  return snapshot_ ? snapshot_->statistics(index) : std::nullopt;
}

std::string Content::structure_text() const {
  return snapshot_ ? describe_structure(*snapshot_) : describe_structure(file_->draft());
}

std::vector<std::uint32_t> Content::select(std::string_view prefix) const {
  // As tree prints the label of a subtree, which no prefix ends with.
  if (prefix.ends_with('/') || prefix.ends_with('.')) {
    const std::string_view shorter = prefix.substr(0, prefix.size() - 1);
    if (!shorter.empty() && !has_under(prefix) && has_under(shorter)) return select(shorter);
  }
  std::vector<std::uint32_t> rows;
  if (snapshot_) {
    rows = snapshot_->select(prefix);
    std::sort(rows.begin(), rows.end());
  } else {
    for (std::uint32_t i = 0; i < size(); ++i) {
      if (is_under(row(i).name, prefix)) rows.push_back(i);
    }
  }
  if (rows.empty() && !prefix.empty()) throw_not_found(prefix);
  return rows;
}

bool Content::has_under(std::string_view prefix) const {
  for (std::uint32_t i = 0; i < size(); ++i) {
    if (is_under(row(i).name, prefix)) return true;
  }
  return false;
}

std::uint32_t Content::find(std::string_view name) const {
  for (std::uint32_t i = 0; !snapshot_ && i < size(); ++i) {
    if (row(i).name == name) return i;
  }
  if (snapshot_) {
    if (const auto index = snapshot_->find(name)) return *index;
  }
  throw_not_found(name);
}

void Content::throw_not_found(std::string_view name) const {
  std::vector<std::string> names;
  const std::string quoted = fmt::format("\"{}\"", name);  // a string key that looks like an int
  for (std::uint32_t i = 0; i < size(); ++i) {
    names.emplace_back(row(i).name);
    if (names.back() == quoted) throw_no_tensor(name, suggestion(std::span(&quoted, 1)) + ", quoted");
  }
  const std::string close = suggestion(close_matches(name, names));
  throw_no_tensor(name, close.empty() ? "`tenon ls` lists the names" : close);
}

std::span<const std::byte> Content::bytes(std::uint32_t slot, std::uint64_t begin, std::uint64_t end,
                                          std::vector<std::byte>& buffer) const {
  if (snapshot_) return snapshot_->slot_bytes(slot).subspan(begin, end - begin);
  const Source& source = file_->draft().slots[slot].source;
  if (!source.read) return source.memory.subspan(begin, end - begin);
  buffer.resize(end - begin);
  source.read(begin, buffer);
  return buffer;
}

void Content::read_verified(std::uint32_t slot, std::uint64_t begin, std::uint64_t end,
                            const std::function<void(std::span<const std::byte>)>& sink) const {
  if (snapshot_) {
    snapshot_->read_verified(slot, RangeSink(begin, end, sink));
    return;
  }
  std::vector<std::byte> buffer;
  sink(bytes(slot, begin, end, buffer));
}

ImportedFile open_file(const fs::path& path, const ImportOptions& options) {
  try {
    return ImportedFile::open(path, options);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::corrupt) throw;
    throw Failure{error, exit_code::failed};
  }
}

Opened open_content(const std::string& store, const std::string& argument) {
  if (const auto end = path_end(argument)) {
    const std::string file = argument.substr(0, *end);
    const bool has_path = *end < argument.size();
    return {open_path(file), file, has_path ? argument.substr(*end + 1) : "", has_path};
  }
  RevPath target = split_rev(argument);
  return {Content(open_rev(store, target.rev)), target.rev, target.path, target.has_path};
}

std::uint32_t find_tensor(const Opened& opened) {
  if (opened.has_path) return opened.content.find(opened.path);
  if (opened.content.size() == 1) return 0;
  throw Error(ErrorKind::invalid_argument,
              {.what = "which tensor?",
               .got = opened.label,
               .wanted = fmt::format("{}:NAME", opened.label),
               .hint = fmt::format("`tenon ls {}` lists the names", printable(opened.label))});
}

std::uint64_t element_count(const TensorRow& row) noexcept {
  if (std::find(row.shape.begin(), row.shape.end(), 0) != row.shape.end()) return 0;
  std::uint64_t count = 1;
  for (std::int64_t extent : row.shape) {
    if (__builtin_mul_overflow(count, static_cast<std::uint64_t>(extent), &count)) return uncountable;
  }
  return count;
}

std::uint64_t tensor_bytes(const TensorRow& row) noexcept {
  if (!is_valid(row.dtype)) return 0;
  const std::uint64_t bits = dtype_info(row.dtype).bits;
  const std::uint64_t count = element_count(row);
  std::uint64_t bytes = 0;  // bytes that eight elements fill, then the rest
  if (__builtin_mul_overflow(count / 8, bits, &bytes)) return uncountable;
  return __builtin_add_overflow(bytes, (count % 8 * bits + 7) / 8, &bytes) ? uncountable : bytes;
}

bool is_contiguous(std::span<const std::int64_t> shape, std::span<const std::int64_t> stride) noexcept {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return true;
  std::int64_t expected = 1;
  for (std::size_t d = shape.size(); d-- > 0;) {
    if (shape[d] != 1 && stride[d] != expected) return false;
    if (__builtin_mul_overflow(expected, shape[d], &expected)) return false;
  }
  return true;
}

bool is_view(const TensorRow& row, const SlotRow& slot) {
  return row.storage_offset_bytes != 0 || !is_contiguous(row.shape, row.stride) || tensor_bytes(row) != slot.nbytes;
}

bool has_same_elements(const TensorRow& a, const TensorRow& b) {
  return a.slot == b.slot && a.dtype == b.dtype && a.storage_offset_bytes == b.storage_offset_bytes &&
         std::ranges::equal(a.shape, b.shape) && std::ranges::equal(a.stride, b.stride);
}

Json countable(std::uint64_t count) { return count == uncountable ? Json() : Json(count); }

Json::Object row_members(const Content& content, const TensorRow& row) {
  Json::Object object = {{"snapshot_id", content.snapshot_id()},
                         {"name", row.name},
                         {"dtype", dtype_name(row.dtype)},
                         {"shape", to_json(row.shape)},
                         {"ndim", row.shape.size()},
                         {"numel", countable(element_count(row))},
                         {"nbytes", countable(tensor_bytes(row))},
                         {"kind", kind_name(row.kind)},
                         {"requires_grad", row.requires_grad},
                         {"slot_id", row.slot == no_slot ? Json() : Json(row.slot)},
                         {"storage_offset_bytes", row.storage_offset_bytes},
                         {"stride", to_json(row.stride)},
                         {"is_contiguous", is_contiguous(row.shape, row.stride)},
                         {"is_conj", row.is_conj},
                         {"is_neg", row.is_neg}};
  // JSON is UTF-8, which names of files need not be: the name itself would select nothing.
  if (!is_valid_utf8(row.name)) object.emplace_back("name_bytes", hex_digits(row.name));
  if (row.slot != no_slot) {
    const SlotRow slot = content.slot(row.slot);
    object.emplace_back("is_view", is_view(row, slot));
    object.emplace_back("location", slot.location);
    if (content.snapshot() != nullptr) object.emplace_back("storage_id", to_hex(slot.key));
  }
  if (!row.wrapper.empty()) object.emplace_back("wrapper", row.wrapper);
  if (!row.quantizer.empty()) object.emplace_back("quantizer", row.quantizer);
  if (!row.global_shape.empty()) {
    object.emplace_back("global_shape", to_json(row.global_shape));
    object.emplace_back("global_offset", to_json(row.global_offset));
  }
  return object;
}

}  // namespace tenon::tools
