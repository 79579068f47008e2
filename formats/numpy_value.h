// Numpy's arrays and scalars as its pickles have them, read and made as data.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/pickle.h"
#include "tenon/dtype.h"
#include "tenon/snapshot.h"

namespace tenon {

// What the wrapper column says of a row that is a numpy array.
inline constexpr std::string_view numpy_array_wrapper = "numpy.ndarray";

struct NumpyArray {
  DType dtype = DType::invalid;
  std::vector<std::int64_t> shape{};
  std::vector<std::int64_t> stride{};  // elements; of C or Fortran order
  NodeId data = no_node;               // bytes or bytearray, as long as the shape asks for
  NodeId function = no_node;           // the global that rebuilds it; its module tells numpy 1 from numpy 2
};

// nullopt for what is no array, and for arrays that a row cannot express: subclasses, structured, object, text, date
// and foreign-endian element types.
std::optional<NumpyArray> parse_numpy_array(const PickleGraph& graph, NodeId node);

// Whether a row of this type (see StructureRow) is a numpy array.
bool is_numpy_rebuild(const PickleGraph& graph, NodeId function);
// A global that rebuilds arrays, for an array that came without one.
NodeId add_numpy_rebuild(PickleGraph& graph);
// The call that makes an array of `row` from `data`, its bytes, which lie in C or Fortran order. Throws unsupported if
// numpy has no such element type, or if the elements lie in neither order.
NodeId make_numpy_array(PickleGraph& graph, NodeId function, const TensorRow& row, NodeId data);

// "numpy.float64(0.5)"; nullopt for what is no scalar of a plain type.
std::optional<std::string> numpy_scalar_text(const PickleGraph& graph, NodeId node);

}  // namespace tenon
