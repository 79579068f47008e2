#include "store/live.h"

#include <algorithm>
#include <cstring>

#include "mmap/lock.h"

namespace tenon {

namespace {

constexpr std::string_view replaced_segments = "/segments";  // no ref has this name

}  // namespace

// ---- presence

Presence::Presence() noexcept : fork_generation_(fork_generation()) {}

void Presence::move_to(const std::shared_ptr<LiveRegion>& region) {
  if (fork_generation_ != fork_generation()) return;
  const std::lock_guard lock(mutex_);
  if (region_ == region) return;
  region_ = region;
  slot_.reset();
  if (has_opened_) tell();
}

void Presence::opened(const SnapshotId& id, std::string_view rev, std::uint64_t mapped_bytes) {
  if (fork_generation_ != fork_generation()) return;
  const std::lock_guard lock(mutex_);
  static_assert(sizeof id == sizeof process_.subject);
  introduce();
  std::memcpy(process_.subject.data(), &id, sizeof id);
  process_.topic = rev;
  process_.mapped_bytes += mapped_bytes;
  tell();
}

// Before the lock: in a child of fork() it may be held by a thread that is not there.
void Presence::closed(std::uint64_t mapped_bytes) noexcept {
  if (fork_generation_ != fork_generation()) return;
  const std::lock_guard lock(mutex_);
  process_.mapped_bytes -= mapped_bytes;
  if (slot_) slot_->write(process_);
}

void Presence::rename(const std::string& name) {
  const std::lock_guard lock(mutex_);
  name_ = name;
  if (!has_opened_) return;
  process_.name = name;
  tell();
}

// Costs a few system calls, which who tells nothing need not pay.
void Presence::introduce() {
  if (has_opened_) return;
  process_ = this_process();
  if (!name_.empty()) process_.name = name_;
  has_opened_ = true;
}

// A slot is taken when there is something to tell: who only looks at the region is not among its processes.
void Presence::tell() {
  if (!slot_ && region_ && has_opened_) slot_ = region_->join();
  if (slot_) slot_->write(process_);
}

// ---- the store's part

void StoreLive::set_directory(const std::filesystem::path& directory) {
  const std::lock_guard lock(mutex_);
  std::string kind;  // what processes on other hosts write into shared memory does not come here
  if (!is_network_file_system(directory, kind)) file_ = directory / "live";
}

std::shared_ptr<LiveRegion> StoreLive::region(bool make) {
  const std::lock_guard lock(mutex_);
  if (file_.empty()) return nullptr;
  if (region_ && region_->is_current()) return region_;
  region_ = make ? LiveRegion::open_or_make(file_) : LiveRegion::open(file_);
  if (region_) presence_->move_to(region_);
  return region_;
}

void StoreLive::announce(std::string_view ref) {
  if (const auto current = region()) current->announce(ref);
}

void StoreLive::announce_replaced_segments() { announce(replaced_segments); }

std::optional<StoreLive::Replacements> StoreLive::replacements() {
  const auto current = region();
  if (!current) return std::nullopt;
  return Replacements{current, current->epoch(replaced_segments)};
}

std::shared_ptr<const void> StoreLive::tell(const SnapshotId& id, std::string_view rev, std::uint64_t mapped_bytes) {
  if (!region()) return nullptr;
  struct Told {
    std::shared_ptr<Presence> presence;
    std::uint64_t mapped_bytes;
    ~Told() { presence->closed(mapped_bytes); }
  };
  presence_->opened(id, rev, mapped_bytes);
  return std::make_shared<const Told>(presence_, mapped_bytes);
}

void StoreLive::set_name(const std::string& name) { presence_->rename(name); }

}  // namespace tenon
