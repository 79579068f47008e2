#!/usr/bin/env python3
"""Workers of one host serve from one copy of the weights, and take the next version as soon as it is committed.

    PYTHONPATH=build/python python3 examples/shared_workers.py [FOLDER] [WORKERS] [MIB]

Needs numpy; with torch, too, weights are tensors. A worker gets the store as an argument: it pickles as its path, so
nothing is copied to it, whether it is forked or spawned.
"""

import multiprocessing
import pathlib
import sys
import tempfile

import numpy as np

import tenon


def pss_mib():
    """What this process really costs: shared pages count in parts."""
    for line in pathlib.Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def serve(number, store, versions, results):
    """Loads each version as it comes; what it held before stays valid as long as it is in use."""
    for snapshot in store.watch("main", timeout=60):
        weights = snapshot.load(mode="shared")  # read-only arrays over pages that all workers share
        answer = sum(float(layer.sum()) for layer in weights["layers"])
        results.put((number, snapshot.step, answer, pss_mib()))
        if snapshot.step == versions - 1:
            return


def main(folder, workers=4, mib=64, versions=2):
    store = tenon.open(pathlib.Path(folder) / "weights.tenon", create=True, durability="relaxed")
    layers = [np.full(mib * (1 << 20) // 8 // 4, i + 1.0, np.float32) for i in range(8)]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    crew = [context.Process(target=serve, args=(i, store, versions, results)) for i in range(workers)]
    for version in range(versions):
        layers[0][:] = version
        done = store.save({"layers": layers}, step=version)
        print(f"version {version}: {done.written_bytes >> 20} MiB written, {done.reused_bytes >> 20} MiB known already")
        for worker in crew if version == 0 else ():
            worker.start()
        for _ in crew:
            number, step, answer, pss = results.get(timeout=120)
            print(f"  worker {number}: version {step}, sum {answer:.0f}, {pss:.0f} MiB its own share of memory")
    for worker in crew:
        worker.join()
    return 0 if all(worker.exitcode == 0 for worker in crew) else 1


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        given = sys.argv[1:]
        sys.exit(main(given[0] if given else temporary, *map(int, given[1:3])))
