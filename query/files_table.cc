// read_pt(path), read_safetensors(path), read_npz(path): tensors of files that are in no store.
#include <algorithm>
#include <vector>

#include "query/row_filter.h"
#include "query/tables.h"
#include "query/tensor_columns.h"
#include "query/value.h"

namespace tenon {

namespace {

constexpr int path_column = static_cast<int>(tensor_column_count);

const std::array<Column, tensor_column_count + 1>& columns_of_table() {
  static const auto columns = [] {
    std::array<Column, tensor_column_count + 1> all{};
    std::copy(tensor_columns().begin(), tensor_columns().end(), all.begin());
    all.back() = {"path", "TEXT", "the file", ColumnRole::required_argument};
    return all;
  }();
  return columns;
}

struct Reader {
  std::string_view name;
  std::string_view about;
  std::vector<FileFormat> formats;
};

class FileCursor : public Cursor {
 public:
  FileCursor(SessionState& session, const Reader& reader) : session_(session), expected_(reader) {}

  void begin(std::span<const Bound> bounds, RowOrder order) override {
    filter_ = {};
    path_.clear();
    for (const Bound& bound : bounds) {
      if (bound.column == path_column) {
        path_ = require_text(bound.value, std::string(expected_.name) + ": path");
      } else if (bound.column == index_of(TensorColumn::name)) {
        filter_.add_name(bound);
      }
    }
    set_ = std::make_shared<FileTensors>(session_, open());
    rows_ = filter_.rows_of(*set_, order);
    at_ = 0;
    show();
  }
  bool at_end() const override { return at_ >= rows_.size(); }
  void next() override {
    ++at_;
    show();
  }
  Cell column(int index) override {
    return index == path_column ? Cell(std::string_view(path_)) : reader_.column(static_cast<TensorColumn>(index));
  }
  RowKey key() const override { return {.number = reader_.row()}; }

 private:
  std::shared_ptr<const OpenFile> open() const {
    if (path_.empty()) {
      throw Error(ErrorKind::invalid_argument,
                  {.what = std::string(expected_.name) + " needs the path of a file", .file = std::string(sql_source)});
    }
    auto file = session_.open_file(path_);
    if (std::find(expected_.formats.begin(), expected_.formats.end(), file->format) != expected_.formats.end())
      return file;
    throw Error(ErrorKind::invalid_argument, {.what = "the file has another format",
                                              .file = path_,
                                              .got = std::string(file_format_name(file->format)),
                                              .wanted = "what " + std::string(expected_.name) + " reads",
                                              .hint = hint(file->format)});
  }

  static std::string hint(FileFormat format) {
    switch (format) {
      case FileFormat::safetensors:
      case FileFormat::sharded:
        return "try read_safetensors";
      case FileFormat::npy:
      case FileFormat::npz:
        return "try read_npz";
      default:
        return "try read_pt";
    }
  }

  void show() {
    if (!at_end()) reader_.move_to(session_, set_, rows_[at_]);
  }

  SessionState& session_;
  const Reader& expected_;
  RowFilter filter_;
  std::string path_;
  std::shared_ptr<FileTensors> set_;
  std::span<const std::uint32_t> rows_;
  std::size_t at_ = 0;
  TensorRowReader reader_;
};

class FileTable : public Table {
 public:
  explicit FileTable(Reader reader) : reader_(std::move(reader)) {}
  std::string_view name() const override { return reader_.name; }
  std::string_view about() const override { return reader_.about; }
  std::span<const Column> columns() const override { return columns_of_table(); }
  void estimate(Plan& plan, std::span<const Ordering> order, SessionState&) const override {
    plan.is_unique = plan.uses(index_of(TensorColumn::name), Op::equal);
    plan.rows = plan.is_unique ? 1 : 500;
    plan.cost = 1000 + plan.rows;
    const bool is_by_name = order.size() == 1 && order[0].column == index_of(TensorColumn::name);
    if (is_by_name) plan.order = order[0].is_descending ? RowOrder::descending : RowOrder::ascending;
  }
  std::unique_ptr<Cursor> open(SessionState& session) const override {
    return std::make_unique<FileCursor>(session, reader_);
  }

 private:
  Reader reader_;
};

}  // namespace

const Table& read_pt_table() {
  static const FileTable table({"read_pt",
                                "tensors of a file of torch: .pt, .pth, .bin, TorchScript archives",
                                {FileFormat::torch_zip, FileFormat::torch_legacy, FileFormat::torch_tar,
                                 FileFormat::torchscript, FileFormat::sharded}});
  return table;
}

const Table& read_safetensors_table() {
  static const FileTable table({"read_safetensors",
                                "tensors of a .safetensors file, or of the files that an index names",
                                {FileFormat::safetensors, FileFormat::sharded}});
  return table;
}

const Table& read_npz_table() {
  static const FileTable table(
      {"read_npz", "arrays of a .npz or .npy file of numpy", {FileFormat::npz, FileFormat::npy}});
  return table;
}

}  // namespace tenon
