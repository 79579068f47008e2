// tenon-fault-observe STORE REFERENCES NAME...: says to which known checkpoints a store leads, byte by byte.
//
// REFERENCES holds a folder per known checkpoint: the file `names` (a line "NAME<tab>FIRST" per tensor in order, FIRST
// being the name whose storage it shares, its own if none) and each storage as a file called FIRST. Prints
//   ref NAME CHECKPOINT...   for each ref and tag of the catalog: its history, newest first
//   head NAME CHECKPOINT     for each NAME given that can be opened (which goes by the head file): its tip
// Exit codes are the command's: 0, 10 no store, 4 damage, 1 any other error.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "tenon/tenon.h"

namespace {

using tenon::Snapshot;
using tenon::SnapshotId;
using tenon::Store;

struct ReferenceTensor {
  std::string name;
  std::string first;
  std::vector<char> bytes;
};

struct Reference {
  std::string label;
  std::vector<ReferenceTensor> tensors;
};

std::vector<char> read_all(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path.string());
  return {std::istreambuf_iterator<char>(file), {}};
}

Reference read_reference(const std::filesystem::path& folder) {
  Reference reference{folder.filename().string(), {}};
  std::ifstream names(folder / "names");
  for (std::string line; std::getline(names, line);) {
    const std::size_t tab = line.find('\t');
    const std::string first = line.substr(tab + 1);
    reference.tensors.push_back({line.substr(0, tab), first, read_all(folder / first)});
  }
  if (reference.tensors.empty()) throw std::runtime_error("no reference in " + folder.string());
  return reference;
}

std::vector<Reference> read_references(const std::filesystem::path& folder) {
  std::vector<Reference> references;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    references.push_back(read_reference(entry.path()));
  return references;
}

// The same tensors in the same order, the same bytes, and storages shared by the same tensors.
bool is_same(const Snapshot& snapshot, const Reference& reference) {
  if (snapshot.size() != reference.tensors.size()) return false;
  std::map<std::string, std::uint32_t> slots;
  for (std::uint32_t row = 0; row < snapshot.size(); ++row) {
    const ReferenceTensor& wanted = reference.tensors[row];
    if (snapshot.row(row).name != wanted.name) return false;
    const auto [slot, is_new] = slots.emplace(wanted.first, snapshot.row(row).slot);
    if (slot->second != snapshot.row(row).slot || is_new != (wanted.first == wanted.name)) return false;
    const auto bytes = std::as_bytes(std::span(wanted.bytes));
    const tenon::View view = snapshot.view(row);
    if (view.dtype() != tenon::DType::float32 || !std::ranges::equal(view.bytes(), bytes)) return false;
  }
  return slots.size() == snapshot.slot_count();
}

std::string label_of(const Snapshot& snapshot, const std::vector<Reference>& references) {
  for (const Reference& reference : references) {
    if (is_same(snapshot, reference)) return reference.label;
  }
  return "unknown";
}

void print_history(const Store& store, const tenon::RefInfo& ref, const std::vector<Reference>& references) {
  std::printf("ref %s", ref.name.c_str());
  for (const tenon::SnapshotInfo& info : store.log(to_hex(ref.id))) {
    std::printf(" %s", label_of(store.snapshot(to_hex(info.id)), references).c_str());
  }
  std::printf("\n");
}

void print_head(const Store& store, const std::string& name, const std::vector<Reference>& references) {
  try {
    std::printf("head %s %s\n", name.c_str(), label_of(store.snapshot(name), references).c_str());
  } catch (const tenon::Error& error) {
    if (error.kind() != tenon::ErrorKind::not_found || !error.facts().file.empty()) throw;  // a file, not a name
  }
}

int observe(const char* store_path, const char* references_path, std::span<char*> names) {
  const std::vector<Reference> references = read_references(references_path);
  const Store store = Store::open(store_path);
  for (const tenon::RefInfo& ref : store.refs()) print_history(store, ref, references);
  for (const char* const name : names) print_head(store, name, references);
  return 0;
}

int exit_code_of(tenon::ErrorKind kind) {
  switch (kind) {
    case tenon::ErrorKind::no_store:
      return 10;
    case tenon::ErrorKind::corrupt:
      return 4;
    default:
      return 1;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  try {
    return observe(argv[1], argv[2], std::span(argv, static_cast<std::size_t>(argc)).subspan(3));
  } catch (const tenon::Error& error) {
    std::fprintf(stderr, "%s: %s\n", tenon::error_kind_name(error.kind()), error.what());
    return exit_code_of(error.kind());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
