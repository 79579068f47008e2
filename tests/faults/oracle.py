"""What must hold of a store after any fault, asked through the command alone.

The state of a store, as far as it matters here, is a dict: the name of each ref and tag -> the checkpoints of its
history, newest first. None stands for "no store".
"""

import json
import os
import pathlib
import signal
import subprocess
import uuid

from checkpoint import Checkpoint

NO_STORE = 10
TIMEOUT_S = 120
# What may be said of a store to which an injected error happened; damage (4) and usage (2) may not.
ERRORS_OF_FAULTS = {1, 3, 11}


class Violation(Exception):
    """The store, or the command, broke a promise."""


class Tenon:
    """The command, run with or without the fault shim."""

    def __init__(self, command, shim):
        self.command = str(command)
        self.shim = str(shim)

    def run(self, *arguments, store=None, cwd=None, faults=None, wrapper=()):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("TENON_FAULT")}
        environment.pop("TENON_STORE", None)
        if faults is not None:
            environment.update(faults, LD_PRELOAD=self.shim)
        line = [*wrapper, self.command, *(["--store", str(store)] if store else []), *map(str, arguments)]
        try:
            return subprocess.run(line, cwd=cwd, env=environment, capture_output=True, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise Violation(f"hung: {' '.join(line)}") from None

    def must(self, *arguments, store=None, cwd=None):
        done = self.run(*arguments, store=store, cwd=cwd)
        if done.returncode != 0:
            raise Violation(f"`tenon {' '.join(map(str, arguments))}` failed: {describe(done)}")
        return done.stdout

    def rows(self, *arguments, store):
        return [json.loads(line) for line in self.must(*arguments, "--json", store=store).splitlines()]


def describe(done):
    how = f"signal {signal.Signals(-done.returncode).name}" if done.returncode < 0 else f"exit {done.returncode}"
    return f"{how}: {done.stderr.decode(errors='replace').strip()[-400:]}"


class Oracle:
    """`scratch`: a folder for exports; `after_commit`: the checkpoint that a commit after the fault brings."""

    def __init__(self, tenon, scratch, after_commit):
        self.tenon = tenon
        self.scratch = pathlib.Path(scratch)
        self.after_commit = after_commit
        self.after_commit_file = self.scratch / "after_commit.pt"
        if not self.after_commit_file.exists():
            after_commit.write(self.after_commit_file)

    def check(self, store, allowed, with_repair=False):
        """The store is in one of the `allowed` states, whole, clean, readable and writable. Returns that state."""
        state = self.observe(store)
        if state not in allowed:
            raise Violation(f"state {shape_of(state)}, allowed {[shape_of(one) for one in allowed]}")
        if state is None:
            return None
        self.verify(store)
        self.check_heads(store, state, allowed)
        if with_repair:
            self.tenon.must("repair", store=store)
            self.expect(store, state, "after repair")
        self.check_next_commit(store, state)
        return state

    def observe(self, store):
        """The state by the catalog; every snapshot in it is read back."""
        listing = self.tenon.run("ref", "list", "--json", store=store)
        if listing.returncode == NO_STORE:
            return None
        if listing.returncode != 0:
            raise Violation(f"cannot list the refs: {describe(listing)}")
        rows = [json.loads(line) for line in listing.stdout.splitlines()]
        rows += self.tenon.rows("tag", "list", store=store)
        read = {}
        state = {}
        for row in rows:
            # By id: by its name a ref is opened from its head file, which may lag.
            ids = [one["snapshot_id"] for one in self.tenon.rows("log", row["snapshot_id"], store=store)]
            if ids[:1] != [row["snapshot_id"]]:
                raise Violation(f"the log of {row['snapshot_id']} begins with {ids[:1]}")
            for one in ids:
                if one not in read:
                    read[one] = self.export(store, one)
            state[row["name"]] = [read[one] for one in ids]
        return state

    def export(self, store, rev):
        out = self.scratch / f"{uuid.uuid4().hex}.pt"
        try:
            self.tenon.must("export", rev, out, store=store)
            return Checkpoint.read(out)
        except ValueError as error:
            raise Violation(f"the export of {rev} is not what was saved: {error}") from None
        finally:
            out.unlink(missing_ok=True)

    def verify(self, store):
        self.tenon.must("verify", "--read-data", store=store)

    def check_heads(self, store, state, allowed):
        """A ref is opened by its head file, which may lag behind the catalog, but only by what was not acknowledged."""
        for name in state:
            promised = [one[name][0] for one in allowed if one and name in one]
            if self.export(store, name) not in promised:
                raise Violation(f"the head of {name} is none of the states allowed")

    def expect(self, store, state, when):
        observed = self.observe(store)
        if observed != state:
            raise Violation(f"{when}: state {shape_of(observed)}, not {shape_of(state)}")
        self.verify(store)
        for name, history in state.items():
            if self.export(store, name) != history[0]:
                raise Violation(f"{when}: the head of {name} lags")

    def check_next_commit(self, store, state):
        self.tenon.must("import", self.after_commit_file, "--ref", "main", store=store)
        wanted = dict(state)
        wanted["main"] = [self.after_commit, *state.get("main", [])]
        self.expect(store, wanted, "after the next commit")


def shape_of(state):
    """A state in few words: the names and the length of their histories."""
    if state is None:
        return "no store"
    return {name: len(history) for name, history in state.items()}
