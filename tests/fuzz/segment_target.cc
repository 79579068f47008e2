// Segments, opened as bundles: what opens can be read, checked and asked for everything.
#include <algorithm>

#include "formats/torch_object.h"
#include "mutation.h"
#include "segment_image.h"
#include "store/live_ranges.h"
#include "store/snapshot_state.h"
#include "store/store_state.h"
#include "tenon/formats.h"

using namespace tenon;

namespace {

constexpr std::uint64_t bytes_copied = 4 << 20;

void check_tables(const std::filesystem::path& path) {
  const auto segment = Segment::open(path);
  for (const format::StorageEntry& entry : segment->storages()) {
    segment->storage_at(entry.offset);
    segment->leaves_of(entry.offset, entry.nbytes);
  }
  const LiveRanges live(*segment);
  for (const format::LiveRange& range : live.ranges()) {
    fuzz::require(live.contains(range.offset, range.size), "a range does not contain itself");
  }
}

// Every byte is touched, so that what lies outside its mapping shows.
std::uint64_t sum_of(std::span<const std::byte> bytes) {
  std::uint64_t sum = 0;
  for (const std::byte byte : bytes) sum += static_cast<std::uint64_t>(byte);
  return sum;
}

void check_slots(const Snapshot& snapshot) {
  for (std::uint32_t slot = 0; slot < snapshot.slot_count(); ++slot) {
    const auto bytes = snapshot.slot_bytes(slot);
    fuzz::require(bytes.size() == snapshot.slot(slot).nbytes, "a slot has two sizes");
    sum_of(bytes);
    fuzz::allow({ErrorKind::corrupt}, [&] { snapshot.read_verified(slot, [](std::span<const std::byte>) {}); });
  }
}

void check_rows(const Snapshot& snapshot) {
  for (std::uint32_t row = 0; row < snapshot.size(); ++row) {
    const TensorRow tensor = snapshot.row(row);
    snapshot.find(tensor.name);
    if (tensor.slot != no_slot) snapshot.view(row);
  }
  snapshot.select("model");
  fuzz::allow({ErrorKind::corrupt}, [&] {
    for (std::uint32_t row = 0; row < snapshot.size(); ++row) snapshot.statistics(row);
  });
  fuzz::allow({ErrorKind::corrupt}, [&] { snapshot.attachments(); });
  fuzz::allow(fuzz::refusals, [&] { describe_structure(snapshot); });
  fuzz::allow(fuzz::refusals, [&] {
    const TorchObject object = make_torch_object(make_tensor_table(snapshot), "");
    write_pickle(object.graph, object.graph.root);
  });
}

std::uint64_t bytes_of_slots(const Snapshot& snapshot) {
  std::uint64_t sum = 0;
  for (std::uint32_t slot = 0; slot < snapshot.slot_count(); ++slot) sum += snapshot.slot(slot).nbytes;
  return sum;
}

void check_snapshot(const std::filesystem::path& path) {
  const auto open = [&](Mode mode) {
    return SnapshotState::handle(SnapshotState::open({}, File::open(path), nullptr, nullptr, mode));
  };
  const Snapshot shared = open(Mode::shared);
  check_rows(shared);
  // Any number of slots may lie over the same bytes, each of which would get its own here.
  if (bytes_of_slots(shared) > bytes_copied) return;
  check_slots(shared);
  const Snapshot changed = open(Mode::private_);
  for (std::uint32_t slot = 0; slot < changed.slot_count(); ++slot) sum_of(changed.slot_bytes(slot));
  if (shared.slot_count() < 8) check_slots(open(Mode::copy));
}

fuzz::Bytes& some_section(fuzz::SegmentImage& image, fuzz::Random& random) {
  return image.sections[random() % image.sections.size()].bytes;
}

// One field of the footer, of those that are not made anew.
void change_footer(format::SegmentFooter& footer, fuzz::Random& random) {
  const std::uint64_t values[] = {0, 1, random(), UINT64_MAX, UINT64_MAX - 63, footer.data_bytes + 64};
  const std::uint64_t value = values[random() % std::size(values)];
  switch (random() % 3) {
    case 0:
      footer.sequence = value;
      return;
    case 1:
      footer.data_bytes = value;
      return;
    default:
      footer.uuid.low = value;
  }
}

void change_segment(fuzz::Bytes& bytes, std::size_t max_bytes, fuzz::Random& random) {
  auto image = fuzz::SegmentImage::parse(bytes);
  if (!image || image->sections.empty() || fuzz::once_in(32, random)) return fuzz::mutate_bytes(bytes, max_bytes);
  const std::size_t spare = max_bytes - std::min(max_bytes, bytes.size());
  switch (random() % 16) {
    case 0:
      std::swap(some_section(*image, random), some_section(*image, random));
      break;
    case 1:
      image->sections[random() % image->sections.size()].kind = static_cast<std::uint32_t>(random() % 17);
      break;
    case 2:
      image->sections.erase(image->sections.begin() + static_cast<std::ptrdiff_t>(random() % image->sections.size()));
      break;
    case 3:
      change_footer(image->footer, random);
      break;
    case 4:
      fuzz::mutate_bytes(image->data, image->data.size());
      break;
    default: {
      fuzz::Bytes& section = some_section(*image, random);
      fuzz::mutate_bytes(
          section, fuzz::once_in(4, random) ? section.size() + std::min<std::size_t>(spare, 128) : section.size());
    }
  }
  bytes = image->make(!fuzz::once_in(16, random));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto& path = fuzz::file_with(fuzz::as_bytes(data, size));
  const std::initializer_list<ErrorKind> kinds{ErrorKind::corrupt, ErrorKind::not_found, ErrorKind::limit,
                                               ErrorKind::too_new};
  fuzz::allow(kinds, [&] { check_tables(path); });
  fuzz::allow(kinds, [&] { decode_commit_section(*Segment::open(path)); });
  fuzz::allow(kinds, [&] { check_snapshot(path); });
  return 0;
}

TENON_FUZZ_MUTATOR(change_segment)
