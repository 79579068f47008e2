// A snapshot as a draft: to commit again what was loaded, with other bytes, other rows, or compacted. And a draft's
// rows and slots as those of a snapshot: to look at what is not committed.
#pragma once

#include "tenon/draft.h"
#include "tenon/export.h"
#include "tenon/snapshot.h"

namespace tenon {

// The sources are the snapshot's memory, so that writes to one opened privately are in the draft, and what was not
// touched costs a commit to the same store nothing. Rows keep their places, and structure, attachments, step and meta
// come along; the message stays behind. The snapshot, or a copy of it, must live until the draft is committed.
TENON_API Draft make_draft(const Snapshot& snapshot);

// `index`: the row's own. Views into the tensor, valid as long as it is.
TENON_API TensorRow as_row(const TensorDraft& tensor, std::uint32_t index) noexcept;
// Without a key: nothing was digested.
TENON_API SlotRow as_row(const SlotDraft& slot) noexcept;

}  // namespace tenon
