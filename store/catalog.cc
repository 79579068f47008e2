#include "store/catalog.h"

#include <cassert>
#include <system_error>
#include <utility>

#include "mmap/file.h"
#include "store/catalog_batch.h"
#include "store/catalog_rows.h"
#include "store/lmdb_environment.h"
#include "tenon/error.h"

namespace tenon {
namespace {

using catalog_rows::Key;
using catalog_rows::StoredRoot;
using catalog_rows::Table;
using catalog_rows::TableTotals;
using catalog_rows::throw_corrupt;
using catalog_rows::unsealed;
using std::chrono::milliseconds;
using Bytes = std::span<const std::byte>;

void check_totals(const TableTotals& found, const TableTotals& wanted, const char* table, const std::string& file);
void check_row(Bytes key, Bytes value, const std::string& file);

}  // namespace

CatalogReader::CatalogReader(std::unique_ptr<Batch> batch) : batch_(std::move(batch)), root_(batch_->stored.root) {}
CatalogReader::CatalogReader(CatalogReader&&) noexcept = default;
CatalogReader::~CatalogReader() = default;

std::optional<Bytes> CatalogReader::snapshot(const SnapshotId& id) const {
  return batch_->use([&](const lmdb::Transaction& transaction) -> std::optional<Bytes> {
    const Key key(Table::snapshots, id);
    const auto stored = transaction.get(key.bytes());
    if (!stored) return std::nullopt;
    return batch_->lend(unsealed(key.bytes(), *stored, batch_->file()));
  });
}

bool CatalogReader::has_snapshot(const SnapshotId& id) const {
  return batch_->use([&](const lmdb::Transaction& transaction) {
    return transaction.get(Key(Table::snapshots, id).bytes()).has_value();
  });
}

std::vector<SnapshotId> CatalogReader::snapshots_with_prefix(std::string_view hex_digits, std::size_t limit) const {
  constexpr std::size_t all_digits = 32;
  std::string padded(hex_digits);
  padded.resize(all_digits, '0');
  SnapshotId first;
  if (hex_digits.size() < 2 || hex_digits.size() > all_digits || !from_hex(padded, first) || to_hex(first) != padded) {
    throw Error(ErrorKind::invalid_argument, {.what = "not the beginning of a snapshot id",
                                              .got = std::string(hex_digits),
                                              .wanted = "2 to 32 lower-case hex digits"});
  }
  std::vector<SnapshotId> found;
  batch_->use([&](const lmdb::Transaction& transaction) {
    if (limit == 0) return;
    transaction.walk(Key(Table::snapshots, first).bytes(), [&](Bytes key, Bytes stored) {
      const auto id = catalog_rows::key_digest(Table::snapshots, key);
      if (!id || !to_hex(*id).starts_with(hex_digits)) return false;
      unsealed(key, stored, batch_->file());
      found.push_back(*id);
      return found.size() < limit;
    });
  });
  return found;
}

std::vector<SnapshotId> CatalogReader::snapshots() const {
  std::vector<SnapshotId> ids;
  batch_->use([&](const lmdb::Transaction& transaction) {
    TableTotals totals;
    transaction.walk(Key(Table::snapshots).bytes(), [&](Bytes key, Bytes) {
      if (!catalog_rows::is_in(Table::snapshots, key)) return false;
      const auto id = catalog_rows::key_digest(Table::snapshots, key);
      if (!id) throw_corrupt("a catalog key is malformed", batch_->file());
      totals.add(key);
      ids.push_back(*id);
      return true;
    });
    TableTotals wanted = batch_->stored.snapshots;
    if (!batch_->is_writing) wanted.count = root_.snapshot_count;  // a writer has its own changes besides
    check_totals(totals, wanted, "snapshots", batch_->file());
  });
  return ids;
}

std::optional<SegmentRow> CatalogReader::segment(std::uint64_t sequence) const {
  return batch_->use([&](const lmdb::Transaction& transaction) -> std::optional<SegmentRow> {
    const Key key(Table::segments, sequence);
    const auto stored = transaction.get(key.bytes());
    if (!stored) return std::nullopt;
    return catalog_rows::decode_segment(unsealed(key.bytes(), *stored, batch_->file()), batch_->file());
  });
}

std::vector<std::pair<std::uint64_t, SegmentRow>> CatalogReader::segments() const {
  std::vector<std::pair<std::uint64_t, SegmentRow>> rows;
  batch_->use([&](const lmdb::Transaction& transaction) {
    TableTotals totals;
    transaction.walk(Key(Table::segments).bytes(), [&](Bytes key, Bytes stored) {
      if (!catalog_rows::is_in(Table::segments, key)) return false;
      const auto sequence = catalog_rows::key_number(Table::segments, key);
      if (!sequence) throw_corrupt("a catalog key is malformed", batch_->file());
      totals.add(key);
      const Bytes value = unsealed(key, stored, batch_->file());
      rows.emplace_back(*sequence, catalog_rows::decode_segment(value, batch_->file()));
      return true;
    });
    check_totals(totals, batch_->stored.segments, "segments", batch_->file());
  });
  return rows;
}

std::vector<StorageHint> CatalogReader::hints(std::uint64_t sketch) const {
  return batch_->use([&](const lmdb::Transaction& transaction) -> std::vector<StorageHint> {
    const Key key(Table::hints, sketch % hint_rows_max);
    const auto stored = transaction.get(key.bytes());
    if (!stored) return {};
    const auto value = catalog_rows::unseal(key.bytes(), *stored);
    if (!value) return {};
    return catalog_rows::decode_hints(*value).value_or(std::vector<StorageHint>{});
  });
}

std::optional<ForgottenRow> CatalogReader::forgotten(const SnapshotId& id) const {
  return batch_->use([&](const lmdb::Transaction& transaction) -> std::optional<ForgottenRow> {
    const Key key(Table::forgotten, id);
    const auto stored = transaction.get(key.bytes());
    if (!stored) return std::nullopt;
    return catalog_rows::decode_forgotten(unsealed(key.bytes(), *stored, batch_->file()), batch_->file());
  });
}

std::vector<std::pair<SnapshotId, ForgottenRow>> CatalogReader::forgotten() const {
  std::vector<std::pair<SnapshotId, ForgottenRow>> rows;
  batch_->use([&](const lmdb::Transaction& transaction) {
    transaction.walk(Key(Table::forgotten).bytes(), [&](Bytes key, Bytes stored) {
      if (!catalog_rows::is_in(Table::forgotten, key)) return false;
      const auto id = catalog_rows::key_digest(Table::forgotten, key);
      if (!id) throw_corrupt("a catalog key is malformed", batch_->file());
      rows.emplace_back(*id, catalog_rows::decode_forgotten(unsealed(key, stored, batch_->file()), batch_->file()));
      return true;
    });
  });
  return rows;
}

CatalogWriter::CatalogWriter(CatalogWriter&&) noexcept = default;
CatalogWriter::~CatalogWriter() = default;

void CatalogWriter::put_snapshot(const SnapshotId& id, Bytes row) {
  batch_->use([&](lmdb::Transaction& transaction) {
    const Key key(Table::snapshots, id);
    if (!transaction.get(key.bytes())) batch_->stored.snapshots.add(key.bytes());
    transaction.put(key.bytes(), catalog_rows::seal(key.bytes(), row));
  });
}

void CatalogWriter::delete_snapshot(const SnapshotId& id) {
  batch_->use([&](lmdb::Transaction& transaction) {
    const Key key(Table::snapshots, id);
    if (!transaction.erase(key.bytes())) throw_corrupt("a snapshot's row is missing", batch_->file(), to_hex(id));
    batch_->stored.snapshots.remove(key.bytes());
  });
}

void CatalogWriter::put_segment(std::uint64_t sequence, const SegmentRow& row) {
  batch_->use([&](lmdb::Transaction& transaction) {
    const Key key(Table::segments, sequence);
    if (!transaction.get(key.bytes())) batch_->stored.segments.add(key.bytes());
    transaction.put(key.bytes(), catalog_rows::seal(key.bytes(), catalog_rows::encode_segment(row)));
  });
}

void CatalogWriter::delete_segment(std::uint64_t sequence) {
  batch_->use([&](lmdb::Transaction& transaction) {
    const Key key(Table::segments, sequence);
    if (!transaction.erase(key.bytes())) {
      throw_corrupt("a segment's row is missing", batch_->file(), std::to_string(sequence));
    }
    batch_->stored.segments.remove(key.bytes());
  });
}

void CatalogWriter::add_hint(std::uint64_t sketch, const StorageHint& hint) {
  std::vector<StorageHint> newest_first = hints(sketch);
  std::erase(newest_first, hint);
  newest_first.insert(newest_first.begin(), hint);
  if (newest_first.size() > hints_per_sketch_max) newest_first.resize(hints_per_sketch_max);
  batch_->use([&](lmdb::Transaction& transaction) {
    const Key key(Table::hints, sketch % hint_rows_max);
    transaction.put(key.bytes(), catalog_rows::seal(key.bytes(), catalog_rows::encode_hints(newest_first)));
  });
}

void CatalogWriter::put_forgotten(const SnapshotId& id, const ForgottenRow& row) {
  batch_->use([&](lmdb::Transaction& transaction) {
    const Key key(Table::forgotten, id);
    transaction.put(key.bytes(), catalog_rows::seal(key.bytes(), catalog_rows::encode_forgotten(row)));
  });
}

void CatalogWriter::delete_forgotten(const SnapshotId& id) {
  batch_->use([&](lmdb::Transaction& transaction) {
    if (!transaction.erase(Key(Table::forgotten, id).bytes())) {
      throw_corrupt("a forgotten snapshot's row is missing", batch_->file(), to_hex(id));
    }
  });
}

void CatalogWriter::drop_hints(const std::function<bool(const StorageHint&)>& is_dead) {
  std::vector<std::pair<std::uint64_t, std::vector<StorageHint>>> changed;
  batch_->use([&](const lmdb::Transaction& transaction) {
    transaction.walk(Key(Table::hints).bytes(), [&](Bytes key, Bytes stored) {
      const auto bucket = catalog_rows::key_number(Table::hints, key);
      if (!bucket) return false;
      const auto value = catalog_rows::unseal(key, stored);
      auto kept =
          value ? catalog_rows::decode_hints(*value).value_or(std::vector<StorageHint>{}) : std::vector<StorageHint>{};
      if (std::erase_if(kept, is_dead) != 0 || kept.empty()) changed.emplace_back(*bucket, std::move(kept));
      return true;
    });
  });
  batch_->use([&](lmdb::Transaction& transaction) {
    for (const auto& [bucket, kept] : changed) {
      const Key key(Table::hints, bucket);
      if (kept.empty())
        transaction.erase(key.bytes());
      else
        transaction.put(key.bytes(), catalog_rows::seal(key.bytes(), catalog_rows::encode_hints(kept)));
    }
  });
}

void CatalogWriter::commit(const CatalogRoot& root) {
  Batch& batch = *batch_;
  StoredRoot& stored = batch.stored;
  stored.root = root;
  CatalogRoot committed = root;  // nothing may throw between the commit and what is known of it
  batch.use([&](lmdb::Transaction& transaction) {
    stored.transaction = transaction.id();
    const Key key(Table::root);
    transaction.put(key.bytes(), catalog_rows::seal(key.bytes(), catalog_rows::encode_root(stored)));
  });
  try {
    batch.use([](lmdb::Transaction& transaction) { transaction.commit(); });
  } catch (...) {
    outcome_unknown_ = true;
    outcome_unknown_ = !batch.undo_commit();
    throw;
  }
  root_ = std::move(committed);
  batch.settle_commit();
}

void Catalog::create(const std::filesystem::path& directory, const Digest& store_id, bool durable,
                     const CatalogRoot& root) {
  if (file_exists(directory)) {
    throw Error(ErrorKind::conflict, {.what = "there is a catalog already", .file = directory.string()});
  }
  Digest random;
  random_bytes(std::as_writable_bytes(std::span(&random, 1)));
  std::filesystem::path building = directory;
  building += "." + to_hex(random) + ".tmp";
  make_directory(building);
  try {
    write_first_state(building, store_id, durable, root);
    rename_file(building, directory, true);
  } catch (...) {
    std::error_code ignored;  // what made it fail is what the caller must hear
    std::filesystem::remove_all(building, ignored);
    throw;
  }
  if (durable) sync_directory(std::filesystem::absolute(directory).parent_path());
}

Catalog::Catalog(std::filesystem::path directory, const Digest& store_id, bool durable)
    : state_(std::make_shared<CatalogState>(std::move(directory), store_id, durable)) {}
Catalog::Catalog(Catalog&&) noexcept = default;
Catalog::~Catalog() = default;

CatalogReader Catalog::read(milliseconds timeout) const {
  return CatalogReader(std::make_unique<CatalogReader::Batch>(state_, false, timeout));
}

CatalogWriter Catalog::write(milliseconds timeout) {
  return CatalogWriter(std::make_unique<CatalogReader::Batch>(state_, true, timeout));
}

void Catalog::check() const {
  const CatalogReader reader = read();
  const CatalogReader::Batch& batch = *reader.batch_;
  if (batch.watermark_is_damaged) throw_corrupt("the catalog's watermark is damaged", state_->lock_path().string());
  batch.use([&](const lmdb::Transaction& transaction) {
    transaction.walk(Key(Table{}).bytes(), [&](Bytes key, Bytes stored) {
      check_row(key, unsealed(key, stored, batch.file()), batch.file());
      return true;
    });
  });
  (void)reader.snapshots();
  (void)reader.segments();
}

namespace {

void check_totals(const TableTotals& found, const TableTotals& wanted, const char* table, const std::string& file) {
  if (found == wanted) return;
  const auto describe = [&](const TableTotals& totals) {
    return std::to_string(totals.count) + " " + table + " with key checksum " + std::to_string(totals.keys);
  };
  throw_corrupt("the catalog's rows are not those its root counts", file, describe(found), describe(wanted));
}

void check_row(Bytes key, Bytes value, const std::string& file) {
  const bool is_root = catalog_rows::is_in(Table::root, key) && key.size() == 1;
  if (is_root || catalog_rows::key_digest(Table::snapshots, key)) return;  // the root was decoded when the batch began
  if (catalog_rows::key_number(Table::segments, key)) {
    catalog_rows::decode_segment(value, file);
  } else if (catalog_rows::key_digest(Table::forgotten, key)) {
    catalog_rows::decode_forgotten(value, file);
  } else if (!catalog_rows::key_number(Table::hints, key) || !catalog_rows::decode_hints(value)) {
    throw_corrupt("a catalog row is malformed", file);
  }
}

}  // namespace
}  // namespace tenon
