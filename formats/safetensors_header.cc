#include "formats/safetensors_header.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "formats/json_events.h"
#include "formats/strides.h"
#include "mmap/seeded_bug.h"
#include "tenon/error.h"
#include "tenon/name.h"

namespace tenon {

namespace {

constexpr std::array types = {
    SafetensorsType{"BOOL", 8, DType::bool8},
    SafetensorsType{"F4", 4, DType::float4_e2m1fn_x2},
    SafetensorsType{"F6_E2M3", 6, DType::invalid},
    SafetensorsType{"F6_E3M2", 6, DType::invalid},
    SafetensorsType{"U8", 8, DType::uint8},
    SafetensorsType{"I8", 8, DType::int8},
    SafetensorsType{"F8_E5M2", 8, DType::float8_e5m2},
    SafetensorsType{"F8_E4M3", 8, DType::float8_e4m3fn},
    SafetensorsType{"F8_E8M0", 8, DType::float8_e8m0fnu},
    SafetensorsType{"F8_E4M3FNUZ", 8, DType::float8_e4m3fnuz},
    SafetensorsType{"F8_E5M2FNUZ", 8, DType::float8_e5m2fnuz},
    SafetensorsType{"I16", 16, DType::int16},
    SafetensorsType{"U16", 16, DType::uint16},
    SafetensorsType{"F16", 16, DType::float16},
    SafetensorsType{"BF16", 16, DType::bfloat16},
    SafetensorsType{"I32", 32, DType::int32},
    SafetensorsType{"U32", 32, DType::uint32},
    SafetensorsType{"F32", 32, DType::float32},
    SafetensorsType{"C64", 64, DType::complex64},
    SafetensorsType{"F64", 64, DType::float64},
    SafetensorsType{"I64", 64, DType::int64},
    SafetensorsType{"U64", 64, DType::uint64},
};

constexpr std::string_view metadata_key = "__metadata__";
constexpr std::size_t max_depth = 3;  // the header, an entry, its shape
constexpr std::size_t max_rank = 64;
constexpr std::size_t max_token_bytes = std::size_t{4} << 20;
constexpr std::size_t max_name_bytes = std::size_t{64} << 10;
// Of all metadata, as text that JSON has escaped. A pair is counted with what it costs in memory beside that.
constexpr std::size_t max_metadata_bytes = std::size_t{4} << 20;
constexpr std::size_t pair_bytes = 128;

// Follows the header token by token; every state knows which tokens may come.
class HeaderReader : public JsonEvents {
 public:
  HeaderReader(const std::string& file, std::uint64_t data_bytes, SafetensorsVisitor& visitor)
      : file_(file), data_bytes_(data_bytes), visitor_(visitor) {}

  void begin_object() override;
  void end_object() override;
  void begin_array() override;
  void end_array() override;
  void key(std::string_view text) override;
  void string(std::string_view text) override;
  void integer(std::uint64_t value) override;
  void other(std::string_view what) override { refuse_value(what); }

  std::optional<SafetensorsMetadata> finish();

 private:
  enum class State { start, header, entry, shape, offsets, metadata, end };
  enum Field : unsigned { dtype = 1, shape = 2, offsets = 4, all = 7 };

  void begin_field(std::string_view name);
  void add_metadata(std::string_view value);
  void finish_entry();
  void check_length(std::uint64_t begin, std::uint64_t end) const;
  void check_ranges();
  void check_metadata_keys() const;
  std::string where() const;
  [[noreturn]] void fail(ErrorKind kind, std::string what, std::string got = {}, std::string wanted = {}) const;
  [[noreturn]] void refuse_value(std::string_view what) const;

  struct Range {
    std::uint64_t begin;
    std::uint64_t end;
  };

  const std::string& file_;
  const std::uint64_t data_bytes_;
  SafetensorsVisitor& visitor_;
  State state_ = State::start;
  std::string key_;  // last one read on the level of names, or of metadata
  bool is_metadata_next_ = false;
  std::optional<SafetensorsMetadata> metadata_;
  std::size_t metadata_bytes_ = 0;
  SafetensorsEntry entry_;
  unsigned field_ = 0;  // the one whose value comes
  unsigned fields_seen_ = 0;
  std::vector<std::uint64_t> numbers_;
  std::vector<Range> ranges_;
};

void HeaderReader::begin_object() {
  if (state_ == State::start) {
    state_ = State::header;
  } else if (state_ == State::header && is_metadata_next_) {
    if (metadata_) fail(ErrorKind::corrupt, "safetensors header has its metadata twice");
    metadata_.emplace();
    state_ = State::metadata;
  } else if (state_ == State::header) {
    entry_ = {.name = key_};
    fields_seen_ = 0;
    state_ = State::entry;
  } else {
    refuse_value("an object");
  }
}

void HeaderReader::end_object() {
  if (state_ == State::entry) finish_entry();
  state_ = state_ == State::header ? State::end : State::header;
}

void HeaderReader::begin_array() {
  const bool is_expected = state_ == State::entry && (field_ == Field::shape || field_ == Field::offsets);
  if (!is_expected) refuse_value("an array");
  numbers_.clear();
  state_ = field_ == Field::shape ? State::shape : State::offsets;
}

void HeaderReader::end_array() {
  if (state_ == State::shape) {
    entry_.shape.assign(numbers_.begin(), numbers_.end());
  } else {
    if (numbers_.size() != 2) {
      fail(ErrorKind::corrupt, where() + " needs two data offsets", fmt::format("{} of them", numbers_.size()));
    }
    entry_.begin = numbers_[0];
    entry_.end = numbers_[1];
  }
  state_ = State::entry;
}

void HeaderReader::key(std::string_view text) {
  if (state_ == State::entry) return begin_field(text);
  if (text.size() > max_name_bytes) {
    fail(ErrorKind::limit, "safetensors header has a name that is too long", fmt::format("{} bytes", text.size()),
         fmt::format("at most {}", max_name_bytes));
  }
  key_ = text;
  if (state_ == State::header) is_metadata_next_ = text == metadata_key;
}

void HeaderReader::begin_field(std::string_view name) {
  field_ = name == "dtype"          ? Field::dtype
           : name == "shape"        ? Field::shape
           : name == "data_offsets" ? Field::offsets
                                    : 0u;
  if (field_ == 0) {
    fail(ErrorKind::corrupt, where() + " has an unknown field", printable(name.substr(0, 100)),
         "dtype, shape and data_offsets");
  }
  if ((fields_seen_ & field_) != 0) fail(ErrorKind::corrupt, fmt::format("{} has its {} twice", where(), name));
  fields_seen_ |= field_;
}

void HeaderReader::string(std::string_view text) {
  if (state_ == State::metadata) return add_metadata(text);
  if (state_ != State::entry || field_ != Field::dtype) refuse_value("a string");
  entry_.type = find_safetensors_type(text);
  if (entry_.type == nullptr) {
    fail(ErrorKind::unsupported, where() + " has an unknown element type", printable(text.substr(0, 100)));
  }
}

void HeaderReader::integer(std::uint64_t value) {
  if (state_ != State::shape && state_ != State::offsets) refuse_value("a number");
  if (state_ == State::shape && numbers_.size() == max_rank) {
    fail(ErrorKind::limit, where() + " has too many dimensions", {}, fmt::format("at most {}", max_rank));
  }
  if (state_ == State::shape && value > static_cast<std::uint64_t>(INT64_MAX)) {
    fail(ErrorKind::corrupt, where() + " is impossibly large", std::to_string(value));
  }
  if (state_ == State::offsets && numbers_.size() == 2) {
    fail(ErrorKind::corrupt, where() + " needs two data offsets", "more of them");
  }
  numbers_.push_back(value);
}

void HeaderReader::add_metadata(std::string_view value) {
  metadata_bytes_ += json_quoted(key_).size() + json_quoted(value).size() + pair_bytes;
  if (metadata_bytes_ > max_metadata_bytes) {
    fail(ErrorKind::limit, "safetensors metadata is too large", {},
         fmt::format("at most {} bytes", max_metadata_bytes));
  }
  metadata_->emplace_back(key_, value);
}

void HeaderReader::finish_entry() {
  if (fields_seen_ != Field::all) {
    fail(ErrorKind::corrupt, where() + " lacks a field", {}, "dtype, shape and data_offsets");
  }
  if (entry_.begin > entry_.end || entry_.end > data_bytes_) {
    fail(ErrorKind::corrupt, where() + " lies outside of the data",
         fmt::format("bytes {} to {}", entry_.begin, entry_.end), fmt::format("within {} bytes", data_bytes_));
  }
  check_length(entry_.begin, entry_.end);
  ranges_.push_back({entry_.begin, entry_.end});
  visitor_.entry(std::move(entry_));
}

void HeaderReader::check_length(std::uint64_t begin, std::uint64_t end) const {
  const auto shown = [&] { return fmt::format("{} [{}]", entry_.type->name, fmt::join(entry_.shape, ", ")); };
  const auto nbytes = array_bytes(entry_.shape, entry_.type->bits);
  if (!nbytes) fail(ErrorKind::corrupt, where() + " is impossibly large", shown());
  std::uint64_t odd_bits = entry_.type->bits % 8;  // of one element; of all, as far as that matters
  for (const std::int64_t extent : entry_.shape) odd_bits = odd_bits * (static_cast<std::uint64_t>(extent) % 8) % 8;
  if (odd_bits != 0) fail(ErrorKind::corrupt, where() + " does not fill whole bytes", shown());
  if (*nbytes == end - begin) return;
  fail(ErrorKind::corrupt, where() + " has a range that its shape does not fill", fmt::format("{} bytes", end - begin),
       fmt::format("{} bytes for {}", *nbytes, shown()));
}

std::optional<SafetensorsMetadata> HeaderReader::finish() {
  if (state_ != State::end) fail(ErrorKind::corrupt, "safetensors header is no object");
  check_ranges();
  check_metadata_keys();
  return std::move(metadata_);
}

// Empty tensors may share an offset; nothing else may be shared or left out.
void HeaderReader::check_ranges() {
  std::sort(ranges_.begin(), ranges_.end(),
            [](const Range& a, const Range& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  std::uint64_t at = 0;
  for (const Range& range : ranges_) {
    if (range.begin != at) {
      fail(ErrorKind::corrupt, range.begin < at ? "safetensors tensors overlap" : "safetensors data has a gap",
           fmt::format("a tensor at {}", range.begin), fmt::format("one at {}", at));
    }
    at = range.end;
  }
  if (at != data_bytes_) {
    fail(ErrorKind::corrupt, "safetensors file goes on after its tensors", fmt::format("{} bytes of data", data_bytes_),
         fmt::format("{} bytes", at));
  }
}

void HeaderReader::check_metadata_keys() const {
  if (!metadata_) return;
  std::vector<std::string_view> keys;
  for (const auto& [key, value] : *metadata_) keys.emplace_back(key);
  std::sort(keys.begin(), keys.end());
  const auto twice = std::adjacent_find(keys.begin(), keys.end());
  if (twice == keys.end() || seeded_bug("last_key_wins")) return;
  fail(ErrorKind::corrupt, "safetensors metadata has one key twice", printable(twice->substr(0, 100)));
}

std::string HeaderReader::where() const {
  return fmt::format("tensor {}", printable(std::string_view(entry_.name).substr(0, 200)));
}

void HeaderReader::fail(ErrorKind kind, std::string what, std::string got, std::string wanted) const {
  throw Error(
      kind,
      {.what = std::move(what), .file = file_, .offset = offset, .got = std::move(got), .wanted = std::move(wanted)});
}

void HeaderReader::refuse_value(std::string_view what) const {
  const char* wanted = state_ == State::start                               ? "an object of tensors"
                       : state_ == State::header                            ? "an object for each name"
                       : state_ == State::metadata                          ? "strings in the metadata"
                       : state_ == State::shape || state_ == State::offsets ? "whole numbers from 0 on"
                       : field_ == Field::dtype                             ? "a string as dtype"
                                                                            : "an array";
  fail(ErrorKind::corrupt, "malformed safetensors header", std::string(what), wanted);
}

}  // namespace

const SafetensorsType* find_safetensors_type(std::string_view name) noexcept {
  const auto* found =
      std::find_if(types.begin(), types.end(), [&](const SafetensorsType& t) { return t.name == name; });
  return found == types.end() ? nullptr : found;
}

std::optional<std::size_t> safetensors_type_index(DType dtype) noexcept {
  if (dtype == DType::invalid) return std::nullopt;
  const auto* found =
      std::find_if(types.begin(), types.end(), [&](const SafetensorsType& t) { return t.dtype == dtype; });
  if (found == types.end()) return std::nullopt;
  return static_cast<std::size_t>(std::distance(types.begin(), found));
}

const SafetensorsType& safetensors_type(std::size_t index) noexcept { return types[index]; }

std::optional<SafetensorsMetadata> read_safetensors_header(std::span<const std::byte> json, const std::string& file,
                                                           std::uint64_t data_bytes, SafetensorsVisitor& visitor) {
  HeaderReader reader(file, data_bytes, visitor);
  read_json(json,
            {.file = file,
             .base_offset = safetensors_length_bytes,
             .max_depth = max_depth,
             .max_token_bytes = max_token_bytes},
            reader);
  return reader.finish();
}

}  // namespace tenon
