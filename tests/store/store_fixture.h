// What the tests of the store share: a store in a directory of its own, drafts in a few words, files to damage, and a
// matcher for the error that damage must give.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "mmap/file.h"
#include "store/heads.h"
#include "store/segment.h"
#include "store/superblock.h"
#include "tenon/store.h"

namespace tenon {

inline void PrintTo(const Error& error, std::ostream* out) {
  *out << error_kind_name(error.kind()) << ": " << error.what();
}

}  // namespace tenon

namespace tenon::testing {

using Bytes = std::vector<std::byte>;

// Bytes that tell by their number what they must be.
inline Bytes pattern(std::size_t size, std::uint64_t number = 1) {
  Bytes bytes(size);
  std::uint64_t state = number * 0x9E3779B97F4A7C15u + 1;
  for (std::byte& byte : bytes) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    byte = static_cast<std::byte>(state >> 56);
  }
  return bytes;
}

template <typename T>
Bytes bytes_of(const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}

inline Bytes copy_of(std::span<const std::byte> bytes) { return {bytes.begin(), bytes.end()}; }
inline Bytes with_byte_flipped(Bytes bytes, std::size_t at) {
  bytes.at(at) ^= std::byte{0x40};
  return bytes;
}

// What is particular about a tensor; the rest is a contiguous one at the start of its slot.
struct Geometry {
  std::vector<std::int64_t> stride{};
  std::uint64_t offset_bytes = 0;
};

inline std::vector<std::int64_t> contiguous_stride(const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> stride(shape.size(), 1);
  for (std::size_t d = shape.size(); d-- > 1;) stride[d - 1] = stride[d] * std::max<std::int64_t>(shape[d], 1);
  return stride;
}

// DraftBuilder{}.slot(bytes).tensor("w").tensor("w.T", ...): each tensor is of the last slot. Owns the bytes.
class DraftBuilder {
 public:
  DraftBuilder& slot(Bytes bytes) {
    owned_.push_back(std::make_shared<const Bytes>(std::move(bytes)));
    draft_.slots.push_back({.nbytes = owned_.back()->size(), .source = {.memory = *owned_.back()}});
    return *this;
  }
  DraftBuilder& slot(std::uint64_t nbytes, std::function<void(std::uint64_t, std::span<std::byte>)> read) {
    draft_.slots.push_back({.nbytes = nbytes, .source = {.read = std::move(read)}});
    return *this;
  }
  // The whole slot, as bytes.
  DraftBuilder& tensor(const std::string& name) {
    return tensor(name, DType::uint8, {static_cast<std::int64_t>(draft_.slots.back().nbytes)});
  }
  DraftBuilder& tensor(const std::string& name, DType dtype, std::vector<std::int64_t> shape, Geometry geometry = {}) {
    TensorDraft tensor{.name = name, .dtype = dtype, .slot = static_cast<std::uint32_t>(draft_.slots.size() - 1)};
    tensor.storage_offset_bytes = geometry.offset_bytes;
    tensor.stride = geometry.stride.empty() ? contiguous_stride(shape) : std::move(geometry.stride);
    tensor.shape = std::move(shape);
    draft_.tensors.push_back(std::move(tensor));
    return *this;
  }
  DraftBuilder& message(std::string text) {
    draft_.message = std::move(text);
    return *this;
  }
  Draft& draft() { return draft_; }
  const Draft& draft() const { return draft_; }
  operator const Draft&() const { return draft_; }

 private:
  std::vector<std::shared_ptr<const Bytes>> owned_;
  Draft draft_;
};

// One slot and its tensor "w".
inline DraftBuilder one_tensor(Bytes bytes) { return DraftBuilder{}.slot(std::move(bytes)).tensor("w"); }

// The Error that `action` throws, if any.
template <typename Action>
std::optional<Error> error_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

MATCHER_P2(IsError, kind, piece, std::string("is a '") + error_kind_name(kind) + "' error that says '" + piece + "'") {
  if (!arg) {
    *result_listener << "nothing was thrown";
    return false;
  }
  *result_listener << error_kind_name(arg->kind()) << ": " << arg->what();
  return arg->kind() == kind && std::string_view(arg->what()).find(piece) != std::string_view::npos;
}

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tenon-store-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = pattern;
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline Bytes content_of_file(const std::filesystem::path& path) { return read_file(path, UINT64_MAX); }

// In place, under the same inode: what a disk or a careless program does. Finished segments are read-only.
inline void overwrite_file(const std::filesystem::path& path, std::uint64_t offset, std::span<const std::byte> bytes) {
  std::filesystem::permissions(path, std::filesystem::perms::owner_write, std::filesystem::perm_options::add);
  File::open(path, File::Access::read_write).write_at(offset, bytes);
}
inline void flip_byte(const std::filesystem::path& path, std::uint64_t offset) {
  const Bytes before = content_of_file(path);
  overwrite_file(path, offset, std::vector{before.at(offset) ^ std::byte{0x40}});
}
inline void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  remove_file(path);
  File::create(path).write_at(0, bytes);
}
inline void append_to_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  overwrite_file(path, std::filesystem::file_size(path), bytes);
}

class StoreTest : public ::testing::Test {
 protected:
  std::filesystem::path base() const { return directory_.path(); }
  std::filesystem::path path() const { return base() / "run.tenon"; }
  std::filesystem::path segments() const { return path() / "segments"; }
  std::filesystem::path heads() const { return path() / "heads"; }
  std::filesystem::path journal() const { return path() / "journal"; }
  std::filesystem::path catalog() const { return path() / "catalog"; }
  std::filesystem::path segment(std::uint64_t sequence) const { return segments() / segment_file_name(sequence); }
  std::filesystem::path head(std::string_view ref) const { return heads() / head_file_name(ref); }
  Digest store_id() const { return read_superblock(path()).store_id; }

  // Relaxed: no test of this process can see what syncing is for.
  Store make() const { return Store::init(path(), {.durability = Durability::relaxed}); }
  Store open() const { return Store::open(path()); }

  // Where the bytes of a section begin in a segment file.
  std::uint64_t section_begin(std::uint64_t sequence, format::SectionKind kind) const {
    return Segment::open(segment(sequence))->section_offset(kind);
  }

  // Of a child whose TENON_FAILPOINT is "<failpoint>:<base()>": stands there, and goes on.
  void wait_for(const std::string& failpoint) const {
    for (int i = 0; i < 60'000 && !file_exists(base() / (failpoint + ".reached")); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ASSERT_TRUE(file_exists(base() / (failpoint + ".reached"))) << failpoint << " was not reached";
  }
  void let_go(const std::string& failpoint) const { File::create(base() / (failpoint + ".go")); }

  // Every finding of a full verify, one string each; empty for a clean store.
  std::vector<std::string> damage() const { return damage_of(path()); }
  static std::vector<std::string> damage_of(const std::filesystem::path& path) {
    std::vector<std::string> findings;
    for (const Damage& d : Store::verify(path, {.read_data = true}).damage) findings.push_back(d.file + ": " + d.what);
    return findings;
  }

 private:
  TemporaryDirectory directory_;
};

}  // namespace tenon::testing
