#include "tools/help_text.h"

#include <algorithm>
#include <cassert>
#include <iterator>

namespace tenon::tools {
namespace {

constexpr HelpText texts[] = {
    {"init", "Make an empty store",
     R"(Makes the directory PATH and an empty store in it. Nothing else makes a store, but `import` where there is none.
A durable store syncs each commit before it answers. A relaxed one leaves that to the system: a power cut may
take the newest commits, never their consistency. Choose it for stores on tmpfs and for scratch.

Examples:
  tenon init run.tenon
  tenon init --relaxed /dev/shm/scratch.tenon

Exit codes: 0 made, 1 something is there already.)"},
    {"import", "Commit checkpoint files",
     R"(Each FILE becomes one snapshot on the ref, the ref's tip its parent, and its snapshot id is printed. The format is
recognised by content, not by name: torch's, safetensors, .npy and .npz; a *.index.json, or the folder with it,
stands for the shards that it names. Nothing in the file is executed. Bytes that the store already has, from
whatever file, are not written again. Ties and views stay what they are.

Where no store is found, FILE.pt makes ./FILE.tenon. With several files the first failure ends the work: what
stands before it is imported and stays so.

A storage is kept whole, as torch keeps it, also where only a slice of it is in the file; --compact keeps what tensors
use of it, split where they do not overlap.

The keys of a flat file are names as they are. The __metadata__ of safetensors stands in the snapshot's metadata under
"safetensors" (`log --json` shows it) and is written back by export.

A value of --meta is a number or true or false where it reads as one, else text; so are more digits than a number can
keep.

An object that needs more memory than its size accounts for is refused: some files are made to fill a machine. For
one that you trust, --max-memory says how much its values may take, and its tensors' names; bytes of tensors do not count.

Examples:
  tenon import model.pt
  tenon import step-*.pt --ref run7 -m "warm-up" --meta lr=3e-4 --meta host=gpu12
  tenon import epoch3.pt --step 3000 --meta val_loss=2.31
  tenon import optimizer.pt --prefix optim         # its tensors become optim/...
  tenon import stream.bin --offset 4096            # a file of torch within another

Exit codes: 0 all imported, 1 none, 3 some, 14 the ref moved meanwhile.)"},
    {"sql", "Ask in SQL",
     R"help(Runs SQLite's SQL over the history of the store, its tensors' values, and foreign files. It only reads.

  snapshots refs tensors slots storages segments attachments workers   everything there is
  tensors(rev) log(rev) scalars(rev) diff(a, b) elements(rev, path[, slice])
  history(ref[, path or glob]) history_scalars(ref[, pattern])
  read_pt(path) read_safetensors(path) read_npz(path)                   files that are in no store
  at slice quantile histogram dot cosine distance max_abs_diff changed_share   functions of the column `tensor`
  median percentile sparkline REGEXP

docs/sql.md lists every column; docs/questions.md has questions with their statements. EXPLAIN tells how a statement
is answered. --json prints one object {"schema":"sql/1","columns":[...],"rows":[[...]]} for each statement.

Examples:
  tenon sql "SELECT name, norm FROM tensors('main') ORDER BY norm DESC LIMIT 5"
  tenon sql "SELECT step, norm, delta_norm FROM history('main', 'model/fc.weight')" --csv
  tenon sql "SELECT name, dtype, shape FROM read_safetensors('model.safetensors')"
  tenon sql -f report.sql --json --timeout 10

Exit codes: 0 answered, 1 failed, or a limit was met, 2 not a statement, 130 interrupted.)help"},
    {"repl", "Ask in SQL, one question after the other",
     R"help(At a terminal: Tab completes SQL, columns, tensors, refs and commands; a statement goes on until its semicolon;
history is kept in $XDG_STATE_HOME/tenon; what is longer than the screen goes to $PAGER (less). Ctrl-C ends what runs,
or gives up the line; Ctrl-D ends the REPL. `tenon` alone does the same. It only reads.

  .help [NAME]          commands, tables, columns and functions
  .tables  .schema [TABLE]
  .mode MODE            box, csv, json, jsonl, markdown, line or list
  .once FILE  .output [FILE]  .read FILE  .timer on|off  .explain SELECT ...
  .use REV              what the next ones and Tab take where no rev is named
  .log [REV]  .diff A [B]  .tree [REV[:PREFIX]]  .hist REV:NAME
  .plot SELECT ...      curves: x is the first column, y the others

Without a terminal it reads statements and commands from standard input, tells errors and goes on.

Examples:
  tenon repl
  tenon repl < questions.sql

Exit codes: 0 ok, 1 a statement from a file failed, 10 there is no such store.)help"},
    {"export", "Write a snapshot as a file for other programs",
     R"(The format goes by the ending of OUT, or --format. Digests are checked on the way, and OUT appears only when it is
complete; a file that is there is replaced and its permissions kept, behind a link, too. A device, a pipe, and what
belongs to a store are refused.

  torch        .pt .pth .bin .ckpt   as torch.save does, for torch.load(weights_only=True). One record per storage:
                                     what was tied or a view is so again
  torchscript  .pt                   see below
  safetensors  .safetensors          for the safetensors package and what builds on it
  npz          .npz                  for numpy.load, uncompressed; npy (.npy) for one tensor

safetensors and npz hold names and plain arrays, and nothing else. So numbers and other values are left out, a tensor
in a nest is called by its path (model/fc.weight; REV:model gives fc.weight), and tied tensors and views are written
once for each name, in full and contiguous. What such a file cannot say is refused, naming the tensor: quantized,
conjugated, without data, complex128 in safetensors, bfloat16 and float8 in npz.

A snapshot of a TorchScript archive becomes one again, able to run, where OUT ends in .pt; --format torch writes its
tensors instead. --format torchscript makes of any other snapshot a module without methods: a dict with string keys is
a module, each key an attribute, so that C++ reads torch::jit::load(OUT).attr("x").toTensor().

With a PREFIX only that subtree is written, the prefix taken off.

Examples:
  tenon export main model.pt
  tenon export main~3:model/encoder encoder.pt
  tenon export main:model model.safetensors
  tenon export main:model/fc.weight weight.npy
  tenon export best weights --format torch

Exit codes: 0 written, 4 the store is damaged there.)"},
    {"ls", "List tensors",
     R"(One row per tensor: name, element type, shape, size, kind, and the slot, which is what aliasing tensors share.
NOTES tells views, ties ("= other name"), gradients, and flags. A PREFIX selects whole components: layers.1 is
not layers.10. An existing file is looked into instead, without importing it; a bundle answers with main.

Examples:
  tenon ls
  tenon ls main~1:model/encoder
  tenon ls --long checkpoint.pt
  tenon ls main --json | jq -r 'select(.is_view) | .name')"},
    {"tree", "Show names as a tree with sizes",
     R"(Numbered neighbours that are alike are folded into one line: layers.[0-11]. x 12. Sizes are those of the tensors,
so what is tied counts for each of its names.

Examples:
  tenon tree
  tenon tree main:model --depth 2
  tenon tree checkpoint.pt --unfolded)"},
    {"show", "Show one tensor from near",
     R"(Element type, shape, stride, slot and storage key, the tensors it shares memory with, statistics (as kept by the
commit, else computed), and a histogram of the finite values. NaNs are counted and otherwise ignored; min, max,
mean, std (population) and norm (2-norm) include infinities; complex values count by magnitude.

With --structure the nesting that held the tensors: dicts, lists, numbers, and objects of other classes.

Examples:
  tenon show main:model/fc.weight
  tenon show main --structure
  tenon show --structure checkpoint.pt
  tenon show checkpoint.pt:fc.weight --json)"},
    {"globals", "List what loading a file would import",
     R"(Every class and function that the pickles in FILE name, each marked: safe, torch.load(weights_only=True) allows
it; dangerous, it is known to run code, programs or network requests, or to reach what does; unknown, neither.
Nothing is imported or run. FILE may be an archive of torch or TorchScript, a file from before torch 1.6, or a
bare pickle; of a REV it is what the exported file would import.

Examples:
  tenon globals downloaded.pt
  tenon globals main
  tenon globals suspicious.pkl --json | jq -r 'select(.safety != "safe") | .module'

Exit codes: 0 none is dangerous, 1 the file could not be read to its end, 4 a dangerous one is there.)"},
    {"cat", "Print the values of one tensor",
     R"(Values are nested lists; floats have the fewest digits that read back the same. Strides, conjugation and negation
are applied. Complex values print as (1.0+2.0j), quantized ones as their stored integers, bits types as hex.
With --json the values stand in "values": complex numbers as [real, imaginary], infinities and NaN as strings.
Digests are checked before anything is printed of a storage.

A slice is numpy's: indices and ranges with positive steps, one per dimension, "..." for what lies between.
With --raw the elements' bytes are written, little-endian, in row-major order.

Examples:
  tenon cat main:fc.weight --slice 0:4,:
  tenon cat main:embedding --slice=-1,::64
  tenon cat main:fc.bias --raw > bias.f32

Exit codes: 0 printed, 4 the storage is damaged.)"},
    {"log", "List snapshots, newest first",
     R"(The first-parent chain from REV. Times are local; with --json they are UTC, one object per line.

Examples:
  tenon log
  tenon log run7 -n 20
  tenon log --json | jq -r '[.step, .meta.val_loss] | @tsv')"},
    {"diff", "Show what differs between two snapshots",
     R"(One row per tensor that is changed, added, removed, renamed (same type, shape and bytes under another name), retyped
or reshaped. CHANGED is the share of elements whose bits differ; MAX ABS, L2 and REL are over newer - older: its
largest magnitude, its 2-norm, and that over the older tensor's norm. With --stat only counts.

--by param matches tensors by parameter: without the prefixes of wrappers, such as module. and _orig_mod.

Examples:
  tenon diff main~1
  tenon diff main@step:1000:model main@step:2000:model
  tenon diff main~1 main --stat --exit-code
  tenon diff eager compiled --by param
  tenon diff main~1 --json | jq -r 'select(.rel_change > 0.01) | .name'

Exit codes: 0 shown, with --exit-code 1 if anything differs.)"},
    {"ref", "List, set and delete refs",
     R"(A ref is a mutable name for a snapshot; commits move it. Deleting one leaves its snapshots in place.

Examples:
  tenon ref
  tenon ref set best main~2
  tenon ref set main 4f3a99 --expect main      # fails with 14 if main moved meanwhile
  tenon ref delete run7)"},
    {"ref list", "List refs", ""},
    {"ref set", "Point a ref at a snapshot",
     "With --expect only if its tip is that snapshot; none: if there is no such ref."},
    {"ref delete", "Delete a ref; its snapshots stay", ""},
    {"tag", "List, set and delete tags",
     R"(A tag is a name that does not move.

Examples:
  tenon tag
  tenon tag set v1.0 main
  tenon tag delete v1.0)"},
    {"tag list", "List tags", ""},
    {"tag set", "Name a snapshot", ""},
    {"tag delete", "Delete a tag; its snapshot stays", ""},
    {"reflog", "List what happened to refs, newest first",
     R"(Every mutation of the store has a number: commits, refs set and deleted, tags, forgetting, and what took one of them
back. A ref's old places are found here: `tenon ref set` leads it back to any of them. Commits whose snapshots gc has
taken are left out.

Examples:
  tenon reflog
  tenon reflog main -n 10)"},
    {"undo", "Take back the newest mutation",
     R"(A ref that a commit or `ref set` moved goes back, a new ref or tag goes, a deleted one comes back, and what was
forgotten is there again, until gc. Undoing once more takes back the mutation before that one. The snapshot of a
commit that is undone stays in the store: `tenon reflog` has its id.

Examples:
  tenon undo --dry-run
  tenon undo

Exit codes: 0 undone, 1 nothing to undo, or gc was faster, 14 a ref has moved since.)"},
    {"forget", "Forget snapshots that no rule keeps",
     R"(Rules look at the history of each ref, and a snapshot stays if any of them keeps it; the reasons are shown. Tips of
refs and what tags point to always stay. What is forgotten is out of history, cannot be opened any more, and comes
back by `tenon undo` until `tenon gc` gives its space back. Log and ~N go over it.

Of an hour, day, week or month (local time) the newest snapshot is kept. --keep-every 1000 keeps the first snapshot
of each 1000 steps. With --ref, what is in the history of other refs, too, stays.

Examples:
  tenon forget --keep-last 10 --keep-daily 7 --keep-best min:val_loss:3 --dry-run
  tenon forget --keep-last 5 --keep-every 1000 --ref run7
  tenon forget main~3                # this one
  tenon forget --unreachable         # what deleted and moved refs left behind

Exit codes: 0 done, 2 nothing says what to keep.)"},
    {"gc", "Give the space of forgotten snapshots back",
     R"(Beside readers and writers: nobody waits, and a snapshot that somebody has open stays readable. Segments that nobody
needs are removed; of those that are needed in part, the rest becomes a hole. It works on a full disk.

Examples:
  tenon gc --dry-run
  tenon forget --keep-last 10 && tenon gc

Exit codes: 0 done, 3 something could not be given back for want of space.)"},
    {"du", "Show what each snapshot costs",
     R"(FORGETTING FREES is what `tenon gc` would give back after forgetting that snapshot alone: bytes that no other one
needs. What several share is nobody's alone, so the column does not add up to the total.

Examples:
  tenon du
  tenon du --summary
  tenon du --json | jq -r 'select(.schema == "du/1") | [.freed_bytes, .snapshot_id] | @tsv' | sort -n)"},
    {"compact", "Commit a snapshot anew with only the bytes that its tensors use",
     R"(A tensor that is a small view of a large storage keeps all of that storage, as torch.save does. compact commits
the same tensors, tied and overlapping as they are, over storages cut to what they reach. The old snapshot stays in the
history, and its bytes in the store, until it is forgotten and `tenon gc` runs.

Examples:
  tenon compact main
  tenon compact main~3 --ref slim
  tenon compact main && tenon forget --keep-last 1 && tenon gc

Exit codes: 0 committed, or compact already, 14 the ref moved meanwhile.)"},
    {"rewrite", "Drop or rename tensors in all of a history",
     R"(Every snapshot of REF is committed anew without the tensors that --drop names, and with the names that --rename
gives: a name, or a whole subtree. Bytes stay where they are; steps, dates, messages and metadata are kept, ids are not.
REF then leads to the new history, and the old one stays until it is forgotten and `tenon gc` runs.

In a nest (dicts within dicts, as torch.save had them) only the last key can be changed, and only what stands in a dict
can be dropped: an item of a list would move its neighbours.

Examples:
  tenon rewrite main --drop optim
  tenon rewrite main --rename model/head.weight model/classifier.weight
  tenon rewrite main --drop model/secret && tenon forget --unreachable && tenon gc

Exit codes: 0 rewritten, 1 no snapshot has such a tensor, 14 the ref moved meanwhile.)"},
    {"clone", "Copy a store that is in use",
     R"(DIR becomes a store with everything that STORE had at one moment, its refs, tags and forgotten snapshots too. Others
may read and write STORE meanwhile. Every byte of the copy is checked.

Examples:
  tenon clone run.tenon /backup/run.tenon

Exit codes: 0 copied, 1 DIR is there already, 4 STORE is damaged.)"},
    {"ps", "Show who uses the store, and what it costs in memory",
     R"(A line for each process that has the store's files mapped, or that follows one of its refs, in other containers too.
OPEN are the bytes of the snapshots that it has open, RSS what it has touched of the store's files, PSS its share of
that: a page that n processes have is counted as a n-th. COPIED are pages that it has written to in private snapshots,
and shares with nobody since. A dash is what cannot be seen from here. A pid in parentheses is one of another PID
namespace.

Examples:
  tenon ps
  tenon ps --watch 5
  tenon ps --json | jq -r 'select(.schema == "ps_total/1") | .proportional_bytes')"},
    {"watch", "Wait for commits, and do something for each",
     R"(Prints the id of the ref's snapshot, and then of the newest one whenever the ref moves: several moves in a short time
may be one line. With a command, runs that instead, one at a time, with TENON_SNAPSHOT_ID, TENON_REF, TENON_STORE and
TENON_STEP in its environment. A ref that is not there yet is waited for.

Examples:
  tenon watch main
  tenon watch main --new -n 1                        # the next commit, then on
  tenon watch main -- sh -c 'tenon export $TENON_SNAPSHOT_ID newest.safetensors'

Exit codes: 0 done, 3 a command failed.)"},
    {"doctor", "Tell what this machine gives to a store",
     R"(File system, limits, pages, and what is with the store: who is there, whether a writer holds the lock, what killed
writers left. It looks and changes nothing. `tenon verify` is what looks for damage.

Examples:
  tenon doctor
  tenon doctor /dev/shm)"},
    {"bundle", "Write one snapshot as a single-file store",
     R"(OUT opens like any store, read-only, and answers to REV and to main. Digests are checked on the way.

Examples:
  tenon bundle main best.tenon
  tenon ls best.tenon

Exit codes: 0 written, 1 OUT is there already, 4 the store is damaged there.)"},
    {"verify", "Look for damage",
     R"(Checks every checksum of superblock, segments, heads, journal and catalog; with --read-data every stored byte, too.
--read-data=2/7 reads a seventh of the data: seven runs, 1/7 to 7/7, read all of it.
Where all of that is whole, structures are read, too. One line per damaged place says file, offset, and how many
snapshots it hurts.

Examples:
  tenon verify
  tenon verify --read-data --json
  tenon verify --read-data=$(date +%u)/7
  tenon --store best.tenon verify --read-data

Exit codes: 0 no damage, 4 damage.)"},
    {"repair", "Rebuild everything that is derived",
     R"(Makes catalog, refs, tags and heads anew from the segments and the journal, which hold the truth. What cannot be
kept is listed, and then the old catalog and journal stay as catalog.damaged and journal.damaged. Forgotten snapshots
stay forgotten. Other processes may go on reading.

With --from, damaged storages and segments, and those that the disk does not read, are taken from another store or a
bundle, where it has the same bytes.

Examples:
  tenon repair
  tenon repair --from /backup/run.tenon

Exit codes: 0 all kept, 3 something was dropped.)"},
    {"completion", "Print a completion script for a shell",
     R"(Examples:
  source <(tenon completion bash)                                   # in ~/.bashrc
  tenon completion zsh > "${fpath[1]}/_tenon"
  tenon completion fish > ~/.config/fish/completions/tenon.fish)"},
    {"help", "Explain the command or a verb", ""},
};

}  // namespace

const std::string_view general_help =
    R"(The store is --store, else TENON_STORE, else the nearest *.tenon or .tenon in this folder or above.

A REV is a ref (main), a tag, or a snapshot id by 4 or more digits. @ selects from its history: main@2026-11-20,
main@2026-11-20T1530 (the newest made until then), main@step:1200, main@min:val_loss, main@max:accuracy. ~N goes back
N commits: main~3, main@step:1200~1. REV:PATH names a tensor or a subtree: main:model/fc.weight. `ls`, `tree`, `show`,
`cat` and `globals` also take a file's path.

Data goes to standard output, everything else to standard error. Exit codes: 0 ok, 1 failed, 2 usage, 3 done in
part, 4 damage found, 10 no store, 11 busy, 13 format too new, 14 ref conflict, 130 interrupted
(128 + N by signal N).

`tenon help VERB` tells more, with examples.)";

const HelpText& help_text(std::string_view verb) {
  const auto found =
      std::find_if(std::begin(texts), std::end(texts), [&](const HelpText& t) { return t.verb == verb; });
  assert(found != std::end(texts));
  return *found;
}

}  // namespace tenon::tools
