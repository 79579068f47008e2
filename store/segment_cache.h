// Segments that this process has mapped already, so that commit after commit finds its parent's bytes with their pages
// in place instead of mapping, and faulting in, the same files anew.
//
// Holds no segment alive: whoever uses one does. Threads: any.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "store/segment.h"

namespace tenon {

class SegmentCache {
 public:
  std::shared_ptr<const Segment> find(const format::SegmentReference& wanted) {
    const std::lock_guard lock(mutex_);
    const auto found = segments_.find(wanted.uuid);
    auto segment = found == segments_.end() ? nullptr : found->second.lock();
    return segment && segment->file_bytes() == wanted.file_bytes ? segment : nullptr;
  }
  void add(const std::shared_ptr<const Segment>& segment) {
    const std::lock_guard lock(mutex_);
    std::erase_if(segments_, [](const auto& entry) { return entry.second.expired(); });
    segments_[segment->uuid()] = segment;
  }

 private:
  std::mutex mutex_;
  std::map<Digest, std::weak_ptr<const Segment>> segments_;
};

}  // namespace tenon
