// tenon-soak-worker STORE ACKNOWLEDGED SEED: commits, reads, forgets, tags and collects garbage at random until it is
// killed, or until its standard input ends; see soak.py.
//
// Every snapshot says by its metadata what its bytes must be, so any process can check any snapshot. A line "ID" or
// "ID stitched" is appended to ACKNOWLEDGED after a commit returned. Exit codes: 0, 1 something that must not happen,
// told on stderr.
//
// tenon-soak-worker STORE ACKNOWLEDGED: checks, when all is over, that each acknowledged snapshot is there byte for
// byte, or was forgotten.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <deque>
#include <fstream>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tenon/tenon.h"

namespace {

using tenon::ErrorKind;
using tenon::Snapshot;
using tenon::SnapshotId;
using tenon::Store;
using Random = std::mt19937_64;

constexpr std::size_t tensors = 4;
constexpr std::size_t sizes[tensors] = {100, 5'000, 90'000, 1'200'000};  // packed, page-aligned, stitchable
constexpr std::size_t stitched = 3;                                      // has a beginning of its own
constexpr std::size_t granule = 64 * 1024;
constexpr std::size_t beginning_granules_max = 6;
constexpr std::size_t held_max = 6;
const std::vector<std::string> refs = {"main", "side", "other"};

struct Violation {
  std::string what;
};

std::vector<std::byte> content(std::uint64_t seed, std::size_t size) {
  std::vector<std::byte> bytes(size);
  std::uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
  for (std::size_t at = 0; at < size; at += sizeof state) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    std::memcpy(bytes.data() + at, &state, std::min(sizeof state, size - at));
  }
  return bytes;
}

// A tensor's bytes; the stitched one's beginning comes from the last seed, so that commit after commit finds the rest
// in its parent and writes the beginning alone.
std::vector<std::byte> content_of(const std::vector<std::uint64_t>& seeds, std::size_t tensor) {
  std::vector<std::byte> bytes = content(seeds.at(tensor), sizes[tensor]);
  if (tensor != stitched) return bytes;
  const std::uint64_t seed = seeds.at(tensors);
  const auto beginning = content(seed, granule * (1 + seed % beginning_granules_max));
  std::copy(beginning.begin(), beginning.end(), bytes.begin());
  return bytes;
}

// Only a stitched tensor makes a commit write something else than whole tensors.
bool has_stitched(std::uint64_t written_bytes) {
  for (unsigned subset = 0; subset < 1u << tensors; ++subset) {
    std::uint64_t whole = 0;
    for (std::size_t i = 0; i < tensors; ++i) whole += (subset >> i & 1) != 0 ? sizes[i] : 0;
    if (whole == written_bytes) return false;
  }
  return true;
}

// "{"seeds": "1 2 3 4 5"}", of each tensor, and of the stitched one's beginning.
std::vector<std::uint64_t> seeds_of(const std::string& meta) {
  std::vector<std::uint64_t> seeds;
  const char* at = std::strchr(meta.c_str(), ':');
  if (at == nullptr) throw Violation{"a snapshot that nobody made: " + meta};
  for (at = std::strchr(at, '"') + 1; *at != '"';) {
    char* end = nullptr;
    seeds.push_back(std::strtoull(at, &end, 10));
    at = *end == ' ' ? end + 1 : end;
  }
  return seeds;
}

void check(const Snapshot& snapshot) {
  const auto seeds = seeds_of(snapshot.info().meta);
  for (std::uint32_t i = 0; i < tensors; ++i) {
    const auto wanted = content_of(seeds, i);
    const auto bytes = snapshot.view(i).bytes();
    if (bytes.size() != wanted.size() || std::memcmp(bytes.data(), wanted.data(), wanted.size()) != 0)
      throw Violation{"wrong bytes in tensor " + std::to_string(i) + " of " + to_hex(snapshot.id())};
  }
}

class Worker {
 public:
  Worker(const char* store, const char* acknowledged, std::uint64_t seed)
      : store_(Store::open(store)), acknowledged_(open(acknowledged, O_WRONLY | O_APPEND | O_CLOEXEC)), random_(seed) {}

  void run() {
    while (!is_over()) {
      try {
        step();
      } catch (const tenon::Error& error) {
        // What others may do to us: forget what we look at, move a ref, hold the lock for long.
        const bool is_fair = error.kind() == ErrorKind::not_found || error.kind() == ErrorKind::conflict ||
                             error.kind() == ErrorKind::busy;
        if (!is_fair) throw;
      }
    }
  }

 private:
  static bool is_over() {
    pollfd input{STDIN_FILENO, POLLIN, 0};
    return poll(&input, 1, 0) != 0;
  }

  std::uint64_t pick(std::uint64_t below) { return random_() % below; }
  const std::string& any_ref() { return refs[pick(refs.size())]; }

  void step() {
    switch (pick(12)) {
      case 0:
      case 1:
      case 2:
      case 3:
        return commit();
      case 4:
      case 5:
      case 6:
        return read();
      case 7:
        for (const Snapshot& snapshot : held_) check(snapshot);
        return;
      case 8:
        store_.forget({.keep = {.last = 1 + pick(4)}, .refs = {any_ref()}});
        return;
      case 9:
        store_.gc();
        return;
      case 10:
        return move_names();
      default:
        if (pick(2) == 0)
          store_.undo();
        else
          store_.forget({.unreachable = true});
        return;
    }
  }

  // Few seeds for most tensors, so that commits reuse what others wrote, and what gc is about to take.
  void commit() {
    tenon::Draft draft;
    std::vector<std::vector<std::byte>> owned;
    std::vector<std::uint64_t> seeds;
    for (std::size_t i = 0; i < tensors; ++i) seeds.push_back(pick(3) == 0 ? random_() >> 8 : pick(4));
    seeds[stitched] = pick(2);
    seeds.push_back(random_() >> 8);
    std::string text;
    for (const std::uint64_t seed : seeds) text += (text.empty() ? "" : " ") + std::to_string(seed);
    for (std::size_t i = 0; i < tensors; ++i) {
      owned.push_back(content_of(seeds, i));
      draft.slots.push_back({.nbytes = sizes[i], .source = {.memory = owned.back()}});
      draft.tensors.push_back({.name = "t" + std::to_string(i),
                               .dtype = tenon::DType::uint8,
                               .slot = static_cast<std::uint32_t>(i),
                               .shape = {static_cast<std::int64_t>(sizes[i])},
                               .stride = {1}});
    }
    draft.meta = "{\"seeds\": \"" + text + "\"}";
    const auto result = store_.commit(draft, {.ref = any_ref()});
    const std::string line = to_hex(result.id) + (has_stitched(result.written_bytes) ? " stitched\n" : "\n");
    if (write(acknowledged_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) std::abort();
  }

  void read() {
    constexpr tenon::Mode modes[] = {tenon::Mode::shared, tenon::Mode::private_, tenon::Mode::copy};
    std::string rev = any_ref();
    if (pick(2) == 0) rev += "~" + std::to_string(pick(4));
    Snapshot snapshot = store_.snapshot(rev, {.mode = modes[pick(3)]});
    check(snapshot);
    held_.push_back(std::move(snapshot));
    if (held_.size() > held_max) held_.pop_front();
  }

  void move_names() {
    const SnapshotId target = store_.resolve(any_ref() + "~" + std::to_string(pick(3)));
    switch (pick(4)) {
      case 0:
        return store_.create_tag("tag" + std::to_string(pick(3)), target);
      case 1:
        return store_.delete_ref("tag" + std::to_string(pick(3)));
      default:
        return store_.set_ref(any_ref(), target);
    }
  }

  Store store_;
  int acknowledged_;
  Random random_;
  std::deque<Snapshot> held_;
};

void check_acknowledged(const char* path, const char* acknowledged) {
  const Store store = Store::open(path);
  std::set<std::string> forgotten;
  auto entries = store.reflog();
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    for (const SnapshotId& id : entry->snapshots) {
      if (entry->action == "forget")
        forgotten.insert(to_hex(id));
      else
        forgotten.erase(to_hex(id));
    }
  }
  std::ifstream lines(acknowledged);
  std::size_t count = 0, gone = 0, pieces = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const std::string id = line.substr(0, line.find(' '));
    if (id.size() != line.size()) ++pieces;
    if (forgotten.contains(id)) {
      ++gone;
      continue;
    }
    check(store.snapshot(id, {.mode = tenon::Mode::copy}));
  }
  std::printf("%zu commits acknowledged, %zu of them forgotten since, %zu of them stitched\n", count, gone, pieces);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  try {
    if (argc == 3)
      check_acknowledged(argv[1], argv[2]);
    else
      Worker(argv[1], argv[2], std::strtoull(argv[3], nullptr, 10)).run();
    return 0;
  } catch (const Violation& violation) {
    std::fprintf(stderr, "violation: %s\n", violation.what.c_str());
  } catch (const tenon::Error& error) {
    std::fprintf(stderr, "%s: %s\n", tenon::error_kind_name(error.kind()), error.what());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  return 1;
}
