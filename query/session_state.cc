#include "query/session_state.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <numeric>

#include "query/catalogue.h"
#include "query/param_names.h"
#include "store/snapshot_state.h"

namespace tenon {

namespace {

constexpr std::uint64_t open_snapshots_max = 64;
constexpr std::size_t open_files_max = 64;
constexpr auto time_between_looks = std::chrono::milliseconds(2);

}  // namespace

std::string require_no_path(std::string_view text) {
  RevPath split = split_rev(text);
  if (split.path.empty()) return std::move(split.rev);
  throw Error(
      ErrorKind::invalid_argument,
      {.what = "a path where only a whole snapshot can be named", .got = std::string(text), .wanted = split.rev});
}

FileStamp stamp_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    const ErrorKind kind = errno == ENOENT || errno == ENOTDIR ? ErrorKind::not_found : ErrorKind::io;
    throw Error(kind, {.what = std::string("cannot open: ") + std::strerror(errno), .file = path});
  }
  return {.size = static_cast<std::uint64_t>(status.st_size),
          .modified_ns = std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec,
          .inode = status.st_ino};
}

SessionState::SessionState(std::optional<Store> store, const QueryLimits& limits)
    : store_(std::move(store)), limits_(limits), snapshots_(open_snapshots_max), engine_(*this, [this] {
        poll();
        check_limits();
      }) {
  engine_.set_limits(limits);
  for (const Table* table : all_tables()) engine_.add(*table);
  for (const ScalarFunction& function : all_scalar_functions()) engine_.add(function);
  for (const AggregateFunction& function : all_aggregate_functions()) engine_.add(function);
}

void SessionState::set_limits(const QueryLimits& limits) {
  limits_ = limits;
  engine_.set_limits(limits);
}

void SessionState::begin_statement() {
  if (running_++ != 0) return;
  is_stopped_.store(false, std::memory_order_relaxed);
  resolved_.clear();
  is_refreshed_ = false;
  charged_ = 0;
  memory_before_ = Engine::memory_bytes();
  const auto now = Clock::now();
  next_look_ = now;
  deadline_ = limits_.deadline.count() == 0 ? Clock::time_point::max() : now + limits_.deadline;
}

void SessionState::end_statement() noexcept { --running_; }

void SessionState::poll() {
  if (is_stopped_.load(std::memory_order_relaxed)) {
    throw Error(ErrorKind::interrupted, {.what = "interrupted"});
  }
  const auto now = Clock::now();
  if (now < next_look_) return;
  next_look_ = now + time_between_looks;
  if (now > deadline_) {
    throw Error(ErrorKind::limit, {.what = "the statement took longer than it may",
                                   .wanted = "at most " + std::to_string(limits_.deadline.count()) + " ms"});
  }
  check_limits();
  if (progress_) progress_();
}

void SessionState::check_limits() {
  const std::uint64_t now = Engine::memory_bytes();
  const std::uint64_t taken = charged_ + (now > memory_before_ ? now - memory_before_ : 0);
  if (taken <= limits_.memory_bytes) return;
  throw Error(ErrorKind::limit, {.what = "the statement needs more memory than it may take",
                                 .wanted = "at most " + std::to_string(limits_.memory_bytes) + " bytes",
                                 .hint = "aggregate or filter before sorting, or raise the limit"});
}

void SessionState::charge(std::uint64_t bytes) {
  charged_ += bytes;
  check_limits();
}

const Store& SessionState::store() const {
  if (store_) return *store_;
  throw Error(ErrorKind::no_store, {.what = "there is no store to ask",
                                    .hint = "name one with --store PATH, or ask a file: read_pt('model.pt')"});
}

CatalogSnapshots& SessionState::history() {
  if (!history_) history_ = std::make_unique<CatalogSnapshots>(StoreState::of(store()));
  if (!is_refreshed_) history_->refresh();
  is_refreshed_ = true;
  return *history_;
}

SnapshotId SessionState::resolve(std::string_view rev) {
  if (const auto found = resolved_.find(rev); found != resolved_.end()) return found->second;
  SnapshotId id;  // of 32 digits: known by itself, whether or not a ref is called so
  if (from_hex(rev, id)) {
    history().find(id);  // throws for what is forgotten, or never was
  } else {
    id = store().resolve(rev);
  }
  resolved_.emplace(std::string(rev), id);
  return id;
}

std::shared_ptr<const Snapshot> SessionState::open(const SnapshotId& id) {
  if (auto known = snapshots_.find(id)) return known;
  auto opened = std::make_shared<const Snapshot>(store().snapshot(to_hex(id)));
  snapshots_.add(id, opened);
  return opened;
}

Summaries& SessionState::summaries() {
  if (!summaries_) summaries_ = store_ ? std::make_unique<Summaries>(*store_) : std::make_unique<Summaries>();
  return *summaries_;
}

const std::vector<std::string>& SessionState::params_of(const TensorSet& set) {
  if (auto layout = set.layout_identity(); layout != params_layout_) {
    params_ = param_names(set);
    params_layout_ = std::move(layout);
  }
  return params_;
}

const std::vector<std::optional<std::int64_t>>& SessionState::layers_of(const TensorSet& set) {
  if (auto layout = set.layout_identity(); layout != layers_layout_) {
    layers_.resize(set.size());
    for (std::uint32_t row = 0; row < set.size(); ++row) layers_[row] = layer_of(set.name(row));
    layers_layout_ = std::move(layout);
  }
  return layers_;
}

double SessionState::snapshot_count() {
  return store_ ? std::max(1.0, static_cast<double>(history().snapshot_count())) : 1;
}

double SessionState::tensor_count() {
  if (tensor_count_ == 0 && store_ && history().newest()) {
    const auto newest = history().try_find(*history().newest());
    if (newest) tensor_count_ = static_cast<double>(newest->info().tensor_count);
  }
  return std::max(1.0, tensor_count_);
}

std::shared_ptr<const OpenFile> SessionState::open_file(const std::string& path) {
  const FileStamp stamp = stamp_of(path);
  if (const auto found = files_.find(path); found != files_.end() && found->second->stamp == stamp)
    return found->second;
  ImportedFile file = ImportedFile::open(path);
  const auto& tensors = file.draft().tensors;
  std::vector<std::uint32_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(),
            [&](std::uint32_t a, std::uint32_t b) { return tensors[a].name < tensors[b].name; });
  if (files_.size() >= open_files_max) files_.clear();
  const FileFormat format = file.format();
  auto opened = std::make_shared<const OpenFile>(OpenFile{path, stamp, format, std::move(file), std::move(order)});
  files_.insert_or_assign(path, opened);
  return opened;
}

std::shared_ptr<const OpenFile> SessionState::opened_file(const std::string& path) const {
  const auto found = files_.find(path);
  return found == files_.end() ? nullptr : found->second;
}

}  // namespace tenon
