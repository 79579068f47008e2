// tree: the names of a snapshot folded into a tree with sizes.
#include <fmt/format.h>

#include "tenon/name.h"
#include "tools/failure.h"
#include "tools/name_tree.h"
#include "tools/table.h"
#include "tools/text.h"
#include "tools/verbs.h"

namespace tenon::tools {
namespace {

Json::Object to_object(const NameNode& node, const Content& content) {
  Json::Object object = {{"label", node.label}, {"tensors", node.tensors}, {"nbytes", countable(node.nbytes)}};
  if (node.folded > 1) object.emplace_back("folded", node.folded);
  if (node.row) {
    const TensorRow row = content.row(*node.row);
    object.emplace_back("dtype", dtype_name(row.dtype));
    object.emplace_back("shape", to_json(row.shape));
    return object;
  }
  Json::Array children;
  for (const NameNode& below : node.children) children.emplace_back(to_object(below, content));
  object.emplace_back("children", std::move(children));
  return object;
}

// One line per node, lines drawn to the children down to `depth_max`.
class TreeTable {
 public:
  TreeTable(const Content& content, std::size_t depth_max) : content_(content), depth_max_(depth_max) {}

  void add_root(const NameNode& root, const std::string& title) {
    add_line(root, title);
    if (depth_max_ > 0) add_children(root, "", 0);
  }
  void print(Output& output) const { table_.print(output); }

 private:
  void add_children(const NameNode& node, const std::string& lines, std::size_t depth) {
    for (const NameNode& below : node.children) {
      const bool is_last = &below == &node.children.back();
      add_line(below, lines + (is_last ? "└─ " : "├─ ") + printable(below.label));
      if (depth + 1 < depth_max_) add_children(below, lines + (is_last ? "   " : "│  "), depth + 1);
    }
  }

  void add_line(const NameNode& node, std::string title) {
    table_.add({std::move(title), format_count(node.tensors), format_bytes(node.nbytes), describe(node)});
  }

  std::string describe(const NameNode& node) const {
    std::string text;
    if (node.row) {
      const TensorRow row = content_.row(*node.row);
      text = fmt::format("{} {}", dtype_name(row.dtype), format_shape(row.shape));
    }
    if (node.folded > 1) text += fmt::format("{}x {}", text.empty() ? "" : "  ", node.folded);
    return text;
  }

  const Content& content_;
  std::size_t depth_max_;
  Table table_{{{"NAME"}, {"TENSORS", Align::right}, {"SIZE", Align::right}, {"WHAT", Align::left, true}}};
};

}  // namespace

int run_tree(const Globals& globals, const TreeArguments& arguments, Output& output) {
  const Opened opened = open_content(globals.store, arguments.target);
  NameNode root = build_name_tree(opened.content, opened.content.select(opened.path));
  if (!arguments.unfolded) fold(root, opened.content);
  join_chains(root);
  if (output.is_json()) {
    Json::Object object = to_object(root, opened.content);
    object.insert(object.begin(), {"snapshot_id", opened.content.snapshot_id()});
    output.record("tree", std::move(object));
    return exit_code::ok;
  }
  TreeTable table(opened.content, arguments.depth_max);
  table.add_root(root, printable(opened.label));
  table.print(output);
  return exit_code::ok;
}

}  // namespace tenon::tools
