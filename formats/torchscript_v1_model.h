// model.json, in which TorchScript of 2018 and 2019 said what its modules hold: a table of tensors, and modules with
// parameters, buffers and attributes that refer to it and to the values in attributes.pkl by number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tenon/dtype.h"

namespace tenon {

struct V1Tensor {
  DType dtype = DType::invalid;
  std::string key{};  // of the record with its storage: "tensors/0"
  std::string device{};
  std::vector<std::int64_t> shape{};
  std::vector<std::int64_t> stride{};
  std::int64_t offset = 0;  // elements
  bool requires_grad = false;
  bool is_quantized = false;
  double scale = 0;
  std::int64_t zero_point = 0;
};

struct V1Parameter {
  std::string name{};
  std::int64_t tensor = -1;  // index in the table
  bool is_buffer = false;
};

struct V1Attribute {
  std::string name{};
  std::int64_t value = -1;  // index in attributes.pkl; negative: none
};

struct V1Module {
  std::string name{};
  std::vector<std::size_t> submodules{};  // indices in V1Model::modules, all behind this one's
  std::vector<V1Parameter> parameters{};
  std::vector<V1Attribute> attributes{};
  std::int64_t state = -1;  // what __getstate__ returned, an index in attributes.pkl
};

struct V1Model {
  std::int64_t version = 0;         // of the format of model.json
  std::vector<V1Module> modules{};  // the first is the whole
  std::vector<V1Tensor> tensors{};
};

// `file` names the record in messages. Fields that are not known mean nothing. Throws corrupt for what is malformed,
// unsupported for a type of element that torch never wrote, limit for absurd numbers of tensors and modules.
V1Model read_v1_model(std::span<const std::byte> json, const std::string& file);

}  // namespace tenon
