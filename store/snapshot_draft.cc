#include "tenon/snapshot_draft.h"

namespace tenon {

namespace {

TensorDraft tensor_draft(const TensorRow& row, std::uint32_t index) {
  TensorDraft tensor{.name = std::string(row.name),
                     .dtype = row.dtype,
                     .kind = row.kind,
                     .requires_grad = row.requires_grad,
                     .is_conj = row.is_conj,
                     .is_neg = row.is_neg,
                     .slot = row.slot,
                     .storage_offset_bytes = row.storage_offset_bytes,
                     .shape = {row.shape.begin(), row.shape.end()},
                     .stride = {row.stride.begin(), row.stride.end()},
                     .wrapper = std::string(row.wrapper),
                     .quantizer = std::string(row.quantizer),
                     .param = std::string(row.param),
                     .global_shape = {row.global_shape.begin(), row.global_shape.end()},
                     .global_offset = {row.global_offset.begin(), row.global_offset.end()}};
  if (row.object != index) tensor.object = row.object;
  return tensor;
}

}  // namespace

Draft make_draft(const Snapshot& snapshot) {
  Draft draft;
  for (std::uint32_t row = 0; row < snapshot.size(); ++row)
    draft.tensors.push_back(tensor_draft(snapshot.row(row), row));
  for (std::uint32_t index = 0; index < snapshot.slot_count(); ++index) {
    const SlotRow slot = snapshot.slot(index);
    draft.slots.push_back({.nbytes = slot.nbytes,
                           .source = {.memory = snapshot.slot_bytes(index)},
                           .storage_dtype = slot.storage_dtype,
                           .location = std::string(slot.location)});
  }
  draft.structure.assign(snapshot.structure().begin(), snapshot.structure().end());
  for (const AttachmentRow& attachment : snapshot.attachments()) {
    draft.attachments.push_back({std::string(attachment.name), {attachment.bytes.begin(), attachment.bytes.end()}});
  }
  draft.step = snapshot.info().step;
  draft.meta = snapshot.info().meta;
  return draft;
}

TensorRow as_row(const TensorDraft& tensor, std::uint32_t index) noexcept {
  return {.name = tensor.name,
          .dtype = tensor.dtype,
          .kind = tensor.kind,
          .requires_grad = tensor.requires_grad,
          .is_conj = tensor.is_conj,
          .is_neg = tensor.is_neg,
          .slot = tensor.slot,
          .object = tensor.object.value_or(index),
          .storage_offset_bytes = tensor.storage_offset_bytes,
          .shape = tensor.shape,
          .stride = tensor.stride,
          .wrapper = tensor.wrapper,
          .quantizer = tensor.quantizer,
          .param = tensor.param,
          .global_shape = tensor.global_shape,
          .global_offset = tensor.global_offset};
}

SlotRow as_row(const SlotDraft& slot) noexcept {
  return {.nbytes = slot.nbytes, .storage_dtype = slot.storage_dtype, .location = slot.location, .key = {}};
}

}  // namespace tenon
