// What ls, tree, show and cat look at: a snapshot of a store, or a foreign file as it would be imported.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/formats.h"
#include "tenon/snapshot.h"
#include "tools/json.h"

namespace tenon::tools {

class Content {
 public:
  explicit Content(Snapshot snapshot) : snapshot_(std::move(snapshot)) {}
  explicit Content(ImportedFile file) : file_(std::make_unique<ImportedFile>(std::move(file))) {}

  // nullptr for a foreign file, which has no id, storage keys or kept statistics.
  const Snapshot* snapshot() const noexcept { return snapshot_ ? &*snapshot_ : nullptr; }
  std::optional<std::string> snapshot_id() const;

  std::uint32_t size() const noexcept;
  std::uint32_t slot_count() const noexcept;
  TensorRow row(std::uint32_t index) const noexcept;
  SlotRow slot(std::uint32_t index) const noexcept;
  std::optional<Statistics> statistics(std::uint32_t index) const noexcept;

  // The nesting that held the tensors, as indented text.
  std::string structure_text() const;

  // Rows under `prefix`, which may end in the separator, in insertion order. Throws not_found, naming close matches, if
  // there are none.
  std::vector<std::uint32_t> select(std::string_view prefix) const;
  // Throws not_found, naming close matches.
  std::uint32_t find(std::string_view name) const;

  // Bytes [begin, end) of a slot: where they lie, or in `buffer` if they must be read.
  std::span<const std::byte> bytes(std::uint32_t slot, std::uint64_t begin, std::uint64_t end,
                                   std::vector<std::byte>& buffer) const;
  // The same, digest of the slot checked, handed over piece by piece in order.
  void read_verified(std::uint32_t slot, std::uint64_t begin, std::uint64_t end,
                     const std::function<void(std::span<const std::byte>)>& sink) const;

 private:
  bool has_under(std::string_view prefix) const;
  [[noreturn]] void throw_not_found(std::string_view name) const;

  std::optional<Snapshot> snapshot_;
  std::unique_ptr<ImportedFile> file_;
};

// Opens a foreign file. Damage to it is a plain failure, none of a store: throws Failure for that.
ImportedFile open_file(const std::filesystem::path& path, const ImportOptions& options = {});

// A Content and what was asked of it.
struct Opened {
  Content content;
  std::string label;  // "main" or "model.pt", for headings
  std::string path;   // tensor or subtree
  bool has_path = false;
};

// `argument` is REV[:PATH], or the path of a file or store, [:PATH] following.
Opened open_content(const std::string& store, const std::string& argument);
// The one tensor that was asked for. Throws invalid_argument if that is not said, not_found if it is not there.
std::uint32_t find_tensor(const Opened& opened);

// Elements, and bytes that they would take if they lay side by side; `uncountable` if those are more than fit, as
// expanded tensors can have.
inline constexpr std::uint64_t uncountable = UINT64_MAX;
std::uint64_t element_count(const TensorRow& row) noexcept;
std::uint64_t tensor_bytes(const TensorRow& row) noexcept;
bool is_contiguous(std::span<const std::int64_t> shape, std::span<const std::int64_t> stride) noexcept;
// Whether the tensor is less, or in another order, than the whole of its storage.
bool is_view(const TensorRow& row, const SlotRow& slot);

// Whether they are the same elements of the same slot, in the same order.
bool has_same_elements(const TensorRow& a, const TensorRow& b);

// null where it is uncountable.
Json countable(std::uint64_t count);

// Names and facts of a row as SQL and Python call them, too.
Json::Object row_members(const Content& content, const TensorRow& row);

}  // namespace tenon::tools
