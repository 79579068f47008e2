// A draft that is one dict of names to tensors, as safetensors and numpy archives are.
//
// A key is one string at the root of the path, whatever is in it: "model.layers.0.w", "a/b". So a file of torch.save
// with such a dict, and a safetensors file with the same keys, make equal names.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "formats/foreign_file.h"
#include "formats/pickle.h"
#include "tenon/draft.h"

namespace tenon {

class FlatDraft {
 public:
  // The file: for messages, and for how many tensors it may hold by its size.
  explicit FlatDraft(const ForeignFile& file);
  // Of several files that come to `total_bytes`.
  FlatDraft(const ForeignFile& file, std::uint64_t total_bytes);

  // The row's name and, if it has one of its own, slot are set here. Throws limit for more tensors than a file of that
  // size accounts for.
  void add(std::string_view key, TensorDraft row, SlotDraft slot);
  // As it is; `row.slot` and `row.object` are of this draft.
  void add(std::string_view key, TensorDraft row);
  std::uint32_t add_slot(SlotDraft slot);
  std::size_t size() const noexcept { return draft_.tensors.size(); }

  void set_meta(std::string meta) { draft_.meta = std::move(meta); }
  // Throws corrupt if a key was there twice. Last call.
  Draft finish();

 private:
  void check_keys_differ() const;

  std::string file_;
  std::uint64_t rows_max_;
  Draft draft_;
  PickleGraph graph_;
};

// A draft of one tensor that is no item of anything: its name is ".".
Draft make_lone_draft(TensorDraft row, SlotDraft slot);

}  // namespace tenon
