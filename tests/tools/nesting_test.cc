#include "tools/nesting.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tenon/error.h"

namespace tenon::tools {
namespace {

using namespace std::string_literals;

std::vector<std::byte> bytes_of(std::string_view text) {
  std::vector<std::byte> bytes(text.size());
  if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

Draft draft_of(std::string_view structure, std::vector<std::string> names) {
  Draft draft;
  draft.structure = bytes_of(structure);
  for (std::string& name : names) {
    draft.tensors.emplace_back();
    draft.tensors.back().name = std::move(name);
  }
  return draft;
}

TEST(Nesting, RefusesAPrefixThatIsNotUtf8) {
  Draft draft = draft_of("\x80\2}.", {"w"});
  try {
    nest_under(draft, "p\xff");
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
  }
  EXPECT_EQ(draft.tensors[0].name, "w");
}

TEST(Nesting, WrapsTheStructureInOneDictPerComponent) {
  Draft draft = draft_of("\x80\x02N.", {"w", "a/b"});
  nest_under(draft, "outer/3");
  EXPECT_EQ(draft.structure, bytes_of("\x80\x02}X\x05\0\0\0outer}\x8a\x08\x03\0\0\0\0\0\0\0Nss."s));
  EXPECT_EQ(draft.tensors[0].name, "outer/3/w");
  EXPECT_EQ(draft.tensors[1].name, "outer/3/a/b");
}

TEST(Nesting, ALoneRootTensorTakesTheNameOfThePrefix) {
  Draft draft = draft_of("\x80\x02N.", {"."});
  nest_under(draft, "weights");
  EXPECT_EQ(draft.tensors[0].name, "weights");
}

TEST(Nesting, WithoutAStructureThereIsNothingToWrap) {
  for (const std::string& structure : {""s, "\x80\x02"s, "N."s, "\x80\x02N"s}) {
    Draft draft = draft_of(structure, {"w"});
    try {
      nest_under(draft, "outer");
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::unsupported);
    }
  }
}

}  // namespace
}  // namespace tenon::tools
