#include "python/query.h"

#include <atomic>
#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tenon/arrow.h"
#include "tenon/query.h"

namespace tenon::python {

namespace {

constexpr const char* stream_name = "arrow_array_stream";  // which the capsule protocol asks for

py::object to_python(const SqlValue& value) {
  struct {
    py::object operator()(std::monostate) const { return py::none(); }
    py::object operator()(std::int64_t number) const { return integer(number); }
    py::object operator()(double number) const { return py::float_(number); }
    py::object operator()(std::string_view words) const { return text(words); }
    py::object operator()(std::span<const std::byte> blob) const {
      return bytes({reinterpret_cast<const char*>(blob.data()), blob.size()});
    }
  } const convert;
  return std::visit(convert, value);
}

SqlResult from_python(const py::object& value) {
  if (value.is_none()) return {};
  if (py::isinstance<py::bool_>(value)) return std::int64_t{value.cast<bool>() ? 1 : 0};
  if (py::isinstance<py::int_>(value)) return value.cast<std::int64_t>();
  if (py::isinstance<py::float_>(value)) return value.cast<double>();
  if (py::isinstance<py::str>(value)) return value.cast<std::string>();
  if (py::isinstance<py::bytes>(value)) {
    const auto words = value.cast<std::string_view>();
    const auto* const begin = reinterpret_cast<const std::byte*>(words.data());
    return std::vector<std::byte>(begin, begin + words.size());
  }
  throw py::type_error("a function of SQL returns None, a number, a str or bytes");
}

// An Arrow stream that several capsules lead to: some readers take one to see the schema, and another for the rows. The
// first that asks for rows has them.
class SharedStream {
 public:
  explicit SharedStream(Rows rows) { export_arrow(std::move(rows), &stream_); }
  ~SharedStream() { stream_.release(&stream_); }
  SharedStream(const SharedStream&) = delete;
  SharedStream& operator=(const SharedStream&) = delete;

  // Whether any rows were asked for.
  bool is_begun() const noexcept { return reader_.load() != nullptr; }
  int schema(ArrowSchema* out) { return stream_.get_schema(&stream_, out); }
  int next(const void* reader, ArrowArray* out) {
    const void* none = nullptr;
    const bool is_mine = reader_.compare_exchange_strong(none, reader) || none == reader;
    return is_mine ? stream_.get_next(&stream_, out) : EINVAL;
  }
  const char* failure(const void* reader) {
    const void* const owner = reader_.load();
    return owner == nullptr || owner == reader ? stream_.get_last_error(&stream_) : "the rows have been read already";
  }

 private:
  ArrowArrayStream stream_{};
  std::atomic<const void*> reader_ = nullptr;
};

// What a capsule holds.
struct StreamHandle {
  std::shared_ptr<SharedStream> stream;

  static StreamHandle& of(ArrowArrayStream* out) { return *static_cast<StreamHandle*>(out->private_data); }
  static int get_schema(ArrowArrayStream* out, ArrowSchema* schema) { return of(out).stream->schema(schema); }
  static int get_next(ArrowArrayStream* out, ArrowArray* array) { return of(out).stream->next(&of(out), array); }
  static const char* get_last_error(ArrowArrayStream* out) { return of(out).stream->failure(&of(out)); }
  static void release(ArrowArrayStream* out) {
    delete &of(out);
    out->release = nullptr;
  }
};

// Rows that may have gone into an Arrow stream. The session that they came from lives as long.
class RowReader {
 public:
  RowReader(std::shared_ptr<Session> session, Rows rows) : session_(std::move(session)), rows_(std::move(rows)) {}

  py::list columns() {
    py::list columns;
    for (const SqlColumn& column : rows().columns())
      columns.append(py::make_tuple(text(column.name), text(column.type)));
    return columns;
  }

  // At most `count` rows as tuples; fewer at the end.
  py::list fetch(std::size_t count) {
    py::list fetched;
    while (fetched.size() < count && next()) {
      py::tuple row(rows().columns().size());
      for (std::size_t i = 0; i < row.size(); ++i) row[i] = to_python(rows()[i]);
      fetched.append(std::move(row));
    }
    return fetched;
  }

  // What remains, as a capsule that whoever takes it empties. Another may be had as long as no row was taken.
  py::object arrow_stream() {
    if (!shared_ || shared_->is_begun()) {
      Rows taken = std::move(rows());
      rows_.reset();
      const py::gil_scoped_release unlocked;
      shared_ = std::make_shared<SharedStream>(std::move(taken));
    }
    auto handle = std::make_unique<StreamHandle>(StreamHandle{shared_});
    auto stream = std::make_unique<ArrowArrayStream>();
    *stream = {StreamHandle::get_schema, StreamHandle::get_next, StreamHandle::get_last_error, StreamHandle::release,
               handle.release()};
    return own(PyCapsule_New(stream.release(), stream_name, [](PyObject* capsule) {
      auto* const left = static_cast<ArrowArrayStream*>(PyCapsule_GetPointer(capsule, stream_name));
      if (left->release != nullptr) left->release(left);
      delete left;
    }));
  }

 private:
  bool next() {
    const py::gil_scoped_release unlocked;
    return rows().next();
  }
  Rows& rows() {
    if (!rows_) throw Error(ErrorKind::invalid_argument, {.what = "the rows have been read already"});
    return *rows_;
  }

  std::shared_ptr<Session> session_;
  std::optional<Rows> rows_;
  std::shared_ptr<SharedStream> shared_;
};

// Ctrl-C ends a statement as it ends a loop.
void check_signals() {
  const py::gil_scoped_acquire locked;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

std::shared_ptr<Session> make_session(const std::optional<Store>& store, double timeout_s) {
  QueryLimits limits;
  limits.deadline = std::chrono::milliseconds(static_cast<std::int64_t>(timeout_s * 1000));
  auto session = std::make_shared<Session>(store, limits);
  session->set_progress(check_signals);
  return session;
}

std::unique_ptr<RowReader> query(const std::shared_ptr<Session>& session, const std::string& statement) {
  const py::gil_scoped_release unlocked;
  return std::make_unique<RowReader>(session, session->query(statement));
}

void register_function(Session& session, const std::string& name, int argument_count, const py::function& function) {
  // Destroyed in whatever thread lets go of the session last.
  const std::shared_ptr<py::function> kept(new py::function(function), [](py::function* held) {
    const py::gil_scoped_acquire locked;
    delete held;
  });
  session.register_function(name, argument_count, [kept](std::span<const SqlValue> values) {
    const py::gil_scoped_acquire locked;
    py::tuple arguments(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) arguments[i] = to_python(values[i]);
    return from_python((*kept)(*arguments));
  });
}

}  // namespace

void bind_query(py::module_& module) {
  py::class_<RowReader>(module, "Rows")
      .def("columns", &RowReader::columns)
      .def("fetch", &RowReader::fetch, py::arg("count"))
      .def("arrow_stream", &RowReader::arrow_stream);
  py::class_<Session, std::shared_ptr<Session>>(module, "Session")
      .def(py::init(&make_session), py::arg("store"), py::arg("timeout_s"))
      .def("query", &query, py::arg("statement"))
      .def(
          "explain",
          [](Session& session, const std::string& statement) {
            const py::gil_scoped_release unlocked;
            return session.explain(statement);
          },
          py::arg("statement"))
      .def("register_function", &register_function, py::arg("name"), py::arg("argument_count"), py::arg("function"));
}

}  // namespace tenon::python
