#!/usr/bin/env python3
"""Measures Tenon beside its peers and the limits of this machine, in one run, and prints one markdown table.

    bench/compare.py [--build DIR] [--dir DIR] [--rows P1,P3,...] [--rounds N] [--smoke]

Every line is a ratio of medians of interleaved rounds. Peers need torch and safetensors, in the Python that runs this or in
build/venv, where tools/check puts them; lines of peers that are missing stay empty. Nothing here fails because something was slow: the exit status is 1 only if
a program failed, or if bytes that were loaded differ from those that were saved.
"""

import argparse
import csv
import dataclasses
import json
import mmap
import os
import pathlib
import platform
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
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

try:
    import duckdb
except ImportError:
    duckdb = None

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


# --- P1, P2: attach ---


def load_safetensors(path):
    with safetensors.safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def attach_peers(bench):
    state = random_state(bench.sizes.attach_tensors * 1024, bench.sizes.attach_tensors)
    safetensors.torch.save_file(state, bench.path("attach.safetensors"))
    torch.save(state, bench.path("attach.pt"))


def time_attach_peers(bench):
    from_safetensors, loaded = timed(lambda: load_safetensors(bench.path("attach.safetensors")))
    from_torch, mapped = timed(lambda: torch.load(bench.path("attach.pt"), mmap=True, weights_only=True))
    if any(not torch.equal(loaded[name], tensor) for name, tensor in mapped.items()):
        sys.exit("P1: safetensors and torch loaded different values")
    return {"safetensors": from_safetensors, "torch": from_torch}


def measure_attach(bench):
    count, store = bench.sizes.attach_tensors, bench.path("attach.tenon")
    bench.run("attach", "make", store, count, 1024)
    if torch:
        attach_peers(bench)
    rounds = []
    for _ in range(bench.sizes.rounds):
        warm = bench.run("attach", "resolve", store, 5)[1:] or [{}]
        if any(figures["views"] != count for figures in warm):
            sys.exit("P1: not every view was resolved")
        rounds.append({"attach": median(warm, "attach"), "touch": median(warm, "touch")})
        if torch:
            rounds[-1] |= time_attach_peers(bench)
    ours = median(rounds, "attach")
    bench.add("P1", f"attach, {count} views", "<= 1 ms", show_seconds(ours), ours <= 1e-3, attach=ours,
              first_byte_of_each=median(rounds, "touch"))
    bench.add_ratio("P1", "same, safetensors safe_open", 20, ours, median(rounds, "safetensors"), "safetensors")
    bench.add_ratio("P1", "same, torch.load(mmap=True)", 100, ours, median(rounds, "torch"), "torch")


def measure_first_byte(bench):
    store = bench.path("first.tenon")
    bench.run("attach", "make", store, 16, 1024 * 1024)
    name = "layers.7.weight"
    times = [bench.run("attach", "first", store, name)[0] for _ in range(bench.sizes.fresh_processes)]
    ours = median(times, "first")
    bench.add("P2", "fresh process: one tensor of 16 by path, first byte, after main()", "<= 150 us",
              show_seconds(ours), ours <= 150e-6, median=ours, fastest=min(figures["first"] for figures in times))


# --- P3, P4: commit ---


def time_save_peers(bench, state):
    bench.discard("peer.pt", "peer.safetensors")
    from_torch, _ = timed(lambda: torch.save(state, bench.path("peer.pt")))
    bench.discard("peer.pt")
    from_safetensors, _ = timed(lambda: safetensors.torch.save_file(state, bench.path("peer.safetensors")))
    bench.discard("peer.safetensors")
    return {"torch": from_torch, "safetensors": from_safetensors}


def measure_commit_new(bench):
    sizes = bench.sizes
    state = random_state(sizes.commit_bytes, sizes.tensors) if torch else None
    plain, durable = [], []
    for index in range(sizes.rounds):
        for rounds, mode in ((plain, "relaxed"), (durable, "durable")):
            rounds += bench.run("commit", "new", bench.directory, sizes.commit_bytes, sizes.tensors, mode, index)
        if torch:
            plain[-1] |= time_save_peers(bench, state)
    what = f"commit {sizes.commit_bytes // MIB} MiB of new bytes"
    ours = median(plain, "commit")
    bench.add_ratio("P3", f"{what}, before fsync: bare pwrite loop", 0.9, ours, median(plain, "loop"), "loop")
    bench.add_ratio("P3", "same: pwrite loop after fallocate (for comparison)", None, ours,
                    median(plain, "loop_preallocated"), "loop")
    bench.add_ratio("P3", "same: torch.save", 3, ours, median(plain, "torch"), "torch")
    bench.add_ratio("P3", "same: safetensors", 1.5, ours, median(plain, "safetensors"), "safetensors")
    ours = median(durable, "commit")
    bench.add_ratio("P3", f"{what}, durable: pwrite loop + fsync", 1.05, ours, median(durable, "loop"),
                    "loop + fsync", True)
    bench.add_ratio("P3", "same, durable: fallocate + loop + fsync (for comparison)", None, ours,
                    median(durable, "loop_preallocated"), "loop + fsync", True)


def measure_commit_again(bench):
    sizes = bench.sizes
    rounds = bench.run("commit", "again", bench.directory, sizes.commit_bytes, sizes.tensors, sizes.rounds)
    written = max(figures["written"] for figures in rounds)
    if written != 0:
        sys.exit(f"P4: {written} bytes written that the store already had")
    what = f"commit {sizes.commit_bytes // MIB} MiB the store has, in fresh buffers"
    bench.add("P4", what, "0 data bytes", "0 written", True)
    bench.add_ratio("P4", "same: memcmp", 0.8, median(rounds, "commit"), median(rounds, "memcmp"), "memcmp")


# --- P5, P8, P9: history ---


def measure_touch(bench):
    sizes = bench.sizes
    rounds = bench.run("history", "touch", bench.directory, sizes.commit_bytes, sizes.tensors, sizes.rounds)
    gib = sizes.commit_bytes / GIB
    ours, compared = median(rounds, "untouched"), median(rounds, "compared")
    part = statistics.median(max(figures["untouched"] - figures["small"], 0) for figures in rounds) / gib
    bench.add("P5", f"commit {sizes.commit_bytes // MIB} MiB loaded privately and not touched, less what a commit of as "
              "many small tensors takes", "<= 2 ms per GiB", f"{part * 1e3:.2f} ms per GiB", part <= 2e-3, tenon=ours,
              small=median(rounds, "small"))
    bench.add_ratio("P5", "same: comparing all of it", None, ours, compared, "compared")
    for name, what in (("touched", "1 % of its pages written in clusters, in one of 8 tensors"),
                       ("without_statistics", "same, without statistics")):
        bench.add_ratio("P5", f"{what}: comparing all of it (for comparison)", None, median(rounds, name), compared,
                        "compared")


def measure_chain(bench):
    sizes = bench.sizes
    figures = bench.run("history", "chain", bench.path("chain.tenon"), sizes.chain_commits, sizes.chain_bytes,
                        sizes.chain_tensors)[0]
    ratio = figures["disk_bytes"] / (figures["first_bytes"] + figures["changed_bytes"])
    saved = sizes.chain_commits * sizes.chain_bytes
    what = f"{sizes.chain_commits} commits of {sizes.chain_bytes // MIB} MiB, 2 % changed in runs of 1 MiB"
    bench.add("P8", f"{what}: store / (first + changed bytes)", "<= 1.06 x", f"{ratio:.3f} x", ratio <= 1.06,
              last_commit=figures["last_commit"], open_and_read=figures["open_and_read"])
    bench.add("P8", "same: sum of torch.save / store (for comparison)", "", f"{saved / figures['disk_bytes']:.1f} x")
    bench.discard("chain.tenon")
    small = bench.run("history", "chain", bench.path("chain.tenon"), sizes.chain_commits // 4,
                      sizes.chain_small_tensors * 64 * 1024, sizes.chain_small_tensors)[0]
    cost = (small["disk_bytes"] - small["written_bytes"]) / small["slots_and_commits"]
    bench.add("P8", f"all but data (segments, catalog, names), {sizes.chain_small_tensors} slots: per slot and commit",
              "<= 128 B", f"{cost:.0f} B", cost <= 128)
    bench.discard("chain.tenon")


def measure_stitched(bench):
    sizes = bench.sizes
    rounds = bench.run("history", "stitched", bench.directory, sizes.commit_bytes, sizes.rounds + 1)[1:]
    what = f"read {sizes.commit_bytes // MIB} MiB with 2 % foreign pieces"
    for name, target, when in (("", 0.95, "after first touch"), ("_first", 0.7, "first touch")):
        ratio = median(rounds, f"plain{name}") / median(rounds, f"stitched{name}")
        bench.add("P9", f"{what}, {when}: one plain mapping", f">= {target} x", f"{ratio:.2f} x", ratio >= target,
                  stitched=median(rounds, f"stitched{name}"), plain=median(rounds, f"plain{name}"))


# --- P6: sharing ---


def sum_of_pss(commands):
    """Starts all, waits until each has read everything, and adds up what they cost while all are alive."""
    readers = [subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
               for command in commands]
    try:
        for reader in readers:
            if reader.stdout.readline() != "ready\n":
                sys.exit("P6: a reader failed")
        total, sums = 0, set()
        for reader in readers:
            reader.stdin.write("\n")
            reader.stdin.flush()
            figures = json.loads(reader.stdout.readline())
            total += figures["pss"]
            sums.add(figures["sum"])
        if len(sums) != 1:
            sys.exit("P6: readers saw different bytes")
        return total
    finally:
        for reader in readers:
            reader.stdin.close()
            reader.wait()


def measure_share(bench):
    sizes, store, program = bench.sizes, bench.path("share.tenon"), bench.programs / "bench-share"
    bench.run("share", "make", store, sizes.share_bytes, sizes.tensors)
    for mode in ("shared", "private"):
        for count in sizes.share_processes:
            cost = sum_of_pss([[program, "read", store, mode]] * count)
            cost -= sum_of_pss([[program, "read", "none", mode]] * count)
            what = f"{count} processes read {sizes.share_bytes // MIB} MiB ({mode}): sum of PSS less bare processes"
            ratio = cost / sizes.share_bytes
            bench.add("P6", what, "<= 1.01 x the bytes", f"{ratio:.3f} x", ratio <= 1.01)
    bench.discard("share.tenon")
    if torch:
        measure_share_peers(bench)


def measure_share_peers(bench):
    sizes, script = bench.sizes, pathlib.Path(__file__).with_name("share_peer.py")
    state = random_state(sizes.share_peer_bytes, sizes.tensors)
    torch.save(state, bench.path("share.pt"))
    safetensors.torch.save_file(state, bench.path("share.safetensors"))
    for count in sizes.share_peer_processes:
        bare = sum_of_pss([[sys.executable, script, "none", "-"]] * count)
        for kind, name in (("torch.load", "share.pt"), ("safetensors", "share.safetensors")):
            cost = sum_of_pss([[sys.executable, script, kind.split(".")[0], bench.path(name)]] * count) - bare
            bench.add("P6", f"{count} processes, {sizes.share_peer_bytes // MIB} MiB: {kind} (for comparison)", "",
                      f"{cost / sizes.share_peer_bytes:.3f} x")
    bench.discard("share.pt", "share.safetensors")


# --- P7: following ---


def measure_follow(bench):
    sizes = bench.sizes
    for durability in ("full", "relaxed"):
        figures = bench.run("follow", "run", bench.path("follow.tenon"), durability, sizes.follow_bytes,
                            sizes.follow_tensors, sizes.follow_changed, sizes.follow_commits)[0]
        bench.discard("follow.tenon")
        for quantile, limit_s in (("p50", 200e-6), ("p99", 2e-3)):
            ours, polled = figures[quantile], figures[f"polled_{quantile}"]
            what = (f"{quantile} of {sizes.follow_commits} commits of {sizes.follow_changed} of {sizes.follow_tensors:,} "
                    f"tensors ({durability}): ack to views")
            # 0: who follows had the views before the commit had its answer.
            ratio = f"; {ours / polled:.2f} x polling" if polled > 0 else ""
            bench.add("P7", what, f"<= {show_seconds(limit_s)}", f"{show_seconds(ours)}{ratio}", ours <= limit_s,
                      polling=polled)


# --- P12, P13: import and export ---


def make_torch_file(bench):
    """A .pt of the size wanted; a small one where torch is missing."""
    path = bench.path("model.pt")
    if torch:
        torch.save({"model": random_state(bench.sizes.commit_bytes, bench.sizes.tensors), "step": 1}, path)
    else:
        script = pathlib.Path(__file__).parents[1] / "tools" / "make_checkpoint.py"
        subprocess.run([sys.executable, script, path], check=True, stdout=subprocess.DEVNULL)
    os.sync()
    return path


def copy_and_sync(source, target):
    subprocess.run(["cp", source, target], check=True)
    descriptor = os.open(target, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def require_equal_models(first, second):
    first, second = (torch.load(path, weights_only=True)["model"] for path in (first, second))
    if first.keys() != second.keys() or any(not torch.equal(first[name], second[name]) for name in first):
        sys.exit("P13: the exported file holds other values")


def measure_convert(bench):
    source, rounds = make_torch_file(bench), []
    for index in range(bench.sizes.rounds):
        figures = {}
        for step in ("cp", "import") if index % 2 == 0 else ("import", "cp"):
            bench.discard("copy.pt", "model.tenon")
            if step == "cp":
                figures["cp"], _ = timed(lambda: copy_and_sync(source, bench.path("copy.pt")))
            else:
                figures |= bench.run("convert", "import", source, bench.path("model.tenon"))[0]
        rounds.append(figures)
    size = f"{source.stat().st_size // MIB} MiB"
    bench.add_ratio("P12", f"import a .pt of {size}, durable: cp + fsync", 0.9, median(rounds, "import"),
                    median(rounds, "cp"), "cp + fsync")
    bench.discard("copy.pt")
    measure_export(bench, source, size)


def measure_export(bench, source, size):
    if not bench.path("model.tenon").exists():
        bench.run("convert", "import", source, bench.path("model.tenon"))
    loaded = torch.load(source, weights_only=True) if torch else None
    rounds = []
    for _ in range(bench.sizes.rounds):
        bench.discard("export.pt")
        figures = bench.run("convert", "export", bench.path("model.tenon"), bench.path("export.pt"))[0]
        if torch:
            bench.discard("saved.pt")
            figures["torch"], _ = timed(lambda: torch.save(loaded, bench.path("saved.pt")))
        rounds.append(figures)
    if torch:
        require_equal_models(source, bench.path("export.pt"))
    bench.add_ratio("P13", f"export a .pt of {size}, before fsync: torch.save", 3, median(rounds, "export"),
                    median(rounds, "torch"), "torch")
    bench.discard("model.pt", "model.tenon", "export.pt", "saved.pt")


# --- P15: copies ---


def measure_copy(bench):
    sizes, store = bench.sizes, bench.path("copy.tenon")
    bench.run("copy_mode", "make", store, sizes.commit_bytes, sizes.tensors)
    if torch:
        torch.save(random_state(sizes.commit_bytes, sizes.tensors), bench.path("copy.pt"))
    rounds = []
    for _ in range(sizes.rounds):
        rounds += bench.run("copy_mode", "load", store, 1)
        if torch:
            rounds[-1]["torch"], _ = timed(lambda: torch.load(bench.path("copy.pt"), weights_only=True))
    ours = median(rounds, "copy_mode")
    what = f"copy mode, {sizes.commit_bytes // MIB} MiB, warm"
    bench.add_ratio("P15", f"{what}: memcpy into fresh memory", 0.9, ours, median(rounds, "memcpy"), "memcpy")
    bench.add_ratio("P15", "same: torch.load (for comparison)", None, ours, median(rounds, "torch"), "torch")
    bench.discard("copy.tenon", "copy.pt")
    measure_python_copy(bench)


# --- P14, P15: Python ---


def import_tenon(bench):
    """The package of the build that is measured; None where it was not built."""
    sys.path.insert(0, str(bench.programs.resolve().parent / "python"))
    try:
        import tenon
    except ImportError as missing:
        print(f"rows of Python are left out: {missing}", file=sys.stderr)
        return None
    return tenon


def require_equal_states(first, second):
    if first.keys() != second.keys() or any(not torch.equal(first[name], second[name]) for name in first):
        sys.exit("P14: other values were loaded than were saved")


def measure_python(bench):
    tenon = import_tenon(bench)
    if tenon is None or torch is None:
        return
    count = bench.sizes.state_tensors
    state = random_state(count * 4096, count)
    tenon.open(bench.path("state.tenon"), create=True, durability="relaxed").save(state)
    safetensors.torch.save_file(state, bench.path("state.safetensors"))
    torch.save(state, bench.path("state.pt"))
    loads = {"tenon": lambda: tenon.load(bench.path("state.tenon")),
             "safetensors": lambda: safetensors.torch.load_file(bench.path("state.safetensors")),
             "torch": lambda: torch.load(bench.path("state.pt"), mmap=True, weights_only=True)}
    store = tenon.open(bench.path("saved.tenon"), create=True, durability="relaxed")
    saves = {"tenon save": lambda: store.save(state), "torch save": lambda: torch.save(state, bench.path("saved.pt"))}
    for load in loads.values():
        require_equal_states(state, load())
    rounds = [{name: timed(function)[0] for name, function in (loads | saves).items()}
              for _ in range(3 * bench.sizes.rounds)]
    what = f"Python, state dict of {count} tensors: load"
    ours = median(rounds, "tenon")
    bench.add_ratio("P14", f"{what}: safetensors load_file", 5, ours, median(rounds, "safetensors"), "safetensors")
    bench.add_ratio("P14", f"{what}: torch.load(mmap=True)", 10, ours, median(rounds, "torch"), "torch")
    bench.add_ratio("P14", "same, save of known bytes: torch.save (for comparison)", None, median(rounds, "tenon save"),
                    median(rounds, "torch save"), "torch")
    bench.discard("state.tenon", "state.safetensors", "state.pt", "saved.tenon", "saved.pt")


def measure_python_copy(bench):
    tenon = import_tenon(bench)
    if tenon is None or torch is None:
        return
    sizes = bench.sizes
    state = random_state(sizes.commit_bytes, sizes.tensors)
    tenon.open(bench.path("copy.tenon"), create=True, durability="relaxed").save(state)
    torch.save(state, bench.path("copy.pt"))
    require_equal_states(state, tenon.load(bench.path("copy.tenon"), mode="copy"))
    functions = {"tenon": lambda: tenon.load(bench.path("copy.tenon"), mode="copy"),
                 "torch": lambda: torch.load(bench.path("copy.pt"), weights_only=True),
                 "memcpy": lambda: {name: tensor.clone() for name, tensor in state.items()}}
    rounds = [{name: timed(function)[0] for name, function in functions.items()} for _ in range(sizes.rounds)]
    what = f"Python, copy mode, {sizes.commit_bytes // MIB} MiB, warm"
    ours = median(rounds, "tenon")
    bench.add_ratio("P15", f"{what}: clone() of the same tensors", 0.9, ours, median(rounds, "memcpy"), "clone")
    bench.add_ratio("P15", "same: torch.load (for comparison)", None, ours, median(rounds, "torch"), "torch")
    bench.discard("copy.tenon", "copy.pt")


# --- growth: many snapshots ---


def measure_growth(bench):
    """Interleaved rounds over a small and a large history of one model, of which 1 % of the tensors change."""
    sizes = bench.sizes
    tensors, changed = sizes.growth_tensors, max(1, sizes.growth_tensors // 100)
    stores = {count: bench.path(f"growth-{count}.tenon") for count in sizes.growth_snapshots}
    for count, store in stores.items():
        bench.run("growth", "make", store, count, tensors, changed)
    rounds = {count: [] for count in stores}
    for _ in range(sizes.rounds):
        for count, store in stores.items():
            rounds[count] += bench.run("growth", "measure", store, tensors, changed, 5)[1:]
    few, many = sizes.growth_snapshots
    for what in ("attach", "lookup", "log", "commit"):
        bench.add_ratio("growth", f"{what}, {many:,} snapshots of {tensors:,} tensors: {few} snapshots", 1.25,
                        median(rounds[many], what), median(rounds[few], what), f"{few} snapshots", at_most=True)
    figures = bench.run("growth", "sweep", stores[many])[0]
    if figures["snapshots"] != many + 6 * sizes.rounds - 10:
        sys.exit("growth: gc did not take what was forgotten")
    bench.add("growth", f"du, forget --keep-last 10, gc of {many:,} snapshots", "", du=figures["du"],
              forget=figures["forget"], gc=figures["gc"])
    bench.discard(*(store.name for store in stores.values()))


# --- P11: statistics ---


def numpy_statistics(array):
    """What Tenon says in one reading, as numpy says it."""
    wide = "float32" if array.dtype == "float16" else None
    return (int(numpy.isnan(array).sum()), int(numpy.isinf(array).sum()), int((array == 0).sum()), array.min(),
            array.max(), array.mean(dtype=wide), array.std(dtype=wide), numpy.abs(array).sum(dtype=wide))


def torch_statistics(tensor):
    return (int(tensor.isnan().sum()), int(tensor.isinf().sum()), int((tensor == 0).sum()), tensor.min(), tensor.max(),
            tensor.mean(dtype=torch.float32), tensor.std(correction=0), tensor.abs().sum(dtype=torch.float32))


def measure_summary(bench):
    sizes, store = bench.sizes, bench.path("summary.tenon")
    bench.run("summary", "make", store, sizes.summary_bytes)
    for dtype in ("float32", "float16", "bfloat16"):
        rounds = bench.run("summary", "measure", store, dtype, sizes.rounds)
        if torch:
            tensor = torch.randn(sizes.summary_bytes // 4).to(getattr(torch, dtype)).repeat(4 // getattr(torch, dtype).itemsize)
            rounds[-1]["torch"], _ = timed(lambda: torch_statistics(tensor))
            if dtype != "bfloat16":
                rounds[-1]["numpy"], _ = timed(lambda: numpy_statistics(tensor.numpy()))
        figure = {name: median(rounds, name) for name in
                  ("read", "statistics", "all", "l1", "quantiles", "histogram", "again", "numpy", "torch")}
        what = f"statistics of {sizes.summary_bytes // MIB} MiB of {dtype}, first time"
        bench.add_ratio("P11", f"{what}: a reading of the bytes", 0.8, figure["statistics"], figure["read"], "read")
        bench.add_ratio("P11", "same and 1-norm: a reading of the bytes", 0.8, figure["all"], figure["read"], "read")
        bench.add_ratio("P11", "same: torch (for comparison)", None, figure["all"], figure["torch"], "torch")
        if figure["numpy"]:
            bench.add_ratio("P11", "same: numpy (for comparison)", None, figure["all"], figure["numpy"], "numpy")
        bench.add("P11", "1-norm, 3 quantiles, 64 bins alone", "", l1=figure["l1"], quantiles=figure["quantiles"],
                  histogram=figure["histogram"])
        bench.add("P11", "same, cached", "<= 2 us", show_seconds(figure["again"]), figure["again"] <= 2e-6)
    bench.discard("summary.tenon")


# --- P10: SQL ---


QUERY_COLUMNS = "snapshot_id, step, name, layer, dtype, numel, nbytes, storage_id, nan_count, norm"
QUERY_SCAN = "SELECT layer % 10, count(*), sum(nbytes), avg(norm) FROM tensors WHERE norm > 2.9 GROUP BY 1 ORDER BY 1"
QUERY_PATH = "SELECT step, nbytes, storage_id FROM tensors WHERE name = 'layers.7.weight'"
QUERY_POINT = "SELECT nbytes, norm FROM tensors WHERE snapshot_id = ? AND name = 'layers.7.weight'"


def load_query_peers(bench, store):
    """The very rows, in a table of SQLite with the indexes that its lookups need, and in one of duckdb."""
    rows = bench.path("rows.csv")
    command = [bench.programs.parent / "tools" / "tenon", "--store", store, "sql", "--csv",
               f"SELECT {QUERY_COLUMNS} FROM tensors"]
    with open(rows, "wb") as out:
        subprocess.run(command, check=True, stdout=out)
    database = sqlite3.connect(bench.path("rows.db"))
    database.execute(f"CREATE TABLE tensors({QUERY_COLUMNS})")
    with open(rows, newline="") as lines:
        reader = csv.reader(lines)
        next(reader)
        numbers = (1, 3, 5, 6, 8)
        def convert(row):
            for i in numbers:
                row[i] = int(row[i])
            row[9] = float(row[9])
            return row
        database.executemany(f"INSERT INTO tensors VALUES ({', '.join('?' * 10)})", map(convert, reader))
    database.execute("CREATE INDEX by_name ON tensors(name, snapshot_id)")
    database.commit()
    peers = {"SQLite": database}
    if duckdb:
        peers["duckdb"] = duckdb.connect()
        peers["duckdb"].execute("SET threads = 1")
        peers["duckdb"].execute(f"CREATE TABLE tensors AS SELECT * FROM read_csv('{rows}')")
    bench.discard("rows.csv")
    return peers


def measure_query(bench):
    sizes, store = bench.sizes, bench.path("query.tenon")
    bench.run("query", "make", store, sizes.query_snapshots, sizes.query_tensors)
    peers = load_query_peers(bench, store)
    newest = peers["SQLite"].execute("SELECT snapshot_id FROM tensors ORDER BY step DESC LIMIT 1").fetchone()
    rounds = []
    for _ in range(sizes.rounds):
        first, *warm = bench.run("query", "measure", store, 5)
        if any(figures["rows"] != sizes.query_snapshots for figures in warm):
            sys.exit("P10: not every snapshot had its row")
        figures = first | {name: median(warm, name) for name in ("scan", "path", "statistics", "point")}
        for name, peer in peers.items():
            for what, sql, given in (("scan", QUERY_SCAN, ()), ("path", QUERY_PATH, ()), ("point", QUERY_POINT, newest)):
                figures[f"{what} {name}"] = statistics.median(
                    timed(lambda: peer.execute(sql, given).fetchall())[0] for _ in range(5))
        rounds.append(figures)
    rows = f"{sizes.query_snapshots * sizes.query_tensors:,} rows"
    ours = {name: median(rounds, name) for name in rounds[0]}
    for name in peers:
        wanted = 1 if name == "SQLite" else None
        bench.add_ratio("P10", f"filter and aggregate {rows}: {name}, the same rows in a table", wanted, ours["scan"],
                        ours[f"scan {name}"], name)
    bench.add("P10", f"one path over {sizes.query_snapshots:,} snapshots", "<= 1 ms", show_seconds(ours["path"]),
              ours["path"] <= 1e-3, first_time=ours["first_path"], with_statistics=ours["statistics"],
              **{name: ours[f"path {name}"] for name in peers})
    bench.add("P10", "point lookup", "<= 50 us", show_seconds(ours["point"]), ours["point"] <= 50e-6,
              **{name: ours[f"point {name}"] for name in peers})
    for peer in peers.values():
        peer.close()
    bench.discard("query.tenon", "rows.db")


MEASUREMENTS = {"P1": measure_attach, "P2": measure_first_byte, "P3": measure_commit_new, "P4": measure_commit_again,
                "P5": measure_touch, "P6": measure_share, "P7": measure_follow, "P8": measure_chain, "P9": measure_stitched,
                "P10": measure_query, "P11": measure_summary, "P12": measure_convert, "P13": measure_convert,
                "P14": measure_python, "P15": measure_copy, "growth": measure_growth}


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


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    parser.add_argument("--dir", type=pathlib.Path, help="where to write (default: the build directory's file system)")
    parser.add_argument("--rows", default=",".join(MEASUREMENTS), help="some of %(default)s")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--smoke", action="store_true", help="small sizes: shows that everything runs, not how fast")
    arguments = parser.parse_args()
    arguments.rows = arguments.rows.split(",")
    if unknown := set(arguments.rows) - set(MEASUREMENTS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    return arguments


def main():
    arguments = parse_arguments()
    sizes = SMOKE if arguments.smoke else Sizes()
    if arguments.rounds:
        sizes = dataclasses.replace(sizes, rounds=arguments.rounds)
    with tempfile.TemporaryDirectory(prefix="tenon-bench-", dir=arguments.dir or arguments.build) as directory:
        bench = Bench(arguments.build, pathlib.Path(directory), sizes)
        print(machine_line(directory), end="\n\n", flush=True)
        for measure in dict.fromkeys(MEASUREMENTS[row] for row in arguments.rows):
            measure(bench)
            print(f"{measure.__name__} done", file=sys.stderr)
        print_table(bench.lines, arguments.smoke)


if __name__ == "__main__":
    main()
