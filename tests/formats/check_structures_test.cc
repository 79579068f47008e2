#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

#include "tenon/error.h"
#include "tenon/formats.h"
#include "tenon/name.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class CheckStructuresTest : public testing::Test {
 protected:
  CheckStructuresTest() {
    std::string pattern = (fs::temp_directory_path() / "check_structures_test.XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~CheckStructuresTest() override { fs::remove_all(folder_); }

  static SnapshotId commit(Store& store, std::string_view structure, const std::string& ref = "main") {
    static constexpr float zero = 0;
    Draft draft;
    draft.slots.push_back({.nbytes = sizeof zero, .source = {.memory = std::as_bytes(std::span(&zero, 1))}});
    draft.tensors.push_back({.name = "w", .dtype = DType::float32, .slot = 0, .shape = {1}, .stride = {1}});
    const auto bytes = std::as_bytes(std::span(structure));
    draft.structure.assign(bytes.begin(), bytes.end());
    return store.commit(draft, {.ref = ref}).id;
  }
  Store make() const { return Store::init(folder_ / "run.tenon", {.durability = Durability::relaxed}); }

  fs::path folder_;
};

template <std::size_t size>
constexpr std::string_view whole(const char (&text)[size]) {
  return {text, size - 1};
}

constexpr std::string_view sound = whole("\x80\2}X\1\0\0\0wK\0Qs.");
constexpr std::string_view without_its_row = whole("\x80\2}X\1\0\0\0wK\7Qs.");
constexpr std::string_view not_utf8 = whole("\x80\2}X\1\0\0\0\xffK\0Qs.");

TEST_F(CheckStructuresTest, FindsNothingInSoundOnes) {
  Store store = make();
  EXPECT_THAT(check_structures(store), IsEmpty());
  commit(store, sound);
  commit(store, "");
  EXPECT_THAT(check_structures(store), IsEmpty());
}

TEST_F(CheckStructuresTest, NamesTheSnapshotWhoseStructureCannotBeReadThoughItsBytesAreWhole) {
  Store store = make();
  for (const std::string_view broken : {without_its_row, not_utf8}) {
    const SnapshotId id = commit(store, broken);
    commit(store, sound);  // found in the history, too
    EXPECT_THAT(Store::verify(store.path()).damage, IsEmpty());
    EXPECT_THROW(export_torch(store.snapshot(to_hex(id)), folder_ / "out.pt"), Error);
    const auto damage = check_structures(store);
    bool is_named = false;
    for (const Damage& one : damage) is_named |= one.snapshots == std::vector{to_hex(id)};
    EXPECT_TRUE(is_named);
  }
}

TEST_F(CheckStructuresTest, LooksBehindTagsAndOtherRefsToo) {
  Store store = make();
  const SnapshotId id = commit(store, without_its_row, "other");
  store.create_tag("v1", id);
  const auto damage = check_structures(store);
  ASSERT_EQ(damage.size(), 1u);  // once, though two names lead there
  EXPECT_THAT(damage[0].snapshots, ElementsAre(to_hex(id)));
}

}  // namespace
}  // namespace tenon
