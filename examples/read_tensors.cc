// Tensors that Python saved, by name: what they are, and the numbers of one.
//
//   read_tensors STORE [REV] [NAME]
//
// There is no pickle to read and no libtorch to link: a name, a type, a shape, and a pointer into pages that every
// process on the host shares.
#include <tenon/tenon.h>

#include <cstdio>
#include <string>

namespace {

std::string shape_of(const tenon::TensorRow& row) {
  std::string text;
  for (const std::int64_t size : row.shape) text += (text.empty() ? "" : " x ") + std::to_string(size);
  return text.empty() ? "scalar" : text;
}

void list(const tenon::Snapshot& snapshot) {
  for (std::uint32_t i = 0; i < snapshot.size(); ++i) {
    const tenon::TensorRow row = snapshot.row(i);
    std::printf("%s  %s  %s\n", tenon::printable(row.name).c_str(), tenon::dtype_info(row.dtype).name.data(),
                shape_of(row).c_str());
  }
}

// Row by row, through the strides: a transposed tensor is read as it was saved.
void print_matrix(const tenon::View& view) {
  const auto values = view.accessor<float, 2>();
  for (std::int64_t i = 0; i < view.shape()[0]; ++i) {
    for (std::int64_t j = 0; j < view.shape()[1]; ++j) std::printf("%s%g", j == 0 ? "" : " ", values(i, j));
    std::printf("\n");
  }
}

int run(int argc, char** argv) {
  const tenon::Store store = tenon::Store::open(argv[1]);
  const tenon::Snapshot snapshot = store.snapshot(argc > 2 ? argv[2] : "main");
  if (argc < 4) {
    list(snapshot);
    return 0;
  }
  const tenon::View view = snapshot[argv[3]];
  if (view.dtype() != tenon::DType::float32 || view.shape().size() != 2) {
    std::fprintf(stderr, "this example prints matrices of float32\n");
    return 1;
  }
  print_matrix(view);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 4) {
    std::fprintf(stderr, "usage: read_tensors STORE [REV] [NAME]\n");
    return 2;
  }
  try {
    return run(argc, argv);
  } catch (const tenon::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
