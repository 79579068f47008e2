"""P1 to P9, and growth: attaching, committing, history, sharing and following, beside torch, safetensors and bare loops."""

import json
import pathlib
import statistics
import subprocess
import sys

from harness import GIB, MIB, median, random_state, safetensors, show_seconds, timed, torch

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
