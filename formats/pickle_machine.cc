#include "formats/pickle_machine.h"

#include <array>
#include <bit>

#include <fmt/format.h>

#include "formats/pickle_text.h"

namespace tenon {

namespace {

constexpr std::uint8_t highest_protocol = 5;

}  // namespace

void PickleMachine::fail(ErrorKind kind, std::string what, std::string got, std::string wanted) const {
  throw Error(kind, {.what = std::move(what),
                     .file = options_.file,
                     .offset = options_.base_offset + opcode_offset_,
                     .got = std::move(got),
                     .wanted = std::move(wanted)});
}

void PickleMachine::fail_early(std::string what, std::string got, std::string wanted) const {
  throw PickleEndsEarly(ErrorKind::corrupt, {.what = std::move(what),
                                             .file = options_.file,
                                             .offset = options_.base_offset + opcode_offset_,
                                             .got = std::move(got),
                                             .wanted = std::move(wanted)});
}

std::uint8_t PickleMachine::take_opcode() {
  opcode_offset_ = cursor_;
  return take_byte();
}

std::string_view PickleMachine::take(std::uint64_t length) {
  const std::size_t remaining = bytes_.size() - cursor_;
  if (length > remaining) {
    fail_early("pickle ends early", fmt::format("{} bytes", remaining), fmt::format("{} bytes", length));
  }
  const auto* begin = reinterpret_cast<const char*>(bytes_.data()) + cursor_;
  cursor_ += static_cast<std::size_t>(length);
  return {begin, static_cast<std::size_t>(length)};
}

std::string_view PickleMachine::take_line() {
  const std::string_view rest(reinterpret_cast<const char*>(bytes_.data()) + cursor_, bytes_.size() - cursor_);
  const std::size_t length = rest.find('\n');
  if (length == std::string_view::npos) fail_early("pickle ends within a line");
  cursor_ += length + 1;
  return rest.substr(0, length);
}

void PickleMachine::push(NodeId id) {
  if (graph_.value_count() > options_.max_nodes) {
    fail(ErrorKind::limit, "pickle holds too many values", fmt::format("more than {}", options_.max_nodes));
  }
  check_growth(stack_, 1);
  stack_.push_back(id);
}

// A byte of a pickle can stand for a hundred in memory: files made for that are told by what they take in all.
void PickleMachine::check_memory(std::uint64_t more) const {
  const std::uint64_t ids = stack_.size() * sizeof(NodeId) + memo_.size() * sizeof(NodeId) + grown_bytes_;
  if (graph_.memory_bytes() + ids + marks_.size() * sizeof(marks_[0]) + more <= memory_max_) return;
  throw Error(ErrorKind::limit, {.what = "pickle needs more memory than its size accounts for",
                                 .file = options_.file,
                                 .offset = options_.base_offset + opcode_offset_,
                                 .got = fmt::format("more than {} bytes", memory_max_),
                                 .hint = options_.memory_hint});
}

void PickleMachine::add_to(std::vector<NodeId>& items, std::span<const NodeId> more) {
  check_growth(items, more.size());
  if (items.empty()) grown_bytes_ += PickleGraph::allocation_bytes_min;
  items.insert(items.end(), more.begin(), more.end());
  grown_bytes_ += more.size_bytes();
}

NodeId PickleMachine::pop() {
  const NodeId id = top();
  stack_.pop_back();
  return id;
}

NodeId PickleMachine::top() const {
  if (stack_.size() <= floor()) corrupt("pickle takes a value from an empty stack");
  return stack_.back();
}

void PickleMachine::mark() {
  if (marks_.size() >= options_.max_marks) {
    fail(ErrorKind::limit, "pickle nests too deeply", fmt::format("more than {} levels", options_.max_marks));
  }
  check_growth(marks_, 1);
  marks_.push_back(stack_.size());
}

std::span<const NodeId> PickleMachine::items_above_mark() const {
  if (marks_.empty()) corrupt("pickle lacks the mark that begins a container");
  const auto items = std::span(stack_).subspan(marks_.back());
  check_memory(items.size_bytes());  // whoever asks copies them
  return items;
}

void PickleMachine::drop_to_mark() {
  if (marks_.empty()) corrupt("pickle lacks the mark that begins a container");
  stack_.resize(marks_.back());
  marks_.pop_back();
}

std::vector<NodeId> PickleMachine::pop_to_mark() {
  const auto above = items_above_mark();
  std::vector<NodeId> items(above.begin(), above.end());
  drop_to_mark();
  return items;
}

// Tuples have no batches, so that one may be as long as the pickle: its items are copied once.
void PickleMachine::push_fixed_to_mark(PickleKind kind) {
  const NodeId id = graph_.add_fixed(kind, items_above_mark());
  drop_to_mark();
  push(id);
}

void PickleMachine::pop_one() {
  if (!marks_.empty() && stack_.size() == marks_.back()) {
    marks_.pop_back();
  } else {
    pop();
  }
}

void PickleMachine::push_tuple(std::size_t count) {
  std::array<NodeId, 3> items{};
  for (std::size_t i = count; i-- > 0;) items[i] = pop();
  push(graph_.add_fixed(PickleKind::tuple, std::span(items).first(count)));
}

// Real memos are dense, so an index cannot exceed the length of the pickle; a vector then serves.
void PickleMachine::remember(std::uint64_t index, NodeId id) {
  if (index > bytes_.size()) fail(ErrorKind::limit, "pickle memo index is too large", std::to_string(index));
  if (index >= memo_.size()) {
    check_growth(memo_, static_cast<std::size_t>(index) + 1 - memo_.size());
    memo_.resize(static_cast<std::size_t>(index) + 1, no_node);
  }
  if (memo_[index] == no_node) ++remembered_;
  memo_[index] = id;
}

void PickleMachine::recall(std::uint64_t index) {
  if (index >= memo_.size() || memo_[index] == no_node) {
    corrupt("pickle refers to a value it never remembered", std::to_string(index));
  }
  push(memo_[index]);
}

void PickleMachine::check_protocol() {
  protocol_ = take_byte();
  if (protocol_ <= highest_protocol) return;
  fail(ErrorKind::unsupported, "pickle protocol is too new", std::to_string(protocol_), "0 to 5");
}

// Frames only help a reader to read ahead.
void PickleMachine::check_frame() {
  if (take_little_endian<std::uint64_t>() > bytes_.size() - cursor_) fail_early("pickle frame is longer than the file");
}

void PickleMachine::stop() {
  graph_.root = pop();
  graph_.pickle_bytes = cursor_;
  graph_.taken_bytes = graph_.memory_bytes() + grown_bytes_;
  is_stopped_ = true;
}

std::uint64_t PickleMachine::take_text_index() {
  const std::string_view line = take_line();
  if (line.empty() || line.size() > 10) corrupt("malformed memo index in pickle");
  std::uint64_t index = 0;
  for (const char c : line) {
    if (c < '0' || c > '9') corrupt("malformed memo index in pickle");
    index = index * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return index;
}

void PickleMachine::push_integer_line() {
  const std::string_view line = take_line();
  if (line == "00" || line == "01") return push(graph_.add_boolean(line == "01"));
  const auto value = parse_decimal(line);
  if (!value) corrupt("malformed integer in pickle");
  push(graph_.add_long(*value));
}

void PickleMachine::push_long_line() {
  std::string_view line = take_line();
  if (line.ends_with('L')) line.remove_suffix(1);
  const auto value = parse_decimal(line);
  if (!value) corrupt("malformed integer in pickle");
  push(graph_.add_long(*value));
}

void PickleMachine::push_float_line() {
  const auto value = parse_double(take_line());
  if (!value) corrupt("malformed float in pickle");
  push(graph_.add_floating(*value));
}

void PickleMachine::push_binary_float() {
  std::uint64_t bits = 0;
  for (const char c : take(8)) bits = (bits << 8) | static_cast<unsigned char>(c);
  push(graph_.add_floating(std::bit_cast<double>(bits)));
}

void PickleMachine::push_quoted_line() {
  const auto text = unescape_bytes(take_line());
  if (!text) corrupt("malformed quoted string in pickle");
  push_python2_string(*text);
}

void PickleMachine::push_escaped_line() {
  const auto text = unescape_unicode(take_line());
  if (!text) corrupt("malformed escaped string in pickle");
  push_unicode(*text);
}

void PickleMachine::push_python2_string(std::string_view bytes) {
  push(graph_.add_text(is_utf8(bytes) ? PickleKind::string : PickleKind::bytes, bytes));
}

void PickleMachine::push_unicode(std::string_view text) {
  if (!is_utf8(text)) corrupt("string in pickle is not UTF-8");
  push(add_text(PickleKind::string, text));
}

NodeId PickleMachine::add_text(PickleKind kind, std::string_view text) {
  const bool is_borrowed = options_.owner && text.size() >= long_text_bytes;
  return is_borrowed ? graph_.add_borrowed_text(kind, text, options_.owner) : graph_.add_text(kind, text);
}

void PickleMachine::push_list_to_mark() {
  const auto items = pop_to_mark();
  push(graph_.add_container(PickleKind::list));
  append(items);
}

void PickleMachine::push_dict_to_mark() {
  const auto items = pop_to_mark();
  push(graph_.add_container(PickleKind::dict));
  set_items(items);
}

void PickleMachine::append(std::span<const NodeId> items) {
  const NodeId target = top();
  if (graph_.is(target, PickleKind::list)) {
    add_to(graph_.mutable_items(target), items);
  } else if (graph_.is(target, PickleKind::object)) {
    add_to(graph_.mutable_object(target).list_items, items);
  } else {
    corrupt("pickle appends to something that is not a list");
  }
}

void PickleMachine::set_item() {
  const NodeId value = pop();
  const NodeId key = pop();
  set_items(std::array{key, value});
}

void PickleMachine::set_items(std::span<const NodeId> items) {
  const NodeId target = top();
  if (items.size() % 2 != 0) corrupt("pickle gives a dict a key without a value");
  if (graph_.is(target, PickleKind::dict)) {
    add_to(graph_.mutable_items(target), items);
  } else if (graph_.is(target, PickleKind::object)) {
    add_to(graph_.mutable_object(target).dict_items, items);
  } else {
    corrupt("pickle sets an item of something that is not a dict");
  }
}

void PickleMachine::add_items(std::span<const NodeId> items) {
  const NodeId target = top();
  if (!graph_.is(target, PickleKind::set)) corrupt("pickle adds an item to something that is not a set");
  add_to(graph_.mutable_items(target), items);
}

}  // namespace tenon
