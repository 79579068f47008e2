// The public handles over SnapshotState.
#include "tenon/snapshot.h"

#include <algorithm>

#include "store/snapshot_state.h"
#include "store/suggest.h"
#include "tenon/error.h"
#include "tenon/name.h"
#include "tenon/view.h"

namespace tenon {

const SnapshotInfo& Snapshot::info() const noexcept { return state_->info(); }
Mode Snapshot::mode() const noexcept { return state_->mode(); }
std::uint32_t Snapshot::size() const noexcept { return state_->layout().tensor_count(); }
std::uint32_t Snapshot::slot_count() const noexcept { return state_->layout().slot_count(); }
TensorRow Snapshot::row(std::uint32_t index) const noexcept { return state_->layout().tensor(index); }

SlotRow Snapshot::slot(std::uint32_t index) const noexcept {
  const Layout& layout = state_->layout();
  return {layout.slot_bytes(index), layout.slot_dtype(index), layout.slot_location(index), state_->keys()[index]};
}

std::optional<Statistics> Snapshot::statistics(std::uint32_t index) const { return state_->statistics(index); }

std::optional<std::uint32_t> Snapshot::find(std::string_view name) const noexcept {
  return state_->layout().find(name);
}
std::vector<std::uint32_t> Snapshot::select(std::string_view prefix) const { return state_->layout().select(prefix); }

View Snapshot::operator[](std::string_view name) const {
  const auto row = find(name);
  if (row) return view(*row);
  std::vector<std::string_view> names;
  for (std::uint32_t i = 0; i < size(); ++i) names.push_back(state_->layout().name(i));
  throw Error(ErrorKind::not_found, {.what = "no tensor '" + printable(name) + "' in snapshot " + to_hex(id()),
                                     .hint = suggest(name, names)});
}

View Snapshot::view(std::uint32_t index) const {
  const Layout& layout = state_->layout();
  const std::uint32_t slot = layout.slot(index);
  if (slot == no_slot) {
    throw Error(ErrorKind::invalid_argument,
                {.what = "tensor '" + printable(layout.name(index)) + "' has no bytes: it is on the meta device"});
  }
  // A tensor without elements may begin anywhere, also past its slot's end: its pointer is never followed.
  const std::uint64_t offset = std::min(layout.offset_bytes(index), layout.slot_bytes(slot));
  return View(state_, index, state_->slot_data(slot) + offset);
}

std::span<const std::byte> Snapshot::slot_bytes(std::uint32_t slot) const noexcept {
  return {state_->slot_data(slot), state_->layout().slot_bytes(slot)};
}

std::span<const std::byte> Snapshot::structure() const noexcept { return state_->structure_bytes(); }
std::vector<AttachmentRow> Snapshot::attachments() const { return state_->attachments(); }

void Snapshot::read_verified(std::uint32_t slot, const std::function<void(std::span<const std::byte>)>& sink) const {
  state_->read_verified(slot, sink);
}

VerifiedReader Snapshot::verified_reader(std::uint32_t slot) const { return state_->verified_reader(slot); }

std::string_view View::name() const noexcept { return state_->layout().name(row_); }
DType View::dtype() const noexcept { return state_->layout().dtype(row_); }
std::span<const std::int64_t> View::shape() const noexcept { return state_->layout().shape(row_); }
std::span<const std::int64_t> View::stride() const noexcept { return state_->layout().stride(row_); }
std::uint64_t View::storage_offset_bytes() const noexcept { return state_->layout().offset_bytes(row_); }

std::uint64_t View::numel() const noexcept {
  std::uint64_t count = 1;
  for (const std::int64_t size : shape()) count *= static_cast<std::uint64_t>(size);
  return count;
}

bool View::is_contiguous() const noexcept {
  const auto sizes = shape();
  const auto strides = stride();
  std::int64_t wanted = 1;
  for (std::size_t d = sizes.size(); d-- > 0;) {
    if (sizes[d] == 0) return true;
    if (sizes[d] != 1 && strides[d] != wanted) return false;
    wanted *= sizes[d];
  }
  return true;
}

std::byte* View::mutable_data() const {
  if (state_->mode() == Mode::shared) {
    throw Error(ErrorKind::invalid_argument, {.what = "tensor '" + printable(name()) + "' is mapped read-only",
                                              .hint = "open the snapshot with Mode::private_ or Mode::copy to write"});
  }
  return data_;
}

std::span<const std::byte> View::bytes() const {
  if (!is_contiguous()) {
    throw Error(ErrorKind::invalid_argument,
                {.what = "tensor '" + printable(name()) + "' is not contiguous", .hint = "use accessor() or stride()"});
  }
  const std::uint64_t bits = numel() * dtype_info(dtype()).bits;
  return {data_, (bits + 7) / 8};
}

std::span<const std::byte> View::storage() const noexcept {
  const std::uint32_t slot = state_->layout().slot(row_);
  return {state_->slot_data(slot), state_->layout().slot_bytes(slot)};
}

void View::require_dtype(DType wanted, std::size_t alignment) const {
  if (dtype() != wanted) {
    throw Error(ErrorKind::invalid_argument, {.what = "tensor '" + printable(name()) + "' has another dtype",
                                              .got = std::string(dtype_info(dtype()).name),
                                              .wanted = std::string(dtype_info(wanted).name)});
  }
  if (reinterpret_cast<std::uintptr_t>(data_) % alignment != 0) {
    throw Error(ErrorKind::invalid_argument, {.what = "tensor '" + printable(name()) + "' is not aligned for its dtype",
                                              .hint = "copy its bytes() out"});
  }
}

void View::require_rank(std::size_t rank) const {
  if (shape().size() == rank) return;
  throw Error(ErrorKind::invalid_argument, {.what = "tensor '" + printable(name()) + "' has another rank",
                                            .got = std::to_string(shape().size()),
                                            .wanted = std::to_string(rank)});
}

}  // namespace tenon
