// The commit protocol.
//
//   1. Beside others: decide which storages are there already; write the fresh ones, and all sections that do not
//   depend on the parent, to
//      segments/<random>.tmp (locked); sync it.
//   2. Under the commit lock: check the ref against what the caller expects; check that every segment to be reused is
//   still in the
//      catalog (else start over, reusing nothing); take the sequence number.
//   3. Record, commit section, footer; fsync; rename to segments/<sequence>.seg; fsync the directory.
//   4. Catalog rows; LMDB commit.
//   5. The head file by rename. Only now is the commit acknowledged.
#pragma once

#include <filesystem>
#include <string>

#include "store/store_state.h"
#include "tenon/store.h"

namespace tenon {

CommitResult commit_draft(StoreState& store, const Draft& draft, const CommitOptions& options);

// Writes the snapshot as a bundle. Throws conflict if `out` exists.
void write_bundle(const SnapshotState& snapshot, const std::string& ref, const Digest& store_id,
                  const std::filesystem::path& out, const BundleOptions& options);

}  // namespace tenon
