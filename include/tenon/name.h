// A tensor's identity is its typed path; its name renders the path uniquely and can be parsed back.
//
//   ["model", "fc.weight"]  model/fc.weight       string keys as they are
//   ["state", 0]            state/0               int keys bare
//   ["state", "0"]          state/"0"             a string that looks like an int, contains '/', is empty,
//                                                 or begins with '"' or '<' is JSON-quoted
//   [2.5]                   <2.5>                 any other key: its literal in angle brackets, each '>' in it doubled
//   []                      .                     a lone root tensor (a string key "." is quoted)
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tenon/export.h"

namespace tenon {

struct OtherKey {  // bool, float, None, tuple, bytes: as a unique literal, e.g. "True", "(1, 'a')"
  std::string literal;
  friend bool operator==(const OtherKey&, const OtherKey&) = default;
};
using PathKey = std::variant<std::string, std::int64_t, OtherKey>;
using Path = std::vector<PathKey>;

TENON_API std::string render_name(const Path& path);
TENON_API void append_component(std::string& name, const PathKey& key);  // adds '/' unless `name` is empty
// Throws invalid_argument if `name` renders no path. Every path has one spelling; others are refused (`a/"b"`, `007`).
TENON_API Path parse_name(std::string_view name);
// What a parameter is called whatever it was wrapped in: of each string key without its wrappers' prefixes, `module.`
// (DataParallel; leading only), `_orig_mod.` (torch.compile), `_fsdp_wrapped_module.`, `_checkpoint_wrapped_module.`
// (anywhere): "model/module.fc._orig_mod.weight" is "model/fc.weight". Throws as parse_name does.
TENON_API std::string param_name(std::string_view name);
// Control characters, those that turn the direction of text or cannot be seen, and bytes that are no UTF-8, escaped as
// \xNN, for terminals.
TENON_API std::string printable(std::string_view text);
// Keys of files are bytes and need not be: what Python keeps as lone surrogates is not.
TENON_API bool is_valid_utf8(std::string_view text) noexcept;

}  // namespace tenon
