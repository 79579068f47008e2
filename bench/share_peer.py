"""A reader like `bench-share read`, for files of torch.save and safetensors: reads every byte, says so, waits for a
line, then tells its proportional set size.

    share_peer.py none|torch|safetensors FILE
"""

import json
import sys

import torch
from safetensors.torch import load_file

LOADERS = {
    "none": lambda path: {},
    "torch": lambda path: torch.load(path, weights_only=True),
    "safetensors": load_file,
}


def pss_bytes():
    with open("/proc/self/smaps_rollup") as rollup:
        return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Pss:"))


def main():
    torch.set_num_threads(1)
    state = LOADERS[sys.argv[1]](sys.argv[2])
    total = sum(int(tensor.view(torch.int64).sum()) for tensor in state.values())
    print("ready", flush=True)
    if not sys.stdin.readline():
        sys.exit("nobody waits for the answer")
    print(json.dumps({"pss": pss_bytes(), "sum": total}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
