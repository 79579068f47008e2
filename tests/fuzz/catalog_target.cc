// Rows of the catalog. The input is a key, whose length its first byte says, and a value; the checksum over both is
// made here, as for damage done before it was.
#include <algorithm>

#include "fuzzing.h"
#include "store/binding.h"
#include "store/catalog_rows.h"
#include "store/record.h"
#include "store/store_state.h"

using namespace tenon;
using namespace tenon::catalog_rows;

namespace {

void check_binding(const Binding& binding) {
  for (std::uint32_t slot = 0; slot < binding.slot_count(); ++slot) {
    if (!binding.is_stitched(slot)) {
      fuzz::require(binding.segment(slot) < binding.segments().size(), "a slot lies in no segment");
      continue;
    }
    for (const format::Extent& extent : binding.extents(slot))
      fuzz::require(extent.segment < binding.segments().size(), "a piece lies in no segment");
  }
  fuzz::require(binding.layout_segment() < binding.segments().size(), "the layout lies in no segment");
  fuzz::require(binding.structure_segment() < binding.segments().size(), "the structure lies in no segment");
}

void check_snapshot(std::span<const std::byte> value) {
  const SnapshotRow row = decode_snapshot_row(value, "input");
  const Record record = decode_record(row.record, "input", 0);
  const Record again = decode_record(encode_record(record), "a record of ours", 0);
  fuzz::require(again.info.meta == record.info.meta && again.keys == record.keys, "a record does not come back");
  const fuzz::AlignedCopy aligned(row.binding);
  check_binding(Binding::open(aligned.bytes(), "input", 0));
}

void check_root(std::span<const std::byte> value) {
  const auto written = encode_root(decode_root(value, "input"));
  decode_root(written, "a root of ours");
}

void check_value(std::span<const std::byte> key, std::span<const std::byte> value) {
  if (is_in(Table::root, key)) return check_root(value);
  if (key_digest(Table::snapshots, key)) return check_snapshot(value);
  if (key_number(Table::segments, key)) return (void)decode_segment(value, "input");
  if (key_digest(Table::forgotten, key)) return (void)decode_forgotten(value, "input");
  if (key_number(Table::hints, key)) decode_hints(value);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto bytes = fuzz::as_bytes(data, size);
  const std::size_t key_bytes = std::min<std::size_t>(static_cast<std::size_t>(bytes[0]), size - 1);
  const auto key = bytes.subspan(1, key_bytes);
  const auto value = bytes.subspan(1 + key_bytes);
  unseal(key, value);
  fuzz::allow({ErrorKind::corrupt}, [&] {
    const auto stored = seal(key, value);
    check_value(key, unsealed(key, stored, "input"));
  });
  return 0;
}
