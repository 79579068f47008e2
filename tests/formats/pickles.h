// Pickles put together by hand, for tests.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace tenon {

using std::string_literals::operator""s;

inline std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

template <class T>
std::string data_of(std::initializer_list<T> values) {
  return {reinterpret_cast<const char*>(std::data(values)), values.size() * sizeof(T)};
}

// Pickle text for the calls that torch writes; each leaves one value on the stack.
inline std::string number(std::int64_t value) { return "L" + std::to_string(value) + "L\n"; }
inline std::string text(const std::string& value) {
  return "X" + std::string{static_cast<char>(value.size())} + "\0\0\0"s + value;
}
inline std::string tuple(const std::vector<std::int64_t>& values) {
  std::string out = "(";
  for (const auto value : values) out += number(value);
  return out + "t";
}
inline std::string storage(const std::string& type, const std::string& key, std::int64_t numel) {
  return "(" + text("storage") + "c" + type + "\n" + text(key) + text("cpu") + number(numel) + "tQ";
}
inline std::string floats(const std::string& key, std::int64_t numel) {
  return storage("torch\nFloatStorage", key, numel);
}
inline const std::string no_hooks = "ccollections\nOrderedDict\n)R";

struct Geometry {
  std::int64_t offset = 0;
  std::vector<std::int64_t> shape{};
  std::vector<std::int64_t> stride{};
};
inline std::string view_arguments(const std::string& from, const Geometry& view) {
  return from + number(view.offset) + tuple(view.shape) + tuple(view.stride) + "\x89" + no_hooks;
}
inline std::string tensor(const std::string& from, const Geometry& view) {
  return "ctorch._utils\n_rebuild_tensor_v2\n(" + view_arguments(from, view) + "tR";
}
inline std::string tensor_v3(const std::string& from, const Geometry& view, const std::string& dtype) {
  return "ctorch._utils\n_rebuild_tensor_v3\n(" + view_arguments(from, view) + "ctorch\n" + dtype + "\ntR";
}
inline std::string parameter(const std::string& data) {
  return "ctorch._utils\n_rebuild_parameter\n" + data + "\x88" + no_hooks + "\x87R";
}

// ('storage', class, key, 'cpu', numel, (view_key, offset, size)) of torch before 0.4
inline std::string storage_view(const std::string& key, std::int64_t numel, std::int64_t offset, std::int64_t size) {
  return "(" + text("storage") + "ctorch\nFloatStorage\n" + text(key) + text("cpu") + number(numel) + "(" + text("v") +
         number(offset) + number(size) + "ttQ";
}

}  // namespace tenon
