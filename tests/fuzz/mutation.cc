#include "mutation.h"

#include <algorithm>
#include <cstring>

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace tenon::fuzz {

void mutate_bytes(Bytes& bytes, std::size_t max_bytes) {
  const std::size_t size = bytes.size();
  bytes.resize(std::max<std::size_t>({size, max_bytes, 1}));
  bytes.resize(LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(bytes.data()), size, bytes.size()));
}

std::size_t mutate(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed, const Change& change) {
  Random random(seed + 1);
  const auto given = as_bytes(data, size);
  Bytes bytes(given.begin(), given.end());
  change(bytes, max_size, random);
  bytes.resize(std::min(bytes.size(), max_size));
  if (!bytes.empty()) std::memcpy(data, bytes.data(), bytes.size());
  return bytes.size();
}

}  // namespace tenon::fuzz
