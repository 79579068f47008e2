#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "tenon/arrow.h"
#include "tenon/name.h"

namespace tenon {

namespace {

enum class Kind : std::uint8_t { unknown, boolean, integer, real, text, blob };

const char* format_of(Kind kind) noexcept {
  switch (kind) {
    case Kind::boolean:
      return "b";
    case Kind::integer:
      return "l";
    case Kind::real:
      return "g";
    case Kind::blob:
      return "Z";
    default:
      return "U";
  }
}

Kind declared_kind(const std::string& type) noexcept {
  if (type == "INTEGER") return Kind::integer;
  if (type == "REAL") return Kind::real;
  if (type == "BOOLEAN") return Kind::boolean;
  if (type == "BLOB") return Kind::blob;
  return type.empty() ? Kind::unknown : Kind::text;
}

Kind kind_of(const SqlValue& value) noexcept {
  constexpr std::array kinds{Kind::unknown, Kind::integer, Kind::real, Kind::text, Kind::blob};
  return kinds[value.index()];
}

// What can hold both.
Kind common_kind(Kind a, Kind b) noexcept {
  if (a == b || b == Kind::unknown) return a;
  if (a == Kind::unknown) return b;
  if (a == Kind::boolean && b == Kind::integer) return a;  // which is how SQL has it
  const auto is_numeric = [](Kind kind) { return kind <= Kind::real; };
  if (is_numeric(a) && is_numeric(b)) return std::max(a, b);
  return a == Kind::blob || b == Kind::blob ? Kind::blob : Kind::text;
}

std::string text_of(double value) {
  std::array<char, 32> digits;
  return {digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr};
}

// A value that is kept while the kind of its column is not known yet.
using Kept = SqlResult;

Kept keep(const SqlValue& value) {
  switch (value.index()) {
    case 1:
      return std::get<std::int64_t>(value);
    case 2:
      return std::get<double>(value);
    case 3:
      return std::string(std::get<std::string_view>(value));
    case 4: {
      const auto bytes = std::get<std::span<const std::byte>>(value);
      return std::vector<std::byte>(bytes.begin(), bytes.end());
    }
    default:
      return {};
  }
}

SqlValue lend(const Kept& value) {
  switch (value.index()) {
    case 1:
      return std::get<std::int64_t>(value);
    case 2:
      return std::get<double>(value);
    case 3:
      return std::string_view(std::get<std::string>(value));
    case 4:
      return std::span<const std::byte>(std::get<std::vector<std::byte>>(value));
    default:
      return {};
  }
}

void set_bit(std::vector<std::uint8_t>& bits, std::size_t at, bool is_set) {
  if (at % 8 == 0) bits.push_back(0);
  if (is_set) bits[at / 8] = static_cast<std::uint8_t>(bits[at / 8] | 1U << at % 8);
}

// The buffers of one column of one batch.
class ColumnBuffers {
 public:
  ColumnBuffers(Kind kind, std::string name) : kind_(kind), name_(std::move(name)) {
    if (is_variable()) offsets_.push_back(0);
  }

  void add(const SqlValue& value) {
    const bool is_null = std::holds_alternative<std::monostate>(value);
    set_bit(validity_, length_, !is_null);
    null_count_ += is_null ? 1 : 0;
    switch (kind_) {
      case Kind::boolean:
        set_bit(bits_, length_, !is_null && integer(value) != 0);
        break;
      case Kind::integer:
        integers_.push_back(is_null ? 0 : integer(value));
        break;
      case Kind::real:
        reals_.push_back(is_null ? 0 : real(value));
        break;
      default:
        if (!is_null) add_bytes(value);
        offsets_.push_back(static_cast<std::int64_t>(bytes_.size()));
    }
    ++length_;
  }

  std::int64_t length() const noexcept { return static_cast<std::int64_t>(length_); }
  std::int64_t null_count() const noexcept { return null_count_; }
  // Validity, then what the format asks for.
  std::vector<const void*> buffers() const {
    const void* const validity = null_count_ == 0 ? nullptr : validity_.data();
    switch (kind_) {
      case Kind::boolean:
        return {validity, bits_.data()};
      case Kind::integer:
        return {validity, integers_.data()};
      case Kind::real:
        return {validity, reals_.data()};
      default:
        return {validity, offsets_.data(), bytes_.data()};
    }
  }

 private:
  bool is_variable() const noexcept { return kind_ != Kind::boolean && kind_ != Kind::integer && kind_ != Kind::real; }

  [[noreturn]] void refuse(const SqlValue& value) const {
    constexpr std::array names{"NULL", "INTEGER", "REAL", "TEXT", "BLOB"};
    throw Error(ErrorKind::invalid_argument, {.what = "column '" + name_ + "' changes its type after the first batch",
                                              .got = names[value.index()],
                                              .hint = "CAST it, so that all rows have one type"});
  }
  // Readers trust what is said to be UTF-8.
  [[noreturn]] void refuse_text() const {
    throw Error(ErrorKind::invalid_argument,
                {.what = "column '" + name_ + "' has a text that is not UTF-8", .hint = "CAST it to BLOB"});
  }
  std::int64_t integer(const SqlValue& value) const {
    if (const auto* number = std::get_if<std::int64_t>(&value)) return *number;
    refuse(value);
  }
  double real(const SqlValue& value) const {
    if (const auto* number = std::get_if<double>(&value)) return *number;
    return static_cast<double>(integer(value));
  }
  void add_bytes(const SqlValue& value) {
    if (const auto* text = std::get_if<std::string_view>(&value)) {
      if (kind_ != Kind::blob && !is_valid_utf8(*text)) refuse_text();
      return append(text->data(), text->size());
    }
    if (const auto* blob = std::get_if<std::span<const std::byte>>(&value)) {
      if (kind_ != Kind::blob) refuse(value);  // bytes are no text
      return append(blob->data(), blob->size());
    }
    if (kind_ == Kind::blob) refuse(value);
    const auto* number = std::get_if<std::int64_t>(&value);
    const std::string digits = number != nullptr ? std::to_string(*number) : text_of(std::get<double>(value));
    append(digits.data(), digits.size());
  }
  void append(const void* bytes, std::size_t size) {
    const auto* const begin = static_cast<const std::uint8_t*>(bytes);
    bytes_.insert(bytes_.end(), begin, begin + size);
  }

  const Kind kind_;
  const std::string name_;
  std::size_t length_ = 0;
  std::int64_t null_count_ = 0;
  std::vector<std::uint8_t> validity_;
  std::vector<std::uint8_t> bits_;
  std::vector<std::int64_t> integers_;
  std::vector<double> reals_;
  std::vector<std::int64_t> offsets_;
  std::vector<std::uint8_t> bytes_;
};

// What the private data of an exported structure leads to. Children are moved out by some readers, which then leave
// their release empty; their memory goes with themselves.

struct SchemaMemory {
  std::string name;
  std::vector<ArrowSchema> children;
  std::vector<ArrowSchema*> pointers;
};

void release_schema(ArrowSchema* schema) {
  auto* const memory = static_cast<SchemaMemory*>(schema->private_data);
  for (ArrowSchema& child : memory->children) {
    if (child.release != nullptr) child.release(&child);
  }
  delete memory;
  schema->release = nullptr;
}

ArrowSchema make_schema(const char* format, std::string name, std::vector<ArrowSchema> children) {
  constexpr std::int64_t nullable = 2;
  auto memory = std::make_unique<SchemaMemory>();
  memory->name = std::move(name);
  memory->children = std::move(children);
  for (ArrowSchema& child : memory->children) memory->pointers.push_back(&child);
  ArrowSchema schema{};
  schema.format = format;
  schema.name = memory->name.c_str();
  schema.flags = memory->children.empty() ? nullable : 0;
  schema.n_children = static_cast<std::int64_t>(memory->children.size());
  schema.children = memory->pointers.data();
  schema.release = release_schema;
  schema.private_data = memory.release();
  return schema;
}

struct ArrayMemory {
  std::optional<ColumnBuffers> column;
  std::vector<const void*> buffers;
  std::vector<ArrowArray> children;
  std::vector<ArrowArray*> pointers;
};

void release_array(ArrowArray* array) {
  auto* const memory = static_cast<ArrayMemory*>(array->private_data);
  for (ArrowArray& child : memory->children) {
    if (child.release != nullptr) child.release(&child);
  }
  delete memory;
  array->release = nullptr;
}

ArrowArray make_array(std::unique_ptr<ArrayMemory> memory, std::int64_t length, std::int64_t null_count) {
  for (ArrowArray& child : memory->children) memory->pointers.push_back(&child);
  ArrowArray array{};
  array.length = length;
  array.null_count = null_count;
  array.n_buffers = static_cast<std::int64_t>(memory->buffers.size());
  array.buffers = memory->buffers.data();
  array.n_children = static_cast<std::int64_t>(memory->children.size());
  array.children = memory->pointers.data();
  array.release = release_array;
  array.private_data = memory.release();
  return array;
}

ArrowArray make_column(ColumnBuffers&& column) {
  auto memory = std::make_unique<ArrayMemory>();
  const std::int64_t length = column.length(), null_count = column.null_count();
  memory->column.emplace(std::move(column));
  memory->buffers = memory->column->buffers();
  return make_array(std::move(memory), length, null_count);
}

class Stream {
 public:
  Stream(Rows rows, std::size_t batch_rows) : rows_(std::move(rows)), batch_rows_(batch_rows) { read_first(); }

  ArrowSchema schema() const {
    std::vector<ArrowSchema> children;
    for (std::size_t i = 0; i < kinds_.size(); ++i) {
      children.push_back(make_schema(format_of(kinds_[i]), rows_.columns()[i].name, {}));
    }
    return make_schema("+s", "", std::move(children));
  }

  // A released array after the last batch.
  ArrowArray next() {
    std::vector<ColumnBuffers> columns;
    for (std::size_t i = 0; i < kinds_.size(); ++i) columns.emplace_back(kinds_[i], rows_.columns()[i].name);
    std::int64_t length = 0;
    if (!first_.empty()) {
      for (const auto& row : first_) add(columns, [&](std::size_t i) { return lend(row[i]); });
      length = static_cast<std::int64_t>(first_.size());
      first_.clear();
    } else {
      while (!is_over_ && static_cast<std::size_t>(length) < batch_rows_ && !(is_over_ = !rows_.next())) {
        add(columns, [&](std::size_t i) { return rows_[i]; });
        ++length;
      }
      if (length == 0) return {};
    }
    auto memory = std::make_unique<ArrayMemory>();
    memory->buffers = {nullptr};
    for (ColumnBuffers& column : columns) memory->children.push_back(make_column(std::move(column)));
    return make_array(std::move(memory), length, 0);
  }

  // For get_last_error.
  std::string failure;

 private:
  template <typename ValueAt>
  static void add(std::vector<ColumnBuffers>& columns, const ValueAt& value_at) {
    for (std::size_t i = 0; i < columns.size(); ++i) columns[i].add(value_at(i));
  }

  // As many rows as a batch has, to learn the kinds of their values.
  void read_first() {
    for (const SqlColumn& column : rows_.columns()) kinds_.push_back(declared_kind(column.type));
    while (first_.size() < batch_rows_ && !(is_over_ = !rows_.next())) {
      std::vector<Kept> row;
      for (std::size_t i = 0; i < kinds_.size(); ++i) {
        const SqlValue value = rows_[i];
        kinds_[i] = common_kind(kinds_[i], kind_of(value));
        row.push_back(keep(value));
      }
      first_.push_back(std::move(row));
    }
    std::ranges::replace(kinds_, Kind::unknown, Kind::text);
  }

  Rows rows_;
  const std::size_t batch_rows_;
  std::vector<Kind> kinds_;
  std::vector<std::vector<Kept>> first_;
  bool is_over_ = false;
};

Stream& stream_of(ArrowArrayStream* stream) { return *static_cast<Stream*>(stream->private_data); }

// No exception leaves a function that C calls.
template <typename Work>
int guarded(ArrowArrayStream* stream, const Work& work) noexcept {
  try {
    work();
    return 0;
  } catch (const std::bad_alloc&) {
    stream_of(stream).failure = "out of memory";
    return ENOMEM;
  } catch (const std::exception& error) {
    stream_of(stream).failure = error.what();
  } catch (...) {  // what a progress callback threw
    stream_of(stream).failure = "interrupted";
    return EINTR;
  }
  return EINVAL;
}

int get_schema(ArrowArrayStream* stream, ArrowSchema* out) {
  return guarded(stream, [&] { *out = stream_of(stream).schema(); });
}

int get_next(ArrowArrayStream* stream, ArrowArray* out) {
  return guarded(stream, [&] { *out = stream_of(stream).next(); });
}

const char* get_last_error(ArrowArrayStream* stream) { return stream_of(stream).failure.c_str(); }

void release_stream(ArrowArrayStream* stream) {
  delete static_cast<Stream*>(stream->private_data);
  stream->release = nullptr;
}

}  // namespace

void export_arrow(Rows rows, ArrowArrayStream* out, std::size_t batch_rows) {
  assert(batch_rows > 0);
  auto stream = std::make_unique<Stream>(std::move(rows), batch_rows);
  *out = {get_schema, get_next, get_last_error, release_stream, stream.release()};
}

}  // namespace tenon
