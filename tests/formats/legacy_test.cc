#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "formats/pickle_stream.h"
#include "formats/tar_reader.h"
#include "mmap/file.h"
#include "tenon/error.h"
#include "tenon/formats.h"
#include "tests/formats/pickles.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

std::string pickled(const std::string& body) { return "\x80\2" + body + "."; }
std::string int64(std::int64_t value) { return data_of<std::int64_t>({value}); }
const std::string four_floats = data_of<float>({1, 2, 3, 4});

// Below a temporary folder of its own.
class Files : public testing::Test {
 protected:
  Files() {
    std::string pattern = (fs::temp_directory_path() / "legacy_test.XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
  }
  ~Files() override { fs::remove_all(directory_); }

  fs::path write(const std::string& content) {
    const fs::path path = directory_ / std::to_string(files_++);
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }
  Error failure(const std::string& content) {
    try {
      ImportedFile::open(write(content));
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << "was read";
    return Error(ErrorKind::io, {});
  }
  std::string what(const std::string& content, ErrorKind kind = ErrorKind::corrupt) {
    const Error error = failure(content);
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_THAT(error.facts().file, HasSubstr(directory_.string()));
    return error.what();
  }

  fs::path directory_;
  int files_ = 0;
};

std::string content_of(const Draft& draft, std::uint32_t slot) {
  std::string out(draft.slots[slot].nbytes, '\0');
  draft.slots[slot].source.read(0, std::as_writable_bytes(std::span(out)));
  return out;
}

// ---- windows

TEST_F(Files, PicklesAndNumbersFollowEachOtherWhereverWindowsEnd) {
  std::string content;
  std::vector<std::size_t> sizes{0, 1, 70'000, 65'530, 3, 1'000'000, 10};
  for (const std::size_t size : sizes) {
    content += pickled("X" + data_of<std::uint32_t>({static_cast<std::uint32_t>(size)}) + std::string(size, 'a'));
    content += int64(static_cast<std::int64_t>(size));
  }
  const auto file = std::make_shared<const File>(File::open(write(content)));
  PickleStream stream(file, 0, content.size(), "stream");
  for (const std::size_t size : sizes) {
    const PickleGraph graph = stream.next();
    EXPECT_EQ(graph.text(graph.root).size(), size);
    EXPECT_EQ(stream.next_int64(), static_cast<std::int64_t>(size));
  }
  EXPECT_EQ(stream.remaining(), 0u);
  EXPECT_THROW(stream.next(), PickleEndsEarly);
}

TEST_F(Files, AFlawIsToldOnceAndNotReadAgainWithMore) {
  const std::string content = pickled("NNs") + std::string(1 << 20, '\0');
  const auto file = std::make_shared<const File>(File::open(write(content)));
  PickleStream stream(file, 0, content.size(), "stream");
  int readings = 0;
  EXPECT_THROW(stream.next({}, [&] { ++readings; }), Error);
  EXPECT_EQ(readings, 2);  // the first has no window at all
}

// ---- legacy stream

struct Legacy {
  std::string magic = pickled("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19");
  std::string version = pickled("M\xe9\x03");
  std::string machine = pickled("}");
  std::string object;
  std::string keys;  // within the list
  std::string storages;

  std::string content() const {
    return magic + version + machine + pickled(object) + pickled("](" + keys + "e") + storages;
  }
};

Legacy one_tensor() {
  return {.object = tensor(floats("7", 4), {0, {2, 2}, {2, 1}}), .keys = text("7"), .storages = int64(4) + four_floats};
}

TEST_F(Files, LegacyStreamIsRead) {
  const ImportedFile file = ImportedFile::open(write(one_tensor().content() + "what follows"));
  EXPECT_EQ(file.format(), FileFormat::torch_legacy);
  ASSERT_EQ(file.draft().tensors.size(), 1u);
  EXPECT_THAT(file.draft().tensors[0].shape, ElementsAre(2, 2));
  EXPECT_EQ(content_of(file.draft(), 0), four_floats);
}

TEST_F(Files, LegacyStreamIsReadFromAnOffset) {
  const fs::path path = write("before" + one_tensor().content());
  const ImportedFile file = ImportedFile::open(path, {.offset = 6});
  EXPECT_EQ(content_of(file.draft(), 0), four_floats);
  EXPECT_THROW(ImportedFile::open(path), Error);
}

TEST_F(Files, ModuleClassesOfALegacyStreamBecomeClasses) {
  Legacy legacy = one_tensor();
  legacy.object = "(" + text("module") + "cmy\nNet\n" + text("net.py") + text("class Net: pass") + "tQ)\x81}" +
                  text("w") + legacy.object + "sb";
  const ImportedFile file = ImportedFile::open(write(legacy.content()));
  EXPECT_EQ(file.draft().tensors[0].name, "w");
  EXPECT_THAT(describe_structure(file.draft()), testing::StartsWith("my.Net\n"));
}

TEST_F(Files, StorageViewsOfALegacyStreamLieInTheirStorage) {
  Legacy legacy = one_tensor();
  legacy.object = "(" + storage_view("7", 4, 1, 2) + tensor(storage_view("7", 4, 2, 2), {1, {1}, {1}}) + "t";
  const ImportedFile file = ImportedFile::open(write(legacy.content()));
  const Draft& draft = file.draft();
  ASSERT_EQ(draft.tensors.size(), 2u);
  EXPECT_EQ(draft.slots.size(), 1u);
  EXPECT_EQ(draft.tensors[0].storage_offset_bytes, 4u);
  EXPECT_THAT(draft.tensors[0].shape, ElementsAre(2));
  EXPECT_EQ(draft.tensors[1].storage_offset_bytes, 12u);
}

TEST_F(Files, LegacyStreamsThatContradictThemselvesAreRefused) {
  const auto with = [](const std::function<void(Legacy&)>& change) {
    Legacy legacy = one_tensor();
    change(legacy);
    return legacy.content();
  };
  EXPECT_THAT(what(with([](Legacy& l) { l.version = pickled("M\xea\x03"); }), ErrorKind::unsupported),
              HasSubstr("1002"));
  EXPECT_THAT(what(with([](Legacy& l) { l.version = pickled("N"); }), ErrorKind::unsupported), HasSubstr("version"));
  EXPECT_THAT(what(with([](Legacy& l) { l.keys = text("8"); })), HasSubstr("does not use"));
  EXPECT_THAT(what(with([](Legacy& l) { l.keys = number(7); })), HasSubstr("not a string"));
  EXPECT_THAT(what(with([](Legacy& l) { l.keys.clear(); })), HasSubstr("lacks a storage"));
  EXPECT_THAT(what(with([](Legacy& l) { l.keys += l.keys, l.storages += l.storages; })), HasSubstr("twice"));
  EXPECT_THAT(what(with([](Legacy& l) { l.storages = int64(3) + four_floats; })), HasSubstr("wrong length"));
  EXPECT_THAT(what(with([](Legacy& l) { l.storages = int64(-4) + four_floats; })), HasSubstr("wrong length"));
  EXPECT_THAT(what(with([](Legacy& l) { l.storages = int64((std::int64_t{1} << 62) + 4) + four_floats; })),
              HasSubstr("wrong length"));
  EXPECT_THAT(what(with([](Legacy& l) { l.storages.pop_back(); })), HasSubstr("ends early"));
  EXPECT_THAT(what(with([](Legacy& l) { l.storages.clear(); })), HasSubstr("ends early"));
  EXPECT_THAT(what(with([](Legacy& l) { l.object = "NNs"; })), HasSubstr("pickle"));
  EXPECT_THAT(what(with([](Legacy& l) { l.object = storage_view("7", 4, 3, 2); })), HasSubstr("outside"));
  EXPECT_THAT(what(with([](Legacy& l) { l.object = storage_view("7", 4, -1, 2); })), HasSubstr("outside"));
  EXPECT_THAT(what(with([](Legacy& l) {
                l.object = tensor(storage_view("7", 4, 2, 2), {1, {2}, {1}});
              })),
              HasSubstr("outside"));
}

TEST_F(Files, LegacyStreamCutAnywhereIsRefused) {
  const std::string whole = one_tensor().content();
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_THROW(ImportedFile::open(write(whole.substr(0, size))), Error);
}

// ---- tar

std::string octal(std::uint64_t value, std::size_t digits) {
  std::string out;
  for (std::size_t i = 0; i < digits; ++i, value >>= 3) out.insert(out.begin(), static_cast<char>('0' + (value & 7)));
  return out + '\0';
}

std::string tar_header(const std::string& name, std::uint64_t size, char type = '0') {
  std::string header(512, '\0');
  header.replace(0, name.size(), name);
  header.replace(124, 12, octal(size, 11));
  header[156] = type;
  header.replace(257, 8, "ustar\00000"s);
  header.replace(148, 8, "        ");
  std::uint64_t sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  header.replace(148, 8, octal(sum, 6) + " ");
  return header;
}

std::string tar_entry(const std::string& name, const std::string& content, char type = '0') {
  return tar_header(name, content.size(), type) + content + std::string((512 - content.size() % 512) % 512, '\0');
}

const std::string tar_end(1024, '\0');

TEST_F(Files, TarEntriesAreListed) {
  const std::string pax = "13 path=long\n";
  const fs::path path = write(tar_entry("a", "one") + tar_entry("folder/", "", '5') + tar_entry("x", pax, 'x') +
                              tar_entry("short", "two") + tar_entry("b", std::string(512, 'b')) + tar_end);
  const auto entries = read_tar(File::open(path));
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0].name, "a");
  EXPECT_EQ(entries[0].offset, 512u);
  EXPECT_EQ(entries[1].name, "long");
  EXPECT_EQ(entries[1].nbytes, 3u);
  EXPECT_EQ(entries[2].nbytes, 512u);
}

TEST_F(Files, DamagedTarArchivesAreRefused) {
  const auto kind = [&](const std::string& content) {
    try {
      read_tar(File::open(write(content)));
    } catch (const Error& error) {
      EXPECT_TRUE(error.facts().offset) << error.what();
      return error.kind();
    }
    return ErrorKind::io;
  };
  std::string flipped = tar_entry("a", "one");
  flipped[0] = 'b';
  EXPECT_EQ(kind(flipped), ErrorKind::corrupt);
  EXPECT_EQ(kind(tar_header("a", 513) + std::string(512, 'x')), ErrorKind::corrupt);
  EXPECT_EQ(kind(tar_header("a", std::uint64_t{1} << 32) + std::string(512, 'x')), ErrorKind::corrupt);
  EXPECT_EQ(kind(tar_entry("a", "1") + tar_entry("a", "2")), ErrorKind::corrupt);
  EXPECT_EQ(kind(tar_entry("a", "1", 'S')), ErrorKind::unsupported);
  EXPECT_EQ(kind(tar_entry("x", "99 path=a\n", 'x')), ErrorKind::corrupt);
  EXPECT_EQ(kind(tar_entry("x", "3 \n", 'x')), ErrorKind::corrupt);
  EXPECT_EQ(kind(tar_entry("x", "17 size=99999999\n", 'x') + tar_entry("a", "1")), ErrorKind::corrupt);
  EXPECT_EQ(kind(tar_entry("L", std::string(70'000, 'a'), 'L')), ErrorKind::limit);
}

struct Tar {
  std::string pickle = pickled("(" + text("1") + "Q" + text("1") + "Q" + text("5") + "Ql");
  std::string tensors = pickled("K\1") + pickled("K\1K\5ctorch\nFloatTensor\n\x87") + data_of<std::int32_t>({2, 0}) +
                        int64(2) + int64(2) + int64(1) + int64(2) + int64(0);
  std::string storages =
      pickled("K\1") + pickled("K\5" + text("cpu") + "ctorch\nFloatStorage\n\x87") + int64(4) + four_floats;
  std::string views = pickled("]");

  std::string content() const {
    return tar_entry("sys_info", pickled("}")) + tar_entry("pickle", pickle) + tar_entry("tensors", tensors) +
           tar_entry("storages", storages + views) + tar_end;
  }
};

TEST_F(Files, TarOfTorchIsRead) {
  const ImportedFile file = ImportedFile::open(write(Tar{}.content()));
  EXPECT_EQ(file.format(), FileFormat::torch_tar);
  const Draft& draft = file.draft();
  ASSERT_EQ(draft.tensors.size(), 3u);
  EXPECT_THAT(draft.tensors[0].stride, ElementsAre(1, 2));
  EXPECT_EQ(draft.tensors[1].object, 0u);
  EXPECT_THAT(draft.tensors[2].shape, ElementsAre(4));
  EXPECT_EQ(draft.slots.size(), 1u);
  EXPECT_EQ(content_of(draft, 0), four_floats);
}

TEST_F(Files, StorageViewsOfATarLieInTheirStorage) {
  Tar tar;
  tar.views = pickled("]((K\6K\5K\1K\2te");
  tar.pickle = pickled("P6\n");
  const ImportedFile file = ImportedFile::open(write(tar.content()));
  const Draft& draft = file.draft();
  ASSERT_EQ(draft.tensors.size(), 1u);
  EXPECT_EQ(draft.tensors[0].storage_offset_bytes, 4u);
  EXPECT_THAT(draft.tensors[0].shape, ElementsAre(2));
}

TEST_F(Files, TarsThatContradictThemselvesAreRefused) {
  const auto with = [](const std::function<void(Tar&)>& change) {
    Tar tar;
    change(tar);
    return tar.content();
  };
  const std::string rank_at_fault = pickled("K\1") + pickled("K\1K\5ctorch\nFloatTensor\n\x87");
  EXPECT_THAT(what(tar_entry("a", "b") + tar_end, ErrorKind::unsupported), HasSubstr("pickle"));
  EXPECT_THAT(what(with([](Tar& t) { t.pickle = pickled(text("9") + "Q"); })), HasSubstr("does not have"));
  EXPECT_THAT(what(with([](Tar& t) { t.pickle = pickled(text("x") + "Q"); })), HasSubstr("does not have"));
  EXPECT_THAT(what(with([](Tar& t) { t.pickle = pickled("]Q"); })), HasSubstr("does not have"));
  EXPECT_THAT(what(with([](Tar& t) { t.tensors[2] = 'N'; })), HasSubstr("pickle"));
  EXPECT_THAT(what(with([](Tar& t) { t.tensors = pickled("K\2") + t.tensors.substr(5); })), HasSubstr("pickle ends"));
  EXPECT_THAT(what(with([&](Tar& t) {
                t.tensors = rank_at_fault + data_of<std::int32_t>({65, 0});
              })),
              HasSubstr("rank"));
  EXPECT_THAT(what(with([&](Tar& t) {
                t.tensors = rank_at_fault + data_of<std::int32_t>({-1, 0});
              })),
              HasSubstr("rank"));
  EXPECT_THAT(what(with([&](Tar& t) {
                t.tensors = rank_at_fault + data_of<std::int32_t>({2, 0});
              })),
              HasSubstr("early"));
  EXPECT_THAT(what(with([](Tar& t) { t.storages.pop_back(), t.views.clear(); })), HasSubstr("early"));
  EXPECT_THAT(what(with([](Tar& t) { t.views = pickled("]((K\6K\7K\0K\1te"s); })), HasSubstr("not there"));
  EXPECT_THAT(what(with([](Tar& t) { t.views = pickled("]((K\5K\5K\0K\1te"s); })), HasSubstr("twice"));
  EXPECT_THAT(what(with([](Tar& t) { t.views = pickled("N"); })), HasSubstr("views"));
}

}  // namespace
}  // namespace tenon
