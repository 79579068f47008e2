// Bundles: one segment that holds everything of its snapshot.
#include <map>

#include "store/commit.h"
#include "store/snapshot_state.h"

namespace tenon {

namespace {

using format::SectionKind;

constexpr std::size_t name_bytes_max = 200;  // of a temporary name, before its random digits

// Copies a snapshot's storages into a new segment, each distinct placement once, digests checked on the way.
class BundleWriter {
 public:
  BundleWriter(const SnapshotState& snapshot, SegmentWriter& writer, const BundleOptions& options)
      : snapshot_(snapshot), writer_(writer), options_(options) {}

  void write(const std::string& ref) {
    binding_.segments.push_back({writer_.uuid(), 0, 0});
    binding_.slots.resize(snapshot_.layout().slot_count());
    place();
    writer_.reserve_placed();
    for (const std::uint32_t slot : first_slots_) progress_.total += snapshot_.layout().slot_bytes(slot);
    for (const std::uint32_t slot : first_slots_) copy(slot);
    add_sections(ref);
  }

 private:
  using PlacementKey = std::vector<std::pair<std::uint32_t, std::uint64_t>>;

  void place() {
    std::map<PlacementKey, std::uint64_t> placed;
    for (std::uint32_t slot = 0; slot < binding_.slots.size(); ++slot) {
      const std::uint64_t nbytes = snapshot_.layout().slot_bytes(slot);
      if (nbytes == 0) continue;
      PlacementKey key;
      for (const format::Extent& extent : snapshot_.placement(slot)) key.emplace_back(extent.segment, extent.offset);
      key.emplace_back(format::none, nbytes);
      auto found = placed.find(key);
      if (found == placed.end()) {
        found = placed.emplace(std::move(key), writer_.place_storage(nbytes)).first;
        first_slots_.push_back(slot);
      }
      binding_.slots[slot] = {{0, 0, found->second, nbytes}};
    }
  }

  void copy(std::uint32_t slot) {
    const std::uint64_t nbytes = snapshot_.layout().slot_bytes(slot);
    const std::uint64_t begin = binding_.slots[slot][0].offset;
    std::uint64_t cursor = begin;
    std::vector<Digest> leaves;
    snapshot_.read_verified(slot, [&](std::span<const std::byte> piece) {
      writer_.write(cursor, piece);
      cursor += piece.size();
      progress_.done += piece.size();
      if (options_.progress) options_.progress(progress_);
      for (std::size_t at = 0; at < piece.size(); at += leaf_bytes) {
        leaves.push_back(digest_bytes(piece.subspan(at, std::min<std::size_t>(leaf_bytes, piece.size() - at))));
      }
    });
    std::vector<Digest> sketched;
    for (const std::uint64_t leaf : sketch_leaves(nbytes)) sketched.push_back(leaves[leaf]);
    storages_.push_back({.key = snapshot_.keys()[slot],
                         .offset = begin,
                         .nbytes = nbytes,
                         .sketch = sketch_digest(sketched, nbytes),
                         .first_leaf = leaves.size() > 1 ? leaves_.size() : 0});
    if (leaves.size() > 1) leaves_.insert(leaves_.end(), leaves.begin(), leaves.end());
  }

  void add_sections(const std::string& ref) {
    const Segment& holder = snapshot_.holder();
    writer_.add_section(SectionKind::storages, std::as_bytes(std::span(storages_)));
    if (!leaves_.empty()) writer_.add_section(SectionKind::leaves, std::as_bytes(std::span(leaves_)));
    writer_.add_section(SectionKind::layout, snapshot_.layout_bytes());
    writer_.add_section(SectionKind::keys, holder.section(SectionKind::keys));
    writer_.add_section(SectionKind::binding, encode_binding(binding_));
    writer_.add_section(SectionKind::structure, snapshot_.structure_bytes());
    for (const SectionKind kind : {SectionKind::statistics, SectionKind::attachments, SectionKind::record}) {
      if (holder.has_section(kind)) writer_.add_section(kind, holder.section(kind));
    }
    writer_.add_section(SectionKind::commit, encode_commit_section({ref, std::nullopt}));
  }

  const SnapshotState& snapshot_;
  SegmentWriter& writer_;
  const BundleOptions& options_;
  Progress progress_;
  BindingDraft binding_;
  std::vector<std::uint32_t> first_slots_;  // one per distinct placement
  std::vector<format::StorageEntry> storages_;
  std::vector<Digest> leaves_;
};

}  // namespace

void write_bundle(const SnapshotState& snapshot, const std::string& ref, const Digest& store_id,
                  const std::filesystem::path& out, const BundleOptions& options) {
  const auto target = std::filesystem::absolute(out);
  if (file_exists(target))
    throw Error(ErrorKind::conflict,
                {.what = "bundle exists already", .file = out.string(), .hint = "choose another name or remove it"});
  // The random digits must find room in a name, too.
  const std::string prefix = target.filename().string().substr(0, name_bytes_max) + ".";
  SegmentWriter writer(target.parent_path(), store_id, prefix);
  BundleWriter(snapshot, writer, options).write(ref);
  writer.seal(0);
  writer.publish(target, true);
}

}  // namespace tenon
