#!/usr/bin/env python3
"""Cuts the power at every point of a recorded history of a store, in many ways each, and checks what is left.

The history is run once under the recording shim. Then, for each prefix of its operations, disks are rebuilt on which
what was not synced is missing or torn (crash_model.py), and the oracle looks at each: what was acknowledged before the
cut is there, byte for byte; the command that was under way happened wholly or not at all.

With --seeded-bugs, given a build made with -DTENON_SEEDED_BUGS, the same history is recorded once for each bug, and
each must be caught.
"""

import argparse
import bisect
import dataclasses
import os
import pathlib
import random
import shutil
import sys
import tempfile
import threading
import time

from crash_model import Record, build, read_tree, tears, write_tree
from oracle import Oracle, Tenon, Violation, describe, run_all
from scenarios import FIRST, INIT, KNOWN, NAMES, SECOND, on_store

STATES_FULL = 20000
STATES_SMOKE = 300
STATES_BUG = 2000  # a seeded bug must be found within so many
SEEDED_BUGS = ["rename_before_fsync", "row_before_data", "ack_before_commit", "no_directory_fsync", "no_file_fsync"]


def history():
    """Commands and the state that each leaves; every mutation that there is."""
    one = {"main": ["first"]}
    two = {"main": ["second", "first"]}
    tagged = {**two, "good": ["second", "first"]}
    return [
        (INIT, {}),
        (on_store("import", "{first}"), one),
        (on_store("import", "{second}"), two),
        (on_store("tag", "set", "good", "main"), tagged),
        (on_store("ref", "set", "best", "main~1"), {**tagged, "best": ["first"]}),
        (on_store("import", "{second}", "--ref", "side"), {**tagged, "best": ["first"], "side": ["second"]}),
        (on_store("ref", "delete", "best"), {**tagged, "side": ["second"]}),
        (on_store("import", "{first}"), {**tagged, "main": ["first", "second", "first"], "side": ["second"]}),
    ]


class Recording:
    """`states[i]`: the state once i commands are acknowledged; `ends[i]`: the operations that had happened by then."""

    def __init__(self, tenon, work, seeded_bug=""):
        inputs, root = work / "inputs", work / "disk"
        inputs.mkdir(parents=True)
        root.mkdir()
        FIRST.write(inputs / "first.pt")
        SECOND.write(inputs / "second.pt")
        words = {"store": root / "run.tenon", "first": inputs / "first.pt", "second": inputs / "second.pt"}
        log = work / "record"
        self.states, ends_bytes = [None], [0]
        for command, state in history():
            faults = {"TENON_FAULT_PREFIX": str(root), "TENON_FAULT_RECORD": str(log), "TENON_SEEDED_BUG": seeded_bug}
            done = tenon.run(*[word.format(**words) for word in command], cwd=work, faults=faults)
            if done.returncode != 0:
                raise SystemExit(f"the history fails without a fault: {command}: {describe(done)}")
            self.states.append(state)
            ends_bytes.append(log.stat().st_size)
        raw = log.read_bytes()
        self.record = Record(raw, root)
        self.ends = [len(Record(raw[:end], root).operations) for end in ends_bytes]
        if build(self.record, self.record.changes(len(self.record.operations))) != read_tree(root):
            raise SystemExit("the record does not lead to the files that are there: the shim missed something")

    def acknowledged(self, count):
        """How many commands had been acknowledged when `count` operations had happened."""
        return bisect.bisect_right(self.ends, count) - 1


@dataclasses.dataclass
class Cut:
    after: int         # operations that had happened
    applied: frozenset # those whose effect is on the disk
    torn: dict         # writes of which only a part is

    def key(self, acknowledged):
        parts = tuple((index, tuple(part)) for index, part in sorted(self.torn.items()))
        return acknowledged, self.applied, parts


def systematic_cuts(record, after, source):
    """Nothing of what is not durable; all; all but one; only one; all with one torn."""
    happened = frozenset(record.changes(after))
    durable = frozenset(record.durable_after(after))
    loose = sorted(happened - durable)
    yield Cut(after, durable, {})
    yield Cut(after, happened, {})
    for index in loose:
        yield Cut(after, happened - {index}, {})
        yield Cut(after, durable | {index}, {})
        if record.operations[index].kind == "write":
            for parts in tears(record.operations[index], source, 4):
                yield Cut(after, happened, {index: parts})
    # The power may go in the middle of the next operation, also of one that would have been durable.
    if after < len(record.operations) and record.operations[after].kind == "write":
        for parts in tears(record.operations[after], source, 2):
            yield Cut(after, happened | {after}, {after: parts})


def random_cut(record, source):
    after = source.randrange(1, len(record.operations) + 1)
    happened = frozenset(record.changes(after))
    durable = frozenset(record.durable_after(after))
    loose = sorted(happened - durable)
    lost = {index for index in loose if source.random() < source.choice((0.1, 0.5, 0.9))}
    writes = [index for index in loose if index not in lost and record.operations[index].kind == "write"]
    torn = {}
    for index in source.sample(writes, min(len(writes), 2)):
        for parts in tears(record.operations[index], source, 1):
            torn[index] = parts
    return Cut(after, happened - lost, torn)


def choose_cuts(recording, wanted, seed):
    """`wanted` different cuts: the systematic ones of every prefix (a sample of them, if more), then random ones."""
    source = random.Random(seed)
    record, seen, cuts = recording.record, set(), []

    def add(cut):
        key = cut.key(recording.acknowledged(cut.after))
        if key not in seen:
            seen.add(key)
            cuts.append(cut)

    for after in range(len(record.operations) + 1):
        for cut in systematic_cuts(record, after, source):
            add(cut)
    if len(cuts) > wanted:
        return source.sample(cuts, wanted)
    misses = 0
    while len(cuts) < wanted and misses < 100000:  # a short history has only so many
        before = len(cuts)
        add(random_cut(record, source))
        misses = misses + 1 if len(cuts) == before else 0
    return cuts


class Replay:
    def __init__(self, tenon, work, recording):
        self.tenon = tenon
        self.work = work
        self.recording = recording
        self.violations = []
        self.replayed = 0
        self.lock = threading.Lock()
        self.oracle = Oracle(tenon, work / "scratch", KNOWN, NAMES, "after")

    def run(self, cuts, jobs, stop_at_first):
        run_all(jobs, lambda cut: self.check(cut, stop_at_first), cuts)

    def check(self, cut, stop_at_first):
        with self.lock:
            if stop_at_first and self.violations:
                return
            self.replayed += 1
            root = self.work / f"disk-{self.replayed}"
        write_tree(build(self.recording.record, cut.applied, cut.torn), root)
        try:
            self.look(cut, root / "run.tenon")
        except Violation as violation:
            with self.lock:
                self.violations.append((cut, str(violation)))
        shutil.rmtree(root)

    def look(self, cut, store):
        acknowledged = self.recording.acknowledged(cut.after)
        is_under_way = cut.after > self.recording.ends[acknowledged] or cut.after in cut.applied
        allowed = self.recording.states[acknowledged:acknowledged + (2 if is_under_way else 1)]
        self.oracle.check(store, allowed, turn=len(cut.applied))


def describe_cut(recording, cut):
    record = recording.record
    happened = frozenset(record.changes(cut.after))
    lost = ", ".join(_describe(record, index) for index in sorted(happened - cut.applied)[:6])
    torn = ", ".join(f"{_describe(record, index)} to {parts}" for index, parts in cut.torn.items())
    return f"after {cut.after} operations; lost: {lost or 'nothing'}; torn: {torn or 'nothing'}"


def _describe(record, index):
    operation = record.operations[index]
    if operation.kind in ("write", "truncate"):
        return f"#{index} {operation.kind} of file {operation.target} at {operation.offset}+{len(operation.data)}"
    return f"#{index} {operation.kind} {operation.old_name}{' to ' if operation.old_name else ''}{operation.name}"


def replay(tenon, work, wanted, arguments, seeded_bug=""):
    recording = Recording(tenon, work, seeded_bug)
    cuts = choose_cuts(recording, wanted, arguments.seed)
    result = Replay(tenon, work, recording)
    result.run(cuts, arguments.jobs, stop_at_first=bool(seeded_bug))
    return result


def cut_power(tenon, work, arguments):
    wanted = arguments.states or (STATES_SMOKE if arguments.smoke else STATES_FULL)
    begin = time.monotonic()
    result = replay(tenon, work / "history", wanted, arguments)
    operations = len(result.recording.record.operations)
    print(f"{len(result.recording.ends) - 1} commands, {operations} operations, {result.replayed} disks replayed, "
          f"{len(result.violations)} violations, {time.monotonic() - begin:.0f} s")
    for cut, message in sorted(result.violations, key=lambda one: one[0].after)[:20]:
        print(f"VIOLATION {describe_cut(result.recording, cut)}\n  {message}", file=sys.stderr)
    if result.replayed < wanted:
        print(f"FAILED: {wanted} disks were asked for", file=sys.stderr)
    return 1 if result.violations or result.replayed < wanted else 0


def catch_bugs(tenon, work, arguments):
    missed = 0
    for bug in SEEDED_BUGS:
        result = replay(tenon, work / bug, arguments.states or STATES_BUG, arguments, bug)
        if result.violations:
            print(f"{bug}: caught after {result.replayed} disks: {result.violations[0][1]}")
        else:
            missed += 1
            print(f"{bug}: NOT CAUGHT in {result.replayed} disks", file=sys.stderr)
    print(f"{len(SEEDED_BUGS) - missed} of {len(SEEDED_BUGS)} seeded bugs caught")
    return 1 if missed else 0


def parse_arguments():
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=root / "build", help="build directory")
    parser.add_argument("--states", type=int, help=f"disks to replay; {STATES_FULL}, or {STATES_SMOKE} with --smoke")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--seeded-bugs", action="store_true", help="each seeded bug must be caught")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=pathlib.Path, default=None, help="where to work; else on tmpfs if there is one")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    tenon = Tenon(arguments.build)
    base = arguments.work or (pathlib.Path("/dev/shm") if os.path.isdir("/dev/shm") else None)
    work = pathlib.Path(tempfile.mkdtemp(prefix="tenon-power-cut-", dir=base)).resolve()
    try:
        return (catch_bugs if arguments.seeded_bugs else cut_power)(tenon, work, arguments)
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    sys.exit(main())
