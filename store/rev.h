// The rev grammar, NAME[@VALUE][~N]:
//
//   NAME     a ref, a tag, or an id prefix of 4 or more hex digits; an exact ref or tag wins
//   @VALUE   one of its first-parent ancestry, itself included:
//            - 2026-11-20, 2026-11-20T1530, 2026-11-20T153012: the newest made before that day, minute or second was
//              over (local time)
//            - step:1200: the newest with that step
//            - min:KEY, max:KEY: the one with the least or greatest number at KEY of its metadata; of equals the newest
//   ~N       N first parents back from there
//
// Forgotten snapshots are not counted: what follows them takes their place.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "store/catalog.h"
#include "tenon/snapshot.h"

namespace tenon {

struct RevSelector {
  enum class Kind : std::uint8_t { made_before, step, least, greatest } kind = Kind::step;
  std::int64_t number = 0;  // made_before: nanoseconds since 1970, UTC; step
  std::string key{};        // least, greatest
};

struct Rev {
  std::string name;
  std::optional<RevSelector> selector{};
  std::uint64_t generations = 0;  // how many first parents back
};

// Throws invalid_argument.
Rev parse_rev(std::string_view text);
// 4 to 32 lower- or upper-case hex digits.
bool is_id_prefix(std::string_view text) noexcept;
std::string lower_case(std::string_view text);

// The id that a ref, tag or id prefix stands for. Throws not_found (with close names), invalid_argument (ambiguous).
SnapshotId find_named(const CatalogReader& catalog, std::string_view name);

// A walk from one snapshot to older ones, newest first, until `visit` returns false.
using VisitSnapshot = std::function<bool(const SnapshotInfo&)>;
using Walk = std::function<void(const VisitSnapshot&)>;
// The snapshot that `rev` selects of a walk that begins at its NAME. Throws not_found, saying what there is instead.
SnapshotInfo select_from(const Walk& walk, const Rev& rev);

}  // namespace tenon
