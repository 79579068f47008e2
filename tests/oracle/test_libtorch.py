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
LIBRARY = REPOSITORY / "build" / "libtenon.so"
COMPILE_SECONDS = 580


def compile_peer(out):
    compiler = shutil.which("g++")
    if compiler is None or not (TORCH / "include" / "torch" / "script.h").is_file():
        pytest.skip("no g++, or a torch without C++ headers")
    if not LIBRARY.exists():
        pytest.skip(f"no {LIBRARY}")
    abi = int(torch.compiled_with_cxx11_abi())
    command = [
        compiler,
        "-std=c++20",
        "-O0",
        f"-D_GLIBCXX_USE_CXX11_ABI={abi}",
        f"-I{REPOSITORY / 'include'}",
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
        f"-L{LIBRARY.parent}",
        f"-Wl,-rpath,{LIBRARY.parent}",
        "-ltenon",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="session")
def peer():
    """Compiled anew only when the source, our headers or torch changed."""
    sources = [SOURCE, *sorted((REPOSITORY / "include" / "tenon").glob("*.h"))]
    content = b"".join(path.read_bytes() for path in sources)
    key = hashlib.sha256(content + torch.__version__.encode()).hexdigest()[:16]
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


@pytest.fixture
def viewed():
    base = torch.arange(24.0).view(4, 6)
    negative = torch._neg_view(torch.rand(3))
    tensors = {
        "base": base, "row": base[1], "columns": base.t()[2:4], "scalar": torch.tensor(5), "none": torch.zeros(0, 3),
        "expanded": torch.ones(1).expand(2, 3), "neg": negative,
        "conj": torch.rand(3, dtype=torch.complex64).conj(),
        "grad": torch.rand(2, requires_grad=True),
    }
    kinds = [torch.bool, torch.uint8, torch.int16, torch.float16, torch.bfloat16, torch.float64, torch.complex128]
    return tensors | {str(kind): torch.arange(5).to(kind) for kind in kinds}


def test_views_are_tensors_of_libtorch_with_their_ties(tenon, store, tmp_path, peer, viewed):
    torch.save(viewed, tmp_path / "in.pt")
    tenon.import_files(store, [tmp_path / "in.pt"])
    peer("views", store, tmp_path / "out.pt")
    assert_equal(torch.load(tmp_path / "out.pt", weights_only=False), list(viewed.values()))


def test_a_write_is_seen_through_other_views_and_never_reaches_the_store(tenon, store, tmp_path, peer):
    base = torch.arange(6.0)
    torch.save({"base": base, "part": base[2:4], "equal": torch.arange(6.0)}, tmp_path / "in.pt")
    tenon.import_files(store, [tmp_path / "in.pt"])
    sevens = torch.tensor([0, 1, 7, 7, 4, 5.0])
    assert peer("write", store, "part") == "".join(map(as_printed, (sevens, sevens[2:4], torch.arange(6.0))))
    assert_equal(torch.load(tenon.export(store, "main", tmp_path / "out.pt"))["base"], base)


@pytest.mark.parametrize("kind", ["uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2"])
def test_types_that_torch_does_not_pickle_in_cpp_are_viewed(tenon, store, tmp_path, peer, kind):
    torch.save({"a": torch.arange(4).to(getattr(torch, kind)), "b": torch.zeros(1)}, tmp_path / "in.pt")
    tenon.import_files(store, [tmp_path / "in.pt"])
    assert peer("write", store, "b").splitlines()[0].endswith(" [4] 0 1 2 3")


def test_read_only_memory_is_refused(tenon, store, tmp_path, peer):
    torch.save({"a": torch.ones(2)}, tmp_path / "in.pt")
    tenon.import_files(store, [tmp_path / "in.pt"])
    with pytest.raises(AssertionError, match="torch has no read-only tensors"):
        peer("view-shared", store)
