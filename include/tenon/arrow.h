// Rows of a statement as an Arrow C stream: what pyarrow, duckdb, polars and others read without a copy of each value.
// The structures are those of Arrow's C data interface (https://arrow.apache.org/docs/format/CDataInterface.html), an
// ABI that any library's may stand in for.
//
// | SQL                     | Arrow                                                          |
// |-------------------------|----------------------------------------------------------------|
// | INTEGER                 | int64; float64 if a REAL is among the values                   |
// | REAL                    | float64                                                        |
// | BOOLEAN                 | bool                                                           |
// | TEXT, JSON, TIMESTAMP   | large_utf8                                                     |
// | BLOB                    | large_binary                                                   |
// | an expression           | by its values in the first batch; large_utf8 if they are mixed |
//
// NULL is null. An expression that is NULL throughout its first batch is large_utf8.
#pragma once

#include <cstdint>

#include "tenon/export.h"
#include "tenon/query.h"

#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

extern "C" {

struct ArrowSchema {
  const char* format;
  const char* name;
  const char* metadata;
  std::int64_t flags;
  std::int64_t n_children;
  ArrowSchema** children;
  ArrowSchema* dictionary;
  void (*release)(ArrowSchema*);
  void* private_data;
};

struct ArrowArray {
  std::int64_t length;
  std::int64_t null_count;
  std::int64_t offset;
  std::int64_t n_buffers;
  std::int64_t n_children;
  const void** buffers;
  ArrowArray** children;
  ArrowArray* dictionary;
  void (*release)(ArrowArray*);
  void* private_data;
};

}  // extern "C"

#endif  // ARROW_C_DATA_INTERFACE

#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE

extern "C" {

struct ArrowArrayStream {
  int (*get_schema)(ArrowArrayStream*, ArrowSchema* out);
  int (*get_next)(ArrowArrayStream*, ArrowArray* out);
  const char* (*get_last_error)(ArrowArrayStream*);
  void (*release)(ArrowArrayStream*);
  void* private_data;
};

}  // extern "C"

#endif  // ARROW_C_STREAM_INTERFACE

namespace tenon {

inline constexpr std::size_t arrow_batch_rows = 65'536;

// Fills `out` with the rows from the next one on. Reads the first batch, and throws what that throws; what goes wrong
// later comes out of get_next (EINVAL; EINTR where it was interrupted) with the words in get_last_error. Batches and
// schema own their memory and may outlive the stream. Threads: as Rows; one at a time.
TENON_API void export_arrow(Rows rows, ArrowArrayStream* out, std::size_t batch_rows = arrow_batch_rows);

}  // namespace tenon
