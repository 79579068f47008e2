// Zip archives: what a record holds does not depend on whether it is read whole or in pieces.
#include <algorithm>

#include "formats/record_source.h"
#include "formats/zip_reader.h"
#include "mutation.h"

using namespace tenon;

namespace {

constexpr std::size_t entries_read = 8;
constexpr std::uint64_t limit_bytes = 1 << 20;

// From its end to its beginning.
void read_in_pieces(const Source& source, fuzz::Bytes& out) {
  const std::size_t piece = std::max<std::size_t>(out.size() / 3, 1);
  for (std::size_t end = out.size(); end > 0;) {
    const std::size_t begin = end - std::min(end, piece);
    source.read(begin, std::span(out).subspan(begin, end - begin));
    end = begin;
  }
}

void check_record(const std::shared_ptr<const ZipReader>& zip, const ZipEntry& entry) {
  fuzz::require(zip->find(entry.name) == &entry, "an entry is not found by its name");
  fuzz::Bytes whole;
  const bool is_good =
      fuzz::allow({ErrorKind::corrupt, ErrorKind::limit}, [&] { whole = zip->read(entry, limit_bytes); });
  if (entry.uncompressed_bytes > limit_bytes) return;
  fuzz::Bytes pieces(entry.uncompressed_bytes);
  const bool is_good_in_pieces =
      fuzz::allow({ErrorKind::corrupt}, [&] { read_in_pieces(make_record_source(zip, entry, 1), pieces); });
  if (entry.uncompressed_bytes == 0) return;  // nothing is read of it, so nothing is checked
  fuzz::require(is_good == is_good_in_pieces, "a record is good only whole, or only in pieces");
  fuzz::require(!is_good || whole == pieces, "a record differs in pieces");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = fuzz::as_bytes(data, size);
  fuzz::allow(fuzz::refusals, [&] {
    const auto file = std::make_shared<const File>(File::open(fuzz::file_with(bytes)));
    const auto zip = std::make_shared<const ZipReader>(ZipReader::open(file));
    for (std::size_t i = 0; i < std::min(zip->entries().size(), entries_read); ++i)
      check_record(zip, zip->entries()[i]);
  });
  return 0;
}

TENON_FUZZ_MUTATOR(fuzz::change_foreign_file)
