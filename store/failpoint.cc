#include "store/failpoint.h"

#ifdef TENON_FAILPOINTS

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>

#include "mmap/file.h"

namespace tenon {

void failpoint(std::string_view name) {
  const char* const setting = std::getenv("TENON_FAILPOINT");
  if (setting == nullptr) return;
  const std::string_view text(setting);
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos || text.substr(0, colon) != name) return;
  const std::string_view action = text.substr(colon + 1);
  if (action == "kill") std::raise(SIGKILL);
  const std::filesystem::path base = std::filesystem::path(action) / name;
  if (file_exists(base.string() + ".reached")) return;  // the gap was used already
  File::create(base.string() + ".reached");
  for (int waited_ms = 0; !file_exists(base.string() + ".go") && waited_ms < 60'000; ++waited_ms)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

}  // namespace tenon

#endif
