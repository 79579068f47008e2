#include "mmap/live_region.h"

#include <linux/futex.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <climits>
#include <cstring>
#include <thread>
#include <type_traits>
#include <utility>

#include "mmap/lock.h"

namespace tenon {
namespace {

constexpr char region_magic[8] = {'T', 'E', 'N', 'O', 'N', 'L', 'I', 'V'};
constexpr std::uint32_t region_version = 1;
constexpr std::uint64_t header_bytes = 4096;
constexpr std::uint64_t epochs_bytes = LiveRegion::epoch_count * sizeof(std::uint32_t);
constexpr std::uint64_t slot_bytes = 256;
constexpr std::uint64_t region_bytes = header_bytes + epochs_bytes + LiveRegion::slot_count * slot_bytes;
constexpr std::uint64_t first_lock_byte = std::uint64_t{1} << 32;  // past the file's end: these bytes are only names
constexpr int read_attempts = 64;  // of a slot while its owner writes: that takes it nanoseconds, unless it was killed

struct Header {
  char magic[8];
  std::uint32_t version;
  std::uint32_t reserved;
};

// A slot's content as it is shared, but for its sequence.
struct Content {
  std::uint32_t pid;  // 0: nobody
  std::uint32_t reserved;
  std::uint64_t pid_namespace;
  std::int64_t attached_at_ns;
  std::uint64_t mapped_bytes;
  std::array<std::byte, 16> subject;
  char name[64];
  char topic[136];
};
static_assert(sizeof(Content) == slot_bytes - sizeof(std::uint64_t) && std::is_trivially_copyable_v<Content>);

using Word = std::atomic<std::uint64_t>;
using Epoch = std::atomic<std::uint32_t>;
static_assert(Word::is_always_lock_free && Epoch::is_always_lock_free, "words are shared with other processes");
constexpr std::size_t content_words = sizeof(Content) / sizeof(Word);

template <std::size_t N>
void put_text(char (&out)[N], std::string_view text) noexcept {
  std::memset(out, 0, N);
  std::memcpy(out, text.data(), std::min(text.size(), N - 1));
}
template <std::size_t N>
std::string get_text(const char (&text)[N]) {
  return {text, ::strnlen(text, N)};
}

Content encode(const LiveProcess& process) noexcept {
  Content content{};
  content.pid = process.pid;
  content.pid_namespace = process.pid_namespace;
  content.attached_at_ns = process.attached_at_ns;
  content.mapped_bytes = process.mapped_bytes;
  content.subject = process.subject;
  put_text(content.name, process.name);
  put_text(content.topic, process.topic);
  return content;
}

LiveProcess decode(const Content& content) {
  return {content.pid,     content.pid_namespace,  content.attached_at_ns, content.mapped_bytes,
          content.subject, get_text(content.name), get_text(content.topic)};
}

// FNV-1a: it only has to spread names over counters.
std::size_t epoch_index(std::string_view name) noexcept {
  std::uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return static_cast<std::size_t>((hash ^ hash >> 32) % LiveRegion::epoch_count);
}

Epoch& epoch_at(const Mapping& mapping, std::string_view name) noexcept {
  return reinterpret_cast<Epoch*>(mapping.data() + header_bytes)[epoch_index(name)];
}

long futex(Epoch& word, int operation, std::uint32_t value, const timespec* timeout) noexcept {
  return ::syscall(SYS_futex, &word, operation, value, timeout, nullptr, 0);  // not PRIVATE: other processes' word
}

struct stat identity(const File& file) noexcept;
bool is_same_file(const struct stat& a, const struct stat& b) noexcept;
bool is_region(const File& file);
void make_region(const std::filesystem::path& path);
std::optional<File> open_file(const std::filesystem::path& path, bool& is_writable);

}  // namespace

struct LiveRegion::SharedSlot {
  Word sequence;  // odd while its owner writes
  Word content[content_words];
};

// ---- the region

// The file is opened twice: a mapping keeps its open file, also in a forked child, and with it the locks on it. So what
// is mapped is not what is locked.
std::shared_ptr<LiveRegion> LiveRegion::open(const std::filesystem::path& path) {
  bool is_writable = false;
  std::optional<File> locked = open_file(path, is_writable);
  if (!locked || !is_region(*locked)) return nullptr;
  const std::optional<File> mapped = open_file(path, is_writable);
  if (!mapped || !is_same_file(identity(*mapped), identity(*locked))) return nullptr;  // it was replaced just now
  const std::shared_ptr<LiveRegion> region(new LiveRegion);
  region->mapping_ = Mapping::map(*mapped, 0, region_bytes, is_writable ? MapMode::read_write : MapMode::read_only);
  region->file_ = std::move(*locked);
  region->is_writable_ = is_writable;
  region->fork_generation_ = tenon::fork_generation();
  return region;
}

// What is there and no region (of another format, or cut) gives way to a new one; those who have it mapped keep it.
std::shared_ptr<LiveRegion> LiveRegion::open_or_make(const std::filesystem::path& path) {
  try {
    for (int attempt = 0; attempt < 2; ++attempt) {
      if (auto region = open(path)) return region;
      if (attempt > 0) remove_file(path);
      make_region(path);
    }
    return open(path);
  } catch (const Error& error) {
    // A read-only mount, another user's store, a full disk: one does without.
    if (error.kind() != ErrorKind::io && error.kind() != ErrorKind::full) throw;
    return nullptr;
  }
}

bool LiveRegion::is_current() const noexcept {
  struct stat present {};
  return fork_generation_ == tenon::fork_generation() && ::stat(file_.path().c_str(), &present) == 0 &&
         is_same_file(identity(file_), present);
}

// ---- epochs

std::uint32_t LiveRegion::epoch(std::string_view name) const noexcept {
  return epoch_at(mapping_, name).load(std::memory_order_acquire);
}

void LiveRegion::announce(std::string_view name) noexcept {
  if (!is_writable_) return;
  Epoch& word = epoch_at(mapping_, name);
  word.fetch_add(1, std::memory_order_acq_rel);
  (void)futex(word, FUTEX_WAKE, INT_MAX, nullptr);
}

// The kernel compares before it lets us sleep, so what is announced between the caller's look and this call is not
// missed. Why it returned is not told: the caller looks again in any case.
void LiveRegion::wait(std::string_view name, std::uint32_t seen, std::chrono::nanoseconds timeout) const noexcept {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(timeout);
  const timespec left{.tv_sec = static_cast<time_t>(seconds.count()),
                      .tv_nsec = static_cast<long>((timeout - seconds).count())};
  (void)futex(epoch_at(mapping_, name), FUTEX_WAIT, seen, &left);
}

// ---- slots

const LiveRegion::SharedSlot& LiveRegion::slot(std::uint32_t index) const noexcept {
  assert(index < slot_count);
  return reinterpret_cast<const SharedSlot*>(mapping_.data() + header_bytes + epochs_bytes)[index];
}
LiveRegion::SharedSlot& LiveRegion::slot(std::uint32_t index) noexcept {
  assert(index < slot_count);
  return reinterpret_cast<SharedSlot*>(mapping_.data() + header_bytes + epochs_bytes)[index];
}

std::shared_ptr<LiveRegion::Slot> LiveRegion::join() {
  if (!is_writable_ || fork_generation_ != tenon::fork_generation()) return nullptr;
  const std::lock_guard lock(joining_);
  if (auto joined = joined_.lock()) return joined;
  if (!held_byte_) {
    if (std::exchange(has_asked_, true)) return nullptr;  // it was full then
    held_byte_ = FileLock::hold_any(file_, first_lock_byte, slot_count, static_cast<std::uint64_t>(::getpid()));
    if (!held_byte_) return nullptr;
  }
  auto joined = std::make_shared<Slot>(shared_from_this(), static_cast<std::uint32_t>(*held_byte_ - first_lock_byte));
  joined_ = joined;
  return joined;
}

LiveRegion::Slot::Slot(std::shared_ptr<LiveRegion> region, std::uint32_t index)
    : region_(std::move(region)), index_(index), fork_generation_(tenon::fork_generation()) {}

LiveRegion::Slot::~Slot() { write({}); }

// Readers see the sequence before and after: equal and even, or they read again.
void LiveRegion::Slot::write(const LiveProcess& process) noexcept {
  if (fork_generation_ != tenon::fork_generation()) return;
  const Content content = encode(process);
  std::uint64_t words[content_words];
  std::memcpy(words, &content, sizeof content);
  SharedSlot& shared = region_->slot(index_);
  const std::uint64_t writing =
      shared.sequence.load(std::memory_order_relaxed) | 1;  // odd still if its last owner died
  shared.sequence.store(writing, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  for (std::size_t i = 0; i < content_words; ++i) shared.content[i].store(words[i], std::memory_order_relaxed);
  shared.sequence.store(writing + 1, std::memory_order_release);
}

std::optional<std::uint64_t> LiveRegion::held_byte() const {
  const std::lock_guard lock(joining_);
  return held_byte_;
}

std::vector<LiveProcess> LiveRegion::processes() const {
  std::vector<LiveProcess> found;
  const auto own_byte = held_byte();
  for (std::uint32_t index = 0; index < slot_count; ++index) {
    const SharedSlot& shared = slot(index);
    for (int attempt = 0; attempt < read_attempts; ++attempt) {
      if (attempt > 0) std::this_thread::yield();
      const std::uint64_t before = shared.sequence.load(std::memory_order_acquire);
      std::uint64_t words[content_words];
      for (std::size_t i = 0; i < content_words; ++i) words[i] = shared.content[i].load(std::memory_order_relaxed);
      std::atomic_thread_fence(std::memory_order_acquire);
      if (before % 2 != 0 || shared.sequence.load(std::memory_order_relaxed) != before) continue;
      Content content;
      std::memcpy(&content, words, sizeof content);
      const bool is_ours = own_byte == first_lock_byte + index;  // one's own lock does not show
      if (content.pid != 0 && (is_ours || FileLock::is_locked(file_, first_lock_byte + index)))
        found.push_back(decode(content));
      break;
    }
  }
  return found;
}

LiveProcess this_process() {
  LiveProcess process;
  process.pid = static_cast<std::uint32_t>(::getpid());
  struct stat pid_namespace {};
  if (::stat("/proc/self/ns/pid", &pid_namespace) == 0) process.pid_namespace = pid_namespace.st_ino;
  process.name = ::program_invocation_short_name;
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  process.attached_at_ns = std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
  return process;
}

namespace {

// For writing if that is allowed, else for reading, else nullopt.
std::optional<File> open_file(const std::filesystem::path& path, bool& is_writable) {
  for (const File::Access access : {File::Access::read_write, File::Access::read}) {
    try {
      is_writable = access == File::Access::read_write;
      return File::try_open(path, access);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::io) throw;  // no permission, a read-only mount, no file
    }
  }
  return std::nullopt;
}

struct stat identity(const File& file) noexcept {
  struct stat status {};
  (void)::fstat(file.descriptor(), &status);  // of an open file it cannot fail
  return status;
}

bool is_same_file(const struct stat& a, const struct stat& b) noexcept {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

bool is_region(const File& file) {
  if (file.size_bytes() != region_bytes) return false;
  Header header{};
  file.read_at(0, std::as_writable_bytes(std::span(&header, 1)));
  return std::memcmp(header.magic, region_magic, sizeof region_magic) == 0 && header.version == region_version;
}

// Nothing where it is there already, or where files cannot be made without a name: a kill between making a file and
// filling it would leave half of one.
void make_region(const std::filesystem::path& path) {
  std::optional<File> file = File::create_unnamed(path.parent_path());
  if (!file) return;
  // Written, not only made long: a page that has no block yet is a SIGBUS on a full disk.
  std::vector<std::byte> content(region_bytes);
  Header header{.magic = {}, .version = region_version, .reserved = 0};
  std::memcpy(header.magic, region_magic, sizeof region_magic);
  std::memcpy(content.data(), &header, sizeof header);
  file->write_at(0, content);
  (void)link_file(*file, path);  // another process may have been first
}

}  // namespace
}  // namespace tenon
