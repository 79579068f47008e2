#include "store/rev.h"

#include <algorithm>
#include <charconv>

#include "tenon/error.h"

namespace tenon {

namespace {

constexpr std::size_t id_digits_min = 4;
constexpr std::size_t id_digits_max = 32;

}  // namespace

Rev parse_rev(std::string_view text) {
  const std::size_t tilde = text.find('~');
  Rev rev{std::string(text.substr(0, tilde)), 0};
  if (tilde != std::string_view::npos) {
    const std::string_view count = text.substr(tilde + 1);
    const auto [end, error] = std::from_chars(count.data(), count.data() + count.size(), rev.generations);
    if (error != std::errc{} || end != count.data() + count.size()) {
      throw Error(ErrorKind::invalid_argument,
                  {.what = "not a rev: '~' wants a number", .got = std::string(text), .wanted = "NAME~N"});
    }
  }
  if (rev.name.empty())
    throw Error(ErrorKind::invalid_argument,
                {.what = "not a rev: it names nothing", .got = std::string(text), .wanted = "a ref, a tag or an id"});
  return rev;
}

bool is_id_prefix(std::string_view text) noexcept {
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); };
  return text.size() >= id_digits_min && text.size() <= id_digits_max && std::all_of(text.begin(), text.end(), is_hex);
}

}  // namespace tenon
