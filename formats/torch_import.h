// From the object of a torch file to rows and structure, whatever container it was in: a zip archive, a legacy stream
// or a tar archive.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "formats/pickle.h"
#include "mmap/file.h"
#include "tenon/draft.h"
#include "tenon/formats.h"

namespace tenon {

// The bytes of one storage.
struct TorchRecord {
  std::uint64_t nbytes = 0;
  // `swap_bytes`: width of the units whose bytes are reversed; 1: none.
  std::function<Source(std::uint64_t swap_bytes)> source{};
  std::string location = "cpu";  // where the pickle does not say it
};

// What a container knows of its storages.
class TorchRecords {
 public:
  TorchRecords() = default;
  TorchRecords(const TorchRecords&) = delete;
  TorchRecords& operator=(const TorchRecords&) = delete;
  virtual ~TorchRecords() = default;
  virtual std::optional<TorchRecord> find(const std::string& key) const = 0;
  // The record's name in messages: "model.pt(model/data/0)".
  virtual std::string label(const std::string& key) const = 0;
  // Names the pickle of the object in messages.
  virtual std::string pickle_label() const = 0;
  virtual bool is_big_endian() const { return false; }
  // Of a persistent id that is an integer; see PickleSources in tenon/formats.h.
  virtual const TensorDraft* tensor(std::int64_t) const { return nullptr; }
};

// How the pickle of an object is read: within what `options` allow.
PickleReadOptions object_read_options(const ImportOptions& options);

// Every tensor, bare storage and numpy array of `object` becomes a row, everything else structure. Throws corrupt,
// unsupported, limit. `slot_keys`, if given, gets the key of each slot's record, empty for a numpy array's.
Draft import_torch_object(PickleGraph object, const TorchRecords& records, const ImportOptions& options,
                          std::vector<std::string>* slot_keys = nullptr);

}  // namespace tenon
