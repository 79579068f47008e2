// JSON: of files, and of the metadata that snapshots keep.
#include "formats/json_events.h"
#include "formats/safetensors_reader.h"
#include "fuzzing.h"
#include "store/meta.h"

using namespace tenon;

namespace {

// Checks that events nest, and that text can be written again.
class Listener final : public JsonEvents {
 public:
  void begin_object() override { ++depth_; }
  void end_object() override { leave(); }
  void begin_array() override { ++depth_; }
  void end_array() override { leave(); }
  void key(std::string_view text) override { json_quoted(text); }
  void string(std::string_view text) override { json_quoted(text); }
  void integer(std::uint64_t) override {}
  void other(std::string_view) override {}
  void require_closed() const { fuzz::require(depth_ == 0, "JSON ends inside a value"); }

 private:
  void leave() {
    fuzz::require(depth_ > 0, "JSON leaves what it did not enter");
    --depth_;
  }
  std::size_t depth_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = fuzz::as_bytes(data, size);
  fuzz::allow(fuzz::refusals, [&] {
    Listener listener;
    read_json(bytes, {.file = "input"}, listener);
    listener.require_closed();
  });
  const std::string meta(fuzz::as_text(bytes));
  fuzz::allow(fuzz::refusals, [&] { metadata_in(meta); });
  for (const std::string& key : meta_number_keys(meta)) meta_number(meta, key);
  return 0;
}
