// Numbers in a snapshot's metadata, which is a JSON object as text. The JSON library stays in meta.cc.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tenon {

// The number at `key`, or, where there is no such key, along the path that `key` spells with dots ("eval.loss").
// nullopt for what is no number, or no JSON.
std::optional<double> meta_number(std::string_view meta, std::string_view key);
// The keys that have numbers, those of nested objects with dots.
std::vector<std::string> meta_number_keys(std::string_view meta);

}  // namespace tenon
