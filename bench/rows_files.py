"""P12 to P15: files in and out, copies, and state dicts in Python, beside torch, safetensors, cp and memcpy."""

import os
import pathlib
import subprocess
import sys

from harness import MIB, median, random_state, safetensors, timed, torch

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
