// A layout's columns, used straight from bytes: everything that can be asked of one that opens.
#include "mutation.h"
#include "store/layout.h"
#include "tenon/dtype.h"
#include "tenon/name.h"

using namespace tenon;

namespace {

// In wider arithmetic than the library's.
void check_bounds(const TensorRow& tensor, std::uint64_t slot_bytes) {
  unsigned __int128 last = 0;
  for (std::size_t d = 0; d < tensor.shape.size(); ++d) {
    fuzz::require(tensor.shape[d] >= 0 && tensor.stride[d] >= 0, "a shape or stride is negative");
    if (tensor.shape[d] == 0) return;
    last += static_cast<unsigned __int128>(tensor.shape[d] - 1) * static_cast<std::uint64_t>(tensor.stride[d]);
    fuzz::require(last <= UINT64_MAX, "elements lie beyond any address");
  }
  const unsigned __int128 bits = (last + 1) * dtype_info(tensor.dtype).bits;
  fuzz::require(tensor.storage_offset_bytes + (bits + 7) / 8 <= slot_bytes, "a tensor reaches outside its slot");
}

void check_rows(const Layout& layout) {
  for (std::uint32_t row = 0; row < layout.tensor_count(); ++row) {
    const TensorRow tensor = layout.tensor(row);
    if (tensor.slot != no_slot) check_bounds(tensor, layout.slot_bytes(tensor.slot));
    const auto found = layout.find(tensor.name);
    fuzz::require(!found || layout.name(*found) == tensor.name, "a row is found under another name");
    fuzz::require(tensor.object <= row, "a row is an object of a later one");
    printable(tensor.wrapper);
    printable(tensor.quantizer);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::AlignedCopy copy(fuzz::as_bytes(data, size));
  fuzz::allow({ErrorKind::corrupt}, [&] {
    const Layout layout = Layout::open(copy.bytes(), "input", 0);
    check_rows(layout);
    for (std::uint32_t slot = 0; slot < layout.slot_count(); ++slot) printable(layout.slot_location(slot));
    layout.select("");
    layout.select("model");
    layout.check_names("input");
  });
  return 0;
}

// Where columns lie follows from the counts: bytes put in or taken out would be refused for that alone.
TENON_FUZZ_MUTATOR([](fuzz::Bytes& bytes, std::size_t max_bytes, fuzz::Random& random) {
  const std::size_t size = bytes.size();
  fuzz::mutate_bytes(bytes, max_bytes);
  if (!fuzz::once_in(8, random)) bytes.resize(size);
})
