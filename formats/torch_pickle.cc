// Pickles of torch whose storages are in memory, or wherever the caller says.
#include <unordered_map>

#include "formats/pickle.h"
#include "formats/torch_import.h"
#include "tenon/error.h"
#include "tenon/formats.h"

namespace tenon {

namespace {

const std::string pickle_name = "pickle";

// The object is in this process already, so its size is no surprise.
const ImportOptions own_object{.max_memory_bytes = std::uint64_t{1} << 48};

// Little-endian, as this machine is.
class GivenRecords final : public TorchRecords {
 public:
  explicit GivenRecords(const PickleSources& sources) : sources_(sources) {}

  std::optional<TorchRecord> find(const std::string& key) const override {
    auto found = sources_.storage(key);
    if (!found) return std::nullopt;
    return TorchRecord{.nbytes = found->nbytes,
                       .source = [source = std::move(found->source)](std::uint64_t) { return source; },
                       .location = std::move(found->location)};
  }
  const TensorDraft* tensor(std::int64_t number) const override {
    return sources_.tensor ? sources_.tensor(number) : nullptr;
  }
  std::string label(const std::string& key) const override { return "storage " + key; }
  std::string pickle_label() const override { return pickle_name; }

 private:
  const PickleSources& sources_;
};

// One node for each number, so that a tensor that is named twice is one object.
PickleGraph read_object(std::span<const std::byte> pickle) {
  std::unordered_map<std::int64_t, NodeId> tensors;
  PickleReadOptions options = object_read_options(own_object);
  options.file = pickle_name;
  options.persistent = [&](PickleGraph& graph, NodeId id) {
    if (!graph.is(id, PickleKind::integer)) return graph.add_persistent(id);
    const auto [entry, is_new] = tensors.try_emplace(graph.integer(id), no_node);
    if (is_new) entry->second = graph.add_persistent(id);
    return entry->second;
  };
  auto result = read_pickle(pickle, options);
  if (result.consumed_bytes != pickle.size()) {
    throw Error(ErrorKind::corrupt,
                {.what = "pickle is followed by something else", .file = pickle_name, .offset = result.consumed_bytes});
  }
  return std::move(result.graph);
}

}  // namespace

Draft read_torch_pickle(std::span<const std::byte> pickle, const PickleSources& sources) {
  return import_torch_object(read_object(pickle), GivenRecords(sources), own_object);
}

}  // namespace tenon
