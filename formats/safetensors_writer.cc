#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "formats/flat_export.h"
#include "formats/json_events.h"
#include "formats/pending_file.h"
#include "formats/progress_total.h"
#include "formats/safetensors_header.h"
#include "formats/safetensors_reader.h"
#include "store/parallel.h"
#include "tenon/error.h"
#include "tenon/formats.h"

namespace tenon {

namespace {

constexpr std::uint64_t header_alignment = 8;
// Tensors are written piece by piece; those below this are gathered into one piece.
constexpr std::uint64_t piece_bytes = std::uint64_t{1} << 20;

struct Placed {
  FlatTensor tensor;
  std::size_t type = 0;     // index of its SafetensorsType
  std::uint64_t begin = 0;  // in the data
};

// In the order of the reference implementation: largest types first, so that every tensor is aligned, then by name.
std::vector<Placed> place_all(const Snapshot& snapshot, const std::string& prefix) {
  std::vector<Placed> placed;
  for (FlatTensor& tensor : select_flat(snapshot, prefix, "safetensors")) {
    const TensorRow row = snapshot.row(tensor.row);
    const auto type = safetensors_type_index(row.dtype);
    if (!type) refuse_dtype(row, "safetensors");
    if (tensor.key == "__metadata__") {
      throw Error(
          ErrorKind::unsupported,
          {.what = "safetensors keeps this name for its metadata", .got = "__metadata__", .hint = "export to .pt"});
    }
    placed.push_back({.tensor = std::move(tensor), .type = *type});
  }
  std::sort(placed.begin(), placed.end(), [](const Placed& a, const Placed& b) {
    return a.type != b.type ? a.type > b.type : a.tensor.key < b.tensor.key;
  });
  std::uint64_t at = 0;
  for (Placed& tensor : placed) {
    tensor.begin = at;
    if (__builtin_add_overflow(at, tensor.tensor.nbytes, &at)) {
      throw Error(ErrorKind::limit, {.what = "tensors have more bytes than can be counted"});
    }
  }
  return placed;
}

std::uint64_t data_bytes(const std::vector<Placed>& placed) {
  return placed.empty() ? 0 : placed.back().begin + placed.back().tensor.nbytes;
}

void append_metadata(std::string& json, const SafetensorsMetadata& metadata) {
  json += R"("__metadata__":{)";
  const std::size_t begin = json.size();
  for (const auto& [key, value] : metadata) {
    if (json.size() != begin) json += ',';
    json += json_quoted(key) + ':' + json_quoted(value);
  }
  json += '}';
}

void append_entry(std::string& json, const TensorRow& row, const Placed& placed) {
  const SafetensorsType& type = safetensors_type(placed.type);
  std::vector<std::int64_t> shape(row.shape.begin(), row.shape.end());
  if (type.bits == 4) shape.empty() ? shape.push_back(2) : void(shape.back() *= 2);
  json += fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", json_quoted(placed.tensor.key),
                      type.name, fmt::join(shape, ","), placed.begin, placed.begin + placed.tensor.nbytes);
}

// What other programs ask for of a file that came from torch: transformers refuses one without.
SafetensorsMetadata metadata_for(const Snapshot& snapshot) {
  return metadata_in(snapshot.info().meta).value_or(SafetensorsMetadata{{"format", "pt"}});
}

// Length and JSON, padded with spaces as the reference implementation does.
std::vector<std::byte> make_header(const Snapshot& snapshot, const std::vector<Placed>& placed) {
  std::string json = "{";
  if (const auto metadata = metadata_for(snapshot); !metadata.empty()) append_metadata(json, metadata);
  for (const Placed& tensor : placed) {
    if (json.size() > 1) json += ',';
    append_entry(json, snapshot.row(tensor.tensor.row), tensor);
  }
  json += '}';
  json.append((header_alignment - json.size() % header_alignment) % header_alignment, ' ');
  if (json.size() > safetensors_header_bytes_max) {
    throw Error(ErrorKind::limit, {.what = "names and shapes are too much for a safetensors header",
                                   .got = fmt::format("{} bytes", json.size()),
                                   .wanted = fmt::format("at most {}", safetensors_header_bytes_max)});
  }
  std::vector<std::byte> bytes(safetensors_length_bytes + json.size());
  const std::uint64_t nbytes = json.size();
  std::memcpy(bytes.data(), &nbytes, sizeof nbytes);
  std::memcpy(bytes.data() + safetensors_length_bytes, json.data(), json.size());
  return bytes;
}

void write_large(File& file, std::uint64_t begin, const DenseElements& elements, ProgressTotal& progress) {
  const std::uint64_t nbytes = elements.nbytes();
  parallel_for((nbytes + piece_bytes - 1) / piece_bytes, threads_for_bytes(nbytes), [&](std::size_t i) {
    const std::uint64_t offset = i * piece_bytes;
    std::vector<std::byte> piece(std::min(piece_bytes, nbytes - offset));
    elements.read(offset, piece);
    file.write_at(begin + offset, piece);
    progress.add(piece.size());
  });
}

// What has come together of small tensors, which lie side by side.
class SmallTensors {
 public:
  explicit SmallTensors(File& file) : file_(file) {}

  void add(std::uint64_t begin, const DenseElements& elements, ProgressTotal& progress) {
    if (bytes_.empty()) begin_ = begin;
    const std::size_t used = bytes_.size();
    bytes_.resize(used + elements.nbytes());
    elements.read(0, std::span(bytes_).subspan(used));
    progress.add(elements.nbytes());
    if (bytes_.size() >= piece_bytes) flush();
  }
  void flush() {
    if (!bytes_.empty()) file_.write_at(begin_, bytes_);
    bytes_.clear();
  }

 private:
  File& file_;
  std::uint64_t begin_ = 0;
  std::vector<std::byte> bytes_;
};

void write_data(const Snapshot& snapshot, const std::vector<Placed>& placed, std::uint64_t data_begin, File& file,
                ProgressTotal& progress) {
  SmallTensors small(file);
  for (const Placed& tensor : placed) {
    const DenseElements elements(snapshot, tensor.tensor, ElementOrder::row_major);
    if (elements.nbytes() < piece_bytes) {
      small.add(data_begin + tensor.begin, elements, progress);
      continue;
    }
    small.flush();
    write_large(file, data_begin + tensor.begin, elements, progress);
  }
  small.flush();
}

std::uint64_t count_all_sharing(const Snapshot& snapshot, const std::vector<Placed>& placed) {
  std::vector<FlatTensor> tensors;
  for (const Placed& tensor : placed) tensors.push_back(tensor.tensor);
  return count_sharing(snapshot, tensors);
}

}  // namespace

ExportResult export_safetensors(const Snapshot& snapshot, const std::filesystem::path& out,
                                const ExportOptions& options) {
  const std::vector<Placed> placed = place_all(snapshot, options.prefix);
  const std::vector<std::byte> header = make_header(snapshot, placed);
  ProgressTotal progress(data_bytes(placed), options.progress);
  PendingFile pending(out);
  pending.file().reserve(0, header.size() + data_bytes(placed));
  pending.file().write_at(0, header);
  write_data(snapshot, placed, header.size(), pending.file(), progress);
  pending.publish(options.sync);
  return {.tensors = placed.size(), .unshared = count_all_sharing(snapshot, placed)};
}

}  // namespace tenon
