// TorchScript archives: what torch.jit.save, torch::save and the mobile exporters write as zip.
//
// Tensors become rows: those of the object under the names of their attributes (see torchscript_module.h), those of the
// code's constants as `constants/0`. Every record that is no storage of a row stays as it is, as an attachment: code,
// debug information, both pickles, bytecode, traced inputs, extra files, version. From these and the rows the archive
// can be put together again.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/foreign_file.h"
#include "formats/torch_import.h"
#include "tenon/draft.h"
#include "tenon/snapshot.h"

namespace tenon {

// The draft's sources keep the reader. Throws corrupt, unsupported, limit. REQUIRES: a zip archive.
Draft read_torchscript(const ForeignFile& file);

// Rows of an archive, from its records but for the storages.
struct TorchScriptRows {
  Draft draft{};                       // tensors, slots and structure
  std::vector<std::string> records{};  // of each slot: "data/0", "constants/2"; empty if it is in none
};

// `data` and `constants` know the storages that the object and the constants name.
TorchScriptRows read_torchscript_rows(std::span<const AttachmentRow> records, const TorchRecords& data,
                                      const TorchRecords& constants, const ImportOptions& options);

// nullptr if there is no record of that name.
const AttachmentRow* find_record(std::span<const AttachmentRow> records, std::string_view name) noexcept;
// Whether the records are those of an archive that can be put together again.
bool holds_torchscript(std::span<const AttachmentRow> records) noexcept;

}  // namespace tenon
