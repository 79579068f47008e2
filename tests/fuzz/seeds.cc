// Makes what the targets begin with: from files given (samples found in the wild), and from what Tenon itself writes.
//
//   fuzz_seeds OUT [FILE...]     writes OUT/<target>/<number>
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "formats/recognition.h"
#include "segment_image.h"
#include "store/binding.h"
#include "store/catalog_rows.h"
#include "store/heads.h"
#include "store/journal.h"
#include "store/layout.h"
#include "store/store_state.h"
#include "store/superblock.h"
#include "tenon/tenon.h"
#include "zip_image.h"

namespace {

using namespace tenon;
using fuzz::Bytes;
namespace fs = std::filesystem;

constexpr std::uint64_t seed_bytes_max = 32 << 10;
constexpr std::size_t meta_page_bytes = 4096;

class Seeds {
 public:
  explicit Seeds(fs::path out) : out_(std::move(out)) {}

  void add(const std::string& target, std::span<const std::byte> bytes) {
    if (bytes.size() > seed_bytes_max) return;
    fs::create_directories(out_ / target);
    std::ofstream(out_ / target / std::to_string(counts_[target]++), std::ios::binary) << fuzz::as_text(bytes);
  }
  void add(const std::string& target, std::string_view text) { add(target, std::as_bytes(std::span(text))); }
  void add(const std::string& target, const fs::path& file) {
    if (fs::file_size(file) <= seed_bytes_max) add(target, std::span<const std::byte>(read_file(file, seed_bytes_max)));
  }

 private:
  fs::path out_;
  std::map<std::string, int> counts_;
};

const char* target_of(FileFormat format) {
  switch (format) {
    case FileFormat::torch_zip:
      return "torch";
    case FileFormat::torch_legacy:
    case FileFormat::torch_tar:
      return "legacy";
    case FileFormat::torchscript:
      return "torchscript";
    case FileFormat::safetensors:
      return "safetensors";
    case FileFormat::npy:
    case FileFormat::npz:
      return "numpy";
    case FileFormat::sharded:
      return "sharded";
  }
  return "torch";
}

// ---- from a store

// The same snapshot, its first slot in two pieces: what a commit writes only from 1 MiB on.
void add_stitched(Seeds& seeds, std::span<const std::byte> bundle, const SnapshotState& snapshot) {
  constexpr std::uint64_t page = 4096;
  auto image = fuzz::SegmentImage::parse(bundle);
  if (!image || snapshot.layout().slot_count() == 0 || snapshot.layout().slot_bytes(0) <= page) return;
  BindingDraft binding{.segments = {snapshot.binding().segments().begin(), snapshot.binding().segments().end()}};
  for (std::uint32_t slot = 0; slot < snapshot.layout().slot_count(); ++slot) {
    binding.slots.push_back(snapshot.placement(slot));
  }
  format::Extent& first = binding.slots[0][0];
  const format::Extent second{first.segment, 0, first.offset + page, first.size - page};
  first.size = page;
  binding.slots[0].push_back(second);
  image->find(format::SectionKind::binding)->bytes = encode_binding(binding);
  seeds.add("segment", image->make(true));
}

void add_row(Seeds& seeds, const catalog_rows::Key& key, std::span<const std::byte> value) {
  Bytes row{static_cast<std::byte>(key.bytes().size())};
  row.insert(row.end(), key.bytes().begin(), key.bytes().end());
  row.insert(row.end(), value.begin(), value.end());
  seeds.add("catalog", row);
}

void add_bundle(Seeds& seeds, const fs::path& path) {
  const auto snapshot = SnapshotState::open({}, File::open(path), nullptr, nullptr, Mode::shared);
  const Segment& segment = snapshot->holder();
  seeds.add("segment", path);
  seeds.add("layout", snapshot->layout_bytes());
  seeds.add("structure", snapshot->structure_bytes());
  const Bytes row = encode_snapshot_row({.holder = segment.reference(),
                                         .record = segment.section(format::SectionKind::record),
                                         .keys = segment.section(format::SectionKind::keys),
                                         .binding = segment.section(format::SectionKind::binding)});
  add_row(seeds, catalog_rows::Key(catalog_rows::Table::snapshots, snapshot->info().id), row);
  if (fs::file_size(path) <= seed_bytes_max) add_stitched(seeds, read_file(path, seed_bytes_max), *snapshot);
}

// What became of one file or draft, as snapshot and as files of every format that can say it.
class Workshop {
 public:
  Workshop(Seeds& seeds, fs::path folder)
      : seeds_(seeds), folder_(std::move(folder)), store_(Store::init(folder_ / "run.tenon", {Durability::relaxed})) {}

  void add(const Draft& draft) {
    store_.commit(draft);
    const fs::path bundle = next(".tenon");
    store_.bundle("main", bundle);
    add_bundle(seeds_, bundle);
  }

  void export_all() {
    const Snapshot snapshot = store_.snapshot();
    write(snapshot, export_torch, ".pt");
    write(snapshot, export_torchscript, ".pt");
    write(snapshot, export_safetensors, ".safetensors");
    write(snapshot, export_npz, ".npz");
  }

  // History, and the small files that keep it.
  void add_store() {
    const SnapshotId tip = store_.resolve("main");
    store_.create_tag("first", store_.log("main").back().id);
    store_.set_ref("experiments/b", tip);
    store_.set_ref("main", store_.log("main").at(1).id, tip);
    store_.undo();
    store_.delete_ref("experiments/b");
    store_.forget({.keep = {.last = 1}});
    const StorePaths paths{store_.path()};
    seeds_.add("journal", paths.journal());
    seeds_.add("superblock", paths.root / superblock_name);
    for (const auto& head : fs::directory_iterator(paths.heads())) seeds_.add("head", head.path());
    const Bytes pages = read_file(paths.catalog() / "data.mdb", std::uint64_t{1} << 30);
    seeds_.add("meta_pages", std::span(pages).first(std::min(pages.size(), 2 * meta_page_bytes)));
  }

 private:
  fs::path next(const char* ending) { return folder_ / (std::to_string(files_++) + ending); }

  template <typename Export>
  void write(const Snapshot& snapshot, const Export& to, const char* ending) {
    const fs::path path = next(ending);
    if (!fuzz::allow(fuzz::refusals, [&] { to(snapshot, path, {.sync = false}); })) return;
    seeds_.add(target_of(ImportedFile::open(path).format()), path);
    if (ending != std::string_view(".safetensors")) seeds_.add("zip", path);
  }

  Seeds& seeds_;
  fs::path folder_;
  Store store_;
  int files_ = 0;
};

// ---- from files

// Pickles begin with a protocol, or are bare in old files.
void add_pickles(Seeds& seeds, const fs::path& path) {
  const Bytes bytes = read_file(path, seed_bytes_max);
  seeds.add("globals", std::span<const std::byte>(bytes));
  if (const auto parts = fuzz::take_zip_apart(bytes)) {
    seeds.add("zip", std::span<const std::byte>(bytes));
    for (const fuzz::ZipPart& part : *parts) {
      if (part.is_stored && part.name.ends_with(".pkl")) seeds.add("pickle", part.payload);
    }
  } else if (!bytes.empty() && bytes[0] == std::byte{0x80}) {
    seeds.add("pickle", std::span<const std::byte>(bytes));
  }
}

void add_file(Seeds& seeds, Workshop& workshop, const fs::path& path) {
  if (!fs::is_regular_file(path) || fs::file_size(path) > seed_bytes_max) return;
  add_pickles(seeds, path);
  const bool is_read =
      fuzz::allow({ErrorKind::corrupt, ErrorKind::unsupported, ErrorKind::limit, ErrorKind::not_found}, [&] {
        const ImportedFile file = ImportedFile::open(path);
        seeds.add(target_of(file.format()), path);
        workshop.add(file.draft());
      });
  if (!is_read) seeds.add(path.extension() == ".json" ? "sharded" : "torch", path);
}

// ---- by hand

Draft some_draft() {
  static const std::vector<float> weights(2048, 0.5f);
  static const std::vector<std::int64_t> numbers{1, 2, 3, 4, 5, 6};
  Draft draft;
  draft.slots = {{.nbytes = weights.size() * sizeof(float), .source = {.memory = std::as_bytes(std::span(weights))}},
                 {.nbytes = 48, .source = {.memory = std::as_bytes(std::span(numbers))}, .location = "cuda:0"},
                 {.nbytes = 0}};
  draft.tensors = {
      {.name = "model/fc.weight",
       .dtype = DType::float32,
       .kind = TensorKind::parameter,
       .requires_grad = true,
       .slot = 0,
       .shape = {32, 64},
       .stride = {64, 1}},
      {.name = "model/tied", .dtype = DType::float32, .slot = 0, .object = 0, .shape = {32, 64}, .stride = {64, 1}},
      {.name = "model/fc.weight.T", .dtype = DType::float32, .slot = 0, .shape = {64, 32}, .stride = {1, 64}},
      {.name = "step", .dtype = DType::int64, .slot = 1, .storage_offset_bytes = 8, .shape = {}, .stride = {}},
      {.name = "even", .dtype = DType::int64, .slot = 1, .shape = {3}, .stride = {2}},
      {.name = "empty", .dtype = DType::bfloat16, .slot = 2, .shape = {0, 7}, .stride = {7, 1}},
      {.name = "meta",
       .dtype = DType::float16,
       .shape = {1 << 20, 1 << 20},
       .stride = {1 << 20, 1},
       .wrapper = "W",
       .global_shape = {1 << 21},
       .global_offset = {0}}};
  draft.attachments = {{.name = "extra/notes.txt", .bytes = Bytes(20)}};
  draft.message = "by hand";
  draft.step = 1200;
  draft.meta = R"({"loss":0.25,"eval":{"top1":0.5,"tags":["a",null]}})";
  return draft;
}

Draft flat_draft() {
  Draft draft = some_draft();
  draft.tensors.erase(draft.tensors.begin() + 5, draft.tensors.end());
  draft.tensors[1].object.reset();
  return draft;
}

void add_texts(Seeds& seeds) {
  for (const char* text : {"model/fc.weight", "state/0", "state/\"0\"", "<2.5>", ".", "\"a/b\"/<(1, '>>a')>", "main~3",
                           "main@2026-11-20T1530", "main@step:1200", "main@min:eval.loss~2", "12ab", "experiments/b",
                           "model/module.fc._orig_mod.weight"})
    seeds.add("names", std::string_view(text));
  for (const char* text :
       {"SELECT name, norm FROM tensors('main') WHERE name GLOB 'w*' ORDER BY name DESC LIMIT 2",
        "SELECT step, delta_norm, at(tensor, 0, 1) FROM history('main', 'w')",
        "SELECT name, change, max_abs_diff FROM diff('main~1', 'main') WHERE change <> 'same'",
        "SELECT i, max(value) FROM elements('main', 'w', ':,::2') GROUP BY i",
        "SELECT r.name, count(*) FROM refs r LEFT JOIN tensors t ON t.rev = r.name GROUP BY 1",
        "SELECT name FROM tensors WHERE name = 'w' AND step = 1 OR storage_id IN (SELECT storage_id FROM slots)",
        "SELECT sparkline(norm), percentile(norm, 50) FROM history('main') WHERE name REGEXP '^w'",
        "SELECT quantile(tensor, 0.5), histogram(tensor, 3), slice(tensor, ':2') FROM tensors('best:w')",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n",
        "EXPLAIN SELECT * FROM snapshots s JOIN tensors t USING (snapshot_id)", "ATTACH '/tmp/x' AS x",
        "SELECT meta->>'loss', freed_bytes FROM log ORDER BY step", "SELECT * FROM read_npz('none.npz')",
        "SELECT snapshot_count, file_bytes FROM storages, segments USING (segment_id)"})
    seeds.add("sql", std::string_view(text));
  for (const char* text :
       {R"({"safetensors":{"format":"pt","k":"\u00e9\ud83d\ude00"},"n":[1,2.5e3,-1,null,true,"x"]})",
        R"({"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})", "[[[[]]]]", "18446744073709551615"})
    seeds.add("json", std::string_view(text));
  for (const char* text : {R"({"weight_map":{"w":"a.safetensors","b":"b.safetensors"},"metadata":{"total_size":11}})",
                           R"({"weight_map":{"b":"b.safetensors"}})", R"({"weight_map":{"w":"../a.safetensors"}})"})
    seeds.add("sharded", std::string_view(text));
}

void add_rows(Seeds& seeds) {
  using catalog_rows::Key;
  using catalog_rows::Table;
  catalog_rows::StoredRoot root{.store_id = {1, 2}, .transaction = 7, .snapshots = {}, .segments = {}, .root = {}};
  root.root.refs = {{.name = "main"}, {.name = "v1", .is_tag = true}};
  add_row(seeds, Key(Table::root), catalog_rows::encode_root(root));
  add_row(seeds, Key(Table::segments, 3), catalog_rows::encode_segment({.uuid = {3, 4}, .file_bytes = 4096}));
  const StorageHint hints[] = {{1, 0}, {2, 5}};
  add_row(seeds, Key(Table::hints, 99), catalog_rows::encode_hints(hints));
  add_row(seeds, Key(Table::forgotten, Digest{5, 6}), catalog_rows::encode_forgotten({.sequence = 9}));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  Seeds seeds(argv[1]);
  const fs::path folder = fuzz::scratch_folder();
  {
    Workshop workshop(seeds, folder);
    workshop.add(flat_draft());
    workshop.export_all();
    workshop.add(some_draft());
    workshop.export_all();
    workshop.add(flat_draft());
    workshop.add_store();
    add_texts(seeds);
    add_rows(seeds);
    for (int i = 2; i < argc; ++i) add_file(seeds, workshop, argv[i]);
  }
  fs::remove_all(folder);
}
