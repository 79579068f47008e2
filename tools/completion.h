// Completion scripts for shells, made from the verbs and options that the command line really has.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tenon::tools {

struct OptionSpec {
  std::vector<std::string> names;  // "--ref", "-m"
  std::string help;
};

struct VerbSpec {
  std::string name;
  std::string help;
  std::vector<OptionSpec> options;
  std::vector<std::string> subverbs;
  bool takes_rev = false;  // names of refs and tags are offered, else files
};

// `shell` is bash, zsh or fish. Throws invalid_argument for any other.
std::string completion_script(std::string_view shell, std::span<const VerbSpec> verbs);

}  // namespace tenon::tools
