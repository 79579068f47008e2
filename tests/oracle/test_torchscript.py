"""TorchScript archives in and out, judged by torch.jit.load: what was imported runs again with equal results.

Left out of TORCH's own cases: a string attribute beyond 4 GiB (55) is tried with a short string in the same opcode.
"""

import collections
import enum
import io
import json
import struct
import typing
import warnings
import zipfile

import pytest
import torch

from conftest import fixture_parameters, fixtures_folder
from equal import assert_equal

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
WRITTEN_ANEW = {"byteorder", ".data/serialization_id"}


def records(path):
    """Every record below the archive's directory."""
    with zipfile.ZipFile(path) as archive:
        return {entry.filename.split("/", 1)[1]: archive.read(entry) for entry in archive.infolist()}


def rows(tenon, store, rev="main"):
    return {row["name"]: row for row in tenon.json("ls", rev, store=store)}


def again(tenon, store, path, *options):
    """Through the store and out; the records must be those of the file that went in."""
    tenon.import_files(store, [path], *options)
    out = tenon.export(store, "main", path.with_name("again.pt"))
    before, after = records(path), records(out)
    assert {k: v for k, v in after.items() if k not in WRITTEN_ANEW} == {
        k: v for k, v in before.items() if k not in WRITTEN_ANEW
    }
    return out


def save(module, path, **options):
    torch.jit.save(module, str(path), **options)
    return path


def round_trip(tenon, store, folder, module, **options):
    return torch.jit.load(str(again(tenon, store, save(module, folder / "module.pt", **options))))


def assert_same_outputs(a, b, *inputs):
    for given in inputs:
        given = given if isinstance(given, tuple) else (given,)
        torch.manual_seed(1)
        wanted = a(*given)
        torch.manual_seed(1)
        assert_equal(b(*given), wanted)


# ---- files found in the wild


def is_torchscript(row):
    return "torchscript" in row["kind"] and row["expect"] == "import" and "v1" not in row["kind"]


SHAPES = {
    "TestSerialization.test_conv2d": (1, 3, 8, 8),
    "l1000_100_10": (2, 1000),
    "linrelu": (4, 10),
    "forces": (5, 3),
}


def argument(kind, file):
    if kind == "Tensor":
        shape = next((shape for name, shape in SHAPES.items() if file.startswith(name)), (3,))
        return torch.rand(shape) + 0.5
    return {"int": 3, "float": 0.75, "bool": True, "str": "x", "number": 2.5}.get(kind)


def inputs_of(function, file):
    """Random ones, of the types that it declares; None where it takes something else."""
    declared = [str(a.type) for a in function.schema.arguments if a.name != "self"]
    made = [argument(kind, file) for kind in declared]
    return None if any(value is None for value in made) else made


def methods_of(module):
    return [name for name in module._c._method_names() if not name.startswith("__")]


RUN = {}


@pytest.mark.parametrize("name", fixture_parameters(is_torchscript))
def test_fixture_comes_back_with_equal_state_and_runs_with_equal_outputs(tenon, store, tmp_path, name):
    path = tmp_path / name
    path.write_bytes((fixtures_folder() / name).read_bytes())
    a, b = torch.jit.load(str(path)), torch.jit.load(str(again(tenon, store, path)))
    assert_equal(dict(b.state_dict()), dict(a.state_dict()))
    shown = rows(tenon, store)
    for key, value in a.state_dict().items():
        row = shown[key if not key.isdecimal() else json.dumps(key)]
        assert row["kind"] == ("parameter" if isinstance(value, torch.nn.Parameter) or value.requires_grad else row["kind"])
    assert {n for n, _ in a.named_parameters()} == {n for n, r in shown.items() if r["kind"] == "parameter"}
    assert {n for n, _ in a.named_buffers()} == {n for n, r in shown.items() if r["kind"] == "buffer"}
    assert methods_of(b) == methods_of(a)
    ran = 0
    for method in methods_of(a):
        given = inputs_of(getattr(a._c, method) if hasattr(a._c, method) else a._c._get_method(method), name)
        if given is None:
            continue
        try:
            wanted = a._c._get_method(method)(*given)
        except RuntimeError as error:  # takes other shapes or types: then both say so
            with pytest.raises(RuntimeError):
                b._c._get_method(method)(*given)
            continue
        assert_equal(b._c._get_method(method)(*given), wanted)
        ran += 1
    RUN[name] = ran


def test_most_fixtures_were_run():
    if not RUN:
        pytest.skip("no sample files were run")
    assert sum(1 for ran in RUN.values() if ran) >= 0.8 * len(RUN), RUN


# ---- modules of our own


class Nested(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.l0 = torch.nn.Linear(4, 2)
        self.inner = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ModuleDict({"last": torch.nn.Linear(3, 1)})["last"])
        self.register_buffer("scale", torch.rand(4))

    def forward(self, x):
        return self.inner(torch.relu(self.l0(x * self.scale)))


class ControlFlow(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.l0 = torch.nn.Linear(4, 2)
        self.l1 = torch.nn.Linear(2, 1)

    def forward(self, x):
        if x.dim() > 1:
            return torch.tensor(0)
        return self.l1(torch.relu(self.l0(x)))


class Recurrent(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(5, 7, num_layers=2, batch_first=True)

    def forward(self, x):
        return self.lstm(x)


def trained_batch_norm():
    module = torch.nn.BatchNorm2d(3)
    module(torch.rand(4, 3, 5, 5))
    return module.eval()


MODULES = {
    "BatchNorm": lambda: (torch.jit.script(trained_batch_norm()), [torch.rand(2, 3, 4, 4)]),
    "nested": lambda: (torch.jit.script(Nested()), [torch.rand(4), torch.rand(5, 4)]),
    "scripted control flow": lambda: (torch.jit.script(ControlFlow()), [torch.rand(4), torch.rand(3, 4)]),
    "traced path": lambda: (torch.jit.trace(ControlFlow(), torch.rand(4)), [torch.rand(4), torch.rand(3, 4)]),
    "LSTM": lambda: (torch.jit.script(Recurrent()), [torch.rand(2, 6, 5)]),
}


@pytest.mark.parametrize("name", MODULES)
def test_module_runs_with_equal_outputs(tenon, store, tmp_path, name):
    module, inputs = MODULES[name]()
    loaded = round_trip(tenon, store, tmp_path, module)
    assert_same_outputs(module, loaded, *inputs)
    assert_equal(dict(loaded.state_dict()), dict(module.state_dict()))
    shown = rows(tenon, store)
    assert set(module.state_dict()) == {n for n, row in shown.items() if row["kind"] != "plain"}


def test_control_flow_takes_both_branches_where_it_was_scripted_and_one_where_traced(tenon, store, tmp_path):
    scripted = round_trip(tenon, store, tmp_path, torch.jit.script(ControlFlow()))
    traced = round_trip(tenon, store, tmp_path, torch.jit.trace(ControlFlow(), torch.rand(4)))
    assert scripted(torch.rand(3, 4)).shape == ()
    assert scripted(torch.rand(4)).shape == (1,)
    assert traced(torch.rand(3, 4)).shape == (3, 1)


def test_imported_module_exports_as_a_state_dict_that_loads_strictly(tenon, store, tmp_path):
    module = Nested()
    tenon.import_files(store, [save(torch.jit.script(module), tmp_path / "m.pt")])
    tenon.ok("export", "main", tmp_path / "state.pt", "--format", "torch", store=store)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert list(state) == list(module.state_dict())
    Nested().load_state_dict(state)
    assert_equal({k: v.data for k, v in state.items()}, {k: v.data for k, v in module.state_dict().items()})


def test_ending_decides_between_code_and_tensors(tenon, store, tmp_path):
    tenon.import_files(store, [save(torch.jit.script(Nested()), tmp_path / "m.pt")])
    tenon.export(store, "main", tmp_path / "code.pt")
    tenon.export(store, "main", tmp_path / "state.pth")
    tenon.export(store, "main:inner", tmp_path / "part.pt")
    assert "constants.pkl" in records(tmp_path / "code.pt")
    assert isinstance(torch.load(tmp_path / "state.pth", weights_only=True), dict)
    assert isinstance(torch.load(tmp_path / "part.pt", weights_only=True), dict)


def test_constants_of_the_code_are_rows(tenon, store, tmp_path):
    constant = torch.arange(6.0).reshape(2, 3)

    class Traced(torch.nn.Module):
        def forward(self, x):
            return x @ constant

    module = torch.jit.trace(Traced(), torch.rand(2, 2))
    loaded = round_trip(tenon, store, tmp_path, module)
    assert_same_outputs(module, loaded, torch.rand(5, 2))
    values = json.loads(tenon.ok("--json", "cat", "main:constants/0", store=store).stdout)
    assert json.dumps(values).count("5.0") or json.dumps(values).count("5")
    assert rows(tenon, store)["constants/0"]["shape"] == [2, 3]


def test_changed_weights_run_in_the_code_that_was_imported(tenon, store, tmp_path):
    """A second checkpoint of one module shares code and dedupes; each exports with its own weights."""
    module = torch.jit.script(Nested())
    first = again(tenon, store, save(module, tmp_path / "a.pt"))
    first = torch.jit.load(str(first))
    with torch.no_grad():
        module.l0.weight.mul_(2)
    said = tenon.import_files(store, [save(module, tmp_path / "a.pt")])
    assert said[0]["reused_storages"] >= 5
    assert said[0]["written_storages"] == 1
    second = torch.jit.load(str(tenon.export(store, "main", tmp_path / "b.pt")))
    x = torch.rand(4)
    assert_same_outputs(module, second, x)
    assert not torch.equal(first.l0.weight, second.l0.weight)
    older = torch.jit.load(str(tenon.export(store, "main~1", tmp_path / "c.pt")))
    assert_equal(older(x), first(x))


def test_snapshot_with_other_tensors_than_its_code_is_refused(tenon, store, tmp_path):
    tenon.import_files(store, [save(torch.jit.script(Nested()), tmp_path / "a.pt")], "--prefix", "model")
    out = tenon.export(store, "main", tmp_path / "b.pt")
    assert list(torch.jit.load(str(out)).state_dict()) == list(Nested().state_dict())


# ---- torch's own cases


def test_case_15_torch_load_dispatches_for_an_exported_archive(tenon, store, tmp_path):
    out = again(tenon, store, save(torch.jit.script(Nested()), tmp_path / "m.pt"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = torch.load(out, weights_only=False)
    assert isinstance(loaded, torch.jit.ScriptModule)


def test_case_50_save_load_params_buffers_submodules(tenon, store, tmp_path):
    class Submodule(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.foo = torch.nn.Parameter(torch.rand(2, 3))

        def forward(self, x):
            return x + self.foo.sum()

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.submodule_a = Submodule()
            self.submodule_b = Submodule()
            self.parameter = torch.nn.Parameter(torch.rand(4), requires_grad=False)
            self.register_buffer("buffer", torch.ones(4))
            self.attribute = torch.zeros(2)
            self.many = [torch.ones(1), torch.ones(2)]

        def forward(self, x):
            return self.submodule_a(x) + self.submodule_b(x) + self.buffer.sum() + self.attribute.sum() + self.many[1].sum()

    module = torch.jit.script(Module())
    loaded = round_trip(tenon, store, tmp_path, module)
    assert [n for n, _ in loaded.named_parameters()] == [n for n, _ in module.named_parameters()]
    assert [n for n, _ in loaded.named_buffers()] == [n for n, _ in module.named_buffers()]
    assert [n for n, _ in loaded.named_modules()] == [n for n, _ in module.named_modules()]
    assert_same_outputs(module, loaded, torch.rand(3))
    assert {n: (r["kind"], r["requires_grad"]) for n, r in rows(tenon, store).items()} == {
        "submodule_a.foo": ("parameter", True),
        "submodule_b.foo": ("parameter", True),
        "parameter": ("parameter", False),
        "buffer": ("buffer", False),
        "attribute": ("plain", False),
        "many/0": ("plain", False),
        "many/1": ("plain", False),
    }


def test_case_51_save_load_with_extra_files(tenon, store, tmp_path):
    extra = {"notes.txt": b"bar", "bytes": bytes(range(256)) * 3, "nul": b"a\0b\0", "deep/er": b"", "unicode": "é".encode()}
    path = save(torch.jit.script(Nested()), tmp_path / "m.pt", _extra_files=extra)
    out = again(tenon, store, path)
    wanted = {name: "" for name in [*extra, "missing"]}
    torch.jit.load(str(out), _extra_files=wanted)
    assert {k: v.encode() if isinstance(v, str) else v for k, v in wanted.items()} == extra | {"missing": b""}


def make_mangled(factor):
    class Foo(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.full((2,), float(factor)))

        def forward(self, x):
            return x * self.weight

    return Foo()


class TwoOfOneName(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = torch.jit.script(make_mangled(2))
        self.b = torch.jit.script(make_mangled(3))

    def forward(self, x):
        return self.a(x) + self.b(x)


def test_case_52_many_collisions(tenon, store, tmp_path):
    module = torch.jit.script(TwoOfOneName())
    path = save(module, tmp_path / "m.pt")
    assert any("___torch_mangle" in name for name in records(path))
    loaded = torch.jit.load(str(again(tenon, store, path)))
    assert_same_outputs(module, loaded, torch.rand(2))
    assert {n: r["kind"] for n, r in rows(tenon, store).items()} == {"a.weight": "parameter", "b.weight": "parameter"}


class Pair(typing.NamedTuple):
    x: torch.Tensor
    y: torch.Tensor


class TakesPair(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.held: Pair = Pair(torch.ones(2), torch.zeros(3))

    def forward(self, pair: Pair) -> Pair:
        return Pair(pair.y + self.held[0].sum(), pair.x)


def test_case_53_save_namedtuple_input_and_output(tenon, store, tmp_path):
    module = torch.jit.script(TakesPair())
    loaded = round_trip(tenon, store, tmp_path, module)
    given = Pair(torch.rand(2), torch.rand(2))
    assert_equal(tuple(loaded(given)), tuple(module(given)))
    assert loaded(given)._fields == ("x", "y")
    assert {"held/0", "held/1"} == set(rows(tenon, store))


def test_case_54_save_load_meta_tensors(tenon, store, tmp_path):
    class Foo(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.foo = torch.nn.Parameter(torch.rand(2, 3, device="meta"))
            self.bar = torch.nn.Parameter(torch.rand(4))
            self.strided = torch.nn.Parameter(torch.empty_strided((2, 3), (1, 2), device="meta"))

        def forward(self, x):
            return x + self.bar

    module = torch.jit.script(Foo())
    path = save(module, tmp_path / "m.pt")
    assert records(path)["data/0"] == b""
    loaded = torch.jit.load(str(again(tenon, store, path)))
    assert loaded.foo.is_meta
    assert loaded.foo.shape == (2, 3)
    assert_same_outputs(module, loaded, torch.rand(4))
    shown = rows(tenon, store)
    assert shown["foo"]["slot_id"] is None
    assert shown["foo"]["kind"] == "parameter"
    assert shown["strided"]["stride"] == [1, 2]


def test_case_55_large_string_opcode(tenon, store, tmp_path):
    """Strings beyond 4 GiB have an opcode of their own, which also takes short ones."""

    class Foo(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.text = "marker"

        def forward(self):
            return self.text

    path = save(torch.jit.script(Foo()), tmp_path / "m.pt")
    content = records(path)
    short, long = b"X" + struct.pack("<I", 6) + b"marker", b"\x8d" + struct.pack("<Q", 6) + b"marker"
    assert content["data.pkl"].count(short) == 1
    content["data.pkl"] = content["data.pkl"].replace(short, long)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr("m/" + name, data)
    assert torch.jit.load(str(again(tenon, store, path)))() == "marker"


def test_case_56_save_load_with_saved_traced_inputs(tenon, store, tmp_path):
    module = torch.jit.trace(torch.nn.Linear(3, 2), torch.rand(4, 3), _store_inputs=True)
    path = save(module, tmp_path / "m.pt")
    out = again(tenon, store, path)
    assert "traced_inputs.pkl" in records(path)
    a, b = torch.jit.load(str(path)), torch.jit.load(str(out))
    assert_equal(
        json.loads(json.dumps(str(b._c._retrieve_traced_inputs()))), json.loads(json.dumps(str(a._c._retrieve_traced_inputs())))
    )
    assert_same_outputs(a, b, torch.rand(2, 3))


def test_case_57_views_and_tied_weights_share_one_storage(tenon, store, tmp_path):
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Linear(4, 4, bias=False)
            self.b = torch.nn.Linear(4, 4, bias=False)
            self.b.weight = self.a.weight
            self.register_buffer("base", torch.arange(12.0))
            self.register_buffer("part", self.base[2:10:2])
            self.register_buffer("same", self.base)

        def forward(self, x):
            return self.a(x) + self.b(x) + self.part

    loaded = round_trip(tenon, store, tmp_path, torch.jit.script(Tied()))
    shown = rows(tenon, store)
    assert shown["a.weight"]["slot_id"] == shown["b.weight"]["slot_id"]
    assert shown["base"]["slot_id"] == shown["part"]["slot_id"] == shown["same"]["slot_id"]
    assert shown["part"]["storage_offset_bytes"] == 8
    assert shown["part"]["stride"] == [2]
    loaded.base.fill_(7)
    assert loaded.part.tolist() == [7.0] * 4
    assert loaded.a.weight.data_ptr() == loaded.b.weight.data_ptr()


class Container(torch.nn.Module):
    """The pattern for handing values to C++."""

    def __init__(self):
        super().__init__()
        base = torch.arange(6.0)
        self.a = base
        self.b = base[1::2]
        self.prim_str = "hello"
        self.prim_int = 42
        self.prim_float = 0.5
        self.prim_list = [torch.ones(2), torch.zeros(3)]
        self.numbers = [1, 2]
        self.prim_dict = {"b": torch.ones(2), "a": torch.zeros(3)}
        self.prim_tuple = (1, "x", torch.ones(1))


def test_case_58_tensor_container(tenon, store, tmp_path):
    loaded = round_trip(tenon, store, tmp_path, torch.jit.script(Container()))
    wanted = Container()
    for name in ("a", "b", "prim_str", "prim_int", "prim_float", "prim_list", "numbers", "prim_dict", "prim_tuple"):
        assert_equal(getattr(loaded, name), getattr(wanted, name))
    loaded.a.fill_(3)
    assert loaded.b.tolist() == [3.0] * 3
    assert set(rows(tenon, store)) == {"a", "b", "prim_list/0", "prim_list/1", "prim_dict/b", "prim_dict/a", "prim_tuple/2"}
    tenon.ok("export", "main", tmp_path / "values.pt", "--format", "torch", store=store)
    values = torch.load(tmp_path / "values.pt", weights_only=True)
    assert_equal(values, {name: getattr(wanted, name) for name in values})
    assert len(values) == 9


OP_VERSIONS = fixture_parameters(lambda row: is_torchscript(row) and "_v" in row["file"])


@pytest.mark.parametrize("name", OP_VERSIONS)
def test_case_59_archives_of_older_operator_versions(tenon, store, tmp_path, name):
    path = tmp_path / name
    path.write_bytes((fixtures_folder() / name).read_bytes())
    out = again(tenon, store, path)
    version = [data for record, data in records(out).items() if record in ("version", ".data/version")]
    assert int(version[0]) in (2, 3)
    torch.jit.load(str(out))


def test_case_59_newer_operator_version_stands_in_its_own_record(tenon, store, tmp_path):
    class Gelu(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.gelu(x)

    module = torch.jit.script(Gelu())
    path = save(module, tmp_path / "m.pt")
    assert records(path)[".data/version"] == b"10\n"
    assert_same_outputs(module, torch.jit.load(str(again(tenon, store, path))), torch.rand(5))


# ---- what else modules hold


class Color(enum.Enum):
    RED = 1
    GREEN = 2


def test_values_of_every_type_survive(tenon, store, tmp_path):
    class Holder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.color = Color.GREEN
            self.device = torch.device("cpu")
            self.complex = 2 + 3j
            self.nothing: typing.Optional[torch.Tensor] = None
            self.deep = {1: [torch.ones(1), torch.ones(2)]}
            self.flags = [True, False]
            self.words = ["a", "b"]
            self.half = torch.ones(2, dtype=torch.float16)
            self.brain = torch.ones(2, dtype=torch.bfloat16)
            self.eight = torch.ones(2).to(torch.float8_e4m3fn)
            self.wide = torch.ones(2).to(torch.uint64)

        def forward(self, x: torch.Tensor):
            if self.color == Color.GREEN:
                return x + self.deep[1][1].sum()
            return x

    module = torch.jit.script(Holder())
    loaded = round_trip(tenon, store, tmp_path, module)
    assert_same_outputs(module, loaded, torch.rand(2))
    shown = rows(tenon, store)
    assert {n: r["dtype"] for n, r in shown.items()} == {
        "deep/1/0": "float32",
        "deep/1/1": "float32",
        "half": "float16",
        "brain": "bfloat16",
        "eight": "float8_e4m3fn",
        "wide": "uint64",
    }


def test_quantized_and_sparse_attributes_are_rows(tenon, store, tmp_path):
    class Holder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.q = torch.quantize_per_tensor(torch.rand(3), 0.1, 2, torch.qint8)
            self.s = torch.eye(3).to_sparse()

        def forward(self, x):
            return x + self.q.dequantize() + self.s.to_dense().sum()

    module = torch.jit.script(Holder())
    loaded = round_trip(tenon, store, tmp_path, module)
    assert_same_outputs(module, loaded, torch.rand(3))
    assert set(rows(tenon, store)) == {"q", "s.indices", "s.values"}


def test_mobile_archive_keeps_its_bytecode(tenon, store, tmp_path):
    module = torch.jit.script(Nested())
    path = tmp_path / "m.ptl"
    module._save_for_lite_interpreter(str(path))
    with zipfile.ZipFile(path) as archive:
        assert any(name.endswith("/bytecode.pkl") for name in archive.namelist())
    out = again(tenon, store, path)
    from torch.jit.mobile import _load_for_lite_interpreter

    x = torch.rand(4)
    assert_equal(_load_for_lite_interpreter(str(out))(x), module(x))
    assert set(module.state_dict()) <= set(rows(tenon, store))


def test_deflated_code_and_rezipped_archive_are_read(tenon, store, tmp_path):
    path = save(torch.jit.script(Nested()), tmp_path / "m.pt")
    content = records(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr("other name/" + name, data)
    torch.jit.load(str(again(tenon, store, path)))


def test_function_without_a_module_comes_back(tenon, store, tmp_path):
    @torch.jit.script
    def scale(x: torch.Tensor, by: int):
        return x * by

    path = tmp_path / "f.pt"
    torch.jit.save(scale, str(path))
    assert torch.jit.load(str(again(tenon, store, path)))(torch.ones(2), 3).tolist() == [3.0, 3.0]
