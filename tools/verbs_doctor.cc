// doctor: what this machine gives to a store.
#include <fmt/format.h>

#include "tenon/doctor.h"
#include "tenon/name.h"
#include "tools/failure.h"
#include "tools/table.h"
#include "tools/target.h"
#include "tools/verbs.h"

namespace tenon::tools {
namespace {

std::string_view name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::good:
      return "good";
    case Verdict::note:
      return "note";
    case Verdict::warning:
      break;
  }
  return "warning";
}

}  // namespace

int run_doctor(const Globals& globals, const DoctorArguments& arguments, Output& output) {
  const auto store = find_store(globals.store);
  const std::filesystem::path path = !arguments.path.empty() ? arguments.path : store.value_or(".").string();
  const auto findings = examine(path);
  if (output.is_json()) {
    for (const Finding& finding : findings) {
      output.record("doctor", {{"topic", finding.topic},
                               {"verdict", name_of(finding.verdict)},
                               {"what", finding.what},
                               {"hint", finding.hint}});
    }
    return exit_code::ok;
  }
  Table table({{""}, {"WHAT"}, {"FOUND"}, {"WHAT CAN BE DONE", Align::left, true}});
  for (const Finding& finding : findings) {
    table.add({std::string(name_of(finding.verdict)), finding.topic, printable(finding.what), printable(finding.hint)});
  }
  table.print(output);
  return exit_code::ok;
}

}  // namespace tenon::tools
