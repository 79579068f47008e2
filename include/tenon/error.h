// The one error type. Thrown for what files, users and disks can cause; our own bugs are asserted.
//
// Example: throw Error(ErrorKind::corrupt, {.what = "segment footer checksum differs", .file = path,
//                      .offset = footer_offset, .got = hex(a), .wanted = hex(b), .hint = "run `tenon repair`"});
#pragma once

#include <cstdint>
#include <exception>
#include <optional>
#include <string>

#include "tenon/export.h"

namespace tenon {

enum class ErrorKind : std::uint8_t {
  not_found = 1,     // a ref, snapshot, tensor or file that is not there
  invalid_argument,  // the caller's mistake
  corrupt,           // bytes that are not what they must be
  conflict,          // the ref moved
  io,                // the system refused a read, write or sync
  full,              // no space, or a quota or size limit of the file system
  unsupported,       // well-formed, but not ours to handle (names what)
  limit,             // larger, deeper or more than a stated limit
  no_store,          // the path is not a store
  busy,              // somebody else holds what is needed
  too_new,           // written by a later format
  interrupted,       // by whoever waited for it
};

// Stable lower-case name, e.g. "corrupt"; used in JSON output and in Python.
TENON_API const char* error_kind_name(ErrorKind kind) noexcept;

// What is known about a failure. Empty fields are left out of the message.
struct Facts {
  std::string what;                       // what happened, one clause, no final stop
  std::string file{};                     // path, or archive.pt(record) for a record inside one
  std::optional<std::uint64_t> offset{};  // bytes from the start of `file`
  std::string got{};
  std::string wanted{};
  std::string hint{};  // what the reader of the message can do
};

class TENON_API Error : public std::exception {
 public:
  Error(ErrorKind kind, Facts facts);
  ~Error() override;
  Error(const Error&);
  Error& operator=(const Error&);

  ErrorKind kind() const noexcept { return kind_; }
  const Facts& facts() const noexcept { return facts_; }
  // "what: file at offset N: got X, wanted Y; hint" with control characters escaped.
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  ErrorKind kind_;
  Facts facts_;
  std::string message_;
};

}  // namespace tenon
