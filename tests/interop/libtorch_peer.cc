// What a C++ program does with libtorch: it reads what Tenon wrote, and writes what Tenon reads.
//
// - attr FILE NAME...: the tensor torch::jit::load(FILE).attr(NAME).toModule().attr(NAME)..., as numbers
// - values FILE: the root's attributes that are no modules, a line each
// - pickle-save FILE: a dict with torch::pickle_save
// - pickle-load FILE: what torch::pickle_load finds, a line
// - save tensor|vector|module FILE: with torch::save
// - load module FILE: torch::load into a module like the one saved; its parameters, a line each
// - views STORE OUT: all tensors of main by <tenon/torch.h>, as a list with torch::pickle_save
// - write STORE NAME: fills a tensor of main with 7; all tensors then, a line each
// - view-shared STORE: what is said of a snapshot in mode shared
#include <torch/script.h>
#include <torch/torch.h>

#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "tenon/store.h"
#include "tenon/torch.h"

namespace {

struct Net : torch::nn::Module {
  Net() {
    fc = register_module("fc", torch::nn::Linear(3, 2));
    norm = register_module("norm", torch::nn::BatchNorm1d(2));
    scale = register_buffer("scale", torch::full({2}, 0.5));
  }
  torch::nn::Linear fc{nullptr};
  torch::nn::BatchNorm1d norm{nullptr};
  torch::Tensor scale;
};

void print_tensor(const torch::Tensor& tensor) {
  const auto flat = tensor.to(torch::kFloat64).contiguous().flatten();
  std::cout << tensor.dtype() << " [";
  for (std::size_t i = 0; i < tensor.sizes().size(); ++i) std::cout << (i == 0 ? "" : ",") << tensor.sizes()[i];
  std::cout << "]";
  for (std::int64_t i = 0; i < flat.numel(); ++i) std::cout << ' ' << flat[i].item<double>();
  std::cout << '\n';
}

int print_attr(const std::vector<std::string>& arguments) {
  torch::jit::Module module = torch::jit::load(arguments[0]);
  for (std::size_t i = 1; i + 1 < arguments.size(); ++i) module = module.attr(arguments[i]).toModule();
  print_tensor(module.attr(arguments.back()).toTensor());
  return 0;
}

int print_values(const std::string& file) {
  const torch::jit::Module module = torch::jit::load(file);
  for (const auto& attribute : module.named_attributes(/*recurse=*/false)) {
    if (attribute.value.isModule()) continue;
    std::cout << attribute.name << ": " << attribute.value.type()->str() << " = ";
    if (attribute.value.isTensor()) {
      print_tensor(attribute.value.toTensor());
    } else {
      std::cout << attribute.value << '\n';
    }
  }
  return 0;
}

int pickle_save(const std::string& file) {
  c10::Dict<std::string, torch::Tensor> state;
  const auto base = torch::arange(6, torch::kFloat32);
  state.insert("base", base);
  state.insert("part", base.slice(0, 1, 5, 2));
  c10::List<torch::Tensor> list({torch::ones({2}, torch::kInt64), torch::zeros({1, 2}, torch::kBFloat16)});
  c10::impl::GenericDict all(c10::StringType::get(), c10::AnyType::get());
  all.insert("state", state);
  all.insert("list", list);
  all.insert("numbers", c10::List<std::int64_t>({1, 2, 3}));
  all.insert("lr", 0.25);
  all.insert("name", "written by C++");
  const std::vector<char> bytes = torch::pickle_save(all);
  std::ofstream(file, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return 0;
}

int pickle_load(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  std::cout << torch::pickle_load(bytes) << '\n';
  return 0;
}

int save(const std::string& what, const std::string& file) {
  if (what == "tensor") {
    torch::save(torch::arange(4, torch::kFloat64), file);
  } else if (what == "vector") {
    torch::save(std::vector<torch::Tensor>{torch::ones({2}), torch::full({3}, 7, torch::kInt32)}, file);
  } else {
    torch::manual_seed(3);
    torch::save(std::make_shared<Net>(), file);
  }
  return 0;
}

int load_module(const std::string& file) {
  auto net = std::make_shared<Net>();
  torch::load(net, file);
  for (const auto& item : net->named_parameters()) {
    std::cout << item.key() << ": ";
    print_tensor(item.value());
  }
  for (const auto& item : net->named_buffers()) {
    std::cout << item.key() << ": ";
    print_tensor(item.value());
  }
  return 0;
}

tenon::TorchTensors open_main(const std::string& store, tenon::Mode mode) {
  return tenon::TorchTensors(tenon::Store::open(store).snapshot("main", {.mode = mode}));
}

int save_views(const std::string& store, const std::string& out) {
  tenon::TorchTensors tensors = open_main(store, tenon::Mode::private_);
  c10::List<torch::Tensor> list;
  for (std::uint32_t row = 0; row < tensors.snapshot().size(); ++row) list.push_back(tensors.at(row));
  const std::vector<char> bytes = torch::pickle_save(list);
  std::ofstream(out, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return 0;
}

int write_view(const std::string& store, const std::string& name) {
  tenon::TorchTensors tensors = open_main(store, tenon::Mode::copy);
  const torch::NoGradGuard no_grad;
  tensors[name].fill_(7);
  for (std::uint32_t row = 0; row < tensors.snapshot().size(); ++row) print_tensor(tensors.at(row));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() < 2) return 2;
  const std::vector<std::string> rest(arguments.begin() + 1, arguments.end());
  std::cout.precision(17);
  try {
    if (arguments[0] == "attr" && rest.size() > 1) return print_attr(rest);
    if (arguments[0] == "values") return print_values(rest[0]);
    if (arguments[0] == "pickle-save") return pickle_save(rest[0]);
    if (arguments[0] == "pickle-load") return pickle_load(rest[0]);
    if (arguments[0] == "save" && rest.size() == 2) return save(rest[0], rest[1]);
    if (arguments[0] == "views" && rest.size() == 2) return save_views(rest[0], rest[1]);
    if (arguments[0] == "write" && rest.size() == 2) return write_view(rest[0], rest[1]);
    if (arguments[0] == "view-shared") return open_main(rest[0], tenon::Mode::shared), 0;
    if (arguments[0] == "load" && rest.size() == 2) return load_module(rest[1]);
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
  return 2;
}
