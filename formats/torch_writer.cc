#include <algorithm>
#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "formats/pending_file.h"
#include "formats/torch_object.h"
#include "formats/zip_writer.h"
#include "mmap/file.h"
#include "tenon/error.h"
#include "tenon/formats.h"

namespace tenon {

namespace {

std::span<const std::byte> as_record(std::string_view text) { return std::as_bytes(std::span(text)); }

}  // namespace

std::string archive_name(const std::filesystem::path& out) {
  std::string name = out.filename().string();
  name = name.substr(0, name.rfind('.'));
  const auto is_plain = [](char c) { return c >= 0x20 && c < 0x7F && c != '\\' && c != '/'; };
  const bool is_usable =
      !name.empty() && name != "." && name != ".." && std::all_of(name.begin(), name.end(), is_plain);
  return is_usable ? name : "archive";
}

void write_torch_archive(const TensorTable& table, const TorchObject& object, File& file, const std::string& top,
                         const std::function<void(std::uint64_t)>& on_bytes) {
  ZipWriter zip(file, top);
  zip.add("data.pkl", write_pickle(object.graph, object.graph.root));
  zip.add(".format_version", as_record("1"));
  zip.add(".storage_alignment", as_record("64"));
  zip.add("byteorder", as_record("little"));
  for (std::size_t key = 0; key < object.records.size(); ++key) {
    const TorchObjectRecord& record = object.records[key];
    const auto read = part_reader(table, record);
    zip.add_filled(fmt::format("data/{}", key), record.nbytes, [&](std::uint64_t offset, std::span<std::byte> out) {
      read(offset, out);
      on_bytes(out.size());
    });
  }
  zip.add("version", as_record("3\n"));
  zip.finish();
}

ExportResult export_torch(const Snapshot& snapshot, const std::filesystem::path& out, const ExportOptions& options) {
  const TensorTable table = make_tensor_table(snapshot);
  const TorchObject object = make_torch_object(table, options.prefix);
  Progress progress;
  for (const TorchObjectRecord& record : object.records) progress.total += record.nbytes;
  std::mutex telling;
  PendingFile pending(out);
  write_torch_archive(table, object, pending.file(), archive_name(out), [&](std::uint64_t bytes) {
    const std::lock_guard lock(telling);
    progress.done += bytes;
    if (options.progress) options.progress(progress);
  });
  pending.publish(options.sync);
  return {.tensors = object.tensors};
}

}  // namespace tenon
