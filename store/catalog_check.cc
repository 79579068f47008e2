#include "store/catalog_check.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace tenon {

namespace {

class CatalogCheck {
 public:
  CatalogCheck(const StorePaths& paths, const Digest& store_id, const KnownTruth& truth)
      : paths_(paths), store_id_(store_id), truth_(truth) {}

  // One finding a line. Runs in the child.
  std::string run() {
    try {
      const Catalog catalog(paths_.catalog(), store_id_, false);
      catalog.check();
      const CatalogReader reader = catalog.read();
      compare_rows(reader);
      compare_refs(reader);
      compare_forgotten(reader);
      compare_segments(reader);
      compare_journal(reader);
    } catch (const std::exception& error) {
      find(error.what());
    }
    return std::move(findings_);
  }

 private:
  void find(const std::string& what) { findings_ += what + "\n"; }

  void compare_rows(const CatalogReader& reader) {
    std::set<SnapshotId> rows;
    for (const SnapshotId& id : reader.snapshots()) {
      rows.insert(id);
      const SnapshotRow row = decode_snapshot_row(*reader.snapshot(id), paths_.catalog().string());
      if (row.record.empty()) continue;  // known to be lost
      const auto known = truth_.snapshots.find(id);
      if (known == truth_.snapshots.end()) {
        find("snapshot " + to_hex(id) + " is in the catalog but in no whole segment");
      } else if (known->second.holder.uuid != row.holder.uuid || known->second.keys != digest_bytes(row.keys) ||
                 known->second.binding != digest_bytes(row.binding) || record_id(row.record) != id) {
        find("snapshot " + to_hex(id) + " differs between catalog and segment");
      }
    }
    // The newest segment may belong to a commit that was killed before its row was written; an older one may not.
    for (const auto& [id, known] : truth_.snapshots) {
      const bool may_be_gone = truth_.forgotten.contains(id) || known.holder.sequence > reader.root().sequence;
      if (!rows.contains(id) && !may_be_gone)
        find("snapshot " + to_hex(id) + " is in a segment but not in the catalog");
    }
  }

  void compare_refs(const CatalogReader& reader) {
    std::set<std::string> names;
    for (const RefRow& ref : reader.root().refs) {
      names.insert(ref.name);
      const auto head = truth_.heads.find(ref.name);
      const bool may_lag = ref.sequence == reader.root().sequence;
      if (head == truth_.heads.end()) {
        if (!may_lag) find("ref '" + ref.name + "' has no head");
      } else if (head->second.sequence > ref.sequence) {
        find("ref '" + ref.name + "' is older in the catalog than its head");
      } else if (!may_lag && (head->second.sequence != ref.sequence || head->second.snapshot != ref.id)) {
        find("ref '" + ref.name + "' differs between catalog and head");
      }
    }
    for (const auto& [name, head] : truth_.heads) {
      if (!names.contains(name) && head.sequence > reader.root().sequence)
        find("head of '" + name + "' is newer than the catalog");
    }
  }

  // The catalog may have let go of rows that lead nowhere, and lags behind a record that was not acknowledged.
  void compare_forgotten(const CatalogReader& reader) {
    auto records = truth_.journal.records;
    std::erase_if(records, [&](const JournalRecord& record) { return record.sequence > reader.root().sequence; });
    const auto wanted = forgotten_snapshots(records);
    for (const auto& [id, row] : reader.forgotten()) {
      if (!wanted.contains(id) && !truth_.journal.damaged_at)
        find("snapshot " + to_hex(id) + " is forgotten by the catalog but not by the journal");
    }
    for (const auto& [id, forgotten] : wanted) {
      if (reader.has_snapshot(id) && !reader.forgotten(id))
        find("snapshot " + to_hex(id) + " is forgotten by the journal but not by the catalog");
    }
  }

  void compare_segments(const CatalogReader& reader) {
    for (const auto& [sequence, row] : reader.segments()) {
      const std::string name = segment_file_name(sequence);
      if (!file_exists(paths_.segments() / name)) find("segment " + name + " is in the catalog but not there");
    }
  }

  void compare_journal(const CatalogReader& reader) {
    if (reader.root().journal_bytes > truth_.journal_bytes) find("journal is shorter than the catalog says");
    const auto damaged_at = truth_.journal.damaged_at;
    if (damaged_at && *damaged_at < reader.root().journal_bytes)
      find("journal is damaged at offset " + std::to_string(*damaged_at));
  }

  const StorePaths& paths_;
  const Digest& store_id_;
  const KnownTruth& truth_;
  std::string findings_;
};

// Exits: 0 if all was written.
[[noreturn]] void tell(int pipe_end, const std::string& findings) {
  std::size_t done = 0;
  while (done < findings.size()) {
    const ssize_t n = write(pipe_end, findings.data() + done, findings.size() - done);
    if (n <= 0) break;
    done += static_cast<std::size_t>(n);
  }
  _exit(done == findings.size() ? 0 : 1);
}

std::string hear(int pipe_end) {
  std::string findings;
  char buffer[4096];
  for (ssize_t n; (n = read(pipe_end, buffer, sizeof buffer)) != 0;) {
    if (n < 0 && errno != EINTR) break;
    if (n > 0) findings.append(buffer, static_cast<std::size_t>(n));
  }
  return findings;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

}  // namespace

std::vector<std::string> check_catalog(const StorePaths& paths, const Digest& store_id, const KnownTruth& truth) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw_errno(errno, "cannot make a pipe", paths.catalog());
  const pid_t child = fork();
  if (child < 0) {
    const int error = errno;
    close(ends[0]);
    close(ends[1]);
    throw_errno(error, "cannot fork", paths.catalog());
  }
  if (child == 0) {
    close(ends[0]);
    tell(ends[1], CatalogCheck(paths, store_id, truth).run());
  }
  close(ends[1]);
  std::vector<std::string> findings = lines_of(hear(ends[0]));
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) {
    findings.push_back("the catalog is so damaged that reading it dies by signal " + std::to_string(WTERMSIG(status)));
  } else if (WEXITSTATUS(status) != 0) {
    findings.emplace_back("looking at the catalog failed");
  }
  return findings;
}

}  // namespace tenon
