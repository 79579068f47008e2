// Journals: header and records.
#include "mutation.h"
#include "sealing.h"
#include "store/format.h"
#include "store/journal.h"

using namespace tenon;

namespace {

Digest id_in(std::span<const std::byte> bytes) {
  format::JournalHeader header{};
  if (bytes.size() >= sizeof header) std::memcpy(&header, bytes.data(), sizeof header);
  return header.store_id;
}

void check_contents(const JournalContents& contents, std::uint64_t size) {
  fuzz::require(contents.good_bytes <= size, "more records than bytes");
  fuzz::require(!contents.damaged_at || *contents.damaged_at == contents.good_bytes, "damage does not follow the good");
  forgotten_snapshots(contents.records);
}

// Records as we write them are read as what they were.
void check_round_trip(const std::vector<JournalRecord>& records, const Digest& store_id) {
  fuzz::Bytes written = encode_journal_header(store_id);
  for (const JournalRecord& record : records) {
    const auto bytes = encode_journal_record(record);
    written.insert(written.end(), bytes.begin(), bytes.end());
  }
  const JournalContents again = read_journal(fuzz::file_with(written), store_id);
  fuzz::require(again.records == records && !again.damaged_at, "a journal does not come back");
}

void seal_records(std::span<std::byte> bytes) {
  if (bytes.size() < sizeof(format::JournalHeader)) return;
  fuzz::seal(bytes.first(sizeof(format::JournalHeader)));
  bytes = bytes.subspan(sizeof(format::JournalHeader));
  while (bytes.size() >= sizeof(std::uint32_t)) {
    std::uint32_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    if (length < sizeof length || length > bytes.size()) return;
    fuzz::seal(bytes.first(length));
    bytes = bytes.subspan(length);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = fuzz::as_bytes(data, size);
  fuzz::allow({ErrorKind::corrupt}, [&] {
    const Digest store_id = id_in(bytes);
    const auto& path = fuzz::file_with(bytes);
    check_contents(read_journal(path, store_id, UINT64_MAX, true), size);
    const JournalContents contents = read_journal(path, store_id);
    check_round_trip(contents.records, store_id);
  });
  return 0;
}

TENON_FUZZ_MUTATOR([](fuzz::Bytes& bytes, std::size_t max_bytes, fuzz::Random& random) {
  fuzz::mutate_bytes(bytes, max_bytes);
  if (!fuzz::once_in(16, random)) seal_records(bytes);
})
