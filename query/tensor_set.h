// The tensors of one snapshot or of one foreign file, as rows: what is known without their bytes, and, asked for, what
// their values come to.
//
// Lifetime: keeps what it reads from. Threads: those of the session. Errors: tenon::Error.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "query/session_state.h"
#include "query/statistics.h"
#include "tenon/snapshot.h"

namespace tenon {

class TensorSet {
 public:
  virtual ~TensorSet() = default;

  virtual std::uint32_t size() const noexcept = 0;
  virtual TensorRow row(std::uint32_t index) const noexcept = 0;
  virtual SlotRow slot(std::uint32_t index) const noexcept = 0;
  virtual std::string_view name(std::uint32_t index) const noexcept = 0;
  virtual std::span<const std::uint32_t> order() const noexcept = 0;  // rows by name
  virtual std::optional<std::uint32_t> find(std::string_view name) const noexcept = 0;
  // Equal for sets with the same rows (names, shapes, slots) in the same places.
  virtual std::shared_ptr<const void> layout_identity() const noexcept = 0;
  virtual const SnapshotInfo* info() const noexcept { return nullptr; }  // of a snapshot
  virtual bool has_storage_ids() const noexcept = 0;
  // What names a row in a function, for as long as the snapshot is there: see tensor_handle.h.
  virtual std::string handle(std::uint32_t index) const = 0;

  // What the commit learned; nullopt if it did not.
  virtual std::optional<Statistics> stored_statistics(std::uint32_t index) = 0;
  // nullopt for a row without data or without numbers.
  virtual std::optional<Summary> summarize(std::uint32_t index, const SummaryRequest& request) = 0;
  virtual std::optional<Values> values(std::uint32_t index) = 0;
  // The bytes as they are stored, for types without numbers, too; nullopt for a row without data.
  virtual std::optional<Values> stored_values(std::uint32_t index) = 0;
};

// Opens no segment but the one with the layout, until values are asked for.
class SnapshotTensors : public TensorSet {
 public:
  SnapshotTensors(SessionState& session, std::shared_ptr<const CatalogSnapshot> snapshot);

  std::uint32_t size() const noexcept override { return layout_->layout.tensor_count(); }
  TensorRow row(std::uint32_t index) const noexcept override { return layout_->layout.tensor(index); }
  SlotRow slot(std::uint32_t index) const noexcept override;
  std::string_view name(std::uint32_t index) const noexcept override { return layout_->layout.name(index); }
  std::span<const std::uint32_t> order() const noexcept override { return layout_->layout.order(); }
  std::optional<std::uint32_t> find(std::string_view name) const noexcept override {
    return layout_->layout.find(name);
  }
  std::shared_ptr<const void> layout_identity() const noexcept override { return layout_; }
  const SnapshotInfo* info() const noexcept override { return &snapshot_->info(); }
  bool has_storage_ids() const noexcept override { return true; }
  std::string handle(std::uint32_t index) const override;
  std::optional<Statistics> stored_statistics(std::uint32_t index) override;
  std::optional<Summary> summarize(std::uint32_t index, const SummaryRequest& request) override;
  std::optional<Values> values(std::uint32_t index) override;
  std::optional<Values> stored_values(std::uint32_t index) override;

  const CatalogSnapshot& snapshot() const noexcept { return *snapshot_; }
  // With its bytes.
  const Snapshot& opened();

 private:
  SessionState& session_;
  std::shared_ptr<const CatalogSnapshot> snapshot_;
  std::shared_ptr<const SharedLayout> layout_;
  std::shared_ptr<const SnapshotStatistics> statistics_;
  std::shared_ptr<const Snapshot> opened_;
};

class FileTensors : public TensorSet {
 public:
  FileTensors(SessionState& session, std::shared_ptr<const OpenFile> file)
      : session_(session), file_(std::move(file)), draft_(file_->file.draft()) {}

  std::uint32_t size() const noexcept override { return static_cast<std::uint32_t>(draft_.tensors.size()); }
  TensorRow row(std::uint32_t index) const noexcept override;
  SlotRow slot(std::uint32_t index) const noexcept override;
  std::string_view name(std::uint32_t index) const noexcept override { return draft_.tensors[index].name; }
  std::span<const std::uint32_t> order() const noexcept override { return file_->order; }
  std::optional<std::uint32_t> find(std::string_view name) const noexcept override;
  std::shared_ptr<const void> layout_identity() const noexcept override { return file_; }
  bool has_storage_ids() const noexcept override { return false; }
  std::string handle(std::uint32_t index) const override;
  std::optional<Statistics> stored_statistics(std::uint32_t) override { return std::nullopt; }
  std::optional<Summary> summarize(std::uint32_t index, const SummaryRequest& request) override;
  std::optional<Values> values(std::uint32_t index) override;
  std::optional<Values> stored_values(std::uint32_t index) override;

 private:
  SessionState& session_;
  std::shared_ptr<const OpenFile> file_;
  const Draft& draft_;
};

std::shared_ptr<SnapshotTensors> tensors_of(SessionState& session, const SnapshotId& id);

}  // namespace tenon
