#!/usr/bin/env python3
"""Cuts the power at every point of a recorded history of a store, in many ways each, and checks what is left.

A history of commands is run once under the recording shim. Then, for each prefix of its operations, disks are rebuilt
on which what was not synced is missing or torn (crash_model.py), and the oracle looks at each: what was acknowledged
before the cut is there, byte for byte; the command that was under way happened wholly or not at all. Only disks that
differ count. The first history is every mutation once; others, at random, follow until enough disks were looked at.

With --seeded-bugs, given a build configured with -Dseeded_bugs=true, the same history is recorded once for each bug, and
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
import threading
import time

from crash_model import Record, build, digest_of, read_tree, tears, write_tree
from oracle import Oracle, Tenon, Violation, describe, run_all, work_folder
from scenarios import FIRST, INIT, KNOWN, NAMES, SECOND, on_store

STATES_FULL = 20000
STATES_SMOKE = 300
STATES_BUG = 2000  # a seeded bug must be found within so many
COMMANDS = 10  # of a random history
RANDOM_CUTS = 2000  # tried per history, besides the systematic ones
SEEDED_BUGS = ["rename_before_fsync", "row_before_data", "ack_before_commit", "no_directory_fsync", "no_file_fsync"]


class History:
    """Commands, and the state (see Oracle) that each leaves."""

    def __init__(self):
        self.steps = []
        self.state = {}
        self._add(INIT)

    def _add(self, command, **changes):
        state = {**self.state, **changes}
        self.state = {name: labels for name, labels in state.items() if labels is not None}
        self.steps.append((command, self.state))

    def commit(self, label, ref="main"):
        self._add(on_store("import", f"{{{label}}}", "--ref", ref), **{ref: [label, *self.state.get(ref, [])]})

    def point(self, kind, name, ref, back):
        """Sets the ref or tag `name` to the ancestor of `ref` so many steps back."""
        self._add(on_store(kind, "set", name, f"{ref}~{back}"), **{name: self.state[ref][back:]})

    def delete(self, kind, name):
        self._add(on_store(kind, "delete", name), **{name: None})

    def undo_commit(self, ref, label):
        """A commit, and its undoing."""
        before = self.state.get(ref)
        self.commit(label, ref)
        self._add(on_store("undo"), **{ref: before})

    def step(self, command, **changes):
        self._add(command, **changes)

    def repair(self):
        self._add(on_store("repair"))


def plain_history():
    """Every mutation that there is, once."""
    history = History()
    history.commit("first")
    history.commit("second")
    history.point("tag", "good", "main", 0)
    history.point("ref", "best", "main", 1)
    history.commit("second", "side")
    history.delete("ref", "best")
    history.repair()
    history.commit("first")
    history.undo_commit("side", "second")
    history.step(on_store("forget", "main~2"), main=["first", "second"], good=["second"])
    history.step(on_store("gc"))
    history.commit("second")
    history.step(on_store("forget", "main~1"), main=["second", "second"])
    history.step(on_store("gc"))  # thins the first segment
    return history


def random_history(source):
    history = History()
    history.commit(source.choice(["first", "second"]))
    while len(history.steps) < COMMANDS:
        refs = [name for name in history.state if name != "good"]
        ref = source.choice(refs)
        step = source.choice(["commit", "commit", "commit", "ref", "tag", "delete", "repair"])
        if step == "commit":
            history.commit(source.choice(["first", "second"]), source.choice(["main", "side"]))
        elif step == "ref":
            history.point("ref", source.choice(["best", "main"]), ref, source.randrange(len(history.state[ref])))
        elif step == "tag" and "good" not in history.state:
            history.point("tag", "good", ref, 0)
        elif step == "delete" and ref != "main":
            history.delete("ref", ref)
        elif step == "repair":
            history.repair()
    return history


def histories(seed):
    yield plain_history()
    source = random.Random(seed)
    while True:
        yield random_history(source)


class Recording:
    """A history and the record of what it did.

    `states[i]`: the state once i commands are acknowledged; `ends[i]`: the operations that had happened by then.
    """

    def __init__(self, tenon, work, history, seeded_bug=""):
        inputs, root = work / "inputs", work / "disk"
        inputs.mkdir(parents=True)
        root.mkdir()
        FIRST.write(inputs / "first.pt")
        SECOND.write(inputs / "second.pt")
        words = {"store": root / "run.tenon", "first": inputs / "first.pt", "second": inputs / "second.pt"}
        log = work / "record"
        self.commands = [command for command, _ in history.steps]
        self.states, ends_bytes = [None], [0]
        for command, state in history.steps:
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

    def promised(self, cut):
        """How many commands had been acknowledged by then, and how many states are allowed from there on."""
        acknowledged = bisect.bisect_right(self.ends, cut.after) - 1
        is_under_way = cut.after > self.ends[acknowledged] or cut.after in cut.applied
        return acknowledged, 2 if is_under_way else 1


@dataclasses.dataclass
class Cut:
    after: int         # operations that had happened
    applied: frozenset # those whose effect is on the disk
    torn: dict         # writes of which only a part is


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
    """Up to `wanted` cuts that differ in what is on the disk or in what was promised by then.

    The systematic ones of every prefix (a sample of them, if more), then random ones.
    """
    source = random.Random(seed)
    record, seen, cuts = recording.record, set(), []

    def add(cut):
        key = recording.promised(cut), digest_of(build(record, cut.applied, cut.torn))
        if key not in seen:
            seen.add(key)
            cuts.append(cut)

    for after in range(len(record.operations) + 1):
        for cut in systematic_cuts(record, after, source):
            add(cut)
    if len(cuts) > wanted:
        return source.sample(cuts, wanted)
    for _ in range(RANDOM_CUTS):
        if len(cuts) == wanted:
            break
        add(random_cut(record, source))
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
        acknowledged, count = self.recording.promised(cut)
        allowed = self.recording.states[acknowledged:acknowledged + count]
        if count == 2 and "repair" in self.recording.commands[acknowledged]:
            self.tenon.must("repair", store=store)  # which, when it was cut off, promises only that it can be repeated
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


def replay(tenon, work, history, wanted, arguments, seeded_bug=""):
    recording = Recording(tenon, work, history, seeded_bug)
    cuts = choose_cuts(recording, wanted, arguments.seed)
    result = Replay(tenon, work, recording)
    result.run(cuts, arguments.jobs, stop_at_first=bool(seeded_bug))
    shutil.rmtree(work)
    return result


def cut_power(tenon, work, arguments):
    wanted = arguments.states or (STATES_SMOKE if arguments.smoke else STATES_FULL)
    begin = time.monotonic()
    replayed = commands = operations = violations = 0
    for number, history in enumerate(histories(arguments.seed)):
        result = replay(tenon, work / f"history-{number}", history, wanted - replayed, arguments)
        replayed += result.replayed
        commands += len(history.steps)
        operations += len(result.recording.record.operations)
        violations += len(result.violations)
        print_violations(number, result)
        if replayed >= wanted or result.replayed == 0:
            break
    print(f"{number + 1} histories of {commands} commands and {operations} operations, {replayed} disks replayed, "
          f"{violations} violations, {time.monotonic() - begin:.0f} s")
    return 1 if violations or replayed < wanted else 0


def print_violations(number, result):
    for cut, message in sorted(result.violations, key=lambda one: one[0].after)[:20]:
        print(f"VIOLATION in history {number} {describe_cut(result.recording, cut)}\n  {message}", file=sys.stderr)


def catch_bugs(tenon, work, arguments):
    missed = 0
    bugs = [arguments.bug] if arguments.bug else SEEDED_BUGS
    for bug in bugs:
        result = replay(tenon, work / bug, plain_history(), arguments.states or STATES_BUG, arguments, bug)
        if result.violations:
            print(f"{bug}: caught after {result.replayed} disks: {result.violations[0][1]}")
        else:
            missed += 1
            print(f"{bug}: NOT CAUGHT in {result.replayed} disks", file=sys.stderr)
    print(f"{len(bugs) - missed} of {len(bugs)} seeded bugs caught")
    return 1 if missed else 0


def parse_arguments():
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=root / "build", help="build directory")
    parser.add_argument("--states", type=int, help=f"disks to replay; {STATES_FULL}, or {STATES_SMOKE} with --smoke")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--seeded-bugs", action="store_true", help="each seeded bug must be caught")
    parser.add_argument("--bug", choices=SEEDED_BUGS, help="with --seeded-bugs, only this one")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=pathlib.Path, default=None, help="where to work; else on tmpfs if there is one")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    tenon = Tenon(arguments.build)
    work = work_folder("power-cut", arguments.work)
    try:
        return (catch_bugs if arguments.seeded_bugs else cut_power)(tenon, work, arguments)
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    sys.exit(main())
