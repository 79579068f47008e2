// What the tests of flat formats share: files made of text, what is thrown for them, and stores to put them in.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "tenon/error.h"
#include "tenon/formats.h"
#include "tenon/store.h"

namespace tenon {

template <class T>
std::string data_of(std::initializer_list<T> values) {
  return {reinterpret_cast<const char*>(std::data(values)), values.size() * sizeof(T)};
}

inline std::string contents(const Draft& draft, std::uint32_t slot = 0, std::uint64_t offset = 0,
                            std::uint64_t size = UINT64_MAX) {
  std::string out(std::min(size, draft.slots[slot].nbytes - offset), '\0');
  draft.slots[slot].source.read(offset, std::as_writable_bytes(std::span(out)));
  return out;
}

inline std::vector<std::string> names(const Draft& draft) {
  std::vector<std::string> all;
  for (const TensorDraft& row : draft.tensors) all.push_back(row.name);
  return all;
}

class FileFixture : public testing::Test {
 protected:
  FileFixture() {
    std::string pattern = (std::filesystem::temp_directory_path() / "formats_test.XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
  }
  ~FileFixture() override { std::filesystem::remove_all(directory_); }

  std::filesystem::path write(const std::string& content, std::string name = {}) {
    if (name.empty()) name = "in" + std::to_string(files_++);
    const std::filesystem::path path = directory_ / name;
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }
  static std::string read(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  Draft draft_of(const std::string& content) { return ImportedFile::open(write(content)).draft(); }

  template <typename Action>
  static Error failure_of(const Action& action) {
    try {
      action();
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << "nothing was thrown";
    return Error(ErrorKind::io, {});
  }
  Error failure(const std::filesystem::path& path) {
    return failure_of([&] { ImportedFile::open(path); });
  }
  void expect_refusal(const std::string& content, ErrorKind kind, const std::string& message) {
    const std::filesystem::path path = write(content);
    const Error error = failure(path);
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_THAT(error.what(), testing::HasSubstr(message));
    EXPECT_THAT(error.what(), testing::HasSubstr(path.string()));
  }

  Snapshot commit(const Draft& draft) {
    Store store = Store::init(directory_ / ("store" + std::to_string(files_++)), {.durability = Durability::relaxed});
    store.commit(draft);
    return store.snapshot();
  }

  std::filesystem::path directory_;
  int files_ = 0;
};

// Memory as a slot; it must live until the commit.
inline SlotDraft slot_over(const std::string& bytes, DType dtype = DType::invalid) {
  return {.nbytes = bytes.size(), .source = {.memory = std::as_bytes(std::span(bytes))}, .storage_dtype = dtype};
}

inline TensorDraft row_of(std::string name, DType dtype, std::vector<std::int64_t> shape,
                          std::vector<std::int64_t> stride, std::uint64_t offset_bytes = 0, std::uint32_t slot = 0) {
  return {.name = std::move(name),
          .dtype = dtype,
          .slot = slot,
          .storage_offset_bytes = offset_bytes,
          .shape = std::move(shape),
          .stride = std::move(stride)};
}

}  // namespace tenon
