#include "formats/safetensors_reader.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "formats/flat_draft.h"
#include "formats/json_events.h"
#include "formats/region_source.h"
#include "formats/strides.h"
#include "store/codec.h"
#include "tenon/error.h"
#include "tenon/name.h"

namespace tenon {

namespace {

constexpr std::string_view meta_member = "safetensors";

// Makes a row and a slot of every entry.
class DraftMaker : public SafetensorsVisitor {
 public:
  DraftMaker(const ForeignFile& file, std::uint64_t data_begin)
      : file_(file.file()), data_begin_(data_begin), draft_(file) {}

  void entry(SafetensorsEntry entry) override {
    TensorDraft row{.dtype = entry.type->dtype, .shape = shape_of(entry)};
    row.stride = row_major_stride(row.shape);
    draft_.add(
        entry.name, std::move(row),
        {.nbytes = entry.end - entry.begin,
         .source = make_file_source(file_, data_begin_ + entry.begin),
         .storage_dtype = dtype_info(entry.type->dtype).torch_storage.empty() ? DType::invalid : entry.type->dtype});
  }

  FlatDraft& draft() noexcept { return draft_; }

 private:
  // torch's type has two of the format's 4-bit elements in one of its own.
  std::vector<std::int64_t> shape_of(SafetensorsEntry& entry) const {
    if (entry.type->dtype == DType::invalid) refuse(entry, std::string(entry.type->name));
    if (entry.type->bits == 4) {
      if (entry.shape.empty() || entry.shape.back() % 2 != 0) {
        refuse(entry, fmt::format("{} with an odd last dimension", entry.type->name));
      }
      entry.shape.back() /= 2;
    }
    return std::move(entry.shape);
  }

  [[noreturn]] void refuse(const SafetensorsEntry& entry, std::string got) const {
    throw Error(ErrorKind::unsupported,
                {.what = fmt::format("tensor {} has an element type that torch lacks", printable(entry.name)),
                 .file = file_->path().string(),
                 .got = std::move(got)});
  }

  std::shared_ptr<const File> file_;
  std::uint64_t data_begin_;
  FlatDraft draft_;
};

// The length, believed only when so much follows.
std::uint64_t read_length(const File& file, std::uint64_t file_bytes) {
  std::vector<std::byte> bytes(safetensors_length_bytes);
  file.read_at(0, bytes);
  const auto nbytes = ByteReader(bytes, file.path().string(), "length").get<std::uint64_t>();
  const auto fail = [&](ErrorKind kind, const char* what, std::uint64_t most) {
    throw Error(kind, {.what = what,
                       .file = file.path().string(),
                       .offset = 0,
                       .got = fmt::format("{} bytes", nbytes),
                       .wanted = fmt::format("at most {}", most)});
  };
  const std::uint64_t left = file_bytes - safetensors_length_bytes;
  if (nbytes > left) fail(ErrorKind::corrupt, "safetensors header is longer than its file", left);
  if (nbytes > safetensors_header_bytes_max) {
    fail(ErrorKind::limit, "safetensors header is too long", safetensors_header_bytes_max);
  }
  return nbytes;
}

// Finds the strings of the member "safetensors" in the metadata of a snapshot.
class MetaReader : public JsonEvents {
 public:
  void begin_object() override {
    ++depth_;
    if (depth_ == 2 && is_ours_) found.emplace();
    if (depth_ > 2 && is_ours_) refuse("an object");
  }
  void end_object() override { --depth_; }
  void begin_array() override {
    if (is_ours_) refuse("an array");
    ++depth_;
  }
  void end_array() override { --depth_; }
  void key(std::string_view text) override {
    if (depth_ == 1) is_ours_ = text == meta_member;
    key_ = text;
  }
  void string(std::string_view text) override {
    if (!is_ours_) return;
    if (depth_ == 1) refuse("a string");
    found->emplace_back(key_, text);
  }
  void integer(std::uint64_t value) override { other(fmt::format("the number {}", value)); }
  void other(std::string_view what) override {
    if (is_ours_) refuse(what);
  }

  std::optional<SafetensorsMetadata> found;

 private:
  [[noreturn]] static void refuse(std::string_view what) {
    throw Error(ErrorKind::unsupported,
                {.what = "the snapshot's metadata has a member \"safetensors\" that is no object of strings",
                 .got = std::string(what)});
  }

  std::size_t depth_ = 0;
  bool is_ours_ = false;
  std::string key_;
};

}  // namespace

bool is_safetensors(const ForeignFile& file) {
  const std::string_view first = file.first();
  // A length of 2^48 or more is no length, and the bytes may be another format's.
  return first.size() > safetensors_length_bytes && first[safetensors_length_bytes] == '{' && first[6] == '\0' &&
         first[7] == '\0';
}

Draft read_safetensors(const ForeignFile& file) {
  const std::uint64_t file_bytes = file.file()->size_bytes();
  const std::uint64_t header_bytes = read_length(*file.file(), file_bytes);
  const std::uint64_t data_begin = safetensors_length_bytes + header_bytes;
  DraftMaker maker(file, data_begin);
  std::vector<std::byte> json(header_bytes);
  file.file()->read_at(safetensors_length_bytes, json);
  const auto metadata = read_safetensors_header(json, file.path(), file_bytes - data_begin, maker);
  maker.draft().set_meta(meta_of(metadata));
  return maker.draft().finish();
}

std::string meta_of(const std::optional<SafetensorsMetadata>& metadata) {
  std::string text = fmt::format("{{{}:{{", json_quoted(meta_member));
  bool is_first = true;
  for (const auto& [key, value] : metadata.value_or(SafetensorsMetadata{})) {
    if (!is_first) text += ',';
    is_first = false;
    text += json_quoted(key);
    text += ':';
    text += json_quoted(value);
  }
  return text + "}}";
}

std::optional<SafetensorsMetadata> metadata_in(const std::string& meta) {
  MetaReader reader;
  read_json(std::as_bytes(std::span(meta)),
            {.file = "the snapshot's metadata", .max_depth = 1000, .max_token_bytes = std::size_t{64} << 20}, reader);
  return std::move(reader.found);
}

}  // namespace tenon
