// Import and export of a torch.save file.
#include <stdexcept>

#include "support.h"

namespace tenon::bench {
namespace {

// Durable when it returns, as `tenon import` is.
void import_file(const std::vector<std::string>& arguments) {
  Store store = fresh_store(arguments[1], Durability::full);
  CommitResult result;
  const double seconds = time_seconds([&] {
    const ImportedFile file = ImportedFile::open(arguments[0]);
    result = store.commit(file.draft());
  });
  print_figures({{"import", seconds}, {"written", static_cast<double>(result.written_bytes)}});
}

// Not synced: what it costs to write the file into the page cache.
void export_file(const std::vector<std::string>& arguments) {
  const Snapshot snapshot = Store::open(arguments[0]).snapshot("main");
  std::filesystem::remove(arguments[1]);
  const double seconds = time_seconds([&] { export_torch(snapshot, arguments[1], {.sync = false}); });
  print_figures({{"export", seconds}, {"bytes", static_cast<double>(std::filesystem::file_size(arguments[1]))}});
}

}  // namespace
}  // namespace tenon::bench

int main(int argc, char** argv) {
  return tenon::bench::run_command(argc, argv,
                                   {{"import", {"FILE", "STORE"}, tenon::bench::import_file},
                                    {"export", {"STORE", "FILE"}, tenon::bench::export_file}});
}
