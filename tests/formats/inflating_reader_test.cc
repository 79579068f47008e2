#include "formats/inflating_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "formats/zip_writer.h"
#include "tenon/error.h"

namespace tenon {
namespace {

using testing::HasSubstr;

std::string deflated(const std::string& text) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

// Compresses well, and tells its place.
std::string counting(std::size_t nbytes) {
  std::string text(nbytes, '\0');
  for (std::size_t i = 0; i < nbytes; ++i) text[i] = static_cast<char>((i >> 12) ^ (i & 7));
  return text;
}

class Inflating : public testing::Test {
 protected:
  Inflating() {
    std::string pattern = (std::filesystem::temp_directory_path() / "inflating_test.XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
  }
  ~Inflating() override { std::filesystem::remove_all(directory_); }

  // `payload` is stored in an archive, and then taken for what a deflated entry holds.
  InflatingReader reader_of(const std::string& payload, std::uint64_t nbytes) {
    const auto path = directory_ / ("in" + std::to_string(files_++));
    File file = File::create(path);
    ZipWriter writer(file, "");
    writer.add("a", std::as_bytes(std::span(payload)));
    writer.finish();
    auto zip = std::make_shared<const ZipReader>(ZipReader::open(std::make_shared<const File>(File::open(path))));
    ZipEntry entry = *zip->find("a");
    entry.is_stored = false;
    entry.uncompressed_bytes = nbytes;
    return InflatingReader(std::move(zip), entry);
  }

  static std::string read(InflatingReader& reader, std::uint64_t offset, std::uint64_t nbytes) {
    std::string out(nbytes, '\0');
    reader.read(offset, std::as_writable_bytes(std::span(out)));
    return out;
  }
  void expect_corrupt(const std::string& payload, std::uint64_t nbytes, const std::string& message) {
    InflatingReader reader = reader_of(payload, nbytes);
    try {
      read(reader, 0, nbytes);
      ADD_FAILURE() << "was read";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::corrupt);
      EXPECT_THAT(error.what(), HasSubstr(message));
    }
  }

  std::filesystem::path directory_;
  int files_ = 0;
};

TEST_F(Inflating, AnyPartIsReadInAnyOrder) {
  const std::string text = counting(50 << 20);
  InflatingReader reader = reader_of(deflated(text), text.size());
  std::mt19937_64 random(1);
  for (int i = 0; i < 30; ++i) {
    const std::uint64_t offset = random() % text.size();
    const std::uint64_t nbytes = random() % std::min<std::uint64_t>(text.size() - offset, 1 << 20);
    ASSERT_EQ(read(reader, offset, nbytes), text.substr(offset, nbytes)) << offset;
  }
  EXPECT_EQ(read(reader, 0, text.size()), text);
  EXPECT_EQ(read(reader, text.size() - 1, 1), text.substr(text.size() - 1));
  EXPECT_EQ(read(reader, text.size(), 0), "");
}

TEST_F(Inflating, SeveralThreadsReadAtOnce) {
  const std::string text = counting(20 << 20);
  InflatingReader reader = reader_of(deflated(text), text.size());
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t offset = t << 20; offset < text.size(); offset += 4 << 20) {
        EXPECT_EQ(read(reader, offset, 1 << 20), text.substr(offset, 1 << 20));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(Inflating, WhatIsNotOneStreamOfThatSizeIsCorrupt) {
  const std::string text = counting(300'000);
  const std::string sound = deflated(text);
  expect_corrupt(sound, text.size() - 1, "a longer stream");
  expect_corrupt(sound, text.size() + 1, "ends early");
  expect_corrupt(sound + "x", text.size(), "bytes after");
  expect_corrupt(sound.substr(0, sound.size() / 2), text.size(), "cut short");
  expect_corrupt("\xff\xff\xff\xff", 4, "invalid");
  expect_corrupt("", 4, "cut short");
}

}  // namespace
}  // namespace tenon
