#!/usr/bin/env python3
"""Eight processes commit (whole and stitched), read, forget, undo and collect garbage in one store at random, while they
are killed and stopped at random; then the oracle looks.

What must hold throughout: no worker finds wrong bytes, also in snapshots that were forgotten while it has them open; none
meets an error but those that others may cause it (not found, conflict, busy); none dies by a signal that was not sent
to it. At the end: verify is clean, each acknowledged snapshot is there byte for byte or was forgotten, repair keeps
everything, gc leaves nothing to reclaim, a commit works.
"""

import argparse
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

from checkpoint import Checkpoint
from oracle import Tenon, Violation, work_folder

WORKERS = 8
STOPPED_S_MAX = 1.5
SECONDS_FULL = 600
SECONDS_SMOKE = 25
KILLS_PER_SECOND = 9  # of all workers together
# What a soak must have done, for each second of it, on a machine that does other things besides.
MINIMA = {"killed": 1.2, "acknowledged": 1, "forgotten": 0.2, "stitched": 0.1}
KILLS_FULL_MIN = 3000


class Soak:
    def __init__(self, build, work, seed):
        self.tenon = Tenon(build)
        self.program = build / "tests" / "faults" / "tenon-soak-worker"
        self.store = work / "run.tenon"
        self.acknowledged = work / "acknowledged"
        self.acknowledged.touch()
        self.random = random.Random(seed)
        self.workers = []
        self.stopped = {}  # worker -> when to go on
        self.kills = self.stops = self.started = 0

    def start(self):
        self.started += 1
        command = [self.program, self.store, self.acknowledged, str(self.random.randrange(1 << 62))]
        self.workers.append(subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE))

    def run(self, seconds):
        self.tenon.must("init", self.store)
        for _ in range(WORKERS):
            self.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(self.random.uniform(0.2, 1.8) / KILLS_PER_SECOND)
            self.resume()
            self.require_alive()
            self.disturb()
        self.finish()

    def disturb(self):
        worker = self.random.choice(self.workers)
        if worker in self.stopped:
            return
        if self.random.random() < 0.2:
            worker.send_signal(signal.SIGSTOP)
            self.stopped[worker] = time.monotonic() + self.random.uniform(0, STOPPED_S_MAX)
            self.stops += 1
            return
        worker.kill()
        worker.communicate()
        self.kills += 1
        self.workers.remove(worker)
        self.start()

    def resume(self, all_of_them=False):
        for worker, when in list(self.stopped.items()):
            if all_of_them or time.monotonic() >= when:
                worker.send_signal(signal.SIGCONT)
                del self.stopped[worker]

    def require_alive(self):
        for worker in self.workers:
            if worker.poll() is not None:
                self.fail(worker)

    def fail(self, worker):
        said = worker.stderr.read().decode(errors="replace").strip()
        raise Violation(f"a worker ended with {worker.returncode}: {said[-600:]}")

    def finish(self):
        self.resume(all_of_them=True)
        for worker in self.workers:
            worker.stdin.close()
            worker.stdin = None
        for worker in self.workers:
            if worker.wait(timeout=120) != 0:
                self.fail(worker)
        self.workers = []

    def stop_all(self):
        for worker in self.workers:
            worker.kill()
            worker.communicate()

    def check(self):
        self.check_acknowledged()
        self.tenon.must("verify", "--read-data", store=self.store)
        self.tenon.must("gc", store=self.store)
        self.check_acknowledged()
        self.tenon.must("verify", "--read-data", store=self.store)
        shutil.rmtree(self.store / "catalog")
        self.tenon.must("repair", store=self.store)
        self.check_acknowledged()
        self.tenon.must("verify", "--read-data", store=self.store)
        file = self.store.parent / "after.pt"
        Checkpoint.make(1, {"bias": 64}).write(file)
        self.tenon.must("import", file, store=self.store)
        self.tenon.must("verify", "--read-data", store=self.store)
        leftovers = [path.name for path in (self.store / "segments").iterdir() if not path.name.endswith((".seg", ".tmp"))]
        if leftovers:
            raise Violation(f"left over in segments: {leftovers}")

    def check_acknowledged(self):
        done = subprocess.run([self.program, self.store, self.acknowledged], capture_output=True, timeout=300)
        if done.returncode != 0:
            raise Violation(done.stderr.decode(errors="replace").strip())
        self.summary = done.stdout.decode().strip()

    def require_enough(self, seconds):
        """A soak that did little passes everything."""
        commits, forgotten, stitched = (int(number) for number in re.findall(r"\d+", self.summary))
        done = {"killed": self.kills, "acknowledged": commits, "forgotten": forgotten, "stitched": stitched}
        for what, a_second in MINIMA.items():
            wanted = KILLS_FULL_MIN if what == "killed" and seconds >= SECONDS_FULL else int(a_second * seconds)
            if done[what] < wanted:
                raise Violation(f"only {done[what]} {what}, not {wanted}: the soak did not soak")
        left = sum(path.suffix == ".seg" for path in (self.store / "segments").iterdir())
        if left >= commits:
            raise Violation(f"{left} segments of {commits} commits are left: gc took nothing")


def parse_arguments():
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=root / "build", help="build directory")
    parser.add_argument("--smoke", action="store_true", help=f"{SECONDS_SMOKE} seconds")
    parser.add_argument("--seconds", type=float, default=SECONDS_FULL)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of what is done to whom; timing differs")
    parser.add_argument("--work", type=pathlib.Path, default=None, help="where to work; else on tmpfs if there is one")
    parser.add_argument("--keep", action="store_true", help="keep the store")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    seconds = SECONDS_SMOKE if arguments.smoke else arguments.seconds
    work = work_folder("soak", arguments.work)
    soak = Soak(arguments.build.resolve(), work, arguments.seed)
    try:
        soak.run(seconds)
        soak.check()
        print(f"{seconds:.0f} s, {soak.started} processes, {soak.kills} killed, {soak.stops} stopped, seed "
              f"{arguments.seed}\n{soak.summary}")
        soak.require_enough(seconds)
        return 0
    except Violation as violation:
        print(f"VIOLATION, seed {arguments.seed}: {violation}", file=sys.stderr)
        return 1
    finally:
        soak.resume(all_of_them=True)
        soak.stop_all()
        if arguments.keep:
            print(f"kept in {work}")
        else:
            shutil.rmtree(work)


if __name__ == "__main__":
    sys.exit(main())
