// Writes down every change to the files under TENON_FAULT_PREFIX, with its data, in the order in which they happened:
// the material from which power cuts are rebuilt. On only when TENON_FAULT_RECORD names a file to append to.
//
// One line per operation, fields separated by tabs, inode numbers for files (a name may move), then the data of a
// write:
//   write INODE OFFSET SIZE DSYNC     followed by SIZE bytes; DSYNC is 1 when the descriptor makes its own writes
//   durable truncate INODE SIZE               also for allocation that makes a file longer sync INODE create INODE PATH
//   | mkdir INODE PATH | link INODE PATH rename INODE FROM TO unlink PATH | rmdir PATH
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

namespace tenon::faults {

bool is_recording();

// Held around a call and its record, so that the record has the order of the calls.
class RecordLock {
 public:
  RecordLock();
  ~RecordLock();
  RecordLock(const RecordLock&) = delete;
  RecordLock& operator=(const RecordLock&) = delete;
};

// Where a write without an offset will go.
off_t next_offset(int descriptor);
bool exists(const char* path);

// After the call succeeded; `written` bytes of the pieces were taken.
void record_write(int descriptor, off_t offset, const iovec* pieces, int count, size_t written);
void record_size(int descriptor);
void record_sync(int descriptor);
// `operation` is create, mkdir or link: a name that now is.
void record_entry(const char* operation, const char* path);
void record_rename(const char* from, const char* to);
// Ends the program when recording: a change came by a way that is not written down.
void refuse_to_record(const char* call);
// unlink or rmdir.
void record_removal(const char* operation, const char* path);

}  // namespace tenon::faults
