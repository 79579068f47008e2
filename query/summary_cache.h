// What was found out about values, by a key of content and geometry: in memory, and in a file that all processes append
// to and that may be deleted at any time (docs/format.md, section 16).
//
// Threads: any. Errors: none. What cannot be read, written, or locked at once is left out, since everything here can be
// worked out again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "tenon/digest.h"

namespace tenon {

// One number, by a digest of all that it follows from: so an entry is true in whatever file it stands.
struct SummaryEntry {
  Digest key;
  double value = 0;
};

class SummaryCache {
 public:
  SummaryCache() = default;  // in memory only
  explicit SummaryCache(std::filesystem::path file) : path_(std::move(file)) {}

  // The numbers of all of them, or nothing.
  std::optional<std::vector<double>> find(std::span<const Digest> keys);
  // With `in_file` false, for this process only.
  void add(std::span<const SummaryEntry> entries, bool in_file);

 private:
  struct KeyHash {
    std::size_t operator()(const Digest& key) const noexcept { return key.low; }
  };
  bool find_known(std::span<const Digest> keys, std::vector<double>& values) const;
  void read_new_entries();

  const std::filesystem::path path_;  // empty: no file
  std::mutex mutex_;
  std::unordered_map<Digest, double, KeyHash> known_;
  std::uint64_t read_bytes_ = 0;  // of the file
};

}  // namespace tenon
