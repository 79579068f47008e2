#include "draft_checks.h"

#include <algorithm>

#include "formats/torch_object.h"
#include "store/layout.h"
#include "tenon/formats.h"

namespace tenon::fuzz {

namespace {

constexpr std::size_t slots_read = 16;
constexpr std::uint64_t bytes_read = 64 << 10;

// As a commit does, only that a large slot is not read in full. The second half is read first: order is free.
void read_slot(const SlotDraft& slot) {
  if (!slot.source.read) return;
  const std::uint64_t some = std::min(slot.nbytes, bytes_read);
  Bytes half(some / 2);
  Bytes rest(some - half.size());
  slot.source.read(slot.nbytes - rest.size(), rest);
  slot.source.read(0, half);
}

void check_sources(const Draft& draft) {
  allow({ErrorKind::corrupt}, [&] {
    for (std::size_t i = 0; i < std::min(draft.slots.size(), slots_read); ++i) read_slot(draft.slots[i]);
  });
}

TensorTable table_of(const Draft& draft, const Layout& layout) {
  return {.size = layout.tensor_count(),
          .slot_count = layout.slot_count(),
          .row = [&layout](std::uint32_t row) { return layout.tensor(row); },
          .slot =
              [&layout](std::uint32_t slot) {
                return SlotRow{.nbytes = layout.slot_bytes(slot),
                               .storage_dtype = layout.slot_dtype(slot),
                               .location = layout.slot_location(slot),
                               .key = {}};
              },
          .structure = draft.structure};
}

void check_export(const TensorTable& table) {
  allow({ErrorKind::unsupported, ErrorKind::limit}, [&] {
    const TorchObject object = make_torch_object(table, "");
    write_pickle(object.graph, object.graph.root);
  });
}

}  // namespace

void check_foreign_draft(const Draft& draft) {
  check_draft(draft);
  const AlignedCopy layout_bytes(encode_layout(draft));
  const Layout layout = Layout::open(layout_bytes.bytes(), "layout", 0);
  layout.check_names("layout");
  check_sources(draft);
  describe_structure(draft);
  check_export(table_of(draft, layout));
}

}  // namespace tenon::fuzz
