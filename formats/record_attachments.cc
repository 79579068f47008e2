#include "formats/record_attachments.h"

#include <string>
#include <utility>

namespace tenon {

namespace {

constexpr std::uint64_t deflated_slack_bytes = std::uint64_t{16} << 20;

bool is_made_by_writer(std::string_view name) {
  return name == "byteorder" || name == ".data/serialization_id" || name.ends_with('/');
}

}  // namespace

RecordAttachments::RecordAttachments(const TorchArchive& archive)
    : archive_(archive), bytes_left_(archive.reader()->file().size_bytes() + deflated_slack_bytes) {}

void RecordAttachments::take(const std::function<bool(std::string_view name)>& is_wanted) {
  for (const ZipEntry& entry : archive_.entries()) {
    const std::string_view name = archive_.name_of(entry);
    if (is_made_by_writer(name) || !is_wanted(name)) continue;
    auto bytes = archive_.read(entry, bytes_left_);
    bytes_left_ -= bytes.size();
    drafts_.push_back({std::string(name), std::move(bytes)});
  }
}

std::vector<AttachmentRow> RecordAttachments::rows() const {
  std::vector<AttachmentRow> rows;
  for (const AttachmentDraft& draft : drafts_) rows.push_back({draft.name, draft.bytes});
  return rows;
}

}  // namespace tenon
