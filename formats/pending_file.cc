#include "formats/pending_file.h"

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <string>
#include <system_error>
#include <utility>

namespace tenon {

namespace {

std::filesystem::path pending_name(const std::filesystem::path& path) {
  std::array<std::byte, 8> random{};
  random_bytes(random);
  std::string digits;
  for (const std::byte b : random) digits += fmt::format("{:02x}", static_cast<unsigned>(b));
  return path.string() + "." + digits + ".tmp";
}

}  // namespace

PendingFile::PendingFile(std::filesystem::path final_path)
    : final_path_(std::move(final_path)),
      pending_path_(pending_name(final_path_)),
      file_(File::create(pending_path_)) {}

PendingFile::~PendingFile() {
  if (is_published_) return;
  std::error_code ignored;  // the failure that brought us here is the one to report
  std::filesystem::remove(pending_path_, ignored);
}

void PendingFile::publish(bool sync) {
  if (sync) file_.sync();
  rename_file(pending_path_, final_path_);
  is_published_ = true;
  if (sync) sync_directory(final_path_.has_parent_path() ? final_path_.parent_path() : ".");
}

}  // namespace tenon
