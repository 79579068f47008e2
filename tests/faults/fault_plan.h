// Which of the calls that change files is to fail, and how.
//
// Set by the environment, for one run of a program:
//   TENON_FAULT_PREFIX=DIR   count only calls on files under DIR (a real path); nothing happens without it
//   TENON_FAULT_MODE=MODE    count only calls to which MODE can happen (all of them when unset):
//                              kill     SIGKILL instead of the call                 any call
//                              torn     SIGKILL after half of a write (at the end of a sector), or after another call
//                              short    half of a write, which says so              writes of 2 bytes or more
//                              eintr    EINTR instead of the call                   writes, syncs, space, open
//                              enospc   ENOSPC instead of the call                  writes, space, entries
//                              eio      EIO instead of the call                     any call
//                              failsync EIO instead of the call                     syncs
//   TENON_FAULT_POINT=N      the N-th counted call, from 1; 0 or unset: only count
//   TENON_FAULT_PERSIST=1    that call and every later one
//   TENON_FAULT_LOG=FILE     append a line per counted call: number, name, path, size, and INJECTED when it was hit;
//                            fields are separated by tabs
// One counter serves all threads and forked children.
#pragma once

#include <climits>
#include <cstddef>

namespace tenon::faults {

enum class CallKind {
  write,
  sync,
  space,  // size and allocation
  entry,  // a name comes or moves
  removal,
  attribute,  // permissions
};

struct Call {
  const char* name;
  CallKind kind;
  std::size_t size_bytes = 0;  // of a write
  char path[PATH_MAX] = {};
};

enum class Action { none, pass, die_before, die_halfway, do_half, fail };  // none: not a call that counts

struct Decision {
  Action action = Action::none;
  int error = 0;  // for fail
};

// Counts the call and writes the log.
Decision decide(const Call& call);
bool under_prefix(const char* path);
[[noreturn]] void die();

}  // namespace tenon::faults
