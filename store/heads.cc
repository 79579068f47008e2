#include "store/heads.h"

#include <algorithm>
#include <cstring>

#include "mmap/file.h"
#include "store/codec.h"

namespace tenon {

namespace {

constexpr std::uint32_t head_version = 1;
constexpr std::size_t ref_bytes_max = 200;
constexpr std::uint64_t head_bytes_max = 4096;
constexpr std::string_view escaped_slash = "%2F";

bool is_ref_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
         c == '-' || c == '/';
}

}  // namespace

bool is_ref_name(std::string_view name) {
  try {
    check_ref_name(name);
    return true;
  } catch (const Error&) {
    return false;  // which rule it breaks is not asked
  }
}

void check_ref_name(std::string_view name) {
  const auto refuse = [&](const char* why) {
    throw Error(ErrorKind::invalid_argument, {.what = std::string("not a ref name: ") + why,
                                              .got = std::string(name),
                                              .wanted = "letters, digits, '.', '_', '-', '/'"});
  };
  if (name.empty()) refuse("it is empty");
  // With the suffix of a replacement in flight the file name must stay within 255 bytes.
  if (head_file_name(name).size() > ref_bytes_max) refuse("it is longer than 200 bytes, with 3 for each '/'");
  if (!std::all_of(name.begin(), name.end(), is_ref_character)) refuse("it has a character that is not allowed");
  if (name.front() == '/' || name.back() == '/' || name.find("//") != std::string_view::npos) refuse("a part is empty");
  for (std::size_t begin = 0; begin != std::string_view::npos;) {
    if (name[begin] == '.' || name[begin] == '-') refuse("a part begins with '.' or '-'");
    const std::size_t slash = name.find('/', begin);
    begin = slash == std::string_view::npos ? slash : slash + 1;
  }
  if (name.ends_with(".tmp")) refuse("it ends in .tmp");
  if (Digest id; from_hex(name, id)) refuse("it looks like a snapshot id");
}

std::string head_file_name(std::string_view ref) {
  std::string name;
  for (const char c : ref) {
    if (c == '/') {
      name += escaped_slash;
    } else {
      name += c;
    }
  }
  return name;
}

std::string ref_of_head_file(std::string_view name) {
  std::string ref(name);
  for (auto at = ref.find(escaped_slash); at != std::string::npos; at = ref.find(escaped_slash, at + 1)) {
    ref.replace(at, escaped_slash.size(), "/");
  }
  return ref;
}

std::vector<std::byte> encode_head(const Head& head, const Digest& store_id) {
  ByteWriter out;
  out.put(format::head_magic);
  out.put(head_version);
  out.put(static_cast<std::uint32_t>(head.is_tag));
  out.put(store_id);
  out.put(head.sequence);
  out.put(head.snapshot);
  out.put(head.segment);
  out.put_string(head.ref);
  out.put(checksum_bytes(out.bytes()));
  return out.take();
}

Head decode_head(std::span<const std::byte> bytes, const Digest& store_id, const std::string& file) {
  const auto fail = [&](const char* what) {
    throw Error(ErrorKind::corrupt, {.what = what, .file = file, .offset = 0, .hint = "`tenon repair` rebuilds heads"});
  };
  if (bytes.size() < sizeof(std::uint64_t)) fail("head is too short");
  const auto body = bytes.first(bytes.size() - sizeof(std::uint64_t));
  std::uint64_t checksum;
  std::memcpy(&checksum, bytes.data() + body.size(), sizeof checksum);
  if (checksum != checksum_bytes(body)) fail("head is damaged");
  ByteReader in(body, file, "head");
  if (std::memcmp(in.get_bytes(sizeof format::head_magic).data(), format::head_magic, sizeof format::head_magic) != 0)
    fail("not a head: wrong magic");
  if (in.get<std::uint32_t>() != head_version) fail("head has an unknown version");
  Head head;
  head.is_tag = in.get<std::uint32_t>() != 0;
  if (in.get<Digest>() != store_id) fail("head belongs to another store");
  head.sequence = in.get<std::uint64_t>();
  head.snapshot = in.get<SnapshotId>();
  head.segment = in.get<format::SegmentReference>();
  head.ref = in.get_string();
  in.require_end();
  return head;
}

std::optional<Head> read_head(const std::filesystem::path& heads, std::string_view ref, const Digest& store_id) {
  const auto path = heads / head_file_name(ref);
  const auto bytes = try_read_file(path, head_bytes_max);
  if (!bytes) return std::nullopt;
  Head head = decode_head(*bytes, store_id, path.string());
  if (head.ref != ref) {
    throw Error(ErrorKind::corrupt, {.what = "head is another ref's",
                                     .file = path.string(),
                                     .got = head.ref,
                                     .wanted = std::string(ref),
                                     .hint = "`tenon repair` rebuilds heads"});
  }
  return head;
}

void write_head(const std::filesystem::path& heads, const Head& head, const Digest& store_id, bool durable) {
  replace_file(heads / head_file_name(head.ref), encode_head(head, store_id), durable);
}

void remove_head(const std::filesystem::path& heads, std::string_view ref, bool durable) {
  if (remove_file(heads / head_file_name(ref)) && durable) sync_directory(heads);
}

std::vector<Head> read_heads(const std::filesystem::path& heads, const Digest& store_id) {
  std::vector<Head> all;
  for (const std::string& name : list_directory(heads)) {
    if (name.ends_with(".tmp")) continue;
    if (auto head = read_head(heads, ref_of_head_file(name), store_id)) all.push_back(std::move(*head));
  }
  return all;
}

}  // namespace tenon
