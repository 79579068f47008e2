// Records of a torch archive that travel with a snapshot as they are.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "formats/torch_archive.h"
#include "tenon/draft.h"
#include "tenon/snapshot.h"

namespace tenon {

// Owner: keeps the records' bytes, together at most the file's length and a little for what was deflated. Borrows the
// archive. Threads: one. Errors: corrupt; limit for what takes more.
class RecordAttachments {
 public:
  explicit RecordAttachments(const TorchArchive& archive);

  // Takes the records that are wanted, but for those that are written anew with every archive. Names are those below
  // the archive's directory. What was taken stays where it is.
  void take(const std::function<bool(std::string_view name)>& is_wanted);

  std::vector<AttachmentRow> rows() const;  // borrow the bytes
  std::vector<AttachmentDraft>& drafts() noexcept { return drafts_; }

 private:
  const TorchArchive& archive_;
  std::uint64_t bytes_left_;
  std::vector<AttachmentDraft> drafts_;
};

}  // namespace tenon
