// Any part of a deflated record without holding all of it: a stream is inflated forward, and its state is kept now and
// then, so that going back does not mean starting over. zlib, which can do that, is included by inflating_reader.cc
// alone; records that are read whole go by libdeflate, which is faster.
//
// Threads: any; calls take turns. Errors: corrupt where the record is not exactly one stream of the size it claims, io.
// Memory: some 100 KiB, and 40 KiB for each 16 MiB of the record, 512 times at most.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <span>

#include "formats/zip_reader.h"

namespace tenon {

class InflatingReader {
 public:
  InflatingReader(std::shared_ptr<const ZipReader> reader, const ZipEntry& entry);
  ~InflatingReader();

  // REQUIRES: the range lies within entry.uncompressed_bytes.
  void read(std::uint64_t offset, std::span<std::byte> out);

 private:
  class Stream;
  std::unique_ptr<Stream> take_nearest(std::uint64_t offset);
  void keep_state(const Stream& stream);

  const std::shared_ptr<const ZipReader> reader_;
  const ZipEntry entry_;
  const std::uint64_t spacing_;
  std::mutex mutex_;
  std::list<std::unique_ptr<Stream>> idle_;  // as reads left them, the latest first
  std::map<std::uint64_t, std::unique_ptr<Stream>> kept_;
};

}  // namespace tenon
