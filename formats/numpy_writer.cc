#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "formats/flat_export.h"
#include "formats/npy_header.h"
#include "formats/pending_file.h"
#include "formats/progress_total.h"
#include "formats/zip_writer.h"
#include "store/parallel.h"
#include "tenon/error.h"
#include "tenon/formats.h"
#include "tenon/name.h"

namespace tenon {

namespace {

constexpr std::uint64_t piece_bytes = std::uint64_t{1} << 20;

// Header and elements as one run of bytes. Fortran order is kept, as numpy does itself.
class NpyBytes {
 public:
  NpyBytes(const Snapshot& snapshot, const FlatTensor& tensor) : elements_(snapshot, tensor, ElementOrder::as_it_lies) {
    const TensorRow row = snapshot.row(tensor.row);
    header_ = make_npy_header(row.dtype, is_fortran_order(row), row.shape);
  }

  std::uint64_t nbytes() const noexcept { return header_.size() + elements_.nbytes(); }

  void read(std::uint64_t offset, std::span<std::byte> out) const {
    if (offset < header_.size()) {
      const std::size_t part = std::min<std::uint64_t>(out.size(), header_.size() - offset);
      std::memcpy(out.data(), header_.data() + offset, part);
      offset += part;
      out = out.subspan(part);
    }
    elements_.read(offset - header_.size(), out);
  }

 private:
  DenseElements elements_;
  std::vector<std::byte> header_;
};

std::vector<FlatTensor> select_for_numpy(const Snapshot& snapshot, const std::string& prefix) {
  std::vector<FlatTensor> tensors = select_flat(snapshot, prefix, "numpy");
  for (const FlatTensor& tensor : tensors) {
    const TensorRow row = snapshot.row(tensor.row);
    if (npy_type(row.dtype).empty()) refuse_dtype(row, "numpy");
  }
  return tensors;
}

// Headers and all, as progress counts them.
std::uint64_t total_bytes(const Snapshot& snapshot, const std::vector<FlatTensor>& tensors) {
  std::uint64_t total = 0;
  for (const FlatTensor& tensor : tensors) {
    const TensorRow row = snapshot.row(tensor.row);
    const std::uint64_t header_bytes = make_npy_header(row.dtype, is_fortran_order(row), row.shape).size();
    if (__builtin_add_overflow(total, tensor.nbytes + header_bytes, &total)) {
      throw Error(ErrorKind::limit, {.what = "tensors have more bytes than can be counted"});
    }
  }
  return total;
}

}  // namespace

ExportResult export_npz(const Snapshot& snapshot, const std::filesystem::path& out, const ExportOptions& options) {
  const std::vector<FlatTensor> tensors = select_for_numpy(snapshot, options.prefix);
  ProgressTotal progress(total_bytes(snapshot, tensors), options.progress);
  PendingFile pending(out);
  ZipWriter zip(pending.file(), "");
  for (const FlatTensor& tensor : tensors) {
    const NpyBytes bytes(snapshot, tensor);
    zip.add_filled(tensor.key + ".npy", bytes.nbytes(), [&](std::uint64_t offset, std::span<std::byte> piece) {
      bytes.read(offset, piece);
      progress.add(piece.size());
    });
  }
  zip.finish();
  pending.publish(options.sync);
  return {.tensors = tensors.size(), .unshared = count_sharing(snapshot, tensors)};
}

ExportResult export_npy(const Snapshot& snapshot, const std::filesystem::path& out, const ExportOptions& options) {
  const std::vector<FlatTensor> tensors = select_for_numpy(snapshot, options.prefix);
  if (tensors.size() != 1) {
    throw Error(ErrorKind::invalid_argument, {.what = "a .npy file holds one array",
                                              .got = fmt::format("{} tensors", tensors.size()),
                                              .hint = "export REV:NAME, or to .npz"});
  }
  const NpyBytes bytes(snapshot, tensors[0]);
  ProgressTotal progress(bytes.nbytes(), options.progress);
  PendingFile pending(out);
  pending.file().reserve(0, bytes.nbytes());
  parallel_for((bytes.nbytes() + piece_bytes - 1) / piece_bytes, threads_for_bytes(bytes.nbytes()), [&](std::size_t i) {
    const std::uint64_t offset = i * piece_bytes;
    std::vector<std::byte> piece(std::min(piece_bytes, bytes.nbytes() - offset));
    bytes.read(offset, piece);
    pending.file().write_at(offset, piece);
    progress.add(piece.size());
  });
  pending.publish(options.sync);
  return {.tensors = 1};
}

}  // namespace tenon
