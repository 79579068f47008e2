"""A C++ program with libtorch reads what Tenon wrote, and Tenon reads what it wrote.

The program (tests/interop/libtorch_peer.cc) is compiled once against the headers and libraries of torch's wheel; where
there is no compiler, or no headers, these tests skip and say so.
"""

import hashlib
import pathlib
import shutil
import subprocess

import pytest
import torch

from conftest import REPOSITORY
from equal import assert_equal

SOURCE = REPOSITORY / "tests" / "interop" / "libtorch_peer.cc"
TORCH = pathlib.Path(torch.__file__).parent
COMPILE_SECONDS = 580


def compile_peer(out):
    compiler = shutil.which("g++")
    if compiler is None or not (TORCH / "include" / "torch" / "script.h").is_file():
        pytest.skip("no g++, or a torch without C++ headers")
    abi = int(torch.compiled_with_cxx11_abi())
    command = [
        compiler,
        "-std=c++20",
        "-O0",
        f"-D_GLIBCXX_USE_CXX11_ABI={abi}",
        *(f"-isystem{TORCH / 'include' / folder}" for folder in ("", "torch/csrc/api/include")),
        str(SOURCE),
        "-o",
        str(out),
        f"-L{TORCH / 'lib'}",
        f"-Wl,-rpath,{TORCH / 'lib'}",
        "-Wl,--no-as-needed",
        "-ltorch",
        "-ltorch_cpu",
        "-lc10",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="session")
def peer():
    """Compiled anew only when the source or torch changed."""
    key = hashlib.sha256(SOURCE.read_bytes() + torch.__version__.encode()).hexdigest()[:16]
    folder = REPOSITORY / "build" / "interop"
    program = folder / f"libtorch_peer-{key}"
    if not program.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        compile_peer(program.with_suffix(".new"))
        program.with_suffix(".new").rename(program)

    def run(*arguments):
        done = subprocess.run(
            [program, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def as_printed(tensor):
    names = {torch.float32: "float", torch.float64: "double", torch.int64: "long", torch.bfloat16: "c10::BFloat16"}
    numbers = "".join(f" {value:.17g}" for value in tensor.detach().to(torch.float64).flatten().tolist())
    return f"{names[tensor.dtype]} [{','.join(map(str, tensor.shape))}]{numbers}\n"


@pytest.fixture
def exported(tenon, store, tmp_path):
    base = torch.rand(12)
    saved = {
        "x": torch.rand(2, 3),
        "fc.weight": base.view(3, 4).t(),
        "part": base[2:7],
        "lr": 0.125,
        "epoch": 3,
        "name": "a \"name\"",
        "list": [torch.ones(1), torch.ones(2)],
        "model": {"encoder": {"0": {"weight": torch.rand(2, dtype=torch.float64)}}, "größe": torch.rand(1).bfloat16()},
        "steps": {7: torch.arange(2), 9: torch.arange(3)},
    }
    torch.save(saved, tmp_path / "saved.pt")
    tenon.import_files(store, [tmp_path / "saved.pt"])
    out = tmp_path / "container.pt"
    tenon.ok("export", "main", out, "--format", "torchscript", store=store)
    return out, saved


@pytest.mark.parametrize(
    "path", [["x"], ["fc.weight"], ["part"], ["model", "encoder", "0", "weight"], ["model", "größe"]], ids="/".join
)
def test_attributes_of_an_exported_container_are_read_by_name(peer, exported, path):
    out, value = exported
    for key in path:
        value = value[key]
    assert peer("attr", out, *path) == as_printed(value)


def test_values_of_an_exported_container_have_their_types(peer, exported):
    out, saved = exported
    lines = dict(line.split(": ", 1) for line in peer("values", out).splitlines() if ": " in line)
    assert lines["lr"] == "float = 0.125"
    assert lines["epoch"] == "int = 3"
    assert lines["name"] == 'str = a "name"'
    assert lines["list"].startswith("Tensor[] = ")
    assert lines["steps"].startswith("Dict(int, Tensor) = ")
    assert lines["part"] == "Tensor = " + as_printed(saved["part"]).rstrip()


def test_pickle_save_is_read(tenon, store, tmp_path, peer):
    peer("pickle-save", tmp_path / "cpp.pt")
    tenon.import_files(store, [tmp_path / "cpp.pt"])
    shown = {row["name"]: row for row in tenon.json("ls", "main", store=store)}
    assert set(shown) == {"state/base", "state/part", "list/0", "list/1"}
    assert shown["state/base"]["slot_id"] == shown["state/part"]["slot_id"]
    assert shown["state/part"]["stride"] == [2]
    assert shown["list/1"]["dtype"] == "bfloat16"
    before = torch.load(tmp_path / "cpp.pt", weights_only=False)
    after = torch.load(tenon.export(store, "main", tmp_path / "out.pt"), weights_only=False)
    assert_equal(after, before)
    assert after["name"] == "written by C++"


def test_pickle_load_reads_an_exported_torch_file(tenon, store, tmp_path, peer):
    torch.save({"a": torch.ones(2), "b": [1, 2.5, "text"], "c": (None, True)}, tmp_path / "in.pt")
    tenon.import_files(store, [tmp_path / "in.pt"])
    text = peer("pickle-load", tenon.export(store, "main", tmp_path / "out.pt"))
    assert text == peer("pickle-load", tmp_path / "in.pt")


@pytest.mark.parametrize(("what", "names"), [("tensor", {'"0"'}), ("vector", {'"0"', '"1"'})])
def test_saved_tensors_are_read(tenon, store, tmp_path, peer, what, names):
    peer("save", what, tmp_path / "cpp.pt")
    tenon.import_files(store, [tmp_path / "cpp.pt"])
    shown = {row["name"]: row for row in tenon.json("ls", "main", store=store)}
    assert set(shown) == names
    loaded = torch.jit.load(str(tenon.export(store, "main", tmp_path / "out.pt")))
    original = torch.jit.load(str(tmp_path / "cpp.pt"))
    for name in names:
        assert_equal(loaded._c.getattr(name[1:-1]), original._c.getattr(name[1:-1]))


def test_saved_module_is_read_and_loads_again_in_cpp(tenon, store, tmp_path, peer):
    peer("save", "module", tmp_path / "cpp.pt")
    tenon.import_files(store, [tmp_path / "cpp.pt"])
    shown = {row["name"]: row["kind"] for row in tenon.json("ls", "main", store=store)}
    assert set(shown) == {
        "fc.weight",
        "fc.bias",
        "norm.weight",
        "norm.bias",
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches_tracked",
        "scale",
    }
    assert shown["fc.weight"] == "parameter"
    out = tenon.export(store, "main", tmp_path / "out.pt")
    assert peer("load", "module", out) == peer("load", "module", tmp_path / "cpp.pt")
