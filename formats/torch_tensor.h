// What torch's own pickles mean by the calls that rebuild tensors, read from a pickle graph as data.
// Errors: corrupt for a storage or tensor that contradicts itself; what is merely unknown is nullopt and stays opaque.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "formats/pickle.h"
#include "formats/torch_storage.h"
#include "tenon/dtype.h"
#include "tenon/snapshot.h"

namespace tenon {

struct TorchTensor {
  NodeId storage = no_node;  // its persistent id; no_node: a meta tensor
  DType dtype = DType::invalid;
  TensorKind kind = TensorKind::plain;
  bool requires_grad = false;
  bool is_conj = false;
  bool is_neg = false;
  std::int64_t offset = 0;  // elements
  std::vector<std::int64_t> shape{};
  std::vector<std::int64_t> stride{};
  NodeId type = no_node;        // the Python class (a global) if it is neither Tensor nor Parameter
  NodeId attributes = no_node;  // Python attribute state
  std::string quantizer{};      // see quantizer.h; empty: not quantized
  NodeId scales = no_node;      // of the channels, where it has some
  NodeId zero_points = no_node;
};

// Gives calls that torch no longer has, or has under another name, the name that they have in torch 2: 1.13's sparse
// compressed tensors, and the module torch.tensor.
void rename_old_calls(PickleGraph& graph);
// nullopt if `node` is not a call that makes a dense tensor or parameter, quantized or not.
std::optional<TorchTensor> parse_torch_tensor(const PickleGraph& graph, NodeId node, const std::string& file);

// Bytes from the start of the storage that `tensor` reaches, 0 if it has no elements. Throws corrupt where offset,
// shape and stride are no tensor or overflow.
std::uint64_t reached_bytes(const TorchTensor& tensor, const std::string& name, const std::string& file);

}  // namespace tenon
