#include "query/tensor_set.h"

#include <algorithm>

#include "query/tensor_handle.h"
#include "tenon/snapshot_draft.h"

namespace tenon {

namespace {

// Of a row that has data: as it is stored, whatever its type.
StridedTensor strided(const View& view) { return {view.dtype(), view.data(), view.shape(), view.stride()}; }

}  // namespace

SnapshotTensors::SnapshotTensors(SessionState& session, std::shared_ptr<const CatalogSnapshot> snapshot)
    : session_(session), snapshot_(std::move(snapshot)), layout_(session.history().layout(*snapshot_)) {}

SlotRow SnapshotTensors::slot(std::uint32_t index) const noexcept {
  const Layout& layout = layout_->layout;
  return {layout.slot_bytes(index), layout.slot_dtype(index), layout.slot_location(index), snapshot_->keys[index]};
}

std::string SnapshotTensors::handle(std::uint32_t index) const {
  return snapshot_handle(snapshot_->info().id, name(index));
}

std::optional<Statistics> SnapshotTensors::stored_statistics(std::uint32_t index) {
  if (!statistics_) statistics_ = session_.history().statistics(*snapshot_);
  return statistics_->column.at(index);
}

const Snapshot& SnapshotTensors::opened() {
  if (!opened_) opened_ = session_.open(snapshot_->info().id);
  return *opened_;
}

std::optional<Summary> SnapshotTensors::summarize(std::uint32_t index, const SummaryRequest& request) {
  return session_.summaries().get(opened(), index, request, session_.poller());
}

std::optional<Values> SnapshotTensors::values(std::uint32_t index) { return values_of(opened(), index); }

std::optional<Values> SnapshotTensors::stored_values(std::uint32_t index) {
  if (row(index).slot == no_slot) return std::nullopt;
  return Values{.tensor = strided(opened().view(index)), .owner = opened_};
}

TensorRow FileTensors::row(std::uint32_t index) const noexcept { return as_row(draft_.tensors[index], index); }

SlotRow FileTensors::slot(std::uint32_t index) const noexcept { return as_row(draft_.slots[index]); }

std::optional<std::uint32_t> FileTensors::find(std::string_view name) const noexcept {
  const auto rows = order();
  const auto found = std::lower_bound(
      rows.begin(), rows.end(), name,
      [this](std::uint32_t row, std::string_view wanted) { return draft_.tensors[row].name < wanted; });
  if (found == rows.end() || draft_.tensors[*found].name != name) return std::nullopt;
  return *found;
}

std::string FileTensors::handle(std::uint32_t index) const { return file_handle(file_->path, name(index)); }

std::optional<Summary> FileTensors::summarize(std::uint32_t index, const SummaryRequest& request) {
  const auto found = values(index);
  if (!found) return std::nullopt;
  return tenon::summarize(*found, request, session_.poller());
}

std::optional<Values> FileTensors::values(std::uint32_t index) {
  return values_of(draft_, index, session_.limits().memory_bytes);
}

std::optional<Values> FileTensors::stored_values(std::uint32_t index) {
  const TensorDraft& tensor = draft_.tensors[index];
  if (tensor.slot == no_slot) return std::nullopt;
  const SlotDraft& slot = draft_.slots[tensor.slot];
  Values values{.tensor = {tensor.dtype, slot.source.memory.data(), tensor.shape, tensor.stride}, .owner = file_};
  if (slot.source.read) {
    session_.charge(slot.nbytes);
    auto bytes = std::make_shared<std::vector<std::byte>>(slot.nbytes);
    slot.source.read(0, *bytes);
    values.tensor.data = bytes->data();
    values.owner = std::move(bytes);
  }
  if (values.tensor.data != nullptr) values.tensor.data += std::min(tensor.storage_offset_bytes, slot.nbytes);
  return values;
}

std::shared_ptr<SnapshotTensors> tensors_of(SessionState& session, const SnapshotId& id) {
  return std::make_shared<SnapshotTensors>(session, session.history().find(id));
}

}  // namespace tenon
