// cat: the values of one tensor, as text or as bytes, digests checked.
#include <fmt/format.h>

#include "tools/content.h"
#include "tools/elements.h"
#include "tools/failure.h"
#include "tools/progress.h"
#include "tools/text.h"
#include "tools/verbs.h"

namespace tenon::tools {
namespace {

constexpr std::size_t piece_bytes = 1 << 16;  // of output that is put together before it is written

// Nested lists, innermost rows on a line of their own unless they are JSON.
class ValuePrinter {
 public:
  ValuePrinter(const Elements& elements, Output& output)
      : elements_(elements), output_(output), notation_(output.is_json() ? Notation::json : Notation::plain) {}

  void print() {
    print_dimension(0, 0);
    flush();
  }

 private:
  void print_dimension(std::size_t dimension, std::int64_t offset) {
    if (dimension == elements_.shape().size()) {
      append(text_, elements_.at(offset), notation_);
      return;
    }
    text_ += '[';
    const bool is_last = dimension + 1 == elements_.shape().size();
    for (std::int64_t i = 0; i < elements_.shape()[dimension] && !output_.is_closed(); ++i) {
      if (i > 0) text_ += notation_ == Notation::json || is_last ? ", " : ",\n" + std::string(dimension + 1, ' ');
      print_dimension(dimension + 1, offset + i * elements_.stride()[dimension]);
      if (text_.size() >= piece_bytes) flush();
    }
    text_ += ']';
  }

  void flush() {
    check_interrupt();
    output_.write(text_);
    text_.clear();
  }

  const Elements& elements_;
  Output& output_;
  Notation notation_;
  std::string text_;
};

void write_raw(const Elements& elements, Output& output) {
  std::vector<std::byte> piece;
  Odometer odometer(elements);
  for (std::uint64_t i = 0, count = elements.count(); i < count && !output.is_closed(); ++i, odometer.next()) {
    elements.append_raw(piece, odometer.offset());
    if (piece.size() < piece_bytes) continue;
    check_interrupt();
    output.write(piece);
    piece.clear();
  }
  output.write(piece);
}

// A run of stored bytes goes out as it is read: memory does not grow with the tensor.
void stream(const Content& content, std::uint32_t slot, ByteRange range, Output& output) {
  content.read_verified(slot, range.begin, range.end, [&](std::span<const std::byte> piece) {
    check_interrupt();
    output.write(piece);
  });
}

std::vector<std::byte> read_range(const Content& content, std::uint32_t slot, ByteRange range) {
  std::vector<std::byte> bytes;
  bytes.reserve(range.end - range.begin);
  content.read_verified(slot, range.begin, range.end, [&](std::span<const std::byte> piece) {
    check_interrupt();
    bytes.insert(bytes.end(), piece.begin(), piece.end());
  });
  return bytes;
}

void print_values(const Content& content, const TensorRow& row, const Elements& elements, Output& output) {
  if (!output.is_json()) {
    ValuePrinter(elements, output).print();
    output.write("\n");
    return;
  }
  const Json::Object head = {{"snapshot_id", content.snapshot_id()},
                             {"name", row.name},
                             {"dtype", dtype_name(row.dtype)},
                             {"shape", to_json(elements.shape())}};
  output.begin_record("cat", head, "values");
  ValuePrinter(elements, output).print();
  output.end_record();
}

void require_raw_output(const Output& output) {
  if (!output.is_json() && !output.is_terminal()) return;
  throw Error(
      ErrorKind::invalid_argument,
      {.what = output.is_json() ? "--raw writes bytes, --json text" : "raw bytes do not go to a terminal",
       .hint = output.is_json() ? "leave one of them out" : "redirect the output: tenon cat REV:NAME --raw > FILE"});
}

}  // namespace

int run_cat(const Globals& globals, const CatArguments& arguments, Output& output) {
  if (arguments.raw) require_raw_output(output);
  const Opened opened = open_content(globals.store, arguments.target);
  const Content& content = opened.content;
  const TensorRow row = content.row(find_tensor(opened));
  if (row.slot == no_slot) {
    throw Error(ErrorKind::invalid_argument, {.what = "a tensor without data", .got = std::string(row.name)});
  }
  const Progress reading("cat", true);  // Ctrl-C is asked for while it lives
  const std::uint64_t slot_bytes = content.slot(row.slot).nbytes;
  Selection selection(row);
  selection.byte_range(slot_bytes);  // a slice is taken only of what lies within its slot
  if (arguments.slice) selection.slice(*arguments.slice);
  const ByteRange range = selection.byte_range(slot_bytes);
  if (arguments.raw && selection.is_stored_run()) {
    stream(content, row.slot, range, output);
    return exit_code::ok;
  }
  const std::vector<std::byte> bytes = read_range(content, row.slot, range);
  const Elements elements(std::move(selection), bytes);
  if (arguments.raw) {
    write_raw(elements, output);
  } else {
    print_values(content, row, elements, output);
  }
  return exit_code::ok;
}

}  // namespace tenon::tools
