#include "store/retention.h"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <map>
#include <set>

#include "store/gc.h"
#include "store/history.h"
#include "store/journal.h"
#include "store/meta.h"
#include "store/mutation.h"
#include "tenon/name.h"

namespace tenon {

namespace {

constexpr std::int64_t ns_per_second = 1'000'000'000;

std::string local_time(std::int64_t at_ns, const char* format) {
  const auto seconds = static_cast<std::time_t>(at_ns / ns_per_second);
  std::tm time{};
  ::localtime_r(&seconds, &time);
  char text[32];
  return std::string(text, std::strftime(text, sizeof text, format, &time));
}

struct Period {
  const char* name;
  const char* format;  // the same text for all times of one period
  std::uint64_t count;
};

using Reasons = std::vector<std::vector<std::string>>;

void keep_of_periods(std::span<const SnapshotInfo> history, const Period& period, Reasons& reasons) {
  std::set<std::string> seen;
  for (std::size_t i = 0; i < history.size() && seen.size() < period.count; ++i) {
    const std::string at = local_time(history[i].created_at_ns, period.format);
    if (seen.insert(at).second) reasons[i].push_back(std::string(period.name) + " " + at);
  }
}

// The oldest of each interval: it stays the same while the run goes on.
void keep_every(std::span<const SnapshotInfo> history, std::int64_t every, Reasons& reasons) {
  std::set<std::int64_t> seen;
  for (std::size_t i = history.size(); i-- > 0;) {
    if (!history[i].step) continue;
    const std::int64_t step = *history[i].step;
    const std::int64_t interval = step / every - (step % every < 0 ? 1 : 0);
    if (seen.insert(interval).second) reasons[i].push_back("every " + std::to_string(every) + " steps");
  }
}

void keep_best(std::span<const SnapshotInfo> history, const KeepRules::Best& rule, Reasons& reasons) {
  std::vector<std::pair<double, std::size_t>> values;
  for (std::size_t i = 0; i < history.size(); ++i) {
    if (const auto value = meta_number(history[i].meta, rule.metric))
      values.emplace_back(rule.is_least ? *value : -*value, i);
  }
  std::sort(values.begin(), values.end());  // of equals the newest first
  for (std::size_t i = 0; i < std::min<std::uint64_t>(values.size(), rule.count); ++i)
    reasons[values[i].second].push_back(std::string("best ") + (rule.is_least ? "min:" : "max:") + rule.metric);
}

// What is to be forgotten, and why the rest is not.
class Planner {
 public:
  Planner(const StoreState& store, const ForgetOptions& options)
      : store_(store), options_(options), reader_(store.catalog().read()) {}

  std::vector<RetentionRow> run() {
    if (options_.keep.is_empty() && options_.snapshots.empty() && !options_.unreachable) {
      throw Error(ErrorKind::invalid_argument, {.what = "no rule says what to keep",
                                                .hint = "give a rule such as --keep-last 10, or name snapshots"});
    }
    check_refs();
    protect_tips();
    if (!options_.keep.is_empty()) {
      for (const RefRow& ref : reader_.root().refs) {
        if (!ref.is_tag && is_selected(ref.name)) apply_rules(ref);
      }
      protect_other_histories();
    }
    add_named();
    if (options_.unreachable) add_unreachable();
    decide();
    return std::move(rows_);
  }

 private:
  bool is_selected(const std::string& ref) const {
    return options_.refs.empty() || std::find(options_.refs.begin(), options_.refs.end(), ref) != options_.refs.end();
  }

  void check_refs() const {
    for (const std::string& name : options_.refs) {
      const auto& refs = reader_.root().refs;
      const auto found = std::find_if(refs.begin(), refs.end(), [&](const RefRow& ref) { return ref.name == name; });
      if (found == refs.end() || found->is_tag)
        throw Error(ErrorKind::not_found, {.what = "no ref '" + printable(name) + "'", .file = store_.path().string()});
    }
  }

  void protect_tips() {
    for (const RefRow& ref : reader_.root().refs)
      protected_[ref.id].push_back((ref.is_tag ? "tag " : "tip of ") + ref.name);
  }

  std::vector<SnapshotInfo> history_of(const SnapshotId& tip) const {
    std::vector<SnapshotInfo> history;
    walk_history(reader_, tip, store_.catalog_name(), [&](const SnapshotRow&, const Record& record) {
      history.push_back(record.info);
      return true;
    });
    return history;
  }

  RetentionRow& row_for(const SnapshotInfo& info, const std::string& ref) {
    const auto [found, is_new] = row_of_.try_emplace(info.id, rows_.size());
    if (is_new) rows_.push_back({.info = info, .ref = ref, .is_kept = false, .reasons = {}});
    return rows_[found->second];
  }

  // Tags are names, and the rule that keeps them needs no more than their protection.
  void apply_rules(const RefRow& ref) {
    const auto history = history_of(ref.id);
    auto reasons = reasons_to_keep(history, options_.keep);
    for (std::size_t i = 0; i < history.size(); ++i) {
      RetentionRow& row = row_for(history[i], ref.name);
      row.reasons.insert(row.reasons.end(), reasons[i].begin(), reasons[i].end());
    }
  }

  // A snapshot that a ref which is not asked about has in its history, too, is not ours to judge.
  void protect_other_histories() {
    if (options_.refs.empty()) return;
    for (const RefRow& ref : reader_.root().refs) {
      if (ref.is_tag || is_selected(ref.name)) continue;
      for (const SnapshotInfo& info : history_of(ref.id)) {
        if (row_of_.contains(info.id)) protected_[info.id].push_back("history of " + ref.name);
      }
    }
  }

  void add_named() {
    for (const SnapshotId& id : options_.snapshots) {
      require_not_forgotten(reader_, id, store_.path().string());
      const SnapshotRow row = store_.row_of(reader_, id);
      row_for(decode_record(row.record, store_.catalog_name(), 0).info, "").reasons.clear();
    }
  }

  void add_unreachable() {
    std::set<SnapshotId> reached;
    for (const RefRow& ref : reader_.root().refs) {
      for (const SnapshotInfo& info : history_of(ref.id)) reached.insert(info.id);
    }
    for (const SnapshotId& id : reader_.snapshots()) {
      if (reached.contains(id) || reader_.forgotten(id)) continue;
      const SnapshotRow row = decode_snapshot_row(*reader_.snapshot(id), store_.catalog_name());
      if (!row.record.empty()) row_for(decode_record(row.record, store_.catalog_name(), 0).info, "");
    }
  }

  void decide() {
    for (RetentionRow& row : rows_) {
      const auto found = protected_.find(row.info.id);
      if (found != protected_.end()) row.reasons.insert(row.reasons.end(), found->second.begin(), found->second.end());
      row.is_kept = !row.reasons.empty();
    }
  }

  const StoreState& store_;
  const ForgetOptions& options_;
  CatalogReader reader_;
  std::map<SnapshotId, std::vector<std::string>> protected_;  // and why
  std::vector<RetentionRow> rows_;
  std::map<SnapshotId, std::size_t> row_of_;
};

// In one mutation; what became the tip of a ref meanwhile is left out. Returns how many were forgotten.
std::uint64_t forget_some(StoreState& store, std::span<const RetentionRow* const> rows) {
  Mutation mutation(store);
  JournalRecord record{.kind = JournalKind::forget};
  const auto& refs = mutation.catalog().root().refs;
  for (const RetentionRow* const row : rows) {
    const SnapshotId& id = row->info.id;
    const bool is_tip = std::any_of(refs.begin(), refs.end(), [&](const RefRow& ref) { return ref.id == id; });
    if (is_tip || mutation.catalog().forgotten(id) || !mutation.catalog().has_snapshot(id)) continue;
    record.snapshots.push_back({id, row->info.parents.empty() ? SnapshotId{} : row->info.parents.front()});
  }
  if (record.snapshots.empty()) return 0;
  for (const ForgottenSnapshot& snapshot : record.snapshots)
    mutation.catalog().put_forgotten(snapshot.id, {mutation.sequence(), snapshot.parent});
  const std::uint64_t count = record.snapshots.size();
  mutation.append_journal(std::move(record));
  mutation.commit();
  return count;
}

// On a full disk the ballast makes room for it: forgetting is how a disk gets emptier.
std::uint64_t forget_even_if_full(StoreState& store, std::span<const RetentionRow* const> rows) {
  try {
    return forget_some(store, rows);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::full) throw;
  }
  drop_ballast(store.paths());
  return forget_some(store, rows);
}

}  // namespace

KeepRules::Best parse_keep_best(const std::string& text) {
  const auto fail = [&] {
    throw Error(
        ErrorKind::invalid_argument,
        {.what = "not a rule for the best", .got = text, .wanted = "min:METRIC, max:METRIC, or either with :COUNT"});
  };
  KeepRules::Best best;
  if (!text.starts_with("min:") && !text.starts_with("max:")) fail();
  best.is_least = text.starts_with("min:");
  best.metric = text.substr(4);
  if (const std::size_t colon = best.metric.rfind(':'); colon != std::string::npos) {
    const char* const end = best.metric.data() + best.metric.size();
    const auto [at, error] = std::from_chars(best.metric.data() + colon + 1, end, best.count);
    if (error != std::errc{} || at != end || best.count == 0) fail();
    best.metric.resize(colon);
  }
  if (best.metric.empty()) fail();
  return best;
}

std::vector<std::vector<std::string>> reasons_to_keep(std::span<const SnapshotInfo> history, const KeepRules& rules) {
  if (rules.every < 0) {
    throw Error(ErrorKind::invalid_argument,
                {.what = "--keep-every wants a number of steps", .got = std::to_string(rules.every)});
  }
  Reasons reasons(history.size());
  for (std::size_t i = 0; i < std::min<std::uint64_t>(history.size(), rules.last); ++i)
    reasons[i].push_back("last " + std::to_string(i + 1));
  const Period periods[] = {{"hourly", "%Y-%m-%dT%H", rules.hourly},
                            {"daily", "%Y-%m-%d", rules.daily},
                            {"weekly", "%G-W%V", rules.weekly},
                            {"monthly", "%Y-%m", rules.monthly}};
  for (const Period& period : periods) keep_of_periods(history, period, reasons);
  if (rules.every > 0) keep_every(history, rules.every, reasons);
  for (const KeepRules::Best& best : rules.best) keep_best(history, best, reasons);
  return reasons;
}

ForgetReport forget_by_rules(StoreState& store, const ForgetOptions& options) {
  store.require_writable();
  ForgetReport report{.rows = Planner(store, options).run()};
  std::vector<const RetentionRow*> doomed;
  for (const RetentionRow& row : report.rows) {
    if (!row.is_kept) doomed.push_back(&row);
  }
  if (options.dry_run) {
    report.forgotten = doomed.size();
    return report;
  }
  for (std::size_t begin = 0; begin < doomed.size(); begin += forgotten_per_record_max) {
    const std::span all(doomed);
    report.forgotten +=
        forget_even_if_full(store, all.subspan(begin, std::min(forgotten_per_record_max, doomed.size() - begin)));
  }
  return report;
}

}  // namespace tenon
