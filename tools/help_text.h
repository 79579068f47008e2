// What `tenon help VERB` says besides the options: the manual of each verb.
#pragma once

#include <string_view>

namespace tenon::tools {

struct HelpText {
  std::string_view verb;
  std::string_view summary;  // one line, beside the verb in the list of verbs
  std::string_view details;  // paragraphs and examples, below the options
};

// REQUIRES: `verb` is one of the command's.
const HelpText& help_text(std::string_view verb);

extern const std::string_view general_help;

}  // namespace tenon::tools
