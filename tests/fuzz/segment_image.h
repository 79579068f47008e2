// A segment file in memory, taken apart and put together again with its checksums, offsets and digests right.
#pragma once

#include <optional>
#include <vector>

#include "fuzzing.h"
#include "store/format.h"

namespace tenon::fuzz {

struct SegmentImage {
  struct Section {
    std::uint32_t kind = 0;
    Bytes bytes{};
  };

  format::SegmentHeader header{};
  format::SegmentFooter footer{};
  Bytes data{};  // the storages, with what precedes them
  std::vector<Section> sections{};

  // nullopt for what is too damaged to be taken apart.
  static std::optional<SegmentImage> parse(std::span<const std::byte> bytes);
  Section* find(format::SectionKind kind);
  // With the record naming the other sections by their digests, if `is_record_mended`.
  Bytes make(bool is_record_mended);
};

}  // namespace tenon::fuzz
