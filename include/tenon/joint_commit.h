// One snapshot made by several processes ("ranks") of one machine, in one transaction.
//
//   one of them, the coordinator                    every rank, side by side; the coordinator may be one, too
//   JointCommit joint(store, {.ref = "main"});
//   joint.ticket()             -- any means -->     JointPart part = JointCommit::write_part(store, ticket, draft)
//   joint.commit(parts, head)  <-- any means --     part
//
// The ranks' bytes go straight into the segment in flight, each rank's into a part of its own, compared with the ref's
// tip and digested as by Store::commit. What a rank hands back is small: rows, digests, places.
//
// Who dies leaves nothing: a rank's share of the file is given back when the coordinator commits without it, and
// without a coordinator there is no commit; its file is removed by the next cleaning.
// Threads: write_part from any; a JointCommit belongs to one thread at a time. Errors: tenon::Error.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tenon/export.h"
#include "tenon/store.h"

namespace tenon {

// What one rank wrote, as bytes to be sent. Good for the JointCommit whose ticket it was written for.
using JointPart = std::vector<std::byte>;

class TENON_API JointCommit {
 public:
  // `options.progress` is not called: bytes are the ranks' business. Throws as Store::commit does.
  explicit JointCommit(Store& store, const CommitOptions& options = {});
  JointCommit(JointCommit&&) noexcept;
  JointCommit& operator=(JointCommit&&) noexcept;
  // Not committed: nothing remains.
  ~JointCommit();

  // A line of text for the ranks. Tells file, ref, and whether statistics are wanted.
  const std::string& ticket() const noexcept;

  // In a rank, with a store that it opened itself: writes the slots of `draft`, and makes them durable if the store is.
  // Structure, attachments, message, step and meta of the draft are not looked at. Throws conflict if the ticket is no
  // good any more: committed, given up, or its coordinator died.
  static JointPart write_part(Store& store, const std::string& ticket, const Draft& draft,
                              const std::function<void(const Progress&)>& progress = {});

  // The rows of all parts, in the order given, are the snapshot's; names must differ. `head` says the rest: structure,
  // attachments, message, step, meta; its rows and slots must be none. Waits for ranks that are writing (busy after a
  // minute: one is stopped). Throws conflict where the ref is not where it was expected, or where gc took what a part
  // reused. Once only, whatever comes of it: after a failure begin anew.
  CommitResult commit(std::span<const JointPart> parts, const Draft& head = {});

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace tenon
