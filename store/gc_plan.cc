#include "store/gc_plan.h"

#include <optional>
#include <set>

#include "store/du.h"
#include "store/journal.h"
#include "store/live_ranges.h"

namespace tenon {

namespace {

std::vector<std::uint64_t> dead_storages(const Segment& segment, const KeptParts& kept) {
  std::vector<std::uint64_t> dead;
  const auto storages = segment.storages();
  for (std::size_t i = 0; i < storages.size(); ++i) {
    if (!is_covered(kept.ranges, storages[i].offset, storages[i].nbytes)) dead.push_back(i);
  }
  return dead;
}

SegmentPlan plan_segment(const std::filesystem::path& path, std::uint64_t sequence, KeptParts kept) {
  SegmentPlan plan{.sequence = sequence, .kept = std::move(kept)};
  try {
    const auto segment = Segment::open(path);
    plan.reference = segment->reference();
    plan.gain = gain_of_taking(*segment, plan.kept);
    if (!plan.kept.is_empty()) plan.dead = dead_storages(*segment, plan.kept);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::corrupt) throw;
    plan.gain = plan.kept.is_empty() ? blocks_of(path) : 0;  // what nobody needs may go, damaged or not
  }
  return plan;
}

std::set<SnapshotId> forgotten_in_journal(const StoreState& store, std::uint64_t journal_bytes) {
  std::set<SnapshotId> forgotten;
  const auto journal = read_journal(store.paths().journal(), store.store_id(), journal_bytes);
  for (const auto& [id, row] : forgotten_snapshots(journal.records)) forgotten.insert(id);
  return forgotten;
}

// nullopt unless the truth says that its snapshot was forgotten.
std::optional<std::uint64_t> occupied_if_stray(const StoreState& store, const std::filesystem::path& path,
                                               const std::set<SnapshotId>& forgotten) {
  try {
    const auto segment = Segment::open(path);
    if (segment->footer().store_id != store.store_id()) return std::nullopt;
    if (segment->has_section(format::SectionKind::record)) {
      const SnapshotId id = record_id(segment->section(format::SectionKind::record));
      if (!forgotten.contains(id)) return std::nullopt;
    } else if (!segment->has_section(format::SectionKind::live)) {
      return std::nullopt;
    }
    return occupied_bytes(*segment);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::corrupt || error.kind() == ErrorKind::too_new) return std::nullopt;  // verify's
    throw;
  }
}

}  // namespace

std::vector<SegmentPlan> plan_segments(const StoreState& store, const Marks& marks,
                                       std::span<const std::uint64_t> candidates) {
  std::vector<SegmentPlan> plans;
  for (const std::uint64_t sequence : candidates) {
    const auto path = store.paths().segment_directory().file_of(sequence);
    if (!file_exists(path)) continue;  // its row goes when nobody needs it; else it is damage, and verify's
    SegmentPlan plan = plan_segment(path, sequence, marks.kept(sequence));
    if (plan.gain != 0) plans.push_back(std::move(plan));
  }
  return plans;
}

std::vector<StraySegment> find_strays(const StoreState& store, Mutation& mutation) {
  std::set<std::uint64_t> known;
  for (const auto& [sequence, row] : mutation.catalog().segments()) known.insert(sequence);
  std::vector<StraySegment> strays;
  std::optional<std::set<SnapshotId>> forgotten;
  for (const std::string& name : list_directory(store.paths().segments())) {
    const auto sequence = parse_segment_file_name(name);
    if (!sequence || *sequence >= mutation.sequence() || known.contains(*sequence)) continue;
    if (!forgotten) forgotten = forgotten_in_journal(store, mutation.journal_bytes());
    const auto path = store.paths().segments() / name;
    if (const auto size = occupied_if_stray(store, path, *forgotten)) strays.push_back({path, *size});
  }
  return strays;
}

}  // namespace tenon
