"""What must hold of a store after any fault, asked through the command and, for the bytes, through observe.cc."""

import concurrent.futures
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import uuid
import zipfile

from checkpoint import Checkpoint

NO_STORE = 10
TIMEOUT_S = 120
# What may be said of a store to which an injected error happened; damage (4) and usage (2) may not.
ERRORS_OF_FAULTS = {1, 3, 11}


def work_folder(name, given):
    """A new folder in `given`; else on tmpfs if there is one."""
    if given is None and os.path.isdir("/dev/shm"):
        given = "/dev/shm"
    return pathlib.Path(tempfile.mkdtemp(prefix=f"tenon-{name}-", dir=given)).resolve()


class Violation(Exception):
    """The store, or the command, broke a promise."""


class Tenon:
    """The programs of a build, run with or without the fault shim."""

    def __init__(self, build):
        build = pathlib.Path(build).resolve()  # commands run in folders of their own
        self.command = str(build / "tools" / "tenon")
        self.observer = str(build / "tests" / "faults" / "tenon-fault-observe")
        self.shim = str(build / "tests" / "faults" / "libtenon-fault-shim.so")
        for path in (self.command, self.observer, self.shim):
            if not os.path.exists(path):
                raise SystemExit(f"not built: {path}")

    def run(self, *arguments, store=None, cwd=None, faults=None, wrapper=()):
        line = [*wrapper, self.command, *(["--store", str(store)] if store else []), *map(str, arguments)]
        return _run(line, cwd, {**faults, "LD_PRELOAD": self.shim} if faults else {})

    def observe(self, store, references, names):
        return _run([self.observer, str(store), str(references), *names], None, {})

    def must(self, *arguments, store=None, cwd=None):
        done = self.run(*arguments, store=store, cwd=cwd)
        if done.returncode != 0:
            raise Violation(f"`tenon {' '.join(map(str, arguments))}` failed: {describe(done)}")


def _run(line, cwd, extra):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TENON_")}
    try:
        return subprocess.run(line, cwd=cwd, env={**environment, **extra}, capture_output=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise Violation(f"hung: {' '.join(line)}") from None


def describe(done):
    how = f"signal {signal.Signals(-done.returncode).name}" if done.returncode < 0 else f"exit {done.returncode}"
    said = "\n".join(text.decode(errors="replace").strip() for text in (done.stdout, done.stderr) if text)
    return f"{how}: {said[-400:]}"


def run_all(jobs, action, items):
    """Calls `action` on each item, several at once; shows how far it is when somebody watches."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        pending = [pool.submit(action, item) for item in items]
        for count, done in enumerate(concurrent.futures.as_completed(pending), 1):
            done.result()
            if sys.stderr.isatty():
                print(f"\r{count} of {len(items)}", end="\n" if count == len(items) else "", file=sys.stderr)


def tip_of(state, name):
    return state[name][0] if state and name in state else None


class Oracle:
    """A state is a dict: name of a ref or tag -> labels of its history, newest first; None is no store.

    `known`: label -> checkpoint, everything that may ever be read back. `names`: all refs and tags that there ever are.
    `after_commit`: the label of what a commit after the fault brings.
    """

    def __init__(self, tenon, scratch, known, names, after_commit):
        self.tenon = tenon
        self.known = known
        self.names = sorted(names)
        self.after_commit = after_commit
        self.scratch = pathlib.Path(scratch)
        self.scratch.mkdir(parents=True)
        self.after_commit_file = self.scratch / "after_commit.pt"
        known[after_commit].write(self.after_commit_file)
        for label, checkpoint in known.items():
            checkpoint.write_reference(self.scratch / "references" / label)

    def check(self, store, allowed, turn=0):
        """The store is in one of the `allowed` states, whole, clean, readable and writable.

        Repair has its place before the next commit, after it, or none, by `turn`. Returns the state it is left in.
        """
        state = self.check_state(store, allowed)
        if state is None:
            self.tenon.must("init", store)  # what a cut-off init left behind is not in the way
            state = self.check_state(store, [{}])
        if turn % 3 == 1:
            # It goes by the segments, and so may finish what the catalog did not yet know of.
            self.tenon.must("repair", store=store)
            state = self.check_state(store, [one for one in allowed if one is not None] or [{}], heads_may_lag=False)
        self.tenon.must("import", self.after_commit_file, "--ref", "main", store=store)
        state = {**state, "main": [self.after_commit, *state.get("main", [])]}
        self.check_state(store, [state])
        if turn % 3 == 2:
            self.tenon.must("repair", store=store)
            self.check_state(store, [state])
        return state

    def check_state(self, store, allowed, heads_may_lag=True):
        """Observes, compares, verifies. A head may lag behind the catalog, but only by what was not acknowledged."""
        state, heads = self.observe(store)
        if state not in allowed:
            raise Violation(f"state {state}, allowed {allowed}")
        if state is None:
            return None
        for name in self.names:
            promised = {tip_of(one, name) for one in (allowed if heads_may_lag else [state])}
            if heads.get(name) not in promised:
                raise Violation(f"the head of {name} is {heads.get(name)}, allowed {promised}; state {state}")
        self.tenon.must("verify", "--read-data", store=store)
        return state

    def observe(self, store):
        """The state by the catalog and, by the head files, the tip of each ref; every byte is compared."""
        done = self.tenon.observe(store, self.scratch / "references", self.names)
        if done.returncode == NO_STORE:
            return None, {}
        if done.returncode != 0:
            raise Violation(f"cannot be read: {describe(done)}")
        words = [line.split() for line in done.stdout.decode().splitlines()]
        refs = {name: labels for kind, name, *labels in words if kind == "ref"}
        heads = {name: labels[0] for kind, name, *labels in words if kind == "head"}
        return refs, heads

    def check_export(self, path, label):
        try:
            if Checkpoint.read(path) != self.known[label]:
                raise Violation("the exported file holds something else")
        except (ValueError, KeyError, zipfile.BadZipFile) as error:
            raise Violation(f"the exported file is not whole: {error}") from None

    def check_bundle(self, path, label):
        self.tenon.must("verify", "--read-data", store=path)
        out = self.scratch / f"{uuid.uuid4().hex}.pt"
        self.tenon.must("export", "main", out, store=path)
        self.check_export(out, label)
        out.unlink()
