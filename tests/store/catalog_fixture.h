// What the tests of the catalog share: a catalog in a directory of its own, rows that tell by their number what they
// must be, and everything that can be read, as one value.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "mmap/file.h"
#include "store/catalog.h"
#include "store/digest.h"

namespace tenon::testing {

using Row = std::vector<std::byte>;

inline constexpr Digest store_id{0x1111222233334444, 0x5555666677778888};

// Digests of numbers: spread over the tree like real ones.
inline SnapshotId id_of(std::uint64_t number) { return digest_bytes(std::as_bytes(std::span(&number, 1))); }

inline Row row_of(std::uint64_t number, std::size_t size) {
  Row row(size);
  for (std::size_t i = 0; i < size; ++i) row[i] = static_cast<std::byte>(number * 7 + i * (number + 3) + i / 251);
  return row;
}

// Everything a reader can see of the snapshots, segments and sketches with numbers below `numbers`.
struct Content {
  CatalogRoot root;
  std::vector<SnapshotId> ids;
  std::map<std::uint64_t, Row> rows;
  std::vector<std::pair<std::uint64_t, SegmentRow>> segments;
  std::map<std::uint64_t, SegmentRow> single_segments;
  std::vector<std::vector<SnapshotId>> with_prefix;
  std::vector<std::vector<StorageHint>> hints;
  friend bool operator==(const Content&, const Content&) = default;
};

inline Content content_of(const CatalogReader& reader, std::uint64_t numbers) {
  Content content{.root = reader.root(), .ids = reader.snapshots(), .segments = reader.segments()};
  for (std::uint64_t n = 0; n < numbers; ++n) {
    if (const auto row = reader.snapshot(id_of(n))) content.rows[n] = Row(row->begin(), row->end());
    if (const auto segment = reader.segment(n)) content.single_segments[n] = *segment;
    content.with_prefix.push_back(reader.snapshots_with_prefix(to_hex(id_of(n)).substr(0, 5), 4));
    content.hints.push_back(reader.hints(n * 1000));
  }
  return content;
}

class CatalogTest : public ::testing::Test {
 protected:
  CatalogTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tenon-catalog-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    base_ = pattern;
  }
  ~CatalogTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(base_, ignored);
  }

  std::filesystem::path base() const { return base_; }
  std::filesystem::path directory() const { return base_ / "catalog"; }
  std::filesystem::path data() const { return directory() / "data.mdb"; }
  std::filesystem::path lock() const { return directory() / "lock"; }

  Catalog make() const {
    Catalog::create(directory(), store_id, false);
    return open();
  }
  Catalog open() const { return Catalog(directory(), store_id, false); }

  // What the mutation with this number leaves: a snapshot, its segment, a hint and a moved ref.
  static void write_rows(CatalogWriter& writer, std::uint64_t number, std::size_t row_bytes) {
    writer.put_snapshot(id_of(number), row_of(number, row_bytes));
    writer.put_segment(number, {id_of(number + 1'000'000), 4096 + number});
    writer.add_hint(number * 1000, {number, number % 5});
  }
  static CatalogRoot root_after(std::uint64_t count) {
    CatalogRoot root{.sequence = count, .journal_bytes = 64 * count, .snapshot_count = count};
    if (count > 0) root.refs = {{"main", id_of(count - 1), count, false}, {"v1", id_of(0), 1, true}};
    return root;
  }
  // Snapshots 0 to count - 1, one commit each.
  static void commit_each(Catalog& catalog, std::uint64_t count, std::size_t row_bytes, std::uint64_t first = 0) {
    for (std::uint64_t n = first; n < count; ++n) {
      CatalogWriter writer = catalog.write();
      write_rows(writer, n, row_bytes);
      writer.commit(root_after(n + 1));
    }
  }

 private:
  std::filesystem::path base_;
};

// The kind of the Error that `action` throws; fails the test if there is none.
template <typename Action>
ErrorKind kind_thrown_by(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.kind();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

}  // namespace tenon::testing
