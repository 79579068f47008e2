#include "formats/torchscript_v1_model.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <string_view>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "formats/json_events.h"
#include "tenon/error.h"
#include "tenon/name.h"

namespace tenon {

namespace {

constexpr std::size_t max_depth = 256;  // a module in a module is two levels
constexpr std::size_t max_token_bytes = std::size_t{64} << 10;
// Far above what anybody wrote then; each may take a thousand bytes.
constexpr std::size_t max_parts = 30'000;
constexpr std::size_t max_rank = 64;

struct NumberType {
  std::string_view name;
  std::string_view code;
  DType dtype;
};

// Names and numbers of caffe2's TensorProto.DataType.
constexpr std::array number_types = {
    NumberType{"FLOAT", "1", DType::float32},    NumberType{"INT32", "2", DType::int32},
    NumberType{"BYTE", "3", DType::uint8},       NumberType{"BOOL", "5", DType::bool8},
    NumberType{"UINT8", "6", DType::uint8},      NumberType{"INT8", "7", DType::int8},
    NumberType{"INT16", "9", DType::int16},      NumberType{"INT64", "10", DType::int64},
    NumberType{"FLOAT16", "12", DType::float16}, NumberType{"DOUBLE", "13", DType::float64},
};

// A quantized tensor is said to have the type of its integers.
DType quantized(DType dtype) {
  if (dtype == DType::uint8) return DType::quint8;
  if (dtype == DType::int8) return DType::qint8;
  return dtype == DType::int32 ? DType::qint32 : DType::invalid;
}

DType dtype_of(const std::string& type, bool is_quantized) {
  const auto found = std::find_if(number_types.begin(), number_types.end(),
                                  [&](const NumberType& one) { return one.name == type || one.code == type; });
  if (found == number_types.end()) return DType::invalid;
  return is_quantized ? quantized(found->dtype) : found->dtype;
}

// Follows the text with a stack of messages. A field that is not known is passed over, with all that is in it.
class ModelReader : public JsonEvents {
 public:
  explicit ModelReader(const std::string& file) : file_(file) {}

  void begin_object() override;
  void end_object() override { levels_.pop_back(); }
  void begin_array() override;
  void end_array() override { --levels_.back().arrays; }
  void key(std::string_view text) override { levels_.back().field = text; }
  void string(std::string_view text) override;
  void integer(std::uint64_t value) override;
  void boolean(bool value) override;
  void fraction(double value, std::string_view text) override;
  void other(std::string_view what) override;

  V1Model finish();

 private:
  enum class Message { model, module, tensor, parameter, attribute, record, ignored };
  struct Level {
    Message message;
    std::size_t module;  // index of the one that this is, or is in
    std::string field{};
    std::size_t arrays = 0;  // that the next value is in
  };
  using Numbers = std::vector<std::int64_t>;
  // Where the next value goes.
  using Place = std::variant<std::monostate, std::string*, std::int64_t*, bool*, double*, Numbers*>;

  Message next_message() const;
  void add(Message message);
  void add_module();
  Place place();
  Place place_in_tensor(std::string_view field);
  void set(std::int64_t value);
  [[noreturn]] void fail(ErrorKind kind, std::string what, std::string got = {}, std::string wanted = {}) const;
  [[noreturn]] void refuse_value(std::string_view what) const;

  const std::string& file_;
  V1Model model_;
  std::vector<Level> levels_;
  std::vector<std::string> types_;  // of the tensors: name or number
  std::size_t parts_ = 0;
};

void ModelReader::begin_object() {
  if (levels_.empty()) {
    levels_.push_back({Message::model, 0});
    return;
  }
  const Message message = next_message();
  if (message == Message::ignored && !std::holds_alternative<std::monostate>(place())) refuse_value("an object");
  levels_.push_back({message, levels_.back().module});
  add(message);
}

ModelReader::Message ModelReader::next_message() const {
  const Level& level = levels_.back();
  const std::string& field = level.field;
  const bool is_one = level.arrays == 0;
  const bool is_in_list = level.arrays == 1;
  if (level.message == Message::model && is_one && field == "mainModule") return Message::module;
  if (level.message == Message::model && is_in_list && field == "tensors") return Message::tensor;
  if (level.message == Message::module && is_in_list && field == "submodules") return Message::module;
  if (level.message == Message::module && is_in_list && field == "parameters") return Message::parameter;
  if (level.message == Message::module && is_in_list && field == "attributes") return Message::attribute;
  if (level.message == Message::tensor && is_one && field == "data") return Message::record;
  return Message::ignored;
}

void ModelReader::add(Message message) {
  if (message == Message::ignored || message == Message::record) return;
  if (++parts_ > max_parts) {
    fail(ErrorKind::limit, "model has too many tensors and modules", {}, fmt::format("at most {}", max_parts));
  }
  V1Module* const module = model_.modules.empty() ? nullptr : &model_.modules[levels_.back().module];
  if (message == Message::module) add_module();
  if (message == Message::parameter) module->parameters.emplace_back();
  if (message == Message::attribute) module->attributes.emplace_back();
  if (message != Message::tensor) return;
  model_.tensors.emplace_back();
  types_.emplace_back();
}

void ModelReader::add_module() {
  const std::size_t index = model_.modules.size();
  const bool is_main = levels_[levels_.size() - 2].message == Message::model;
  if (is_main && index != 0) fail(ErrorKind::corrupt, "model.json has its main module twice");
  if (!is_main) model_.modules[levels_.back().module].submodules.push_back(index);
  model_.modules.emplace_back();
  levels_.back().module = index;
}

void ModelReader::begin_array() {
  if (levels_.empty()) refuse_value("an array");
  Level& level = levels_.back();
  ++level.arrays;
  const Place place = this->place();
  const bool is_list = std::holds_alternative<std::monostate>(place) || std::holds_alternative<Numbers*>(place);
  if (!is_list || (level.arrays > 1 && level.message != Message::ignored)) refuse_value("an array");
}

ModelReader::Place ModelReader::place() {
  Level& level = levels_.back();
  const std::string& field = level.field;
  V1Module* const module = model_.modules.empty() ? nullptr : &model_.modules[level.module];
  switch (level.message) {
    case Message::model:
      if (field == "protoVersion") return &model_.version;
      break;
    case Message::module:
      if (field == "name") return &module->name;
      if (field == "getStateAttributeId") return &module->state;
      break;
    case Message::parameter:
      if (field == "name") return &module->parameters.back().name;
      if (field == "tensorId") return &module->parameters.back().tensor;
      if (field == "isBuffer") return &module->parameters.back().is_buffer;
      break;
    case Message::attribute:
      if (field == "name") return &module->attributes.back().name;
      if (field == "id") return &module->attributes.back().value;
      break;
    case Message::record:
      if (field == "key") return &model_.tensors.back().key;
      break;
    case Message::tensor:
      return place_in_tensor(field);
    case Message::ignored:
      break;
  }
  return {};
}

ModelReader::Place ModelReader::place_in_tensor(std::string_view field) {
  V1Tensor& tensor = model_.tensors.back();
  if (field == "dims") return &tensor.shape;
  if (field == "strides") return &tensor.stride;
  if (field == "offset") return &tensor.offset;
  if (field == "requiresGrad") return &tensor.requires_grad;
  if (field == "dataType") return &types_.back();
  if (field == "device") return &tensor.device;
  if (field == "isQuantized") return &tensor.is_quantized;
  if (field == "scale") return &tensor.scale;
  if (field == "zeroPoint") return &tensor.zero_point;
  return {};
}

// Integers of 64 bits stand in quotes.
void ModelReader::string(std::string_view text) {
  if (levels_.empty()) refuse_value("a string");
  const Place place = this->place();
  if (std::holds_alternative<std::monostate>(place)) return;
  if (std::string* const* target = std::get_if<std::string*>(&place)) {
    (*target)->assign(text);
    return;
  }
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool takes_integer = !std::holds_alternative<bool*>(place) && !std::holds_alternative<double*>(place);
  if (!takes_integer || error != std::errc{} || end != text.data() + text.size()) refuse_value("a string");
  set(value);
}

void ModelReader::integer(std::uint64_t value) {
  if (levels_.empty()) refuse_value("a number");
  const Place place = this->place();
  if (std::string* const* type = std::get_if<std::string*>(&place); type != nullptr && !types_.empty()) {
    if (*type != &types_.back()) refuse_value("a number");
    **type = std::to_string(value);
  } else if (double* const* target = std::get_if<double*>(&place)) {
    **target = static_cast<double>(value);
  } else if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    refuse_value("a number beyond 64 bits");
  } else {
    set(static_cast<std::int64_t>(value));
  }
}

void ModelReader::set(std::int64_t value) {
  const Place place = this->place();
  if (std::holds_alternative<std::monostate>(place)) return;
  if (std::int64_t* const* target = std::get_if<std::int64_t*>(&place)) {
    **target = value;
  } else if (Numbers* const* numbers = std::get_if<Numbers*>(&place); numbers != nullptr) {
    if (levels_.back().arrays == 0) refuse_value("a number");
    if ((*numbers)->size() == max_rank) {
      fail(ErrorKind::limit, "tensor has too many dimensions", {}, fmt::format("at most {}", max_rank));
    }
    (*numbers)->push_back(value);
  } else {
    refuse_value("a number");
  }
}

void ModelReader::boolean(bool value) {
  if (levels_.empty()) refuse_value("a boolean");
  const Place place = this->place();
  if (std::holds_alternative<std::monostate>(place)) return;
  if (!std::holds_alternative<bool*>(place)) refuse_value(value ? "true" : "false");
  *std::get<bool*>(place) = value;
}

void ModelReader::fraction(double value, std::string_view text) {
  if (levels_.empty()) refuse_value("a number");
  const Place place = this->place();
  if (std::holds_alternative<std::monostate>(place)) return;
  if (!std::holds_alternative<double*>(place)) refuse_value(fmt::format("the number {}", text));
  *std::get<double*>(place) = value;
}

// null is as if the field were not there.
void ModelReader::other(std::string_view what) {
  if (levels_.empty()) refuse_value(what);
  const bool is_known = !std::holds_alternative<std::monostate>(place());
  if (is_known && what != "null") refuse_value(what);
}

void ModelReader::fail(ErrorKind kind, std::string what, std::string got, std::string wanted) const {
  throw Error(
      kind,
      {.what = std::move(what), .file = file_, .offset = offset, .got = std::move(got), .wanted = std::move(wanted)});
}

void ModelReader::refuse_value(std::string_view what) const {
  const std::string field = levels_.empty() ? "the whole" : levels_.back().field;
  fail(ErrorKind::corrupt, "model.json holds a value of the wrong kind",
       fmt::format("{} for {}", what, printable(std::string_view(field).substr(0, 100))));
}

V1Model ModelReader::finish() {
  if (model_.modules.empty()) fail(ErrorKind::corrupt, "model.json has no main module");
  for (std::size_t i = 0; i < types_.size(); ++i) {
    V1Tensor& tensor = model_.tensors[i];
    tensor.dtype = dtype_of(types_[i], tensor.is_quantized);
    if (tensor.dtype == DType::invalid) {
      fail(ErrorKind::unsupported, fmt::format("tensor {} of model.json has an unknown type of elements", i),
           printable(std::string_view(types_[i]).substr(0, 100)), "a type of numbers that TorchScript has");
    }
  }
  return std::move(model_);
}

}  // namespace

V1Model read_v1_model(std::span<const std::byte> json, const std::string& file) {
  ModelReader reader(file);
  read_json(json, {.file = file, .max_depth = max_depth, .max_token_bytes = max_token_bytes}, reader);
  return reader.finish();
}

}  // namespace tenon
