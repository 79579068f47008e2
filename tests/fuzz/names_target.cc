// What a person types: names of tensors, revs, names of refs.
#include "fuzzing.h"
#include "store/heads.h"
#include "store/rev.h"
#include "tenon/name.h"

using namespace tenon;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto text = fuzz::as_text(fuzz::as_bytes(data, size));
  const bool is_name = fuzz::allow({ErrorKind::invalid_argument}, [&] {
    fuzz::require(render_name(parse_name(text)) == text, "a name has two spellings");
  });
  if (is_name) param_name(text);
  fuzz::allow({ErrorKind::invalid_argument}, [&] { parse_rev(text); });
  fuzz::require(printable(printable(text)).size() >= printable(text).size(), "printable text shrinks");
  const bool is_ref = fuzz::allow({ErrorKind::invalid_argument}, [&] { check_ref_name(text); });
  fuzz::require(is_ref == is_ref_name(text), "a name of a ref is one only by one of two answers");
  if (is_ref) fuzz::require(head_file_name(text).find('/') == std::string::npos, "a head's file would lie in a folder");
  return 0;
}
