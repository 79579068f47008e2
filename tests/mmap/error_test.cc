#include "tenon/error.h"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <string>

#include "mmap/printable.h"

namespace tenon {
namespace {

TEST(Error, MessageNamesEveryKnownFact) {
  const Error error(ErrorKind::corrupt, {.what = "checksum differs",
                                         .file = "a.seg",
                                         .offset = 64,
                                         .got = "01",
                                         .wanted = "02",
                                         .hint = "run `tenon repair`"});
  EXPECT_STREQ(error.what(), "checksum differs: a.seg at offset 64: got 01, wanted 02; run `tenon repair`");
}

TEST(Error, MessageLeavesOutWhatIsUnknown) {
  EXPECT_STREQ(Error(ErrorKind::io, {.what = "it broke"}).what(), "it broke");
  EXPECT_STREQ(Error(ErrorKind::io, {.what = "it broke", .wanted = "peace"}).what(), "it broke: wanted peace");
  EXPECT_STREQ(Error(ErrorKind::io, {.what = "it broke", .offset = 0}).what(), "it broke at offset 0");
}

TEST(Error, MessageEscapesControlCharactersButFactsKeepThem) {
  const Error error(ErrorKind::not_found, {.what = "no tensor", .got = "\x1b[2Jw\n"});
  EXPECT_STREQ(error.what(), "no tensor: got \\x1b[2Jw\\x0a");
  EXPECT_EQ(error.facts().got, "\x1b[2Jw\n");
}

TEST(Error, IsCaughtAsStdExceptionWithItsKind) {
  try {
    throw Error(ErrorKind::busy, {.what = "locked"});
  } catch (const std::exception& failure) {
    const auto* const error = dynamic_cast<const Error*>(&failure);
    ASSERT_NE(error, nullptr);
    EXPECT_EQ(error->kind(), ErrorKind::busy);
  }
}

TEST(Error, EveryKindHasANameOfItsOwn) {
  std::set<std::string> names;
  for (int kind = 1; kind <= static_cast<int>(ErrorKind::interrupted); ++kind) {
    names.insert(error_kind_name(static_cast<ErrorKind>(kind)));
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(ErrorKind::interrupted));
  EXPECT_EQ(names.count("unknown"), 0u);
}

TEST(EscapeControls, KeepsWellFormedText) {
  for (const char* text :
       {"", "plain", "back\\slash", "h\u00e9llo \u6f22 \U0001f600", "\u00a0", "\uffff", "\U0010ffff"}) {
    EXPECT_EQ(escape_controls(text), text);
  }
}

TEST(EscapeControls, EscapesControlsOfEveryRange) {
  EXPECT_EQ(escape_controls(std::string_view("\0", 1)), "\\x00");
  EXPECT_EQ(escape_controls("\x1f\x7f"), "\\x1f\\x7f");
  EXPECT_EQ(escape_controls("\u009b31m"), "\\xc2\\x9b31m");  // the one-character form of ESC [
}

TEST(EscapeControls, EscapesBytesThatAreNoUtf8) {
  EXPECT_EQ(escape_controls("a\xff"
                            "b"),
            "a\\xffb");
  EXPECT_EQ(escape_controls("\xed\xa0\x80"), "\\xed\\xa0\\x80");           // a surrogate
  EXPECT_EQ(escape_controls("\xc0\xaf"), "\\xc0\\xaf");                    // overlong
  EXPECT_EQ(escape_controls("\xe0\x80\xaf"), "\\xe0\\x80\\xaf");           // overlong
  EXPECT_EQ(escape_controls("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // past U+10FFFF
  EXPECT_EQ(escape_controls("\xe6\xbc"), "\\xe6\\xbc");                    // cut short
}

}  // namespace
}  // namespace tenon
