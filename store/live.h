// A store's part in its live region (mmap/live_region.h): waking who waits for a ref, and telling what this process has
// open. The region is the file `live` in the store's directory. Only who waits makes it; all others use it if it is
// there.
//
// Threads: any. A store that was inherited by fork tells nothing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "mmap/live_region.h"
#include "tenon/digest.h"

namespace tenon {

// What this process says of itself in a region: its newest snapshot, and the bytes of all that it has open.
class Presence {
 public:
  Presence() noexcept;
  // Says it there from now on; does nothing if it does so already.
  void move_to(const std::shared_ptr<LiveRegion>& region);
  void opened(const SnapshotId& id, std::string_view rev, std::uint64_t mapped_bytes);
  void closed(std::uint64_t mapped_bytes) noexcept;
  void rename(const std::string& name);

 private:
  void introduce();
  void tell();
  std::mutex mutex_;
  LiveProcess process_;
  std::string name_;  // that was chosen; empty if none was
  bool has_opened_ = false;
  std::shared_ptr<LiveRegion> region_;
  std::shared_ptr<LiveRegion::Slot> slot_;
  std::uint64_t fork_generation_;
};

class StoreLive {
 public:
  // The region in this directory; nowhere if it is empty.
  void set_directory(const std::filesystem::path& directory);

  // The region as it is now; nullptr if there is none. With `make`, it is made where that is possible.
  std::shared_ptr<LiveRegion> region(bool make = false);
  // Wakes who waits for the ref.
  void announce(std::string_view ref);
  // Tells that segments have other files now: who goes on with the old ones keeps space from being given back.
  void announce_replaced_segments();
  // Changes with that, and now and then without; nullopt without a region.
  struct Replacements {
    std::shared_ptr<const LiveRegion> region;
    std::uint32_t epoch = 0;
    friend bool operator==(const Replacements&, const Replacements&) = default;
  };
  std::optional<Replacements> replacements();
  // Tells of an open snapshot for as long as the result lives; nullptr if there is no region.
  std::shared_ptr<const void> tell(const SnapshotId& id, std::string_view rev, std::uint64_t mapped_bytes);
  // What `tenon ps` calls this process; the name of its program unless told.
  void set_name(const std::string& name);

 private:
  std::mutex mutex_;
  std::filesystem::path file_;
  std::shared_ptr<LiveRegion> region_;
  std::shared_ptr<Presence> presence_ = std::make_shared<Presence>();
};

}  // namespace tenon
