// The object of a TorchScript archive as a dict of attributes with the names that state_dict gives them: modules are
// levels joined by dots ("encoder.layers.0.weight"), what else an attribute holds keeps its own nesting.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "formats/pickle.h"
#include "formats/torchscript_code.h"
#include "tenon/draft.h"
#include "tenon/snapshot.h"

namespace tenon {

struct TorchScriptModule {
  PickleGraph graph{};                                  // its root is the dict, unless the object is no module
  std::unordered_map<std::string, TensorKind> kinds{};  // of rows by name; a name that is not here is plain
};

// Leaves out `training` and `_is_full_backward_hook`, which every module has. Values lose what only TorchScript gives
// them (see make_plain). `file` names the pickle. Throws limit for names that grow beyond all measure.
TorchScriptModule flatten_torchscript(PickleGraph object, const TorchScriptClasses& classes, const std::string& file);

// Gives rows the kinds that the module's classes declare.
void apply_kinds(const TorchScriptModule& module, std::vector<TensorDraft>& tensors);

// Rewrites what TorchScript's pickler says in its own words in those of torch.save: typed lists and dicts, instances
// of compiled classes (their state), named tuples, sparse tensors, tensors without bytes.
void make_plain(PickleGraph& graph, const std::string& file);

}  // namespace tenon
