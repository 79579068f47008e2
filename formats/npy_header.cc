#include "formats/npy_header.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <utility>

#include "formats/strides.h"
#include "tenon/error.h"
#include "tenon/name.h"

namespace tenon {

namespace {

constexpr std::string_view magic = "\x93NUMPY";
constexpr std::size_t prefix_bytes = 8;  // magic and version
constexpr std::uint64_t max_header_bytes = std::uint64_t{64} << 10;
constexpr std::uint64_t alignment = 64;
constexpr std::size_t max_rank = 64;
constexpr std::size_t max_shown_bytes = 100;

struct NpyType {
  std::string_view kind;  // without the byte order: "f4"
  DType dtype;
  std::uint8_t unit_bytes;  // what a byte order applies to
};

constexpr std::array types = {
    NpyType{"b1", DType::bool8, 1},     NpyType{"u1", DType::uint8, 1},       NpyType{"i1", DType::int8, 1},
    NpyType{"u2", DType::uint16, 2},    NpyType{"i2", DType::int16, 2},       NpyType{"f2", DType::float16, 2},
    NpyType{"u4", DType::uint32, 4},    NpyType{"i4", DType::int32, 4},       NpyType{"f4", DType::float32, 4},
    NpyType{"u8", DType::uint64, 8},    NpyType{"i8", DType::int64, 8},       NpyType{"f8", DType::float64, 8},
    NpyType{"c8", DType::complex64, 4}, NpyType{"c16", DType::complex128, 8},
};

// What a type is called that cannot be had, by its letter.
std::string_view name_of_kind(char kind) noexcept {
  switch (kind) {
    case 'O':
      return "Python objects";
    case 'S':
    case 'a':
      return "byte strings";
    case 'U':
      return "text";
    case 'V':
      return "void (as bfloat16 and float8 are written by way of numpy)";
    case 'M':
      return "dates";
    case 'm':
      return "time spans";
    case 'f':
    case 'c':
      return "extended precision";
    default:
      return "an unknown type";
  }
}

// Numbers are said by a letter and a width.
bool is_malformed_number(std::string_view kind) {
  return std::strchr("biufc", kind[0]) != nullptr &&
         (kind.size() == 1 || kind.find_first_not_of("0123456789", 1) != kind.npos);
}

// Reads one dict of three known keys, and nothing else that Python has.
class LiteralParser {
 public:
  LiteralParser(std::string_view text, std::uint64_t base_offset, const std::string& file)
      : text_(text), base_(base_offset), file_(file) {}

  void run(NpyHeader& header);

 private:
  enum Key : unsigned { descr = 1, order = 2, shape = 4, all = 7 };

  void read_item(NpyHeader& header, unsigned& seen);
  void read_type(NpyHeader& header);
  bool read_boolean();
  std::vector<std::int64_t> read_shape();
  std::int64_t read_extent();
  std::string_view read_string();
  void skip_space() noexcept {
    while (at_ < text_.size() && std::strchr(" \t\n\r\f", text_[at_]) != nullptr && text_[at_] != '\0') ++at_;
  }
  bool takes(char c) {
    skip_space();
    const bool is_there = at_ < text_.size() && text_[at_] == c;
    if (is_there) ++at_;
    return is_there;
  }
  void expect(char c) {
    if (!takes(c)) fail(fmt::format("'{}'", c));
  }
  [[noreturn]] void fail(std::string wanted) const {
    refuse(ErrorKind::corrupt, "malformed numpy header", rest(), std::move(wanted));
  }
  [[noreturn]] void refuse(ErrorKind kind, std::string what, std::string got, std::string wanted = {},
                           std::string hint = {}) const {
    throw Error(kind, {.what = std::move(what),
                       .file = file_,
                       .offset = base_ + at_,
                       .got = std::move(got),
                       .wanted = std::move(wanted),
                       .hint = std::move(hint)});
  }
  std::string rest() const {
    return at_ == text_.size() ? "its end"
                               : printable(text_.substr(at_, std::min<std::size_t>(20, text_.size() - at_)));
  }

  std::string_view text_;
  std::uint64_t base_;
  const std::string& file_;
  std::size_t at_ = 0;
};

void LiteralParser::run(NpyHeader& header) {
  unsigned seen = 0;
  expect('{');
  while (!takes('}')) {
    read_item(header, seen);
    if (takes(',')) continue;
    expect('}');
    break;
  }
  skip_space();
  if (at_ != text_.size()) fail("nothing more");
  if (seen != Key::all) refuse(ErrorKind::corrupt, "numpy header lacks a key", {}, "descr, fortran_order and shape");
}

void LiteralParser::read_item(NpyHeader& header, unsigned& seen) {
  const std::string_view name = read_string();
  const unsigned key = name == "descr"           ? Key::descr
                       : name == "fortran_order" ? Key::order
                       : name == "shape"         ? Key::shape
                                                 : 0u;
  if (key == 0 || (seen & key) != 0) {
    refuse(ErrorKind::corrupt, key == 0 ? "numpy header has an unknown key" : "numpy header has one key twice",
           printable(name.substr(0, max_shown_bytes)), "descr, fortran_order and shape");
  }
  seen |= key;
  expect(':');
  skip_space();
  if (key == Key::descr) {
    read_type(header);
  } else if (key == Key::order) {
    header.is_fortran = read_boolean();
  } else {
    header.shape = read_shape();
  }
}

void LiteralParser::read_type(NpyHeader& header) {
  if (at_ < text_.size() && (text_[at_] == '[' || text_[at_] == '(')) {
    refuse(ErrorKind::unsupported, "numpy array is structured", printable(text_.substr(at_, max_shown_bytes)), {},
           "save its fields as arrays of their own");
  }
  const std::string_view text = read_string();
  const bool has_order = !text.empty() && std::strchr("<>|=", text[0]) != nullptr && text[0] != '\0';
  const std::string_view kind = text.substr(has_order ? 1 : 0);
  if (kind.empty()) fail("an element type");
  const auto* found = std::find_if(types.begin(), types.end(), [&](const NpyType& t) { return t.kind == kind; });
  if (found == types.end() && is_malformed_number(kind)) fail("an element type");
  if (found == types.end()) {
    refuse(ErrorKind::unsupported, fmt::format("numpy array holds {}", name_of_kind(kind[0])),
           printable(text.substr(0, max_shown_bytes)), "booleans, integers, floats or complex numbers");
  }
  // Without a byte order a type of several bytes could be read in two ways.
  if (found->unit_bytes > 1 && (!has_order || text[0] == '|')) fail("a byte order");
  header.dtype = found->dtype;
  header.swap_bytes = has_order && text[0] == '>' ? found->unit_bytes : 1;
}

bool LiteralParser::read_boolean() {
  for (const auto& [word, value] : {std::pair{std::string_view("True"), true}, {std::string_view("False"), false}}) {
    if (!text_.substr(at_).starts_with(word)) continue;
    at_ += word.size();
    return value;
  }
  fail("True or False");
}

// A tuple: "()", "(3,)", "(3, 4)".
std::vector<std::int64_t> LiteralParser::read_shape() {
  std::vector<std::int64_t> extents;
  expect('(');
  bool has_comma = true;
  while (!takes(')')) {
    if (!has_comma) fail("',' or ')'");
    if (extents.size() == max_rank) {
      refuse(ErrorKind::limit, "numpy array has too many dimensions", {}, fmt::format("at most {}", max_rank));
    }
    extents.push_back(read_extent());
    has_comma = takes(',');
  }
  if (extents.size() == 1 && !has_comma) fail("a tuple");
  return extents;
}

// Python 2 wrote some with an L.
std::int64_t LiteralParser::read_extent() {
  skip_space();
  const std::size_t begin = at_;
  std::int64_t value = 0;
  for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
    if (__builtin_mul_overflow(value, std::int64_t{10}, &value) ||
        __builtin_add_overflow(value, std::int64_t{text_[at_] - '0'}, &value)) {
      refuse(ErrorKind::corrupt, "numpy array is impossibly large", printable(text_.substr(begin, max_shown_bytes)));
    }
  }
  const bool has_leading_zero = at_ - begin > 1 && text_[begin] == '0';
  if (at_ == begin || has_leading_zero) fail("a whole number from 0 on");
  if (at_ < text_.size() && text_[at_] == 'L') ++at_;
  return value;
}

// Neither escapes nor prefixes: numpy writes none for what is read here.
std::string_view LiteralParser::read_string() {
  skip_space();
  const char quote = at_ < text_.size() ? text_[at_] : '\0';
  if (quote != '\'' && quote != '"') fail("a string");
  const std::size_t begin = at_ + 1;
  const std::size_t end = text_.find(quote, begin);
  if (end == text_.npos) fail("a string that ends");
  const std::string_view text = text_.substr(begin, end - begin);
  if (text.find('\\') != text.npos) fail("a string without escapes");
  at_ = end + 1;
  return text;
}

void measure(NpyHeader& header, const std::string& file) {
  const auto nbytes = array_bytes(header.shape, 8 * item_bytes(header.dtype));
  if (!nbytes) {
    throw Error(ErrorKind::corrupt, {.what = "numpy array is impossibly large",
                                     .file = file,
                                     .got = fmt::format("[{}]", fmt::join(header.shape, ", "))});
  }
  header.nbytes = *nbytes;
  header.stride = header.is_fortran ? column_major_stride(header.shape) : row_major_stride(header.shape);
}

}  // namespace

bool is_npy(std::string_view first_bytes) noexcept { return first_bytes.starts_with(magic); }

NpyHeader read_npy_header(const std::function<void(std::uint64_t, std::span<std::byte>)>& read, std::uint64_t available,
                          const std::string& file) {
  const auto refuse = [&](ErrorKind kind, std::string what, std::uint64_t offset, std::string got, std::string wanted) {
    throw Error(
        kind,
        {.what = std::move(what), .file = file, .offset = offset, .got = std::move(got), .wanted = std::move(wanted)});
  };
  std::array<std::byte, prefix_bytes + 4> begin{};
  const auto start = std::span(begin).first(std::min<std::uint64_t>(begin.size(), available));
  read(0, start);
  const std::string_view text(reinterpret_cast<const char*>(begin.data()), start.size());
  if (!is_npy(text)) refuse(ErrorKind::corrupt, "no numpy array", 0, {}, "\\x93NUMPY");
  const unsigned major = text.size() > 6 ? static_cast<unsigned char>(text[6]) : 0;
  const unsigned minor = text.size() > 7 ? static_cast<unsigned char>(text[7]) : 0;
  if (text.size() >= prefix_bytes && (major < 1 || major > 3 || minor != 0)) {
    refuse(ErrorKind::unsupported, "unknown version of numpy's format", 6, fmt::format("{}.{}", major, minor),
           "1.0, 2.0 or 3.0");
  }
  const std::size_t length_bytes = major == 1 ? 2 : 4;
  if (text.size() < prefix_bytes + length_bytes) {
    refuse(ErrorKind::corrupt, "numpy header is cut short", text.size(), fmt::format("{} bytes", text.size()),
           "a header");
  }
  std::uint32_t nbytes = 0;
  std::memcpy(&nbytes, begin.data() + prefix_bytes, length_bytes);
  NpyHeader header{.data_begin = prefix_bytes + length_bytes + nbytes};
  if (header.data_begin > available) {
    refuse(ErrorKind::corrupt, "numpy header is longer than its file", prefix_bytes, fmt::format("{} bytes", nbytes),
           fmt::format("at most {}", available - prefix_bytes - length_bytes));
  }
  if (nbytes > max_header_bytes) {
    refuse(ErrorKind::limit, "numpy header is too long", prefix_bytes, fmt::format("{} bytes", nbytes),
           fmt::format("at most {}", max_header_bytes));
  }
  std::string literal(nbytes, '\0');
  read(prefix_bytes + length_bytes, std::as_writable_bytes(std::span(literal)));
  LiteralParser(literal, prefix_bytes + length_bytes, file).run(header);
  measure(header, file);
  if (header.nbytes != available - header.data_begin) {
    refuse(ErrorKind::corrupt,
           header.nbytes > available - header.data_begin ? "numpy array is cut short"
                                                         : "file goes on after its numpy array",
           header.data_begin, fmt::format("{} bytes", available - header.data_begin),
           fmt::format("{} bytes for [{}]", header.nbytes, fmt::join(header.shape, ", ")));
  }
  return header;
}

std::string_view npy_type(DType dtype) noexcept {
  const auto* found = std::find_if(types.begin(), types.end(), [&](const NpyType& t) { return t.dtype == dtype; });
  return found == types.end() ? std::string_view{} : found->kind;
}

std::vector<std::byte> make_npy_header(DType dtype, bool is_fortran, std::span<const std::int64_t> shape) {
  std::string literal =
      fmt::format("{{'descr': '{}{}', 'fortran_order': {}, 'shape': ({}{}), }}", item_bytes(dtype) == 1 ? '|' : '<',
                  npy_type(dtype), is_fortran ? "True" : "False", fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
  // The longest shape has 64 extents of 19 digits, which is far from what version 1 cannot hold.
  constexpr std::size_t length_bytes = 2;
  const std::size_t unpadded = prefix_bytes + length_bytes + literal.size() + 1;
  literal.append((alignment - unpadded % alignment) % alignment, ' ');
  literal += '\n';
  const auto nbytes = static_cast<std::uint16_t>(literal.size());
  std::string text(magic);
  text += '\1';
  text += '\0';
  text += static_cast<char>(nbytes & 0xFF);
  text += static_cast<char>(nbytes >> 8);
  text += literal;
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

}  // namespace tenon
