#include "formats/torchscript_code.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

namespace tenon {

namespace {

// Takes the next line off `text`, without its line feed.
std::string_view take_line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

// "code/__torch__/pkg/module.py" is the module "__torch__.pkg.module"; empty for other records.
std::string module_of_record(std::string_view record) {
  constexpr std::string_view directory = "code/";
  constexpr std::string_view ending = ".py";
  if (!record.starts_with(directory) || !record.ends_with(ending)) return {};
  record.remove_prefix(directory.size());
  if (record.size() < ending.size()) return {};
  std::string module(record.substr(0, record.size() - ending.size()));
  std::replace(module.begin(), module.end(), '/', '.');
  return module;
}

// "class Linear(Module):" is "Linear"; empty for another line.
std::string_view class_of_line(std::string_view line) {
  constexpr std::string_view keyword = "class ";
  if (!line.starts_with(keyword)) return {};
  line.remove_prefix(keyword.size());
  const auto is_part = [](char c) {
    return c == '_' || (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
  };
  const auto end = std::find_if_not(line.begin(), line.end(), is_part);
  if (end == line.end() || (*end != '(' && *end != ':')) return {};
  return line.substr(0, static_cast<std::size_t>(end - line.begin()));
}

char unescaped(char c) {
  constexpr std::string_view letters = "abfnrtv";
  constexpr std::string_view meant = "\a\b\f\n\r\t\v";
  const std::size_t at = letters.find(c);
  return at == letters.npos ? c : meant[at];
}

// Takes `\n`, `\"` or three octal digits, of which the backslash is taken already.
std::optional<char> take_escape(std::string_view& text) {
  if (text.empty()) return std::nullopt;
  const auto is_octal = [](char c) { return c >= '0' && c <= '7'; };
  if (!is_octal(text[0])) {
    const char c = unescaped(text[0]);
    text.remove_prefix(1);
    return c;
  }
  if (text.size() < 3 || !is_octal(text[1]) || !is_octal(text[2])) return std::nullopt;
  const int code = (text[0] - '0') * 64 + (text[1] - '0') * 8 + (text[2] - '0');
  text.remove_prefix(3);
  return static_cast<char>(code);
}

// Takes a quoted string off `text`; nullopt if there is none.
std::optional<std::string> take_string(std::string_view& text) {
  if (text.empty() || (text[0] != '"' && text[0] != '\'')) return std::nullopt;
  const char quote = text[0];
  text.remove_prefix(1);
  std::string out;
  while (!text.empty()) {
    const char c = text[0];
    text.remove_prefix(1);
    if (c == quote) return out;
    const auto next = c == '\\' ? take_escape(text) : std::optional<char>(c);
    if (!next) return std::nullopt;
    out += *next;
  }
  return std::nullopt;
}

// `  __parameters__ = ["weight", "bias", ]` adds to `names`; any other line adds nothing.
void read_list(std::string_view line, std::string_view name, std::set<std::string, std::less<>>& names) {
  const std::string opening = fmt::format("  {} = [", name);
  if (!line.starts_with(opening)) return;
  line.remove_prefix(opening.size());
  while (const auto text = take_string(line)) {
    names.insert(*text);
    const std::size_t next = line.find_first_not_of(", ");
    line.remove_prefix(std::min(next, line.size()));
  }
}

}  // namespace

void TorchScriptClasses::add_source(std::string_view record, std::string_view text) {
  const std::string module = module_of_record(record);
  if (module.empty()) return;
  Declaration* declaration = nullptr;
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    if (!line.starts_with(' ')) {
      const std::string_view name = class_of_line(line);
      declaration = name.empty() ? nullptr : &classes_[fmt::format("{}.{}", module, name)];
    } else if (declaration != nullptr) {
      read_list(line, "__parameters__", declaration->parameters);
      read_list(line, "__buffers__", declaration->buffers);
    }
  }
}

void TorchScriptClasses::declare(std::string_view class_name, std::string_view attribute, TensorKind kind) {
  Declaration& declaration = classes_[std::string(class_name)];
  if (kind == TensorKind::parameter) declaration.parameters.emplace(attribute);
  if (kind == TensorKind::buffer) declaration.buffers.emplace(attribute);
}

TensorKind TorchScriptClasses::kind_of(std::string_view class_name, std::string_view attribute) const {
  const auto found = classes_.find(class_name);
  if (found == classes_.end()) return TensorKind::plain;
  if (found->second.parameters.contains(attribute)) return TensorKind::parameter;
  return found->second.buffers.contains(attribute) ? TensorKind::buffer : TensorKind::plain;
}

std::string torchscript_quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const bool is_plain = c >= 0x20 && c < 0x7F && c != '"' && c != '\\';
    if (is_plain) {
      out += c;
    } else {
      out += fmt::format("\\{:03o}", static_cast<unsigned char>(c));
    }
  }
  return out + '"';
}

}  // namespace tenon
