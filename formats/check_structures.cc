#include <algorithm>
#include <functional>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

#include "formats/torch_object.h"
#include "tenon/formats.h"

namespace tenon {
namespace {

// Looks at every snapshot that a ref leads to, once.
class StructureChecker {
 public:
  explicit StructureChecker(const Store& store) : store_(store) {}

  std::vector<Damage> run() {
    std::vector<RefInfo> refs = store_.refs();
    // Most tags stand on the way of a ref: their chains need not be walked again.
    std::ranges::stable_partition(refs, [](const RefInfo& ref) { return !ref.is_tag; });
    for (const RefInfo& ref : refs) {
      if (seen_.contains(ref.id)) continue;
      for (const SnapshotInfo& info : store_.log(to_hex(ref.id))) {
        if (seen_.insert(info.id).second) check(info.id);
      }
    }
    return std::move(damage_);
  }

 private:
  // Most snapshots of a run have one structure, whose bytes need decoding once.
  void check(const SnapshotId& id) {
    const Snapshot snapshot = store_.snapshot(to_hex(id));
    const auto bytes = snapshot.structure();
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (!decoded_.emplace(std::hash<std::string_view>()(text), bytes.size(), snapshot.size()).second) return;
    try {
      make_torch_object(make_tensor_table(snapshot), "");
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::corrupt) throw;
      damage_.push_back(
          {.file = store_.path().string(), .offset = {}, .what = error.what(), .snapshots = {to_hex(id)}});
    }
  }

  const Store& store_;
  std::set<SnapshotId> seen_;
  std::set<std::tuple<std::size_t, std::size_t, std::uint32_t>> decoded_;
  std::vector<Damage> damage_;
};

}  // namespace

std::vector<Damage> check_structures(const Store& store) { return StructureChecker(store).run(); }

}  // namespace tenon
