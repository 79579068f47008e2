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

struct VerifyArguments {
  bool read_data = false;
};
int run_verify(const Globals& globals, const VerifyArguments& arguments, Output& output);

int run_repair(const Globals& globals, Output& output);

struct BundleArguments {
  std::string rev;
  std::string out;
};
int run_bundle(const Globals& globals, const BundleArguments& arguments, Output& output);

}  // namespace tenon::tools
