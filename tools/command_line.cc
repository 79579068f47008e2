#include "tools/command_line.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <charconv>
#include <limits>
#include <memory>
#include <stdexcept>

#include "tenon/error.h"
#include "tenon/name.h"
#include "tools/completion.h"
#include "tools/failure.h"
#include "tools/help_text.h"
#include "tools/text.h"

namespace tenon::tools {
namespace {

// The line being understood. Verbs keep their arguments alive in the function that they leave in `run`.
struct CommandLine {
  Globals globals;
  std::function<int(Output&)> run;
};

CLI::App* add_verb(CLI::App& parent, const std::string& full_name, const std::string& group) {
  const HelpText& text = help_text(full_name);
  const std::string name = full_name.substr(full_name.find_last_of(' ') + 1);
  CLI::App* verb = parent.add_subcommand(name, std::string(text.summary));
  verb->group(group);
  if (!text.details.empty()) verb->footer("\n" + std::string(text.details));
  return verb;
}

// Has the verb call `run` with arguments that `declare` bound to its options.
template <typename Arguments>
using Run = int (*)(const Globals&, const Arguments&, Output&);

template <typename Arguments, typename Declare>
CLI::App* bind(CLI::App* verb, CommandLine& line, Run<Arguments> run, Declare declare) {
  auto arguments = std::make_shared<Arguments>();
  declare(*verb, *arguments);
  verb->callback([&line, arguments, run] {
    line.run = [&line, arguments, run](Output& output) { return run(line.globals, *arguments, output); };
  });
  return verb;
}

// Digits that are a number of type T from `least` on: CLI11 would take the nearest there is.
template <typename T>
CLI::Validator whole_number(T least) {
  const auto check = [least](const std::string& word) -> std::string {
    T number{};
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
    if (error == std::errc() && end == word.data() + word.size() && number >= least) return "";
    return fmt::format("not a whole number from {} to {}: {}", least, std::numeric_limits<T>::max(), word);
  };
  return CLI::Validator(check, "");
}

void add_files(CLI::App& app, CommandLine& line) {
  const char* group = "Files";
  bind<ImportArguments>(add_verb(app, "import", group), line, run_import, [](CLI::App& verb, ImportArguments& a) {
    verb.add_option("FILE", a.files, "checkpoints: .pt, .pth, .bin, .safetensors, .npy, .npz, *.index.json")
        ->required()
        ->type_name("");
    verb.add_option("--ref", a.ref, "the ref to commit to")->capture_default_str()->type_name("REF");
    verb.add_option("-m,--message", a.message, "what is said of it in the log")->type_name("TEXT");
    verb.add_option("--meta", a.meta, "metadata; may be repeated")->allow_extra_args(false)->type_name("KEY=VALUE");
    verb.add_option("--step", a.step, "training step of the snapshot")
        ->check(whole_number<std::int64_t>(std::numeric_limits<std::int64_t>::min()))
        ->type_name("N");
    verb.add_option("--prefix", a.prefix, "put everything under this path")->type_name("PATH");
    verb.add_flag("--compact", a.compact, "of each storage keep only what its tensors use");
    verb.add_option("--max-memory", a.max_memory_bytes, "what the object may need: 512M, 2G")
        ->transform(CLI::AsSizeValue(false))
        ->type_name("SIZE");
    verb.add_option("--offset", a.offset, "where in FILE to begin")
        ->check(whole_number<std::uint64_t>(0))
        ->type_name("BYTES");
  });
  bind<ExportArguments>(add_verb(app, "export", group), line, run_export, [](CLI::App& verb, ExportArguments& a) {
    verb.add_option("REV[:PREFIX]", a.target, "snapshot, or a subtree of it")->required()->type_name("");
    verb.add_option("OUT", a.out, "the file to write")->required()->type_name("");
    verb.add_option("--format", a.format, "torch, torchscript, safetensors, npz or npy; else by the ending of OUT")
        ->type_name("F");
  });
  bind<BundleArguments>(add_verb(app, "bundle", group), line, run_bundle, [](CLI::App& verb, BundleArguments& a) {
    verb.add_option("REV", a.rev, "the snapshot")->required()->type_name("");
    verb.add_option("OUT", a.out, "the file to write, OUT.tenon")->required()->type_name("");
  });
}

void add_looking(CLI::App& app, CommandLine& line) {
  const char* group = "Looking";
  const char* subtree = "snapshot, subtree or file; main unless told";
  bind<LsArguments>(add_verb(app, "ls", group), line, run_ls, [&](CLI::App& verb, LsArguments& a) {
    verb.add_option("REV[:PREFIX]", a.target, subtree)->type_name("");
    verb.add_flag("-l,--long", a.is_long, "stride, offset, location and storage, too");
    verb.add_flag("--names", a.names_only, "names only, one a line");
  });
  bind<TreeArguments>(add_verb(app, "tree", group), line, run_tree, [&](CLI::App& verb, TreeArguments& a) {
    verb.add_option("REV[:PREFIX]", a.target, subtree)->type_name("");
    verb.add_option("--depth", a.depth_max, "levels to show")->check(whole_number<std::uint64_t>(0))->type_name("N");
    verb.add_flag("--unfolded", a.unfolded, "a line for every tensor");
  });
  bind<ShowArguments>(add_verb(app, "show", group), line, run_show, [](CLI::App& verb, ShowArguments& a) {
    verb.add_option("REV:NAME", a.target, "the tensor, in a snapshot or file")->type_name("");
    verb.add_flag("--structure", a.structure, "the nesting of the snapshot instead");
  });
  bind<CatArguments>(add_verb(app, "cat", group), line, run_cat, [](CLI::App& verb, CatArguments& a) {
    verb.add_option("REV:NAME", a.target, "the tensor, in a snapshot or file")->required()->type_name("");
    verb.add_option("--slice", a.slice, "part of it, e.g. 0:4,:")->type_name("RANGES");
    verb.add_flag("--raw", a.raw, "bytes instead of text");
  });
}

void add_sql(CLI::App& app, CommandLine& line) {
  bind<SqlArguments>(add_verb(app, "sql", "Looking"), line, run_sql, [](CLI::App& verb, SqlArguments& a) {
    verb.add_option("STATEMENT", a.statement, "SELECT ...; several, with ; between")->type_name("");
    verb.add_option("-f,--file", a.file, "statements from a file; - for standard input")->type_name("FILE");
    verb.add_option("--mode", a.mode, "box, csv, json, jsonl, markdown, line or list")->type_name("MODE");
    verb.add_flag("--csv", a.csv, "as --mode csv");
    verb.add_option("--timeout", a.timeout_s, "give a statement up after so many seconds")
        ->check(CLI::NonNegativeNumber)
        ->type_name("SECONDS");
    verb.add_option("--max-memory", a.max_memory_bytes, "what a statement may take: 512M, 2G; 1G unless told")
        ->transform(CLI::AsSizeValue(false))
        ->type_name("SIZE");
  });
}

void add_repl(CLI::App& app, CommandLine& line) {
  bind<ReplArguments>(add_verb(app, "repl", "Looking"), line, run_repl, [](CLI::App&, ReplArguments&) {});
}

void add_globals(CLI::App& app, CommandLine& line) {
  bind<GlobalsArguments>(
      add_verb(app, "globals", "Looking"), line, run_globals, [](CLI::App& verb, GlobalsArguments& a) {
        verb.add_option("FILE|REV", a.target, "file, snapshot or subtree; main unless told")->type_name("");
      });
}

void add_names_verb(CLI::App& app, CommandLine& line, const std::string& name, bool is_tag) {
  CLI::App* verb = add_verb(app, name, "History");
  verb->require_subcommand(0, 1);
  const auto listing = std::make_shared<NamesArguments>(NamesArguments{.tags = is_tag});
  // The callback of the outer verb runs after that of an inner one, which goes first.
  verb->callback([&line, listing] {
    if (!line.run) line.run = [&line, listing](Output& out) { return run_list_names(line.globals, *listing, out); };
  });
  add_verb(*verb, name + " list", "")->add_flag("--names", listing->names_only, "names only, one a line");
  bind<DeleteNameArguments>(add_verb(*verb, name + " delete", ""), line, run_delete_name,
                            [&](CLI::App& inner, DeleteNameArguments& a) {
                              a.is_tag = is_tag;
                              inner.add_option("NAME", a.name, "the name to delete")->required()->type_name("");
                            });
}

void add_history(CLI::App& app, CommandLine& line) {
  bind<LogArguments>(add_verb(app, "log", "History"), line, run_log, [](CLI::App& verb, LogArguments& a) {
    verb.add_option("REV", a.rev, "where to begin; main unless told")->type_name("");
    verb.add_option("-n,--limit", a.limit, "snapshots to list")->check(whole_number<std::uint64_t>(0))->type_name("N");
  });
  bind<DiffArguments>(add_verb(app, "diff", "History"), line, run_diff, [](CLI::App& verb, DiffArguments& a) {
    verb.add_option("REV[:PREFIX]", a.older, "the older snapshot")->required()->type_name("");
    verb.add_option("NEWER", a.newer, "REV[:PREFIX] of the newer one; main unless told")->type_name("");
    verb.add_flag("--stat", a.stat, "only how many tensors changed, and how");
    verb.add_flag("--exit-code", a.exit_code, "exit with 1 if anything differs");
    verb.add_option("--by", a.by, "match tensors by name or by param")->type_name("WHAT");
    verb.add_flag("--all", a.all, "tensors that are the same, too");
  });
  add_names_verb(app, line, "ref", false);
  bind<SetRefArguments>(add_verb(*app.get_subcommand("ref"), "ref set", ""), line, run_set_ref,
                        [](CLI::App& verb, SetRefArguments& a) {
                          verb.add_option("NAME", a.name, "the ref")->required()->type_name("");
                          verb.add_option("REV", a.rev, "the snapshot")->required()->type_name("");
                          verb.add_option("--expect", a.expected, "its tip, or none")->type_name("REV");
                        });
  bind<ReflogArguments>(add_verb(app, "reflog", "History"), line, run_reflog, [](CLI::App& verb, ReflogArguments& a) {
    verb.add_option("REF", a.ref, "only what happened to this ref or tag")->type_name("");
    verb.add_option("-n,--limit", a.limit, "mutations to list")->check(whole_number<std::uint64_t>(0))->type_name("N");
  });
  bind<UndoArguments>(add_verb(app, "undo", "History"), line, run_undo, [](CLI::App& verb, UndoArguments& a) {
    verb.add_flag("-n,--dry-run", a.dry_run, "only say what would be undone");
  });
  add_names_verb(app, line, "tag", true);
  bind<SetTagArguments>(add_verb(*app.get_subcommand("tag"), "tag set", ""), line, run_set_tag,
                        [](CLI::App& verb, SetTagArguments& a) {
                          verb.add_option("NAME", a.name, "the tag")->required()->type_name("");
                          verb.add_option("REV", a.rev, "the snapshot; main unless told")->type_name("");
                        });
}

void add_keep_rules(CLI::App& verb, ForgetArguments& a) {
  verb.add_option("--keep-last", a.keep_last, "keep the newest N")
      ->check(whole_number<std::uint64_t>(0))
      ->type_name("N");
  verb.add_option("--keep-hourly", a.keep_hourly, "keep one of each of the newest N hours")
      ->check(whole_number<std::uint64_t>(0))
      ->type_name("N");
  verb.add_option("--keep-daily", a.keep_daily, "keep one of each of the newest N days")
      ->check(whole_number<std::uint64_t>(0))
      ->type_name("N");
  verb.add_option("--keep-weekly", a.keep_weekly, "keep one of each of the newest N weeks")
      ->check(whole_number<std::uint64_t>(0))
      ->type_name("N");
  verb.add_option("--keep-monthly", a.keep_monthly, "keep one of each of the newest N months")
      ->check(whole_number<std::uint64_t>(0))
      ->type_name("N");
  verb.add_option("--keep-every", a.keep_every, "keep the first of each N steps")
      ->check(whole_number<std::int64_t>(0))
      ->type_name("N");
  verb.add_option("--keep-best", a.keep_best, "keep the best by min:METRIC or max:METRIC, or the best N; repeatable")
      ->allow_extra_args(false)
      ->type_name("RULE[:N]");
  verb.add_flag("--keep-tag", a.keep_tag, "keep what tags point to (it stays anyhow)");
}

void add_space(CLI::App& app, CommandLine& line) {
  const char* group = "Space";
  bind<ForgetArguments>(add_verb(app, "forget", group), line, run_forget, [](CLI::App& verb, ForgetArguments& a) {
    verb.add_option("REV", a.revs, "forget these, instead of going by rules")->type_name("");
    add_keep_rules(verb, a);
    verb.add_option("--ref", a.refs, "only the history of this ref; repeatable")
        ->allow_extra_args(false)
        ->type_name("REF");
    verb.add_flag("--unreachable", a.unreachable, "forget what is in no history of a ref or tag");
    verb.add_flag("-n,--dry-run", a.dry_run, "only say what would be forgotten");
  });
  bind<GcArguments>(add_verb(app, "gc", group), line, run_gc, [](CLI::App& verb, GcArguments& a) {
    verb.add_flag("-n,--dry-run", a.dry_run, "only say what would be freed");
  });
  bind<CompactArguments>(add_verb(app, "compact", group), line, run_compact, [](CLI::App& verb, CompactArguments& a) {
    verb.add_option("REV", a.rev, "what to compact")->required()->type_name("");
    verb.add_option("--ref", a.ref, "commit to this ref instead of REV")->type_name("REF");
    verb.add_option("-m,--message", a.message, "what log shows")->type_name("TEXT");
  });
  bind<RewriteArguments>(add_verb(app, "rewrite", group), line, run_rewrite, [](CLI::App& verb, RewriteArguments& a) {
    verb.add_option("REF", a.ref, "whose history is rewritten")->required()->type_name("");
    verb.add_option("--drop", a.drop, "leave this tensor or subtree out; repeatable")
        ->allow_extra_args(false)
        ->type_name("NAME");
    verb.add_option("--rename", a.rename, "give a tensor or subtree another name; repeatable")->type_name("OLD NEW");
  });
  bind<DuArguments>(add_verb(app, "du", group), line, run_du, [](CLI::App& verb, DuArguments& a) {
    verb.add_flag("-s,--summary", a.summary, "only the totals");
  });
}

void add_stores(CLI::App& app, CommandLine& line) {
  const char* group = "Stores";
  bind<InitArguments>(add_verb(app, "init", group), line, run_init, [](CLI::App& verb, InitArguments& a) {
    verb.add_option("PATH", a.path, "the directory to make, NAME.tenon")->required()->type_name("");
    verb.add_flag("--relaxed", a.relaxed, "leave syncing to the system");
  });
  bind<CloneArguments>(add_verb(app, "clone", group), line, run_clone, [](CLI::App& verb, CloneArguments& a) {
    verb.add_option("STORE", a.store, "the store to copy")->required()->type_name("");
    verb.add_option("DIR", a.out, "the directory to make")->required()->type_name("");
  });
  bind<VerifyArguments>(add_verb(app, "verify", group), line, run_verify, [](CLI::App& verb, VerifyArguments& a) {
    verb.add_option("--read-data", a.read_data, "hash every storage, too; with N/M, every M-th")
        ->expected(0, 1)
        ->default_str("")
        ->type_name("[N/M]");
  });
  bind<RepairArguments>(add_verb(app, "repair", group), line, run_repair, [](CLI::App& verb, RepairArguments& a) {
    verb.add_option("--from", a.from, "take what is damaged from this store, where it has it")->type_name("OTHER");
  });
}

// Numbers of seconds, "0.5" too.
CLI::Validator seconds() { return CLI::Range(0.0, 1e9, ""); }

void add_sharing(CLI::App& app, CommandLine& line) {
  const char* group = "Sharing";
  bind<PsArguments>(add_verb(app, "ps", group), line, run_ps, [](CLI::App& verb, PsArguments& a) {
    verb.add_option("--watch", a.every_s, "again every S seconds; 1 unless told")
        ->expected(0, 1)
        ->default_str("1")
        ->check(seconds())
        ->type_name("[S]");
    verb.add_option("-n,--count", a.count, "stop after N times")->check(whole_number<std::uint64_t>(1))->type_name("N");
  });
  bind<WatchArguments>(add_verb(app, "watch", group), line, run_watch, [](CLI::App& verb, WatchArguments& a) {
    verb.add_option("REF", a.ref, "the ref to follow; main unless told")->type_name("");
    verb.add_option("CMD", a.command, "after --: what to run for each snapshot")->type_name("");
    verb.add_flag("--new", a.only_new, "leave out the snapshot that is there already");
    verb.add_option("-n,--count", a.count, "stop after N snapshots")
        ->check(whole_number<std::uint64_t>(1))
        ->type_name("N");
    verb.add_option("--timeout", a.timeout_s, "stop when nothing came for so long")->check(seconds())->type_name("S");
  });
  bind<DoctorArguments>(add_verb(app, "doctor", group), line, run_doctor, [](CLI::App& verb, DoctorArguments& a) {
    verb.add_option("PATH", a.path, "a store or folder; the store unless told")->type_name("");
  });
}

OptionSpec spec_of(const CLI::Option& option) {
  OptionSpec spec{.names = {}, .help = option.get_description()};
  for (const std::string& name : option.get_snames()) spec.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) spec.names.push_back("--" + name);
  return spec;
}

VerbSpec spec_of(const CLI::App& verb) {
  VerbSpec spec{.name = verb.get_name(), .help = verb.get_description()};
  for (const CLI::App* inner : verb.get_subcommands({})) spec.subverbs.push_back(inner->get_name());
  for (const CLI::Option* option : verb.get_options()) {
    if (option->get_positional()) {
      spec.takes_rev = spec.takes_rev || option->get_name(true).find("REV") != std::string::npos;
    } else {
      spec.options.push_back(spec_of(*option));
    }
  }
  return spec;
}

std::vector<VerbSpec> specs_of(const CLI::App& app) {
  std::vector<VerbSpec> specs;
  for (const CLI::App* verb : app.get_subcommands({})) specs.push_back(spec_of(*verb));
  return specs;
}

// With --json it is one member of a record.
int print_text(std::string_view schema, std::string_view member, const std::string& text, Output& output) {
  if (output.is_json()) {
    output.record(schema, {{std::string(member), text}});
  } else {
    output.write(text);
  }
  return exit_code::ok;
}

std::vector<std::string> verb_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* verb : app.get_subcommands({})) names.push_back(verb->get_name());
  return names;
}

[[noreturn]] void throw_usage(std::string what, std::string got, std::string hint) {
  throw Error(ErrorKind::invalid_argument, {.what = std::move(what), .got = std::move(got), .hint = std::move(hint)});
}

// "help ref set": what shows the manual of a verb, or of all.
std::string help_on(const CLI::App& verb) {
  std::string words;
  for (const CLI::App* at = &verb; at->get_parent() != nullptr; at = at->get_parent())
    words = " " + at->get_name() + words;
  return "`tenon help" + words + "`";
}

[[noreturn]] void throw_unknown_verb(const CLI::App& app, const std::string& word) {
  const std::string close = suggestion(close_matches(word, verb_names(app)));
  const bool is_inner = app.get_parent() != nullptr;
  const std::string set =
      is_inner ? fmt::format("; `tenon {0} set {1} REV` sets the {0} '{1}'", app.get_name(), printable(word)) : "";
  throw_usage(is_inner ? fmt::format("no such verb of `tenon {}`", app.get_name()) : "no such verb", word,
              close.empty() ? help_on(app) + " lists the verbs" + set : close);
}

CLI::App& find_verb(CLI::App& parent, const std::string& name) {
  for (CLI::App* verb : parent.get_subcommands({})) {
    if (verb->get_name() == name) return *verb;
  }
  throw_unknown_verb(parent, name);
}

// `words` leads from the command to a verb: nowhere, {"ref"}, {"ref", "set"}.
std::string help_for(CLI::App& app, const std::vector<std::string>& words) {
  CLI::App* at = &app;
  std::string parents;
  for (const std::string& word : words) {
    parents += (parents.empty() ? "" : " ") + at->get_name();
    at = &find_verb(*at, word);
  }
  // Not App::help, which would tell of the verb that was parsed: of help itself.
  const std::string name = parents + (parents.empty() ? "" : " ") + at->get_name();
  return at->get_formatter()->make_help(at, name, CLI::AppFormatMode::Normal);
}

void add_meta_verbs(CLI::App& app, CommandLine& line) {
  const auto shell = std::make_shared<std::string>();
  CLI::App* completion = add_verb(app, "completion", "Other");
  completion->add_option("SHELL", *shell, "bash, zsh or fish")->required()->type_name("");
  completion->callback([&app, &line, shell] {
    line.run = [text = completion_script(*shell, specs_of(app))](Output& out) {
      return print_text("completion", "script", text, out);
    };
  });
  const auto words = std::make_shared<std::vector<std::string>>();
  CLI::App* help = add_verb(app, "help", "Other");
  help->add_option("VERB", *words, "the verb")->type_name("");
  help->callback([&app, &line, words] {
    line.run = [text = help_for(app, *words)](Output& out) { return print_text("help", "text", text, out); };
  });
}

// "--raw=no" and "--json=maybe" are mistakes, not settings.
void refuse_values_of_flags(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    if (option->get_items_expected_max() == 0) option->disable_flag_override();
  }
  for (CLI::App* verb : app.get_subcommands({})) refuse_values_of_flags(*verb);
}

void declare(CLI::App& app, CommandLine& line) {
  app.name("tenon");
  app.require_subcommand(0, 1);
  app.fallthrough();  // --store and --json may follow the verb
  app.set_version_flag("--version", "tenon " TENON_VERSION);
  app.get_formatter()->column_width(32);
  app.add_option("--store", line.globals.store, "the store: a directory or a bundle")->type_name("PATH");
  app.add_flag("--json", line.globals.json, "results and errors as JSON");
  app.footer("\n" + std::string(general_help));
  add_files(app, line);
  add_looking(app, line);
  add_globals(app, line);
  add_sql(app, line);
  add_repl(app, line);
  add_history(app, line);
  add_space(app, line);
  add_stores(app, line);
  add_sharing(app, line);
  add_meta_verbs(app, line);
  refuse_values_of_flags(app);
}

const CLI::App& innermost_verb(const CLI::App& app) {
  const CLI::App* at = &app;
  while (!at->get_subcommands().empty()) at = at->get_subcommands().front();
  return *at;
}

std::vector<std::string> option_names(const CLI::App& app, const CLI::App& verb) {
  std::vector<std::string> names;
  for (const CLI::App* one : {&app, &verb}) {
    for (const CLI::Option* option : one->get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
  }
  return names;
}

// What the parser could not place: a mistyped verb or option, or one argument too many.
[[noreturn]] void throw_unplaced(const CLI::App& app, const std::string& word) {
  const CLI::App& verb = innermost_verb(app);
  const std::string help = help_on(verb);
  if (word.starts_with('-') && word.size() > 1) {
    const std::string name = word.substr(0, word.find('='));
    const std::string close = suggestion(close_matches(name, option_names(app, verb)));
    throw_usage("no such option", word, close.empty() ? help + " lists the options" : close);
  }
  if (&verb == &app || !verb.get_subcommands({}).empty()) throw_unknown_verb(verb, word);
  throw_usage("one argument too many", word, help + " tells what it takes");
}

void parse(CLI::App& app, CommandLine& line, int argc, const char* const* argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    line.run = [text = app.help()](Output& output) { return print_text("help", "text", text, output); };
  } catch (const CLI::CallForVersion& version) {
    line.run = [text = std::string(version.what())](Output& output) {
      return print_text("version", "version", output.is_json() ? TENON_VERSION : text + "\n", output);
    };
  } catch (const CLI::ExtrasError&) {
    throw_unplaced(app, app.remaining(true).front());
  } catch (const CLI::ParseError& error) {
    const std::vector<std::string> rest = app.remaining(true);
    for (const std::string& word : rest) {
      if (word.starts_with('-')) throw_unplaced(app, word);  // the better explanation of what is missing
    }
    const CLI::App& verb = innermost_verb(app);
    throw_usage(error.what(), "", help_on(verb));
  }
  if (!line.run && isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1) {
    line.run = [&line](Output& output) { return run_repl(line.globals, {}, output); };
  }
  if (!line.run) throw_usage("which verb?", "", fmt::format("one of: {}", fmt::join(verb_names(app), ", ")));
}

}  // namespace

Invocation parse_command_line(int argc, const char* const* argv) {
  // Kept by the function that runs the verb, which refers to it.
  const auto line = std::make_shared<CommandLine>();
  CLI::App app("Tenon: a memory-mapped, columnar tensor store");
  declare(app, *line);
  parse(app, *line, argc, argv);
  return {line->globals, [line](Output& output) { return line->run(output); }};
}

}  // namespace tenon::tools
