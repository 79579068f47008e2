// Statements over a long history: a million rows, one path over all snapshots, one row.
#include <tenon/query.h>

#include <cstring>
#include <stdexcept>

#include "support.h"

namespace tenon::bench {
namespace {

constexpr std::uint64_t tensor_bytes = 64;

// The statements that the peers answer, too: see compare.py.
constexpr const char* scan =
    "SELECT layer % 10, count(*), sum(nbytes), avg(norm) FROM tensors WHERE norm > 2.9 GROUP BY 1 ORDER BY 1";
constexpr const char* path = "SELECT step, nbytes, storage_id FROM history('main', 'layers.7.weight')";
constexpr const char* statistics = "SELECT step, norm, nan_count FROM history('main', 'layers.7.weight')";
constexpr const char* point = "SELECT nbytes, norm FROM tensors('main') WHERE name = 'layers.7.weight'";

// Every snapshot has other values in all of its tensors.
void make(const std::vector<std::string>& arguments) {
  const auto snapshots = std::stoull(arguments[1]);
  const auto tensors = static_cast<std::uint32_t>(std::stoul(arguments[2]));
  Memory memory = Memory::filled(tensors * tensor_bytes, 11);
  Draft draft = draft_of(memory.bytes(), tensors);
  Store store = fresh_store(arguments[0], Durability::relaxed);
  for (std::uint64_t number = 0; number < snapshots; ++number) {
    for (std::uint64_t i = 0; i < tensors; ++i) {
      const float value = static_cast<float>((number * 7 + i) % 100) / 50;
      std::memcpy(memory.bytes().data() + i * tensor_bytes, &value, sizeof value);
    }
    draft.step = static_cast<std::int64_t>(number);
    store.commit(draft);
  }
}

// Reads every value of every row.
std::uint64_t run(Session& session, const char* sql) {
  std::uint64_t count = 0;
  Rows rows = session.query(sql);
  for (; rows.next(); ++count) {
    for (std::size_t i = 0; i < rows.columns().size(); ++i) static_cast<void>(rows[i]);
  }
  if (count == 0) throw std::runtime_error("no rows");
  return count;
}

void measure(const std::vector<std::string>& arguments) {
  Session session(Store::open(arguments[0]));
  const double first_path = time_seconds([&] { run(session, path); });
  const double first_scan = time_seconds([&] { run(session, scan); });
  print_figures({{"first_path", first_path}, {"first_scan", first_scan}});
  for (auto left = std::stoull(arguments[1]); left > 0; --left) {
    std::uint64_t rows = 0;
    const double all = time_seconds([&] { run(session, scan); });
    const double one = time_seconds([&] { rows = run(session, path); });
    const double values = time_seconds([&] { run(session, statistics); });
    const double row = time_seconds([&] { run(session, point); });
    print_figures(
        {{"scan", all}, {"path", one}, {"statistics", values}, {"point", row}, {"rows", static_cast<double>(rows)}});
  }
}

}  // namespace
}  // namespace tenon::bench

int main(int argc, char** argv) {
  return tenon::bench::run_command(argc, argv,
                                   {{"make", {"STORE", "SNAPSHOTS", "TENSORS"}, tenon::bench::make},
                                    {"measure", {"STORE", "ROUNDS"}, tenon::bench::measure}});
}
