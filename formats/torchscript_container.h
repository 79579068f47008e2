// Any snapshot as a TorchScript archive that holds values and no methods, for C++:
// `torch::jit::load(file).attr("model").toModule().attr("fc.weight").toTensor()`. torchscript_types.h has the rule for
// modules, attributes and types.
//
// Errors: not_found for a prefix that selects nothing, unsupported for what TorchScript cannot say, naming it.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "formats/torch_object.h"

namespace tenon {

struct TorchScriptContainer {
  std::vector<std::byte> object{};           // data.pkl
  std::string code{};                        // code/__torch__.py
  std::vector<TorchObjectRecord> records{};  // data/0, data/1, ...
};

// `prefix` as in ExportOptions.
TorchScriptContainer make_torchscript_container(const TensorTable& table, const std::string& prefix);

}  // namespace tenon
