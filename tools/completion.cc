#include "tools/completion.h"

#include <fmt/format.h>

#include <algorithm>

#include "tenon/error.h"

namespace tenon::tools {
namespace {

std::string words_of(const VerbSpec& verb) {
  std::vector<std::string> words = verb.subverbs;
  for (const OptionSpec& option : verb.options) words.insert(words.end(), option.names.begin(), option.names.end());
  return fmt::format("{}", fmt::join(words, " "));
}

std::string verb_names(std::span<const VerbSpec> verbs) {
  std::vector<std::string> names;
  for (const VerbSpec& verb : verbs) names.push_back(verb.name);
  return fmt::format("{}", fmt::join(names, " "));
}

// In single quotes, for sh, zsh and fish alike.
std::string quote(std::string_view text) {
  std::string quoted = "'";
  for (char c : text) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return quoted + "'";
}

std::string bash_script(std::span<const VerbSpec> verbs) {
  std::string script = R"sh(# bash completion for tenon
# Refs and tags of the store that the command would find.
_tenon_revs() { tenon ref list --names 2> /dev/null; tenon tag list --names 2> /dev/null; }
_tenon() {
  local word=${COMP_WORDS[COMP_CWORD]} verb='' words='' revs='' i
  for ((i = 1; i < COMP_CWORD; ++i)); do
    case ${COMP_WORDS[i]} in
      --store) i=$((i + 1)) ;;
      -*) ;;
      *) verb=${COMP_WORDS[i]}; break ;;
    esac
  done
  case $verb in
)sh";
  script += fmt::format("    '') words='{} --store --json --help --version' ;;\n", verb_names(verbs));
  for (const VerbSpec& verb : verbs) {
    script += fmt::format("    {}) words='{}'; revs={} ;;\n", verb.name, words_of(verb), verb.takes_rev ? "1" : "");
  }
  script += R"sh(  esac
  if [[ $word != -* && $revs ]]; then words+=" $(_tenon_revs)"; fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
  if [[ $verb && $word != -* ]]; then mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$word"); fi
}
complete -o filenames -F _tenon tenon
)sh";
  return script;
}

// _describe wants "name:help", with the colons of the name escaped.
std::string zsh_entry(std::string_view name, std::string_view help) { return quote(fmt::format("{}:{}", name, help)); }

std::string zsh_script(std::span<const VerbSpec> verbs) {
  std::string script = R"sh(#compdef tenon
# zsh completion for tenon
# Refs and tags of the store that the command would find.
_tenon_revs() { tenon ref list --names 2> /dev/null; tenon tag list --names 2> /dev/null }
_tenon() {
  local -a verbs options
  verbs=(
)sh";
  for (const VerbSpec& verb : verbs) script += fmt::format("    {}\n", zsh_entry(verb.name, verb.help));
  script += R"sh(  )
  local verb='' i
  for ((i = 2; i < CURRENT; ++i)); do
    case ${words[i]} in
      --store) ((++i)) ;;
      -*) ;;
      *) verb=${words[i]}; break ;;
    esac
  done
  if [[ -z $verb ]]; then _describe verb verbs; return; fi
  local revs=''
  case $verb in
)sh";
  for (const VerbSpec& verb : verbs) {
    script += fmt::format("    {})\n      options=(", verb.name);
    for (const std::string& subverb : verb.subverbs) script += fmt::format("{} ", quote(subverb));
    for (const OptionSpec& option : verb.options) {
      for (const std::string& name : option.names) script += fmt::format("{} ", zsh_entry(name, option.help));
    }
    script += fmt::format(")\n      revs={}\n      ;;\n", verb.takes_rev ? "1" : "");
  }
  script += R"sh(  esac
  _describe option options
  if [[ -n $revs ]]; then compadd -- ${(f)"$(_tenon_revs)"}; fi
  _files
}
compdef _tenon tenon
)sh";
  return script;
}

std::string fish_script(std::span<const VerbSpec> verbs) {
  std::string script = R"sh(# fish completion for tenon
# Refs and tags of the store that the command would find.
function _tenon_revs; tenon ref list --names 2> /dev/null; tenon tag list --names 2> /dev/null; end
)sh";
  for (const VerbSpec& verb : verbs) {
    script += fmt::format("complete -c tenon -n __fish_use_subcommand -f -a {} -d {}\n", verb.name, quote(verb.help));
    const std::string condition = quote(fmt::format("__fish_seen_subcommand_from {}", verb.name));
    for (const std::string& subverb : verb.subverbs) {
      script += fmt::format("complete -c tenon -n {} -f -a {}\n", condition, subverb);
    }
    for (const OptionSpec& option : verb.options) {
      script += fmt::format("complete -c tenon -n {} -d {}", condition, quote(option.help));
      for (const std::string& name : option.names) {
        script +=
            name.starts_with("--") ? fmt::format(" -l {}", name.substr(2)) : fmt::format(" -s {}", name.substr(1));
      }
      script += '\n';
    }
    if (verb.takes_rev) {
      script += fmt::format("complete -c tenon -n {} -a '(_tenon_revs)'\n", condition);
    }
  }
  return script;
}

}  // namespace

std::string completion_script(std::string_view shell, std::span<const VerbSpec> verbs) {
  if (shell == "bash") return bash_script(verbs);
  if (shell == "zsh") return zsh_script(verbs);
  if (shell == "fish") return fish_script(verbs);
  throw Error(ErrorKind::invalid_argument,
              {.what = "no completion for this shell", .got = std::string(shell), .wanted = "bash, zsh or fish"});
}

}  // namespace tenon::tools
