// Giving back the disk space of forgotten snapshots, beside readers and writers.
//
//   1. Alone among gcs (byte 2 of catalog/lock). Mark what the remaining snapshots need of the segments whose own
//      snapshot was forgotten, in short read batches. Where a segment is needed in part, write a sparse copy beside it.
//   2. Under the commit lock: mark what has come since. A segment that got into use is left alone, and so is one of
//      which a copy now lacks something.
//   3. Delete the rows of forgotten snapshots and of segments that nobody needs, with their hints; LMDB commit. The
//      mutation's number stays: nothing of the history has changed.
//   4. Still under the lock: unlink, rename copies over, remove stray segments; sync the directory.
//
// Killed before 3, nothing has happened; after it, the files are strays that the next gc removes. Readers need no lock:
// what they have mapped stays. A commit that reuses what was taken meanwhile finds that out under the lock, and starts
// over.
#pragma once

#include "store/store_state.h"
#include "tenon/retention.h"

namespace tenon {

GcReport collect_garbage(StoreState& store, const GcOptions& options);

// A file whose blocks a change on a full disk may use: removed first, made again when there is room.
void drop_ballast(const StorePaths& paths);
void make_ballast(const StorePaths& paths);

}  // namespace tenon
