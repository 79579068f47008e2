// What the source text in a TorchScript archive declares about a class: which of its attributes are parameters, which
// are buffers. The text is read line by line for these two lists and nothing else; it is never parsed as a program.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "tenon/snapshot.h"

namespace tenon {

class TorchScriptClasses {
 public:
  // `record` is the text's name in the archive: "code/__torch__/pkg/module.py" holds classes of the module
  // `__torch__.pkg.module`. What is not understood declares nothing.
  void add_source(std::string_view record, std::string_view text);
  // What a model.json says in place of the text.
  void declare(std::string_view class_name, std::string_view attribute, TensorKind kind);
  // `class_name` with its module: "__torch__.pkg.module.Linear". plain if nothing is declared.
  TensorKind kind_of(std::string_view class_name, std::string_view attribute) const;

 private:
  struct Declaration {
    std::set<std::string, std::less<>> parameters;
    std::set<std::string, std::less<>> buffers;
  };
  std::map<std::string, Declaration, std::less<>> classes_;
};

// A string as TorchScript's source has it, quotes and all: printable ASCII as it is, every other byte in octal.
std::string torchscript_quoted(std::string_view text);

}  // namespace tenon
