#include "segment_image.h"

#include <algorithm>
#include <cstring>

#include "sealing.h"
#include "store/record.h"

namespace tenon::fuzz {

using format::SectionKind;

namespace {

template <typename T>
void append(Bytes& out, const T& value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

void align(Bytes& out) { out.resize(format::align_up<std::size_t>(out.size(), format::alignment_small)); }

}  // namespace

std::optional<SegmentImage> SegmentImage::parse(std::span<const std::byte> bytes) {
  SegmentImage image;
  if (bytes.size() < sizeof image.header + sizeof image.footer) return std::nullopt;
  std::memcpy(&image.header, bytes.data(), sizeof image.header);
  std::memcpy(&image.footer, bytes.data() + bytes.size() - sizeof image.footer, sizeof image.footer);
  const std::uint64_t data_bytes = image.footer.data_bytes;
  if (data_bytes < sizeof image.header || data_bytes > bytes.size()) return std::nullopt;
  const auto data = bytes.subspan(sizeof image.header, data_bytes - sizeof image.header);
  image.data.assign(data.begin(), data.end());
  const std::size_t count = std::min<std::size_t>(image.footer.section_count, format::sections_max);
  for (const format::Section& section : std::span(image.footer.sections).first(count)) {
    if (section.offset > bytes.size() || section.size > bytes.size() - section.offset) return std::nullopt;
    const auto content = bytes.subspan(section.offset, section.size);
    image.sections.push_back({section.kind, {content.begin(), content.end()}});
  }
  return image;
}

SegmentImage::Section* SegmentImage::find(SectionKind kind) {
  const auto found = std::find_if(sections.begin(), sections.end(), [kind](const Section& section) {
    return section.kind == static_cast<std::uint32_t>(kind);
  });
  return found == sections.end() ? nullptr : &*found;
}

Bytes SegmentImage::make(bool is_record_mended) {
  Section* const record_section = find(SectionKind::record);
  if (is_record_mended && record_section != nullptr) {
    allow({ErrorKind::corrupt}, [&] {
      Record record = decode_record(record_section->bytes, "image", 0);
      const auto set = [&](Digest& digest, SectionKind kind) {
        if (const Section* section = find(kind)) digest = digest_bytes(section->bytes);
      };
      set(record.layout, SectionKind::layout);
      set(record.keys, SectionKind::keys);
      set(record.structure, SectionKind::structure);
      set(record.attachments, SectionKind::attachments);
      record_section->bytes = encode_record(record);
    });
  }
  Bytes out;
  header.checksum = format::seal_of(header);
  append(out, header);
  out.insert(out.end(), data.begin(), data.end());
  footer.section_count = static_cast<std::uint32_t>(std::min(sections.size(), format::sections_max));
  for (std::size_t i = 0; i < footer.section_count; ++i) {
    align(out);
    const Section& section = sections[i];
    footer.sections[i] = {section.kind, 0, out.size(), section.bytes.size(),
                          checksum_bytes(section.bytes, section.kind)};
    out.insert(out.end(), section.bytes.begin(), section.bytes.end());
  }
  align(out);
  footer.file_bytes = out.size() + sizeof footer;
  footer.checksum = format::seal_of(footer);
  append(out, footer);
  return out;
}

}  // namespace tenon::fuzz
