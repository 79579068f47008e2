// tenon-fault-allocations FOLDER [POINTS [NAME]]: makes one allocation after the other fail, once or from there on, in
// each thing that is done with a store, and looks at what is left. POINTS: of each scenario and mode at most so many,
// spread evenly; 0 for all. NAME: only this scenario.
//
// What must hold: nothing ends the process; what is thrown is std::bad_alloc or an Error; a call that returned has
// happened, one that threw has happened wholly or not at all; verify is clean, every snapshot has its bytes, and a new
// commit works. Exit codes: 0, 1 a promise was broken, told on stderr.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <new>
#include <string>
#include <vector>

#include "tenon/filled_commit.h"
#include "tenon/formats.h"
#include "tenon/joint_commit.h"
#include "tenon/tenon.h"

namespace {

// ---- the allocator: counts, and fails at the point it was told

std::atomic<bool> is_armed{false};
std::atomic<bool> is_persistent{false};
std::atomic<std::int64_t> left{0};

bool fails() noexcept {
  if (!is_armed.load(std::memory_order_relaxed)) return false;
  const std::int64_t now = left.fetch_sub(1, std::memory_order_relaxed);
  return now == 1 || (now < 1 && is_persistent.load(std::memory_order_relaxed));
}

void* allocate(std::size_t size, std::size_t alignment) noexcept {
  if (fails()) return nullptr;
  return std::aligned_alloc(alignment, (std::max<std::size_t>(size, 1) + alignment - 1) / alignment * alignment);
}

void* allocate_or_throw(std::size_t size, std::size_t alignment) {
  if (void* memory = allocate(size, alignment)) return memory;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t size) { return allocate_or_throw(size, alignof(std::max_align_t)); }
void* operator new[](std::size_t size) { return allocate_or_throw(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return allocate(size, alignof(std::max_align_t));
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return allocate(size, alignof(std::max_align_t));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace {

using tenon::CommitOptions;
using tenon::Draft;
using tenon::DType;
using tenon::Mode;
using tenon::Snapshot;
using tenon::Store;
namespace fs = std::filesystem;

// ---- what is saved: three slots, one of each kind of placement, made from a number

constexpr std::size_t sizes[] = {100, 9'000, 1'300'000};

std::vector<std::byte> content(std::int64_t step, std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t at = 0; at < size; ++at) bytes[at] = static_cast<std::byte>(at * 31 % 251);
  const std::size_t changed = std::min<std::size_t>(size, 70'000);  // of the long one the rest is as before
  for (std::size_t at = 0; at < changed; ++at)
    bytes[at] = static_cast<std::byte>(at * 7 + 13 * static_cast<std::size_t>(step));
  return bytes;
}

struct Checkpoint {
  explicit Checkpoint(std::int64_t step) {
    for (const std::size_t size : sizes) bytes.push_back(content(step, size));
    for (std::uint32_t slot = 0; slot < bytes.size(); ++slot) {
      draft.slots.push_back({.nbytes = bytes[slot].size(), .source = {.memory = bytes[slot]}});
      draft.tensors.push_back({.name = "t" + std::to_string(slot),
                               .dtype = DType::uint8,
                               .slot = slot,
                               .shape = {static_cast<std::int64_t>(bytes[slot].size())},
                               .stride = {1}});
    }
    draft.step = step;
    draft.message = "step " + std::to_string(step);
  }
  std::vector<std::vector<std::byte>> bytes;
  Draft draft;
};

struct Broken {
  std::string what;
};

void check_bytes(const Snapshot& snapshot) {
  const std::int64_t step = snapshot.info().step.value_or(-1);
  for (std::uint32_t row = 0; row < snapshot.size(); ++row) {
    const auto found = snapshot.view(row).bytes();
    const auto wanted = content(step, sizes[row]);
    if (found.size() != wanted.size() || std::memcmp(found.data(), wanted.data(), wanted.size()) != 0)
      throw Broken{"wrong bytes in " + std::string(snapshot.row(row).name) + " of step " + std::to_string(step)};
  }
}

// The state of a store as text: every ref and tag with the steps of its history. All bytes are looked at.
std::string state_of(const fs::path& path) {
  if (!fs::exists(path)) return "nothing";
  const auto report = Store::verify(path, {.read_data = true});
  if (!report.damage.empty()) throw Broken{"damage: " + report.damage[0].file + ": " + report.damage[0].what};
  const Store store = Store::open(path);
  std::string state;
  for (const auto& ref : store.refs()) {
    state += ref.name + (ref.is_tag ? " (tag):" : ":");
    for (const auto& info : store.log(ref.name)) state += ' ' + std::to_string(info.step.value_or(-1));
    state += '\n';
    check_bytes(store.snapshot(ref.name));
  }
  return state;
}

// ---- what is done

struct Scenario {
  const char* name;
  std::function<void(const fs::path& folder)> run;  // on the store folder/run.tenon
  bool is_rerun = false;                            // on failure it is done again, without a fault
};

Store open(const fs::path& folder) { return Store::open(folder / "run.tenon"); }

void fill(Store& store, const Checkpoint& from) {
  tenon::FilledCommit filling(store);
  for (std::uint32_t i = 0; i < from.bytes.size(); ++i) {
    const auto memory = filling.allocate("t" + std::to_string(i), DType::uint8, from.draft.tensors[i].shape);
    std::memcpy(memory.data(), from.bytes[i].data(), memory.size());
  }
  Draft head;
  head.step = from.draft.step;
  filling.commit(head);
}

void join(Store& store, const Checkpoint& from) {
  tenon::JointCommit joint(store);
  const tenon::JointPart part = tenon::JointCommit::write_part(store, joint.ticket(), from.draft);
  Draft head;
  head.step = from.draft.step;
  joint.commit(std::span(&part, 1), head);
}

void export_over(const fs::path& folder) { tenon::export_torch(open(folder).snapshot(), folder / "out.pt"); }

void import_file(const fs::path& folder) {
  Store store = open(folder);
  tenon::ImportedFile file = tenon::ImportedFile::open(folder / "in.pt");
  Draft draft = file.take_draft();
  draft.step = 3;
  store.commit(draft);
}

std::vector<Scenario> scenarios(const Checkpoint& next) {
  return {
      {"init", [](const fs::path& folder) { Store::init(folder / "new.tenon"); }},
      {"commit", [&](const fs::path& folder) { open(folder).commit(next.draft); }},
      {"first commit of a ref", [&](const fs::path& folder) { open(folder).commit(next.draft, {.ref = "new"}); }},
      {"filled commit",
       [&](const fs::path& folder) {
         Store store = open(folder);
         fill(store, next);
       }},
      {"joint commit",
       [&](const fs::path& folder) {
         Store store = open(folder);
         join(store, next);
       }},
      {"import", import_file},
      {"export", export_over},
      {"snapshot, shared", [](const fs::path& folder) { check_bytes(open(folder).snapshot()); }},
      {"snapshot, private",
       [](const fs::path& folder) { check_bytes(open(folder).snapshot("main", {.mode = Mode::private_})); }},
      {"snapshot, copy",
       [](const fs::path& folder) { check_bytes(open(folder).snapshot("main", {.mode = Mode::copy})); }},
      {"log and reflog",
       [](const fs::path& folder) {
         const Store store = open(folder);
         store.log();
         store.reflog();
         store.du();
       }},
      {"tag", [](const fs::path& folder) { open(folder).create_tag("new", open(folder).resolve("main~1")); }},
      {"delete", [](const fs::path& folder) { open(folder).delete_ref("good"); }},
      {"undo", [](const fs::path& folder) { open(folder).undo(); }},
      {"forget", [](const fs::path& folder) { open(folder).forget({.keep = {.last = 1}}); }},
      {"gc",
       [](const fs::path& folder) {
         Store store = open(folder);
         store.gc();
       }},
      {"bundle", [](const fs::path& folder) { open(folder).bundle("main", folder / "out.tenon"); }},
      {"clone", [](const fs::path& folder) { open(folder).clone(folder / "copy.tenon"); }},
      {"verify", [](const fs::path& folder) { Store::verify(folder / "run.tenon", {.read_data = true}); }},
      {"repair", [](const fs::path& folder) { Store::repair(folder / "run.tenon"); }, true},
      {"weights",
       [](const fs::path& folder) {
         Store store = open(folder);
         tenon::WeightSet weights(store, "main");
         check_bytes(weights.current());
       }},
  };
}

// ---- the sweep

void make_template(const fs::path& folder) {
  Store store = Store::init(folder / "run.tenon", {.durability = tenon::Durability::relaxed});
  for (const std::int64_t step : {1, 2, 3}) store.commit(Checkpoint(step).draft);
  store.create_tag("good", store.resolve("main~2"));
  const auto forgotten = store.commit(Checkpoint(5).draft, {.ref = "other"}).id;
  store.delete_ref("other");
  store.forget({.snapshots = {forgotten}});
  tenon::export_torch(store.snapshot(), folder / "in.pt");
}

const char* where = "";
std::int64_t at_point = 0;

[[noreturn]] void tell_and_abort() {
  std::fprintf(stderr, "VIOLATION %s, allocation %lld: the process is ended\n", where,
               static_cast<long long>(at_point));
  std::abort();
}

class Sweep {
 public:
  Sweep(fs::path base, std::int64_t points_max) : base_(std::move(base)), points_max_(points_max) {
    fs::remove_all(base_);
    fs::create_directories(template_folder());
    make_template(template_folder());
  }

  void run(const Scenario& scenario) {
    where = scenario.name;
    const std::string before = state_in(template_folder());
    fresh();
    arm(INT64_MAX, false);
    scenario.run(folder());
    const std::int64_t total = INT64_MAX - disarm();
    const std::string after = state_in(folder());
    const std::int64_t points = std::min(total, points_max_);
    std::int64_t hit = 0;
    for (const bool persistent : {false, true}) {
      for (std::int64_t i = 0; i < points; ++i) {
        hit += fail_at(scenario, points == 1 ? 1 : 1 + i * (total - 1) / (points - 1), persistent, before, after);
      }
    }
    std::printf("%-24s %6lld allocations %6lld failed\n", scenario.name, static_cast<long long>(total),
                static_cast<long long>(hit));
    // Threads share work as it comes, so the last points may not be reached.
    if (hit * 10 < points * 2 * 9) throw Broken{"most allocations were to fail, and did not"};
    injected_ += hit;
  }

  ~Sweep() { fs::remove_all(base_); }
  Sweep(const Sweep&) = delete;
  Sweep& operator=(const Sweep&) = delete;

  std::int64_t injected() const { return injected_; }

 private:
  fs::path template_folder() const { return base_ / "template"; }
  fs::path folder() const { return base_ / "run"; }

  void fresh() const {
    fs::remove_all(folder());
    fs::copy(template_folder(), folder(), fs::copy_options::recursive);
  }

  static std::string state_in(const fs::path& folder) {
    return state_of(folder / "run.tenon") + "new: " + state_of(folder / "new.tenon");
  }

  static void arm(std::int64_t point, bool persistent) {
    left = point;
    is_persistent = persistent;
    is_armed = true;
  }
  static std::int64_t disarm() {
    is_armed = false;
    return left;
  }

  // Whether the point was reached.
  bool fail_at(const Scenario& scenario, std::int64_t point, bool persistent, const std::string& before,
               const std::string& after) {
    at_point = point;
    fresh();
    const auto in = folder();
    bool has_returned = false;
    arm(point, persistent);
    try {
      scenario.run(in);
      has_returned = true;
    } catch (const std::bad_alloc&) {
    } catch (const tenon::Error&) {
    }
    const bool is_hit = disarm() <= 0;
    if (!has_returned && scenario.is_rerun) scenario.run(in);
    check(scenario, has_returned || scenario.is_rerun, before, after, point, persistent);
    return is_hit;
  }

  void check(const Scenario& scenario, bool must_have_happened, const std::string& before, const std::string& after,
             std::int64_t point, bool persistent) const {
    const std::string at = std::string(scenario.name) + (persistent ? ", from allocation " : ", allocation ") +
                           std::to_string(point) + ": ";
    try {
      const std::string found = state_in(folder());
      if (found != after && (must_have_happened || found != before)) throw Broken{"the store is\n" + found};
      Store store = open(folder());
      store.commit(Checkpoint(7).draft, {.ref = "next"});
      check_bytes(store.snapshot("next"));
    } catch (const Broken& broken) {
      throw Broken{at + broken.what};
    } catch (const std::exception& error) {
      throw Broken{at + "then: " + error.what()};
    }
  }

  fs::path base_;
  std::int64_t points_max_;
  std::int64_t injected_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  std::set_terminate(tell_and_abort);
  const std::int64_t points = argc > 2 && std::atoll(argv[2]) > 0 ? std::atoll(argv[2]) : INT64_MAX;
  const std::string only = argc > 3 ? argv[3] : "";
  try {
    const Checkpoint next(6);
    Sweep sweep(argv[1], points);
    for (const Scenario& scenario : scenarios(next)) {
      if (only.empty() || only == scenario.name) sweep.run(scenario);
    }
    std::printf("%lld allocations failed, 0 violations\n", static_cast<long long>(sweep.injected()));
    return 0;
  } catch (const Broken& broken) {
    std::fprintf(stderr, "VIOLATION %s\n", broken.what.c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s, without a fault: %s\n", where, error.what());
  }
  return 1;
}
