// The live region: a small file, mapped and shared by the processes that use one directory at the same time. It tells
// who is there, and wakes who waits for news. Nothing that must be right depends on it.
//
//   header | epochs: one counter for the names that fall on it | slots: one for each process that is there
//
// Killed anywhere, a process leaves nothing that others must wait for: an epoch is one atomic word, and a slot belongs
// to whoever holds the lock on its byte of the file, which the kernel takes away with the process, whatever PID
// namespace it is in. Whoever takes a slot overwrites what is in it. A slot that its owner was writing when it died is
// torn, and shows as such. So there is nothing to recover, and a file that was copied, or outlived a reboot, holds no
// living slot.
//
// The file may be deleted at any time: who has it mapped goes on alone, and finds by is_current() that it should open
// again. Threads: any, for all of it. Errors: no region (nullptr) where there is none to be had.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mmap/file.h"
#include "mmap/mapping.h"

namespace tenon {

// What a process says of itself.
struct LiveProcess {
  std::uint32_t pid = 0;                // in its own PID namespace
  std::uint64_t pid_namespace = 0;      // inode of /proc/self/ns/pid, 0 if not known
  std::int64_t attached_at_ns = 0;      // since 1970
  std::uint64_t mapped_bytes = 0;       // of what it has open now
  std::array<std::byte, 16> subject{};  // what it opened last; the caller's to interpret
  std::string name{};                   // at most 63 bytes
  std::string topic{};                  // under what name it opened that; at most 135 bytes
};

class LiveRegion : public std::enable_shared_from_this<LiveRegion> {
 public:
  // One process's place among the others, given back on destruction. In a forked child it is none: what the child does
  // with its copy changes nothing for its parent.
  class Slot {
   public:
    explicit Slot(std::shared_ptr<LiveRegion> region, std::uint32_t index);
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;
    ~Slot();
    void write(const LiveProcess& process) noexcept;

   private:
    std::shared_ptr<LiveRegion> region_;
    std::uint32_t index_;
    std::uint64_t fork_generation_;
  };

  // The region in the file `path`: read-only where this process may not write there. nullptr if there is none, or
  // something else.
  static std::shared_ptr<LiveRegion> open(const std::filesystem::path& path);
  // Makes it first where it is not there, or replaces what is none. nullptr if that cannot be.
  static std::shared_ptr<LiveRegion> open_or_make(const std::filesystem::path& path);

  bool is_writable() const noexcept { return is_writable_; }
  // True while `path` leads to the file that is mapped.
  bool is_current() const noexcept;

  // Changes with every announce() of that name, and now and then of another.
  std::uint32_t epoch(std::string_view name) const noexcept;
  // Wakes everybody who waits for the name. Does nothing in a region that is not writable.
  void announce(std::string_view name) noexcept;
  // Returns when the epoch is not `seen`, at the latest after `timeout`, sometimes sooner.
  void wait(std::string_view name, std::uint32_t seen, std::chrono::nanoseconds timeout) const noexcept;

  // This process's slot, shared by all who ask for it; nullptr if the region is not writable, or was full when it was
  // asked for first, or was opened before a fork.
  std::shared_ptr<Slot> join();
  // Those who are there now.
  std::vector<LiveProcess> processes() const;

  static constexpr std::uint32_t slot_count = 512;
  static constexpr std::uint32_t epoch_count = 1024;

 private:
  struct SharedSlot;
  LiveRegion() = default;
  const SharedSlot& slot(std::uint32_t index) const noexcept;
  SharedSlot& slot(std::uint32_t index) noexcept;
  std::optional<std::uint64_t> held_byte() const;

  File file_;
  Mapping mapping_;
  bool is_writable_ = false;
  mutable std::mutex joining_;
  std::weak_ptr<Slot> joined_;
  std::optional<std::uint64_t> held_byte_;  // once taken it is held until the file is closed
  bool has_asked_ = false;
  std::uint64_t fork_generation_ = 0;
};

// This process, as far as it knows itself: pid, namespace, name of its program, the time.
LiveProcess this_process();

}  // namespace tenon
