// Structure-aware mutation: where a checksum, a length or an offset would make every change the same refusal, the input
// is taken apart, a part is changed, and it is put together again with those right. A share of inputs is left wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <random>

#include "fuzzing.h"

namespace tenon::fuzz {

using Random = std::minstd_rand;

// libFuzzer's own mutation, in place; grows to at most `max_bytes`.
void mutate_bytes(Bytes& bytes, std::size_t max_bytes);

// The body of an LLVMFuzzerCustomMutator: `change` alters the bytes; what comes out too long is cut.
using Change = std::function<void(Bytes& bytes, std::size_t max_bytes, Random& random)>;
std::size_t mutate(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed, const Change& change);

// A foreign file: zip archives by entries, safetensors and .npy by headers, tar with checksums, others as bytes.
void change_foreign_file(Bytes& bytes, std::size_t max_bytes, Random& random);

// One time in `n`.
inline bool once_in(unsigned n, Random& random) { return random() % n == 0; }

}  // namespace tenon::fuzz

// The mutator of a target; once in a file.
#define TENON_FUZZ_MUTATOR(change)                                                                           \
  extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, \
                                                 unsigned seed) {                                            \
    return tenon::fuzz::mutate(data, size, max_size, seed, change);                                          \
  }
