// Statements of whoever may ask a store: whatever they say, a session answers or refuses, keeps to its limits, and goes
// on with the next one.
#include "fuzzing.h"
#include "tenon/query.h"
#include "tenon/store.h"

using namespace tenon;

namespace {

constexpr QueryLimits limits{.deadline = std::chrono::milliseconds(200),
                             .memory_bytes = 16 << 20,
                             .value_bytes = 64 << 10,
                             .statement_bytes = 4 << 10};

constexpr std::initializer_list<ErrorKind> answers{ErrorKind::invalid_argument, ErrorKind::limit, ErrorKind::not_found,
                                                   ErrorKind::unsupported, ErrorKind::io};

// Three commits, with a tie, a view, a changed tensor, and one that comes and goes.
Store make_store() {
  Store store = Store::init(fuzz::scratch_folder() / "run.tenon", {.durability = Durability::relaxed});
  for (int step = 0; step < 3; ++step) {
    const std::vector<float> weights{1, 2, static_cast<float>(step), 4, 5, 6};
    const std::vector<std::int64_t> counts{1, -2, 3};
    Draft draft;
    draft.slots = {{.nbytes = 24, .source = {.memory = std::as_bytes(std::span(weights))}},
                   {.nbytes = 24, .source = {.memory = std::as_bytes(std::span(counts))}}};
    draft.tensors = {{.name = "w", .dtype = DType::float32, .slot = 0, .shape = {2, 3}, .stride = {3, 1}},
                     {.name = "w.T", .dtype = DType::float32, .slot = 0, .shape = {3, 2}, .stride = {1, 3}},
                     {.name = "layers.1.tied", .dtype = DType::float32, .slot = 0, .shape = {2, 3}, .stride = {3, 1}},
                     {.name = "meta", .dtype = DType::float16, .shape = {1 << 20, 1 << 20}, .stride = {1 << 20, 1}}};
    if (step != 1) {
      draft.tensors.push_back({.name = "n/0", .dtype = DType::int64, .slot = 1, .shape = {3}, .stride = {1}});
    }
    draft.step = step;
    draft.meta = R"({"loss": 0.5})";
    store.commit(draft);
  }
  store.create_tag("best", store.resolve("main~1"));
  return store;
}

void read_all(Rows rows) {
  while (rows.next()) {
    for (std::size_t i = 0; i < rows.columns().size(); ++i) {
      const SqlValue value = rows[i];
      if (const auto* text = std::get_if<std::string_view>(&value)) {
        fuzz::require(text->size() <= limits.value_bytes, "a text is longer than allowed");
      }
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Store store = make_store();
  static Session session(store, limits);
  const std::string sql(fuzz::as_text(fuzz::as_bytes(data, size)));
  fuzz::allow(answers, [&] { session.explain(sql); });
  fuzz::allow(answers, [&] { read_all(session.query(sql)); });
  fuzz::allow({}, [&] { read_all(session.query("SELECT count(*) FROM snapshots")); });
  return 0;
}
