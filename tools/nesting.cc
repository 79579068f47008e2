#include "tools/nesting.h"

#include <fmt/format.h>

#include <cstring>
#include <span>
#include <string>

#include "tenon/error.h"
#include "tenon/name.h"

namespace tenon::tools {
namespace {

// The few pickle opcodes that put an object into dicts (see docs/format.md, "Structure").
namespace opcode {
constexpr char proto = '\x80';
constexpr char empty_dict = '}';
constexpr char bin_unicode = 'X';
constexpr char long1 = '\x8a';
constexpr char set_item = 's';
constexpr char stop = '.';
}  // namespace opcode

template <typename T>
void append_little_endian(std::string& out, T value) {
  for (std::size_t i = 0; i < sizeof value; ++i) out += static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i));
}

void append_key(std::string& out, const PathKey& key) {
  if (const auto* text = std::get_if<std::string>(&key)) {
    out += opcode::bin_unicode;
    append_little_endian(out, static_cast<std::uint32_t>(text->size()));
    out += *text;
  } else if (const auto* number = std::get_if<std::int64_t>(&key)) {
    out += opcode::long1;
    out += static_cast<char>(sizeof *number);
    append_little_endian(out, *number);
  } else {
    throw Error(ErrorKind::invalid_argument,
                {.what = "a prefix is made of string and int keys", .got = std::get<OtherKey>(key).literal});
  }
}

// A pickle of protocol 2 leaves one object on the stack: without its frame it can stand anywhere in another.
std::string_view unframed(std::span<const std::byte> pickle) {
  const std::string_view text(reinterpret_cast<const char*>(pickle.data()), pickle.size());
  constexpr std::string_view head = "\x80\x02";
  if (text.size() < head.size() + 1 || !text.starts_with(head) || !text.ends_with(opcode::stop)) {
    throw Error(ErrorKind::unsupported,
                {.what = "only what has a structure can be put under a prefix", .hint = "import it without --prefix"});
  }
  return text.substr(head.size(), text.size() - head.size() - 1);
}

std::vector<std::byte> wrap(std::span<const std::byte> pickle, const Path& path) {
  std::string text = {opcode::proto, '\x02'};
  for (const PathKey& key : path) {
    text += opcode::empty_dict;
    append_key(text, key);
  }
  text += unframed(pickle);
  text.append(path.size(), opcode::set_item);
  text += opcode::stop;
  std::vector<std::byte> bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

}  // namespace

void nest_under(Draft& draft, std::string_view prefix) {
  if (!is_valid_utf8(prefix)) {
    throw Error(ErrorKind::invalid_argument,
                {.what = "a prefix is UTF-8, as the strings of a structure are", .got = std::string(prefix)});
  }
  const Path path = parse_name(prefix);
  if (path.empty()) return;
  draft.structure = wrap(draft.structure, path);
  const std::string rendered = render_name(path);
  for (TensorDraft& tensor : draft.tensors) {
    tensor.name = tensor.name == "." ? rendered : fmt::format("{}/{}", rendered, tensor.name);
  }
}

}  // namespace tenon::tools
