// Head files.
#include "mutation.h"
#include "sealing.h"
#include "store/heads.h"

using namespace tenon;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = fuzz::as_bytes(data, size);
  // The store's id is where a head has it, so that one of any store is read.
  constexpr std::size_t id_offset = 16;
  Digest store_id{};
  if (size >= id_offset + sizeof store_id) std::memcpy(&store_id, bytes.data() + id_offset, sizeof store_id);
  fuzz::allow({ErrorKind::corrupt}, [&] {
    const Head head = decode_head(bytes, store_id, "input");
    const auto written = encode_head(head, store_id);
    fuzz::require(decode_head(written, store_id, "again") == head, "a head does not come back");
  });
  return 0;
}

TENON_FUZZ_MUTATOR([](fuzz::Bytes& bytes, std::size_t max_bytes, fuzz::Random& random) {
  fuzz::mutate_bytes(bytes, max_bytes);
  if (!fuzz::once_in(16, random)) fuzz::seal(bytes);
})
