// A segment in flight that several processes write, and its locks: byte 0 is the coordinator's for as long as it lives;
// byte 1 is shared by ranks that write, and the coordinator's alone from the last look at the parts to the segment's
// publication, so that a finished segment never changes; byte 2 is held while a part of the file is taken.
#include "tenon/joint_commit.h"

#include <chrono>

#include "mmap/lock.h"
#include "store/failpoint.h"
#include "store/ingest.h"
#include "store/joint_part.h"
#include "store/origins.h"
#include "store/publication.h"
#include "store/store_state.h"

namespace tenon {

namespace {

constexpr std::uint64_t coordinator_byte = 0;
constexpr std::uint64_t writing_byte = 1;
constexpr auto writing_timeout = std::chrono::seconds(60);
constexpr std::string_view ticket_mark = "tenon-joint-1:";

// "tenon-joint-1:<uuid>:<statistics>:<ref>"
struct Ticket {
  Digest uuid;
  bool statistics = true;
  std::string ref;
};

std::string encode_ticket(const Ticket& ticket) {
  return std::string(ticket_mark) + to_hex(ticket.uuid) + (ticket.statistics ? ":1:" : ":0:") + ticket.ref;
}

Ticket parse_ticket(std::string_view text) {
  constexpr std::size_t hex = 32;
  const auto body = text.substr(std::min(ticket_mark.size(), text.size()));
  Ticket ticket;
  const bool is_good = text.starts_with(ticket_mark) && body.size() > hex + 3 &&
                       from_hex(body.substr(0, hex), ticket.uuid) && body[hex] == ':' && body[hex + 2] == ':' &&
                       (body[hex + 1] == '0' || body[hex + 1] == '1');
  if (!is_good) {
    throw Error(ErrorKind::invalid_argument,
                {.what = "not the ticket of a joint commit", .got = std::string(text.substr(0, 80))});
  }
  ticket.statistics = body[hex + 1] == '1';
  ticket.ref = body.substr(hex + 3);
  return ticket;
}

[[noreturn]] void throw_over(const std::filesystem::path& file) {
  throw Error(ErrorKind::conflict, {.what = "the joint commit is over: committed, given up, or its coordinator died",
                                    .file = file.string(),
                                    .hint = "ask the coordinator for a new ticket"});
}

// The right to write into the segment, until it is let go.
FileLock begin_writing(const std::filesystem::path& file) {
  try {
    FileLock lock = FileLock::acquire(file, LockMode::shared, writing_byte, writing_timeout);
    if (lock.is_on(file) && FileLock::is_locked(File::open(file), coordinator_byte)) return lock;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::not_found) throw;
  }
  throw_over(file);
}

std::filesystem::path temporary_of(const StoreState& store, const Digest& uuid) {
  return store.paths().segments() / (to_hex(uuid) + ".tmp");
}

void require_no_rows(const Draft& head) {
  if (head.tensors.empty() && head.slots.empty()) return;
  throw Error(ErrorKind::invalid_argument,
              {.what = "the head of a joint commit has rows or slots of its own", .hint = "write them as a part"});
}

}  // namespace

class JointCommit::State {
 public:
  State(std::shared_ptr<StoreState> store, const CommitOptions& options)
      : store_(std::move(store)), options_(options), writer_(begin_segment(*store_, options)) {
    ticket_ = encode_ticket({writer_.uuid(), options_.statistics, options_.ref});
  }

  const std::string& ticket() const noexcept { return ticket_; }

  CommitResult commit(std::span<const JointPart> parts, const Draft& head) {
    store_->require_same_process();
    require_no_rows(head);
    std::vector<DecodedPart> decoded;
    for (const JointPart& part : parts) decoded.push_back(decode_part(part, writer_.uuid()));
    if (is_used_) throw_over(writer_.temporary_path());
    is_used_ = true;
    const FileLock alone =
        FileLock::acquire(writer_.temporary_path(), LockMode::exclusive, writing_byte, writing_timeout);
    JoinedParts joined = join_parts(std::move(decoded), writer_.uuid());
    Draft draft = head;
    draft.tensors = std::move(joined.draft.tensors);
    draft.slots = std::move(joined.draft.slots);
    check_draft(draft);
    writer_.adopt(joined.ranges);
    return publish(draft, std::move(joined.slots));
  }

 private:
  CommitResult publish(const Draft& draft, StoredSlots slots) {
    const auto parent = open_tip(*store_, options_.ref);
    Ingested ingested = describe_slots(draft, parent.get(), std::move(slots), options_.statistics, writer_);
    if (store_->is_durable()) writer_.sync();
    failpoint("joint_commit.before_lock");
    if (const auto result = publish_snapshot(*store_, options_, writer_, ingested)) return *result;
    throw Error(ErrorKind::conflict, {.what = "gc has taken bytes that a part of the joint commit reused",
                                      .file = store_->path().string(),
                                      .hint = "write the parts again, for a new joint commit"});
  }

  std::shared_ptr<StoreState> store_;
  CommitOptions options_;
  SegmentWriter writer_;
  std::string ticket_;
  bool is_used_ = false;
};

JointCommit::JointCommit(Store& store, const CommitOptions& options)
    : state_(std::make_unique<State>(store.state_, options)) {}
JointCommit::JointCommit(JointCommit&&) noexcept = default;
JointCommit& JointCommit::operator=(JointCommit&&) noexcept = default;
JointCommit::~JointCommit() = default;

const std::string& JointCommit::ticket() const noexcept { return state_->ticket(); }

CommitResult JointCommit::commit(std::span<const JointPart> parts, const Draft& head) {
  return state_->commit(parts, head);
}

JointPart JointCommit::write_part(Store& store, const std::string& ticket, const Draft& draft,
                                  const std::function<void(const Progress&)>& progress) {
  StoreState& state = *store.state_;
  state.require_writable();
  const Ticket wanted = parse_ticket(ticket);
  check_ref_name(wanted.ref);
  check_draft(draft);
  const auto file = temporary_of(state, wanted.uuid);
  const FileLock writing = begin_writing(file);
  const auto parent = open_tip(state, wanted.ref);
  const auto add_progress = progress_counter(draft, progress);
  const DedupeResult origins = find_origins(state, draft, parent.get(), add_progress);
  SegmentWriter writer = SegmentWriter::join(file, wanted.uuid);
  failpoint("joint_commit.writing");
  const StoredSlots slots = store_slots({draft, origins, wanted.statistics, state.is_durable(), add_progress}, writer);
  if (state.is_durable()) writer.sync();
  failpoint("joint_commit.written");
  return encode_part(draft, slots, writer);
}

}  // namespace tenon
