// One small store with a history, and files beside it, for all tests of query/. Made once; nobody writes to it.
//
//   main   steps 0, 1, 2, 3     layers.1.weight has a NaN from step 2 on, and an infinity in step 3
//   other  step 1 of main, then a step 2 of its own
//   best   a tag at step 1
//
//   model/embed.weight     4 x 3, row 2 is dead; model/head.weight is tied to it, model/embed.T a transposed view of it
//   model/layers.N.weight  2 x 2, a step later twice as large; model/layers.N.bias  2 elements that never change
//   optim/state/N/exp_avg  moments of the five parameters, in their order
//   extra/...              other element types; extra/twin equals layers.0.bias, in a slot of its own
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "formats/structure.h"
#include "tenon/formats.h"
#include "tenon/name.h"
#include "tenon/query.h"
#include "tests/store/store_fixture.h"

namespace tenon::testing {

class World {
 public:
  static const World& get() {
    static const World world;
    return world;
  }

  std::filesystem::path files() const { return directory_.path(); }
  std::filesystem::path store() const { return directory_.path() / "run.tenon"; }
  Session session(const QueryLimits& limits = {}) const { return Session(Store::open(store()), limits); }

 private:
  World() {
    Store store = Store::init(this->store(), {.durability = Durability::relaxed});
    for (int step = 0; step < 4; ++step) {
      commit(store, step, "main", 1);
      if (step == 1) {
        store.create_tag("best", store.resolve("main"));
        store.set_ref("other", store.resolve("main"));
      }
    }
    commit(store, 2, "other", 3);
    export_torch(store.snapshot("main"), files() / "model.pt", {.prefix = "model"});
    export_safetensors(store.snapshot("main~3"), files() / "first.safetensors", {.prefix = "model/layers.0"});
    export_npz(store.snapshot("main~3"), files() / "first.npz", {.prefix = "model/layers.0"});
    store.bundle("best", files() / "best.tenon");
  }

  static void commit(Store& store, int step, const std::string& ref, float factor) {
    DraftBuilder builder = tensors(step, factor);
    Draft& draft = builder.draft();
    draft.structure = structure(draft, step);
    draft.step = step;
    draft.message = "step " + std::to_string(step);
    draft.meta = R"({"val_loss": )" +
                 std::vector<std::string>{"2.5", "1.25", "1.5", "0.75"}[static_cast<std::size_t>(step)] +
                 R"(, "host": "gpu1"})";
    if (step == 3) {
      const std::string tokens = R"({"tokens": ["a", "b"]})";
      const auto bytes = std::as_bytes(std::span(tokens));
      draft.attachments.push_back({"tokenizer.json", {bytes.begin(), bytes.end()}});
      draft.attachments.push_back({"raw.bin", {std::byte{0xff}, std::byte{0}, std::byte{7}}});
    }
    CommitOptions options;
    options.ref = ref;
    store.commit(draft, options);
  }

  static DraftBuilder tensors(int step, float factor) {
    const auto f = [](std::vector<float> values) { return bytes_of(values); };
    const float grown = std::ldexp(factor, step);  // twice as large each step
    constexpr float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
    DraftBuilder b;
    b.slot(f({1, 2, 3, 4, 5, 6, 0, 0, 0, 7, 8, 9}));
    b.tensor("model/embed.weight", DType::float32, {4, 3});
    b.tensor("model/head.weight", DType::float32, {4, 3});
    b.draft().tensors.back().object = 0;
    b.tensor("model/embed.T", DType::float32, {3, 4}, {.stride = {1, 3}});
    b.slot(f({grown, -grown, 0, 2 * grown})).tensor("model/layers.0.weight", DType::float32, {2, 2});
    b.slot(f({0.5F, -0.5F})).tensor("model/layers.0.bias", DType::float32, {2});
    b.slot(f({1, step >= 2 ? nan : 2, 3, step >= 3 ? inf : 4})).tensor("model/layers.1.weight", DType::float32, {2, 2});
    b.slot(f({0.25F, 0.75F})).tensor("model/layers.1.bias", DType::float32, {2});
    for (TensorDraft& tensor : b.draft().tensors) {
      tensor.kind = TensorKind::parameter;
      tensor.requires_grad = true;
    }
    b.draft().tensors[2].kind = TensorKind::buffer;
    const std::vector<std::vector<std::int64_t>> shapes = {{4, 3}, {2, 2}, {2}, {2, 2}, {2}};
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      std::int64_t count = 1;
      for (const std::int64_t extent : shapes[i]) count *= extent;
      b.slot(f(std::vector<float>(static_cast<std::size_t>(count), static_cast<float>(i) + 1)));
      b.tensor("optim/state/" + std::to_string(i) + "/exp_avg", DType::float32, shapes[i]);
    }
    b.slot(f({0.5F, -0.5F})).tensor("extra/twin", DType::float32, {2});
    b.slot(bytes_of<std::int64_t>({-3, 0, 1'000'000'000'000})).tensor("extra/counts", DType::int64, {3});
    b.slot(bytes_of<std::uint8_t>({1, 0, 1, 1})).tensor("extra/flags", DType::bool8, {4});
    b.slot(f({3, 4, 0, nan})).tensor("extra/z", DType::complex64, {2});
    b.slot(bytes_of<std::uint16_t>({0x3f80, 0xc000, 0x7fc0, 0x0000})).tensor("extra/half", DType::bfloat16, {4});
    b.slot(bytes_of<std::uint64_t>({UINT64_MAX, 1})).tensor("extra/big", DType::uint64, {2});
    b.slot(f({})).tensor("extra/empty", DType::float32, {0, 5});
    b.slot(f({2.5F})).tensor("extra/scalar", DType::float32, {});
    b.slot(f({1, 2})).tensor("extra/wide", DType::float32, {2, 3}, {.stride = {1, 0}});
    b.slot(f({1, -2, 3})).tensor("extra/odd\x1b[31m name", DType::float32, {3});
    b.draft().slots.back().location = "cuda:0";
    b.slot(bytes_of<std::uint8_t>({0x1f, 0xa0})).tensor("extra/bits", DType::bits8, {2});
    b.draft().tensors.push_back({.name = "extra/meta", .dtype = DType::float16, .shape = {7}, .stride = {1}});
    return b;
  }

  // {"model": {...}, "optim": {"state": ..., "param_groups": [{"lr": 0.1, ...}]}, "extra": ..., "step": 0, ...}
  static std::vector<std::byte> structure(const Draft& draft, int step) {
    PickleGraph graph;
    graph.root = graph.add_container(PickleKind::dict);
    for (std::uint32_t row = 0; row < draft.tensors.size(); ++row) {
      const Path path = parse_name(draft.tensors[row].name);
      NodeId at = graph.root;
      for (std::size_t i = 0; i + 1 < path.size(); ++i) at = child(graph, at, path[i]);
      set(graph, at, path.back(), graph.add_persistent(graph.add_integer(draft.tensors[row].object.value_or(row))));
    }
    const NodeId group = graph.add_container(PickleKind::dict);
    set(graph, group, "lr", graph.add_floating(std::ldexp(0.1, -step)));
    set(graph, group, "betas", graph.add_tuple({graph.add_floating(0.9), graph.add_floating(0.999)}));
    set(graph, group, "amsgrad", graph.add_boolean(false));
    const NodeId groups = graph.add_container(PickleKind::list);
    graph.mutable_items(groups).push_back(group);
    set(graph, child(graph, graph.root, "optim"), "param_groups", groups);
    set(graph, graph.root, "step", graph.add_integer(step));
    set(graph, graph.root, "note", graph.add_string("warm-up"));
    set(graph, graph.root, "best", graph.add_none());
    set(graph, graph.root, "loss", graph.add_floating(step == 2 ? std::nan("") : 1.5));
    return encode_structure(graph);
  }

  static NodeId key_node(PickleGraph& graph, const PathKey& key) {
    if (const auto* number = std::get_if<std::int64_t>(&key)) return graph.add_integer(*number);
    return graph.add_string(std::get<std::string>(key));
  }
  static void set(PickleGraph& graph, NodeId dict, const PathKey& key, NodeId value) {
    const NodeId name = key_node(graph, key);
    graph.mutable_items(dict).insert(graph.mutable_items(dict).end(), {name, value});
  }
  static void set(PickleGraph& graph, NodeId dict, const char* key, NodeId value) {
    set(graph, dict, PathKey(std::string(key)), value);
  }
  static NodeId child(PickleGraph& graph, NodeId dict, const char* key) {
    return child(graph, dict, PathKey(std::string(key)));
  }
  static NodeId child(PickleGraph& graph, NodeId dict, const PathKey& key) {
    const auto items = graph.items(dict);
    for (std::size_t i = 0; i < items.size(); i += 2) {
      const auto* text = std::get_if<std::string>(&key);
      const auto* number = std::get_if<std::int64_t>(&key);
      const bool is_it = text != nullptr
                             ? graph.is(items[i], PickleKind::string) && graph.text(items[i]) == *text
                             : graph.is(items[i], PickleKind::integer) && graph.integer(items[i]) == *number;
      if (is_it) return items[i + 1];
    }
    const NodeId made = graph.add_container(PickleKind::dict);
    set(graph, dict, key, made);
    return made;
  }

  TemporaryDirectory directory_;
};

// NULL, 3, 0.5, text, x'00ff'.
inline std::string text_of_value(const SqlValue& value) {
  struct Visitor {
    std::string operator()(std::monostate) const { return "NULL"; }
    std::string operator()(std::int64_t number) const { return std::to_string(number); }
    std::string operator()(double number) const {
      char digits[32];
      std::snprintf(digits, sizeof digits, "%.6g", number);
      const std::string text = digits;
      return text.find_first_not_of("-0123456789") == std::string::npos ? text + ".0" : text;
    }
    std::string operator()(std::string_view text) const { return printable(text); }
    std::string operator()(std::span<const std::byte> bytes) const {
      std::string text = "x'";
      for (const std::byte byte : bytes) {
        char digits[3];
        std::snprintf(digits, sizeof digits, "%02x", std::to_integer<unsigned>(byte));
        text += digits;
      }
      return text + "'";
    }
  };
  return std::visit(Visitor{}, value);
}

// Each row's values with '|' between them.
inline std::vector<std::string> rows_of(Session& session, std::string_view sql) {
  Rows rows = session.query(sql);
  std::vector<std::string> all;
  while (rows.next()) {
    std::string line;
    for (std::size_t i = 0; i < rows.columns().size(); ++i) line += (i == 0 ? "" : "|") + text_of_value(rows[i]);
    all.push_back(std::move(line));
  }
  return all;
}

}  // namespace tenon::testing
