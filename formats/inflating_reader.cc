#include "formats/inflating_reader.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "tenon/error.h"

namespace tenon {

namespace {

constexpr std::uint64_t spacing_bytes_min = std::uint64_t{16} << 20;
constexpr std::uint64_t kept_states_max = 512;
constexpr std::size_t idle_max = 2;
constexpr std::size_t input_bytes = std::size_t{32} << 10;
constexpr std::size_t skipped_bytes = std::size_t{64} << 10;
constexpr std::uint64_t piece_bytes_max = std::uint64_t{1} << 30;  // zlib counts in 32 bits
constexpr int raw_deflate = -15;                                   // no header, the whole window

}  // namespace

// One pass over the record, somewhere on its way.
class InflatingReader::Stream {
 public:
  Stream(const ZipReader& reader, const ZipEntry& entry) : reader_(reader), entry_(entry) {
    if (inflateInit2(&stream_, raw_deflate) != Z_OK) throw std::bad_alloc();
  }
  // A second pass that goes on from the same place.
  Stream(const Stream& other)
      : reader_(other.reader_), entry_(other.entry_), position_(other.position_), consumed_(other.consumed_) {
    consumed_ -= other.stream_.avail_in;
    if (inflateCopy(&stream_, const_cast<z_stream*>(&other.stream_)) != Z_OK) throw std::bad_alloc();
    stream_.avail_in = 0;
  }
  Stream& operator=(const Stream&) = delete;
  ~Stream() { inflateEnd(&stream_); }

  std::uint64_t position() const noexcept { return position_; }
  bool is_at_end() const noexcept { return position_ == entry_.uncompressed_bytes; }

  void read(std::span<std::byte> out) {
    while (!out.empty()) {
      const auto piece = out.first(std::min<std::uint64_t>(out.size(), piece_bytes_max));
      fill(piece);
      out = out.subspan(piece.size());
    }
    if (is_at_end()) check_end();
  }

  void skip_to(std::uint64_t position) {
    std::vector<std::byte> skipped(std::min<std::uint64_t>(skipped_bytes, position - position_));
    while (position_ < position) {
      read(std::span(skipped).first(std::min<std::uint64_t>(skipped.size(), position - position_)));
    }
  }

 private:
  void fill(std::span<std::byte> out);
  bool refill();
  void check_end();
  [[noreturn]] void fail(std::string got) const;

  const ZipReader& reader_;
  const ZipEntry& entry_;
  z_stream stream_{};
  std::uint64_t position_ = 0;  // in what was deflated
  std::uint64_t consumed_ = 0;  // bytes of the record handed to zlib
  std::vector<std::byte> input_;
};

void InflatingReader::Stream::fill(std::span<std::byte> out) {
  stream_.next_out = reinterpret_cast<Bytef*>(out.data());
  stream_.avail_out = static_cast<uInt>(out.size());
  while (stream_.avail_out != 0) {
    if (stream_.avail_in == 0 && !refill()) fail("a stream that is cut short");
    const int result = inflate(&stream_, Z_NO_FLUSH);
    if (result == Z_MEM_ERROR) throw std::bad_alloc();
    if (result == Z_STREAM_END && stream_.avail_out != 0) fail("a stream that ends early");
    if (result != Z_OK && result != Z_STREAM_END) fail(stream_.msg != nullptr ? stream_.msg : "no stream");
  }
  position_ += out.size();
}

bool InflatingReader::Stream::refill() {
  const std::uint64_t left = entry_.compressed_bytes - consumed_;
  if (left == 0) return false;
  input_.resize(input_bytes);
  const auto piece = std::span(input_).first(std::min<std::uint64_t>(left, input_bytes));
  reader_.file().read_at(entry_.data_offset + consumed_, piece);
  consumed_ += piece.size();
  stream_.next_in = reinterpret_cast<Bytef*>(input_.data());
  stream_.avail_in = static_cast<uInt>(piece.size());
  return true;
}

// Not a byte more may come out, and none may be left over.
void InflatingReader::Stream::check_end() {
  std::array<Bytef, 1> more{};
  for (int result = Z_OK; result != Z_STREAM_END;) {
    stream_.next_out = more.data();
    stream_.avail_out = more.size();
    if (stream_.avail_in == 0) refill();
    result = inflate(&stream_, Z_NO_FLUSH);
    if (stream_.avail_out == 0) fail("a longer stream");
    const bool may_go_on = result == Z_OK && (stream_.avail_in != 0 || consumed_ < entry_.compressed_bytes);
    if (result != Z_STREAM_END && !may_go_on) fail("a stream without an end");
  }
  if (stream_.avail_in != 0 || consumed_ != entry_.compressed_bytes) fail("bytes after the stream");
}

void InflatingReader::Stream::fail(std::string got) const {
  throw Error(ErrorKind::corrupt,
              {.what = "record does not inflate",
               .file = fmt::format("{}({})", reader_.file().path().string(), entry_.name.substr(0, 200)),
               .offset = entry_.data_offset,
               .got = std::move(got),
               .wanted = fmt::format("one stream of {} bytes", entry_.uncompressed_bytes)});
}

InflatingReader::InflatingReader(std::shared_ptr<const ZipReader> reader, const ZipEntry& entry)
    : reader_(std::move(reader)),
      entry_(entry),
      spacing_(std::max(spacing_bytes_min, entry.uncompressed_bytes / kept_states_max)) {}

InflatingReader::~InflatingReader() = default;

void InflatingReader::read(std::uint64_t offset, std::span<std::byte> out) {
  assert(offset <= entry_.uncompressed_bytes && out.size() <= entry_.uncompressed_bytes - offset);
  if (out.empty()) return;
  const std::lock_guard lock(mutex_);
  std::unique_ptr<Stream> stream = take_nearest(offset);
  while (offset - stream->position() > spacing_) {
    stream->skip_to(stream->position() + spacing_);
    keep_state(*stream);
  }
  stream->skip_to(offset);
  keep_state(*stream);
  stream->read(out);
  if (stream->is_at_end()) return;
  idle_.push_front(std::move(stream));
  if (idle_.size() > idle_max) idle_.pop_back();
}

// The one that is nearest before `offset`: one that is idle goes on itself, of a kept one a copy does.
std::unique_ptr<InflatingReader::Stream> InflatingReader::take_nearest(std::uint64_t offset) {
  auto nearest = idle_.end();
  for (auto it = idle_.begin(); it != idle_.end(); ++it) {
    const bool is_nearer = nearest == idle_.end() || (*it)->position() > (*nearest)->position();
    if ((*it)->position() <= offset && is_nearer) nearest = it;
  }
  const auto after = kept_.upper_bound(offset);
  const Stream* kept = after == kept_.begin() ? nullptr : std::prev(after)->second.get();
  if (nearest != idle_.end() && (kept == nullptr || (*nearest)->position() >= kept->position())) {
    auto stream = std::move(*nearest);
    idle_.erase(nearest);
    return stream;
  }
  return kept == nullptr ? std::make_unique<Stream>(*reader_, entry_) : std::make_unique<Stream>(*kept);
}

void InflatingReader::keep_state(const Stream& stream) {
  const std::uint64_t last = kept_.empty() ? 0 : kept_.rbegin()->first;
  if (stream.position() >= last + spacing_) kept_.emplace(stream.position(), std::make_unique<Stream>(stream));
}

}  // namespace tenon
