"""What the rows of compare.py share: peers, sizes, programs, and the table that comes of them.

Peers need torch and safetensors, in the Python that runs this or in build/venv, where tools/check puts them. Where they
are missing, numpy, torch and safetensors are None.
"""

import dataclasses
import json
import mmap
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

VENV_PYTHON = pathlib.Path(__file__).parents[1] / "build" / "venv" / "bin" / "python"

try:
    import numpy
    import safetensors
    import safetensors.torch
    import torch
except ImportError as missing:
    if VENV_PYTHON.exists() and not os.environ.get("TENON_BENCH_PYTHON"):
        os.environ["TENON_BENCH_PYTHON"] = "1"  # once is enough
        os.execv(VENV_PYTHON, [VENV_PYTHON, *sys.argv])
    print(f"peers are left out: {missing}", file=sys.stderr)
    numpy = torch = safetensors = None

GIB = 1 << 30
MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Sizes:
    attach_tensors: int = 10_000
    commit_bytes: int = GIB
    tensors: int = 64
    state_tensors: int = 1_000
    share_bytes: int = 2 * GIB
    share_processes: tuple = (1, 2, 4, 8, 16)
    share_peer_bytes: int = 512 * MIB
    share_peer_processes: tuple = (1, 2, 4, 8, 16)
    follow_bytes: int = 64 * MIB
    follow_tensors: int = 1000
    follow_changed: int = 10
    follow_commits: int = 400
    fresh_processes: int = 31
    chain_bytes: int = 256 * MIB
    chain_tensors: int = 4
    chain_commits: int = 100
    chain_small_tensors: int = 1000
    summary_bytes: int = 256 * MIB
    growth_tensors: int = 1000
    growth_snapshots: tuple = (10, 1000)
    query_snapshots: int = 1000
    query_tensors: int = 1000
    rounds: int = 7


SMOKE = Sizes(attach_tensors=500, commit_bytes=8 * MIB, tensors=8, state_tensors=50, share_bytes=8 * MIB, share_processes=(1, 2),
              share_peer_bytes=8 * MIB, share_peer_processes=(1,), follow_bytes=MIB, follow_tensors=8,
              follow_changed=2, follow_commits=5, fresh_processes=3, growth_tensors=50, chain_bytes=16 * MIB,
              chain_tensors=2, chain_commits=4, chain_small_tensors=64, summary_bytes=MIB,
              growth_snapshots=(10, 30), query_snapshots=20, query_tensors=50, rounds=1)


@dataclasses.dataclass
class Line:
    row: str
    what: str
    target: str
    measured: str = ""
    is_met: bool | None = None
    times: str = ""


class Bench:
    """Where the programs are, where they may write, and the lines so far."""

    def __init__(self, build, directory, sizes):
        self.programs = build / "bench"
        self.directory = directory
        self.sizes = sizes
        self.lines = []

    def run(self, program, *arguments):
        """The figures that a program printed, one dictionary a line."""
        command = [self.programs / f"bench-{program}", *map(str, arguments)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def path(self, name):
        return self.directory / name

    def add(self, row, what, target, measured="", is_met=None, **seconds):
        times = ", ".join(f"{name} {show_seconds(value)}" for name, value in seconds.items())
        self.lines.append(Line(row, what, target, measured, is_met, times))

    def add_ratio(self, row, what, wanted, ours, theirs, name, at_most=False):
        """How many times faster ours is than theirs; with `at_most`, how much longer it takes. None: no target."""
        target = "" if wanted is None else f"<= {wanted} x" if at_most else f">= {wanted} x"
        if theirs is None:
            return self.add(row, what, target, "", None, tenon=ours)
        ratio = ours / theirs if at_most else theirs / ours
        is_met = None if wanted is None else ratio <= wanted if at_most else ratio >= wanted
        self.add(row, what, target, f"{ratio:.2f} x", is_met, tenon=ours, **{name: theirs})

    def discard(self, *names):
        """Removes files and stores, lets the disk finish what it was given, and has free memory backed by the host, so
        that the next one starts clean."""
        for name in names:
            path = self.path(name)
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        os.sync()
        warm_free_memory(2 * self.sizes.commit_bytes)


def warm_free_memory(nbytes):
    """As the programs' warm_free_memory: or whoever comes first pays for pages that the host has taken back."""
    mmap.mmap(-1, nbytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE).close()


def show_seconds(seconds):
    if seconds is None:
        return "-"
    for unit, scale in (("s", 1), ("ms", 1e3)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def timed(function):
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def median(rounds, name):
    """Of one figure over dictionaries; None where a peer is missing."""
    values = [figures[name] for figures in rounds if name in figures]
    return statistics.median(values) if values else None


def random_state(nbytes, count):
    """A flat state dict of float32 tensors, as the programs make it; values differ."""
    torch.manual_seed(1)
    return {f"layers.{i}.weight": torch.rand(nbytes // count // 4) for i in range(count)}


def machine_line(directory):
    with open("/proc/cpuinfo") as cpuinfo:
        models = [line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name")]
    with open("/proc/meminfo") as meminfo:
        memory_gib = int(meminfo.readline().split()[1]) / MIB
    kind = subprocess.check_output(["df", "--output=fstype", directory], text=True).split()[1]
    peers = f"torch {torch.__version__}, safetensors {safetensors.__version__}" if torch else "no peers"
    return (f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, "
            f"Linux {platform.release()}, {kind}, {peers}; load {os.getloadavg()[0]:.1f}")


def print_table(lines, is_smoke):
    if is_smoke:
        print("Smoke sizes: far too small for the targets, which are left out.\n")
    print("| row | what | target | measured | met | times (medians) |\n|---|---|---|---|---|---|")
    for line in lines:
        met = "" if is_smoke else {True: "yes", False: "no", None: ""}[line.is_met]
        print(f"| {line.row} | {line.what} | {line.target} | {line.measured} | {met} | {line.times} |")
