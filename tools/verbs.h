// The verbs of the command: what each was given, and the function that does it and returns the exit code.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tools/output.h"

namespace tenon::tools {

// What every verb takes.
struct Globals {
  std::string store;  // --store
  bool json = false;
};

struct InitArguments {
  std::string path;
  bool relaxed = false;
};
int run_init(const Globals& globals, const InitArguments& arguments, Output& output);

struct ImportArguments {
  std::vector<std::string> files;
  std::string ref = "main";
  std::optional<std::string> message;
  std::vector<std::string> meta;  // KEY=VALUE
  std::optional<std::int64_t> step;
  std::string prefix;
  std::uint64_t max_memory_bytes = 0;  // 0: as ImportOptions has it
  std::uint64_t offset = 0;
  bool compact = false;
};
int run_import(const Globals& globals, const ImportArguments& arguments, Output& output);

struct ExportArguments {
  std::string target;
  std::string out;
  std::string format;
};
int run_export(const Globals& globals, const ExportArguments& arguments, Output& output);

struct LsArguments {
  std::string target = "main";
  bool is_long = false;
  bool names_only = false;
};
int run_ls(const Globals& globals, const LsArguments& arguments, Output& output);

struct TreeArguments {
  std::string target = "main";
  std::size_t depth_max = SIZE_MAX;
  bool unfolded = false;
};
int run_tree(const Globals& globals, const TreeArguments& arguments, Output& output);

struct ShowArguments {
  std::string target = "main";
  bool structure = false;
};
int run_show(const Globals& globals, const ShowArguments& arguments, Output& output);

struct GlobalsArguments {
  std::string target = "main";
};
int run_globals(const Globals& globals, const GlobalsArguments& arguments, Output& output);

struct CatArguments {
  std::string target;
  std::optional<std::string> slice;
  bool raw = false;
};
int run_cat(const Globals& globals, const CatArguments& arguments, Output& output);

struct LogArguments {
  std::string rev = "main";
  std::size_t limit = SIZE_MAX;
};
int run_log(const Globals& globals, const LogArguments& arguments, Output& output);

struct DiffArguments {
  std::string older;
  std::string newer = "main";
  std::string by = "name";
  bool stat = false;
  bool exit_code = false;
  bool all = false;
};
int run_diff(const Globals& globals, const DiffArguments& arguments, Output& output);

// `ref` and `tag` share their listing.
struct NamesArguments {
  bool tags = false;
  bool names_only = false;
};
int run_list_names(const Globals& globals, const NamesArguments& arguments, Output& output);

struct SetRefArguments {
  std::string name;
  std::string rev;
  std::optional<std::string> expected;  // rev of the tip; "none": there is no such ref yet
};
int run_set_ref(const Globals& globals, const SetRefArguments& arguments, Output& output);

struct SetTagArguments {
  std::string name;
  std::string rev = "main";
};
int run_set_tag(const Globals& globals, const SetTagArguments& arguments, Output& output);

struct DeleteNameArguments {
  std::string name;
  bool is_tag = false;
};
int run_delete_name(const Globals& globals, const DeleteNameArguments& arguments, Output& output);

struct ReflogArguments {
  std::string ref;
  std::size_t limit = SIZE_MAX;
};
int run_reflog(const Globals& globals, const ReflogArguments& arguments, Output& output);

struct UndoArguments {
  bool dry_run = false;
};
int run_undo(const Globals& globals, const UndoArguments& arguments, Output& output);

struct ForgetArguments {
  std::vector<std::string> revs;
  std::vector<std::string> refs;
  std::uint64_t keep_last = 0;
  std::uint64_t keep_hourly = 0;
  std::uint64_t keep_daily = 0;
  std::uint64_t keep_weekly = 0;
  std::uint64_t keep_monthly = 0;
  std::int64_t keep_every = 0;
  std::vector<std::string> keep_best;
  bool keep_tag = false;
  bool unreachable = false;
  bool dry_run = false;
};
int run_forget(const Globals& globals, const ForgetArguments& arguments, Output& output);

struct GcArguments {
  bool dry_run = false;
};
int run_gc(const Globals& globals, const GcArguments& arguments, Output& output);

struct CompactArguments {
  std::string rev;
  std::string ref;  // empty: that of the rev, if it is one
  std::string message;
};
int run_compact(const Globals& globals, const CompactArguments& arguments, Output& output);

struct RewriteArguments {
  std::string ref;
  std::vector<std::string> drop;
  std::vector<std::pair<std::string, std::string>> rename;
};
int run_rewrite(const Globals& globals, const RewriteArguments& arguments, Output& output);

struct DuArguments {
  bool summary = false;
};
int run_du(const Globals& globals, const DuArguments& arguments, Output& output);

struct CloneArguments {
  std::string store;
  std::string out;
};
int run_clone(const Globals& globals, const CloneArguments& arguments, Output& output);

struct VerifyArguments {
  std::optional<std::string> read_data;  // empty: all of it; else "N/M"
};
int run_verify(const Globals& globals, const VerifyArguments& arguments, Output& output);

struct RepairArguments {
  std::string from;  // empty: no other store
};
int run_repair(const Globals& globals, const RepairArguments& arguments, Output& output);

struct SqlArguments {
  std::string statement;
  std::string file;  // with statements; "-": standard input
  std::string mode = "box";
  bool csv = false;
  double timeout_s = 0;                // 0: none
  std::uint64_t max_memory_bytes = 0;  // 0: as QueryLimits has it
};
int run_sql(const Globals& globals, const SqlArguments& arguments, Output& output);

struct ReplArguments {};
// Statements and dot commands from a terminal or, without one, from standard input.
int run_repl(const Globals& globals, const ReplArguments& arguments, Output& output);

struct PsArguments {
  std::optional<double> every_s;  // shown again and again
  std::uint64_t count = UINT64_MAX;
};
int run_ps(const Globals& globals, const PsArguments& arguments, Output& output);

struct WatchArguments {
  std::string ref = "main";
  std::vector<std::string> command;  // empty: ids are printed
  bool only_new = false;
  std::uint64_t count = UINT64_MAX;
  std::optional<double> timeout_s;
};
int run_watch(const Globals& globals, const WatchArguments& arguments, Output& output);

struct DoctorArguments {
  std::string path;  // empty: the store, or the working folder
};
int run_doctor(const Globals& globals, const DoctorArguments& arguments, Output& output);

struct BundleArguments {
  std::string rev;
  std::string out;
};
int run_bundle(const Globals& globals, const BundleArguments& arguments, Output& output);

}  // namespace tenon::tools
