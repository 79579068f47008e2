#include "store/record.h"

#include <cstring>

#include "store/codec.h"
#include "store/digest.h"
#include "store/format.h"

namespace tenon {

namespace {

constexpr std::uint32_t record_version = 1;
constexpr std::uint32_t parents_max = 1024;

}  // namespace

std::vector<std::byte> encode_record(const Record& record) {
  const SnapshotInfo& info = record.info;
  ByteWriter out;
  out.put(format::record_magic);
  out.put(record_version);
  out.put(static_cast<std::uint32_t>(info.parents.size()));
  out.put(record.layout);
  out.put(record.keys);
  out.put(record.structure);
  out.put(record.attachments);
  out.put(info.created_at_ns);
  out.put(info.step.value_or(0));
  out.put(static_cast<std::uint64_t>(info.step.has_value()));
  out.put(info.tensor_count);
  out.put(info.slot_count);
  out.put(info.nbytes);
  for (const SnapshotId& parent : info.parents) out.put(parent);
  out.put_string(info.message);
  out.put_string(info.meta);
  out.put_string(info.created_by);
  return out.take();
}

Record decode_record(std::span<const std::byte> bytes, const std::string& file, std::uint64_t base_offset) {
  ByteReader in(bytes, file, "snapshot record", base_offset);
  const auto fail = [&](const char* what, std::string got) {
    throw Error(ErrorKind::corrupt, {.what = what, .file = file, .offset = base_offset, .got = std::move(got)});
  };
  const auto magic = in.get_bytes(sizeof format::record_magic);
  if (std::memcmp(magic.data(), format::record_magic, magic.size()) != 0) fail("snapshot record has a wrong magic", {});
  const auto version = in.get<std::uint32_t>();
  if (version != record_version) fail("snapshot record has an unknown version", std::to_string(version));
  const auto parent_count = in.get<std::uint32_t>();
  if (parent_count > parents_max) fail("snapshot record has too many parents", std::to_string(parent_count));
  Record record;
  record.layout = in.get<Digest>();
  record.keys = in.get<Digest>();
  record.structure = in.get<Digest>();
  record.attachments = in.get<Digest>();
  SnapshotInfo& info = record.info;
  info.created_at_ns = in.get<std::int64_t>();
  const auto step = in.get<std::int64_t>();
  if (in.get<std::uint64_t>() != 0) info.step = step;
  info.tensor_count = in.get<std::uint64_t>();
  info.slot_count = in.get<std::uint64_t>();
  info.nbytes = in.get<std::uint64_t>();
  for (std::uint32_t i = 0; i < parent_count; ++i) info.parents.push_back(in.get<SnapshotId>());
  info.message = in.get_string();
  info.meta = in.get_string();
  info.created_by = in.get_string();
  in.require_end();
  info.id = record_id(bytes);
  return record;
}

SnapshotId record_id(std::span<const std::byte> record) noexcept { return digest_bytes(record); }

}  // namespace tenon
