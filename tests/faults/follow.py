#!/usr/bin/env python3
"""A trainer commits, eight workers follow, garbage is collected without rest; all of them are killed at random and
started again, and a worker of each mode is stopped for long.

What must hold: every snapshot that a worker sees is whole, and newer than the one before; no view ever shows other bytes,
also of snapshots that were forgotten and collected meanwhile; nobody dies of anything but our signals; commits and gc go on
while workers are stopped, which then wake to the right bytes and the newest snapshot; disk and memory stay bounded. At the
end every worker has the last step, and verify finds nothing.
"""

import argparse
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

from oracle import Tenon, Violation, work_folder

WORKERS = 8
MODES = ("shared", "private", "copy")
SLEEPERS = (0, 4, 2)  # one of each mode
OWN_NAMESPACE = (1, 3, 5)  # one of each mode; a signal to such a worker does not reach who is inside
STEPS_FULL, STEPS_SMOKE = 1000, 200
STOPPED_S_FULL, STOPPED_S_SMOKE = 60, 2
KILLS_PER_SECOND = 4
SNAPSHOT_BYTES = 1_600_000
SETTLE_S = 60  # for what must come in the end
# What is kept: some snapshots since the last forgetting and gc, which a stopped machine may delay.
DISK_BYTES_MAX = 40 * SNAPSHOT_BYTES
# A worker holds three snapshots, in mode copy in memory of its own; the rest is the program.
RESIDENT_BYTES_MAX = 64 << 20
# Three snapshots of few segments and stitched pieces, and the program's libraries.
MAPPINGS_MAX = 1000


def may_have_namespaces():
    return subprocess.run(["unshare", "--pid", "--fork", "true"], stderr=subprocess.DEVNULL).returncode == 0


class Process:
    """One that is started again when it was killed."""

    def __init__(self, arguments):
        self.arguments = list(map(str, arguments))
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.arguments, stderr=subprocess.PIPE)

    def kill(self):
        self.process.kill()
        self.process.communicate()

    def ended(self):
        """None while it runs, else its exit status; whatever it did not die of by us is a violation."""
        status = self.process.poll()
        if status:
            said = self.process.stderr.read().decode(errors="replace").strip()
            raise Violation(f"{' '.join(self.arguments[1:3])} ended with {status}: {said[-600:]}")
        return status


class Follow:
    def __init__(self, build, work, steps, stopped_s, seed):
        self.tenon = Tenon(build)
        self.program = build / "tests" / "faults" / "tenon-follow-worker"
        self.work, self.store = work, work / "run.tenon"
        self.steps, self.stopped_s = steps, stopped_s
        self.random = random.Random(seed)
        self.namespaces = may_have_namespaces()
        self.workers, self.all = [], []
        self.kills = {"trainer": 0, "collector": 0, "workers": 0}
        self.disk_max = self.resident_max = self.mappings_max = 0

    def begin(self):
        self.tenon.must("init", self.store)
        self.start_trainer()
        self.until(lambda: self.head_exists(), "a first commit")
        self.collector = Process([self.program, "collect", self.store])
        for index in range(WORKERS):
            self.workers.append(self.worker(index))
        self.all = [self.trainer, self.collector, *self.workers]

    def start_trainer(self):
        self.trainer = Process([self.program, "train", self.store, self.steps])

    def worker(self, index):
        arguments = [self.program, "follow", self.store, MODES[index % len(MODES)], self.report(index)]
        if self.namespaces and index in OWN_NAMESPACE:
            arguments.append("own")
        return Process(arguments)

    def report(self, index):
        return self.work / f"step-{index}"

    def step(self, index):
        try:
            return int(self.report(index).read_text() or 0)
        except FileNotFoundError:
            return 0

    def head_exists(self):
        return (self.store / "heads" / "main").exists()

    def until(self, condition, what):
        end = time.monotonic() + SETTLE_S
        while not condition():
            self.look()
            if time.monotonic() > end:
                raise Violation(f"waited {SETTLE_S} s for {what}: workers have {[self.step(i) for i in range(WORKERS)]}")
            time.sleep(0.02)

    def look(self):
        for process in self.all:
            process.ended()

    def measure(self):
        self.disk_max = max(self.disk_max, sum(self.size_of(path) for path in self.store.rglob("*")))
        for process in self.all:
            pid = process.process.pid
            try:
                for inner in [pid, *pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]:
                    status = pathlib.Path(f"/proc/{inner}/status").read_text()
                    mappings = pathlib.Path(f"/proc/{inner}/maps").read_text().count("\n")
                    resident = [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon")]
                    self.resident_max = max([self.resident_max, *resident])
                    self.mappings_max = max(self.mappings_max, mappings)
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has just ended

    @staticmethod
    def size_of(path):
        try:
            return path.stat().st_blocks * 512
        except FileNotFoundError:
            return 0

    def disturb(self):
        """Until all steps are committed."""
        while self.trainer.ended() is None:
            time.sleep(self.random.uniform(0.2, 1.8) / KILLS_PER_SECOND)
            self.look()
            self.measure()
            victim = self.random.choice(self.all)
            if victim.process.poll() is None:
                victim.kill()
                victim.start()
                self.kills[self.role(victim)] += 1
            if self.random.random() < 0.05:
                (self.store / "live").unlink(missing_ok=True)  # harms nobody

    def role(self, process):
        return "trainer" if process is self.trainer else "collector" if process is self.collector else "workers"

    def settle(self):
        self.until(lambda: all(self.step(i) == self.steps for i in range(WORKERS)), "all workers at the last step")

    def stop_some(self):
        """Workers are stopped while others work; nobody waits for them."""
        sleepers = [self.workers[index].process for index in SLEEPERS]
        for sleeper in sleepers:
            sleeper.send_signal(signal.SIGSTOP)
        begin, before = time.monotonic(), self.steps
        while (left := begin + self.stopped_s - time.monotonic()) > 0:
            self.commit_one_more()
            self.tenon.must("gc", store=self.store)
            self.measure()
            self.look()
            time.sleep(min(0.2, left))
        self.stopped = (f"{self.steps - before} commits and gcs in the {time.monotonic() - begin:.0f} s that a worker "
                        "of each mode was stopped")
        if any(self.step(index) != before for index in SLEEPERS):
            raise Violation("a stopped worker went on")
        for sleeper in sleepers:
            sleeper.send_signal(signal.SIGCONT)
        self.settle()

    def commit_one_more(self):
        self.steps += 1
        self.trainer.arguments[-1] = str(self.steps)
        self.trainer.start()
        self.trainer.process.wait(timeout=SETTLE_S)
        self.trainer.ended()

    def finish(self):
        self.look()
        for process in self.all:
            process.kill()
        self.tenon.must("verify", "--read-data", store=self.store)
        self.tenon.must("gc", store=self.store)
        self.tenon.must("verify", "--read-data", store=self.store)
        if self.disk_max > DISK_BYTES_MAX:
            raise Violation(f"the store grew to {self.disk_max} bytes")
        if self.resident_max > RESIDENT_BYTES_MAX:
            raise Violation(f"a process grew to {self.resident_max} bytes of its own")
        if self.mappings_max > MAPPINGS_MAX:
            raise Violation(f"a process grew to {self.mappings_max} mappings")

    def stop_all(self):
        for process in self.all:
            if process.process.poll() is None:
                process.kill()


def parse_arguments():
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=root / "build", help="build directory")
    parser.add_argument("--smoke", action="store_true", help=f"{STEPS_SMOKE} commits, stopped for {STOPPED_S_SMOKE} s")
    parser.add_argument("--steps", type=int, default=STEPS_FULL)
    parser.add_argument("--stopped", type=float, default=STOPPED_S_FULL, help="seconds that a worker is stopped")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of what is done to whom; timing differs")
    parser.add_argument("--work", type=pathlib.Path, default=None, help="where to work; else on tmpfs if there is one")
    parser.add_argument("--keep", action="store_true", help="keep the store")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    steps = STEPS_SMOKE if arguments.smoke else arguments.steps
    stopped_s = STOPPED_S_SMOKE if arguments.smoke else arguments.stopped
    work = work_folder("follow", arguments.work)
    follow = Follow(arguments.build.resolve(), work, steps, stopped_s, arguments.seed)
    try:
        follow.begin()
        follow.disturb()
        follow.settle()
        follow.stop_some()
        follow.finish()
        kills = ", ".join(f"{count} {role}" for role, count in follow.kills.items())
        print(f"{follow.steps} commits; killed: {kills}; {WORKERS} workers, "
              f"{len(OWN_NAMESPACE) if follow.namespaces else 0} in PID namespaces of their own; seed {arguments.seed}\n"
              f"{follow.stopped}\n"
              f"store at most {follow.disk_max / 1e6:.1f} MB, a process's own memory {follow.resident_max / 1e6:.1f} MB, "
              f"its mappings {follow.mappings_max}")
        if not any(follow.kills.values()):
            raise Violation("nobody was killed: nothing was tried")
        return 0
    except Violation as violation:
        print(f"VIOLATION, seed {arguments.seed}: {violation}", file=sys.stderr)
        return 1
    finally:
        follow.stop_all()
        if arguments.keep:
            print(f"kept in {work}")
        else:
            shutil.rmtree(work)


if __name__ == "__main__":
    sys.exit(main())
