// What a failure looks like to the person or script that called, and the exit code it gets.
#pragma once

#include "tenon/error.h"

namespace tenon::tools {

namespace exit_code {
inline constexpr int ok = 0;
inline constexpr int failed = 1;
inline constexpr int usage = 2;
inline constexpr int in_part = 3;
inline constexpr int damage = 4;
inline constexpr int no_store = 10;
inline constexpr int busy = 11;
inline constexpr int too_new = 13;
inline constexpr int ref_conflict = 14;
inline constexpr int interrupted = 130;  // by SIGINT; 128 + the signal by others
}  // namespace exit_code

// Damage to a foreign file, or a name that is taken by something other than a ref, is a plain failure:
// the verbs that meet those say so with Failure.
int exit_code_of(ErrorKind kind) noexcept;

// An error together with the exit code that its verb gives it.
struct Failure {
  Error error;
  int code;
};

// "tenon: what: file at offset N: got X, wanted Y" and a line "hint: ..."; one JSON object if `json`.
void print_error(const Error& error, int code, bool json);

}  // namespace tenon::tools
