// show: one tensor from near, or the structure of a snapshot.
#include <fmt/format.h>

#include <algorithm>

#include "tenon/name.h"
#include "tools/content.h"
#include "tools/failure.h"
#include "tools/histogram.h"
#include "tools/progress.h"
#include "tools/text.h"
#include "tools/verbs.h"

namespace tenon::tools {
namespace {

constexpr std::size_t histogram_height = 6;
constexpr std::size_t histogram_bins_max = 64;
constexpr std::uint64_t histogram_samples_max = 1 << 24;

// How another row of the same slot lies to `row`.
std::string relation(const TensorRow& row, const TensorRow& other, std::uint64_t slot_bytes) {
  if (row.object == other.object) return "same tensor";
  if (has_same_elements(row, other)) return "same elements";
  const ByteRange a = Selection(row).byte_range(slot_bytes);
  const ByteRange b = Selection(other).byte_range(slot_bytes);
  return a.begin < b.end && b.begin < a.end ? "overlaps" : "same storage, apart";
}

struct Share {
  std::string name;
  std::string relation;
};

std::vector<Share> shares_of(const Content& content, std::uint32_t index) {
  std::vector<Share> shares;
  const TensorRow row = content.row(index);
  if (row.slot == no_slot) return shares;
  for (std::uint32_t i = 0; i < content.size(); ++i) {
    const TensorRow other = content.row(i);
    if (i == index || other.slot != row.slot) continue;
    shares.push_back({std::string(other.name), relation(row, other, content.slot(row.slot).nbytes)});
  }
  return shares;
}

// One tensor with what its values say.
struct Portrait {
  TensorRow row;
  std::vector<Share> shares;
  std::optional<Statistics> statistics;
  std::optional<Histogram> histogram;
  bool is_too_long_a_walk = false;  // so that there are no statistics
};

Portrait portray(const Content& content, std::uint32_t index, std::size_t bins) {
  Portrait portrait{
      .row = content.row(index), .shares = shares_of(content, index), .statistics = content.statistics(index)};
  const TensorRow& row = portrait.row;
  if (row.slot == no_slot || element_count(row) == 0) return portrait;
  const Progress reading("show", true);  // Ctrl-C is asked for while it lives
  const Selection all(row);
  const ByteRange range = all.byte_range(content.slot(row.slot).nbytes);
  std::vector<std::byte> buffer;
  const Elements elements(all, content.bytes(row.slot, range.begin, range.end, buffer));
  if (!portrait.statistics) {
    portrait.is_too_long_a_walk = is_too_long_a_walk(elements);
    if (!portrait.is_too_long_a_walk) portrait.statistics = compute_statistics(elements);
  }
  portrait.histogram = compute_histogram(elements, bins, histogram_samples_max);
  return portrait;
}

void append_json(Json::Object& object, const Portrait& portrait) {
  Json::Array shares;
  for (const Share& share : portrait.shares) {
    shares.emplace_back(Json::Object{{"name", share.name}, {"relation", share.relation}});
  }
  object.emplace_back("shares_with", std::move(shares));
  if (portrait.statistics) {
    const Statistics& statistics = *portrait.statistics;
    const Summary summary = summarize(statistics, element_count(portrait.row));
    object.insert(object.end(), {{"nan_count", statistics.nan_count},
                                 {"inf_count", statistics.inf_count},
                                 {"zero_count", statistics.zero_count},
                                 {"min", summary.min},
                                 {"max", summary.max},
                                 {"mean", summary.mean},
                                 {"std", summary.std},
                                 {"norm", summary.norm}});
  }
  if (portrait.histogram) {
    const Histogram& histogram = *portrait.histogram;
    object.emplace_back("histogram",
                        Json::Object{{"low", histogram.low},
                                     {"high", histogram.high},
                                     {"sampled", histogram.sampled},
                                     {"counts", Json::Array(histogram.counts.begin(), histogram.counts.end())}});
  }
}

void print_fact(Output& output, std::string_view title, std::string_view fact) {
  output.line(fmt::format("  {}{}", output.dim(pad_right(title, 13)), fact));
}

void print_geometry(const Content& content, const TensorRow& row, Output& output) {
  print_fact(output, "dtype", dtype_name(row.dtype));
  print_fact(output, "shape",
             fmt::format("{}  {}, {}", format_shape(row.shape), format_plural(element_count(row), "element"),
                         format_bytes(tensor_bytes(row))));
  print_fact(output, "stride",
             fmt::format("{}{}", format_shape(row.stride), is_contiguous(row.shape, row.stride) ? "  contiguous" : ""));
  print_fact(output, "kind",
             fmt::format("{}{}{}{}", kind_name(row.kind), row.requires_grad ? ", requires grad" : "",
                         row.is_conj ? ", conjugated" : "", row.is_neg ? ", negated" : ""));
  if (!row.wrapper.empty()) print_fact(output, "wrapper", printable(row.wrapper));
  if (!row.quantizer.empty()) print_fact(output, "quantizer", printable(row.quantizer));
  if (!row.global_shape.empty()) {
    print_fact(output, "shard",
               fmt::format("at {} of {}", format_shape(row.global_offset), format_shape(row.global_shape)));
  }
  if (row.slot == no_slot) {
    print_fact(output, "slot", "none: a tensor without data");
    return;
  }
  const SlotRow slot = content.slot(row.slot);
  print_fact(output, "slot",
             fmt::format("{}  {} at {}, from byte {}", row.slot, format_bytes(slot.nbytes), printable(slot.location),
                         row.storage_offset_bytes));
  if (content.snapshot() != nullptr) print_fact(output, "storage", to_hex(slot.key));
}

std::string optional_number(const std::optional<double>& value) { return value ? format_number(*value) : "-"; }

void print_statistics(const Statistics& statistics, std::uint64_t elements, Output& output) {
  const Summary summary = summarize(statistics, elements);
  print_fact(output, "values",
             fmt::format("{} nan, {} inf, {} zero", format_count(statistics.nan_count),
                         format_count(statistics.inf_count), format_count(statistics.zero_count)));
  print_fact(output, "min, max", fmt::format("{}, {}", optional_number(summary.min), optional_number(summary.max)));
  print_fact(output, "mean, std", fmt::format("{}, {}", optional_number(summary.mean), optional_number(summary.std)));
  print_fact(output, "norm", optional_number(summary.norm));
}

void print_histogram(const Histogram& histogram, std::uint64_t elements, Output& output) {
  output.line("");
  for (const std::string& line : draw(histogram, histogram_height)) {
    output.line("  " + line.substr(0, line.find_last_not_of(' ') + 1));
  }
  const std::string low = format_number(histogram.low);
  output.line(
      fmt::format("  {}{}", low, pad_left(format_number(histogram.high), histogram.counts.size() - low.size())));
  if (histogram.sampled < elements / 2) {
    output.line(output.dim(fmt::format("  from {} evenly spaced elements", format_count(histogram.sampled))));
  }
}

void print_portrait(const Content& content, const Portrait& portrait, Output& output) {
  output.line(output.bold(printable(portrait.row.name)));
  print_geometry(content, portrait.row, output);
  for (const Share& share : portrait.shares) {
    print_fact(output, "shares with", fmt::format("{}  ({})", printable(share.name), share.relation));
  }
  const std::uint64_t elements = element_count(portrait.row);
  if (portrait.statistics) print_statistics(*portrait.statistics, elements, output);
  if (portrait.is_too_long_a_walk) {
    print_fact(output, "values", fmt::format("not computed: {}", format_plural(elements, "element")));
  }
  if (portrait.histogram) print_histogram(*portrait.histogram, elements, output);
}

int show_structure(const Opened& opened, Output& output) {
  const std::string text = opened.content.structure_text();
  if (output.is_json()) {
    output.record("show", {{"snapshot_id", opened.content.snapshot_id()}, {"structure", text}});
  } else {
    output.write(text);
    if (!text.ends_with('\n')) output.write("\n");
  }
  return exit_code::ok;
}

}  // namespace

int run_show(const Globals& globals, const ShowArguments& arguments, Output& output) {
  const Opened opened = open_content(globals.store, arguments.target);
  if (arguments.structure) return show_structure(opened, output);
  const std::size_t line = output.columns() == 0 ? histogram_bins_max + 4 : std::max<std::size_t>(output.columns(), 24);
  const std::uint32_t index = find_tensor(opened);
  const Portrait portrait = portray(opened.content, index, std::min(line - 4, histogram_bins_max));
  if (output.is_json()) {
    Json::Object object = row_members(opened.content, portrait.row);
    append_json(object, portrait);
    output.record("show", std::move(object));
  } else {
    print_portrait(opened.content, portrait, output);
  }
  return exit_code::ok;
}

}  // namespace tenon::tools
