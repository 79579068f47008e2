#!/usr/bin/env python3
"""Makes every call that changes a file fail, in every way, and checks what is left each time.

For each scenario and mode the calls are counted in a run without a fault; then the scenario is run once per call with
the fault there, and the oracle looks at the store. A run in which the fault did not strike is a failure of the sweep: a
harness that injects nothing passes everything.
"""

import argparse
import collections
import dataclasses
import os
import pathlib
import random
import re
import shutil
import sys
import threading
import time

from oracle import ERRORS_OF_FAULTS, Oracle, Tenon, Violation, describe, run_all, work_folder
from scenarios import KNOWN, NAMES, all_scenarios

MODES = ["kill", "torn", "short", "short+", "eintr", "enospc", "enospc+", "eio", "eio+", "failsync", "failsync+"]
DEADLY = {"kill", "torn"}
SHORT = {"short", "short+"}
TARGET_FULL = 4000
SECOND_POINTS = 20  # calls of a commit at which it is killed when it follows another crash
POINTS_SMOKE = 3

# Calls by which a file can change. strace sees those that the shim may miss.
TRACED = ("write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,msync,rename,renameat,renameat2,unlink,unlinkat,"
          "rmdir,link,linkat,symlink,symlinkat,ftruncate,truncate,fallocate,open,openat,openat2,creat,mkdir,mkdirat,"
          "chmod,fchmod,fchmodat,copy_file_range,sendfile,splice,mmap")


@dataclasses.dataclass
class Case:
    scenario: object
    mode: str
    point: int
    second_point: int = 0  # the commit that follows is killed there, too


class Sweep:
    def __init__(self, tenon, work, keep):
        self.tenon = tenon
        self.work = work
        self.keep = keep
        self.templates = {}
        self.lock = threading.Lock()
        self.number = 0
        self.violations = []
        self.injected = collections.Counter()
        self.oracle = Oracle(tenon, work / "scratch", KNOWN, NAMES, "after")

    def prepare(self, scenario):
        template = self.work / "templates" / re.sub(r"\W+", "-", scenario.name)
        scenario.prepare(self.tenon, template)
        self.templates[scenario.name] = template

    def fresh(self, scenario):
        with self.lock:
            self.number += 1
            folder = self.work / f"run-{self.number}"
        shutil.copytree(self.templates[scenario.name], folder)
        return folder

    def count_points(self, scenario, mode):
        """How many calls the mode can happen to; two runs must agree, else a point has no meaning."""
        counts = []
        for _ in range(2):
            folder = self.fresh(scenario)
            done, log = run_with_faults(self.tenon, scenario, folder, mode, 0)
            if done.returncode != 0:
                raise SystemExit(f"{scenario.name}: fails without a fault: {describe(done)}")
            counts.append(len(log))
            shutil.rmtree(folder)
        if counts[0] != counts[1]:
            raise SystemExit(f"{scenario.name}, {mode}: the number of calls differs between runs: {counts}")
        return counts[0]

    def run_case(self, case):
        folder = self.fresh(case.scenario)
        try:
            self.inject_and_check(case, folder)
        except Violation as violation:
            with self.lock:
                self.violations.append((case, str(violation), folder))
            if self.keep:
                return
        shutil.rmtree(folder)

    def inject_and_check(self, case, folder):
        scenario = case.scenario
        done, log = run_with_faults(self.tenon, scenario, folder, case.mode, case.point)
        hits = [line for line in log if line.endswith("INJECTED")]
        if not hits:
            raise Violation("no fault was injected")
        with self.lock:
            self.injected[scenario.name, case.mode] += 1
        check_exit(case.mode, done, hits)
        is_acknowledged = done.returncode == 0
        if scenario.out:
            self.check_out(scenario, folder, is_acknowledged)
        if scenario.rerun and not is_acknowledged:
            done = scenario.run(self.tenon, folder)
            if done.returncode != 0:
                raise Violation(f"run again, it fails: {describe(done)}")
        store = folder / "run.tenon"
        allowed = [scenario.after] if is_acknowledged else [scenario.before, scenario.after]
        if case.second_point:
            allowed = self.kill_next_commit(case, folder, allowed)
        self.oracle.check(store, allowed, turn=case.point)

    def check_out(self, scenario, folder, is_acknowledged):
        out = folder / scenario.out
        if out.exists():
            scenario.check_out(self.oracle, out)
        elif is_acknowledged:
            raise Violation(f"{scenario.out} is not there")

    def kill_next_commit(self, case, folder, allowed):
        """A second crash while the first one's traces are still there."""
        store = folder / "run.tenon"
        log = folder / "second.log"
        environment = faults_at(folder, "kill", case.second_point, log)
        self.tenon.run("import", folder / "second.pt", "--ref", "next", store=store, faults=environment)
        if log.exists() and "INJECTED" in log.read_text():
            with self.lock:
                self.injected[case.scenario.name, case.mode] += 1
        return allowed + [{**state, "next": ["second"]} for state in allowed if state is not None]


def faults_at(folder, mode, point, log):
    environment = {"TENON_FAULT_PREFIX": str(folder), "TENON_FAULT_LOG": str(log), "TENON_FAULT_POINT": str(point)}
    if "TENON_SEEDED_BUG" in os.environ:  # for what has a fault, not for what looks at it afterwards
        environment["TENON_SEEDED_BUG"] = os.environ["TENON_SEEDED_BUG"]
    if mode:
        environment["TENON_FAULT_MODE"] = mode.rstrip("+")
    if mode.endswith("+"):
        environment["TENON_FAULT_PERSIST"] = "1"
    return environment


def run_with_faults(tenon, scenario, folder, mode, point, wrapper=()):
    log = folder.parent / f"{folder.name}.log"  # outside the prefix
    done = scenario.run(tenon, folder, faults=faults_at(folder, mode, point, log), wrapper=wrapper)
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return done, lines


def check_exit(mode, done, hits):
    if mode in DEADLY:
        if done.returncode != -9:
            raise Violation(f"not killed: {describe(done)}")
    elif mode in SHORT and not any("/data.mdb" in line for line in hits):
        # Only LMDB takes a short write for an error; we go on with the rest.
        if done.returncode != 0:
            raise Violation(f"a short write is no error: {describe(done)}")
    elif done.returncode != 0 and done.returncode not in ERRORS_OF_FAULTS:
        raise Violation(f"not the error that it is: {describe(done)}")
    elif done.returncode != 0 and mode == "eintr" and not any("/catalog" in line for line in hits):
        raise Violation(f"an interrupted call is no error: {describe(done)}")  # LMDB's own calls are another matter
    elif done.returncode == 0 and mode.startswith("failsync") and any("/segments/" in line for line in hits):
        raise Violation("acknowledged, though a segment or its name could not be made durable")


def check_coverage(tenon, sweep, scenario):
    """Everything that strace sees changing a file, the shim has counted."""
    folder = sweep.fresh(scenario)
    trace = folder.parent / f"{folder.name}.strace"
    wrapper = ["strace", "-f", "-y", "-qq", "-s", "0", "-e", f"trace={TRACED}", "-e", "signal=none", "-o", str(trace)]
    done, log = run_with_faults(tenon, scenario, folder, "", 0, wrapper)
    if done.returncode != 0:
        raise SystemExit(f"{scenario.name}: fails under strace: {describe(done)}")
    seen = [line for line in trace.read_text().splitlines() if changes_file_under(line, str(folder))]
    trace.unlink()
    shutil.rmtree(folder)
    if len(seen) != len(log):
        missed = "\n".join(seen)
        raise SystemExit(f"{scenario.name}: the shim counted {len(log)} calls, strace {len(seen)}:\n{missed}")
    return len(log)


def changes_file_under(line, folder):
    line = re.sub(r"AT_FDCWD<[^>]*>", "AT_FDCWD", line)
    if "resumed>" in line or not re.search(rf'["<]{re.escape(folder)}[/">]|AT_FDCWD, "[^/]', line):
        return False
    call = re.match(r"(?:\d+ +)?(\w+)\(", line)
    if not call:
        return False
    if call[1] in ("open", "openat", "openat2"):
        return "O_CREAT" in line
    if call[1] == "mmap":
        return "MAP_SHARED" in line and "PROT_WRITE" in line
    return True


def choose(points, limit):
    """At most `limit` of the points 1..points, spread evenly, both ends among them."""
    if limit is None or points <= limit:
        return list(range(1, points + 1))
    return sorted({1 + round(i * (points - 1) / (limit - 1)) for i in range(limit)})


def second_crashes(cases, missing, seed):
    """Pairs of crashes at random points, to reach the number asked for."""
    deadly = [case for case in cases if case.mode in DEADLY and case.scenario.name != "init"]
    pairs = [dataclasses.replace(case, second_point=point) for case in deadly for point in range(1, SECOND_POINTS + 1)]
    return random.Random(seed).sample(pairs, min(missing, len(pairs)))


def print_table(scenarios, planned, sweep):
    width = max(len(scenario.name) for scenario in scenarios)
    print(f"{'':{width}}  " + " ".join(f"{mode:>9}" for mode in MODES))
    bad = collections.Counter((case.scenario.name, case.mode) for case, _, _ in sweep.violations)
    for scenario in scenarios:
        cells = []
        for mode in MODES:
            key = scenario.name, mode
            cells.append(f"{sweep.injected[key]}{f'/{bad[key]} BAD' if bad[key] else ''}".rjust(9))
        print(f"{scenario.name:{width}}  " + " ".join(cells))
    print(f"{planned} runs, {sum(sweep.injected.values())} faults injected, {len(sweep.violations)} violations")


def print_violations(violations, keep):
    for case, message, folder in violations[:20]:
        second = f", then killed at {case.second_point}" if case.second_point else ""
        print(f"VIOLATION {case.scenario.name}, {case.mode} at {case.point}{second}: {message}", file=sys.stderr)
        if keep:
            print(f"          kept in {folder}", file=sys.stderr)


def parse_arguments():
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=root / "build", help="build directory")
    parser.add_argument("--smoke", action="store_true", help=f"at most {POINTS_SMOKE} points per scenario and mode")
    parser.add_argument("--target", type=int, default=TARGET_FULL, help="faults to inject at least, when not --smoke")
    parser.add_argument("--only", default="", help="only scenarios whose name contains this")
    parser.add_argument("--mode", choices=MODES, help="only this mode")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=1, help="of the pairs of crashes")
    parser.add_argument("--work", type=pathlib.Path, default=None, help="where to work; else on tmpfs if there is one")
    parser.add_argument("--keep", action="store_true", help="keep the stores that break a promise")
    return parser.parse_args()


def plan(sweep, scenarios, modes, limit):
    cases = []
    for scenario in scenarios:
        sweep.prepare(scenario)
        if shutil.which("strace"):
            check_coverage(sweep.tenon, sweep, scenario)
        for mode in modes:
            cases += [Case(scenario, mode, point) for point in choose(sweep.count_points(scenario, mode), limit)]
    return cases


def main():
    arguments = parse_arguments()
    tenon = Tenon(arguments.build)
    scenarios = [one for one in all_scenarios() if arguments.only in one.name]
    work = work_folder("sweep", arguments.work)
    begin = time.monotonic()
    try:
        sweep = Sweep(tenon, work, arguments.keep)
        modes = [arguments.mode] if arguments.mode else MODES
        cases = plan(sweep, scenarios, modes, POINTS_SMOKE if arguments.smoke else None)
        if not arguments.smoke and not arguments.mode and not arguments.only:
            cases += second_crashes(cases, max(0, arguments.target - len(cases)), arguments.seed)
        if not shutil.which("strace"):
            print("note: without strace it is not checked that the shim sees every call", file=sys.stderr)
        run_all(arguments.jobs, sweep.run_case, cases)
        print_table(scenarios, len(cases), sweep)
        print(f"{time.monotonic() - begin:.0f} s")
        print_violations(sweep.violations, arguments.keep)
        # A case that did not strike is a violation already; this guards the plan itself.
        too_few = sum(sweep.injected.values()) < len(cases) - len(sweep.violations)
        return 1 if sweep.violations or not cases or too_few else 0
    finally:
        if not arguments.keep:
            shutil.rmtree(work)


if __name__ == "__main__":
    sys.exit(main())
