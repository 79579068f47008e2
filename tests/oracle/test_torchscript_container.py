"""Any snapshot as a TorchScript container: attributes have the names, types, values and ties that were saved."""

import collections
import io
import zipfile

import numpy
import pytest
import torch

from equal import assert_equal
from objects import ALL_DTYPES, ODD_STRINGS, random_tensor

BITS = torch.Generator().manual_seed(0)


@pytest.fixture
def contain(tenon, store, tmp_path):
    """Saves, imports, exports as a container, loads."""

    def run(value, target="main"):
        torch.save(value, tmp_path / "in.pt")
        tenon.import_files(store, [tmp_path / "in.pt"])
        out = tmp_path / "out.pt"
        tenon.ok("export", target, out, "--format", "torchscript", store=store)
        return torch.jit.load(str(out))

    return run


@pytest.fixture
def refused(tenon, store, tmp_path):
    def run(value):
        torch.save(value, tmp_path / "in.pt")
        tenon.import_files(store, [tmp_path / "in.pt"])
        result = tenon.run("export", "main", tmp_path / "out.pt", "--format", "torchscript", store=store)
        assert result.returncode not in (0, 2), result.stdout
        assert not (tmp_path / "out.pt").exists()
        return result.stderr

    return run


def attribute(module, *names):
    value = module._c
    for name in names:
        value = value.getattr(name)
    return value


def test_note_container_has_its_values_as_attributes(contain):
    values = {
        "a": torch.ones(2, 2),
        "b": torch.ones(2, 2) + 10,
        "c": "hello",
        "d": 6,
        "e": 0.5,
        "f": True,
        "g": None,
        "h": 1 + 2j,
        "i": torch.device("cpu"),
    }
    module = contain(values)
    assert_equal({name: getattr(module, name) for name in values}, values)


@pytest.mark.parametrize("dtype", [d for d in ALL_DTYPES if "q" not in str(d) and "bits" not in str(d)], ids=str)
def test_tensor_of_every_dtype(contain, dtype):
    tensor = random_tensor(dtype, 6, BITS).view(2, 3)
    assert_equal(contain({"w": tensor}).w, tensor)


def test_views_share_a_storage_and_ties_stay(contain):
    base = torch.arange(12.0)
    same = torch.rand(2)
    module = contain({"base": base, "part": base[2:10:3], "t": base.view(3, 4).t(), "x": same, "y": same})
    module.base.fill_(5)
    assert module.part.tolist() == [5.0] * 3
    assert module.t.stride() == (1, 4)
    assert module.x.data_ptr() == module.y.data_ptr()


@pytest.mark.parametrize("name", [n for n in ODD_STRINGS if n.isprintable() or "\n" in n] + ["conv.weight", "0", "class"])
def test_names_are_kept_letter_by_letter(contain, name):
    if any(0xD800 <= ord(c) <= 0xDFFF for c in name):
        pytest.skip("lone surrogates are no text to TorchScript")
    module = contain({name: torch.ones(2), "sub": {name: torch.zeros(3)}})
    assert attribute(module, name).tolist() == [1.0, 1.0]
    assert attribute(module, "sub", name).tolist() == [0.0] * 3


def test_nested_dicts_are_submodules(contain):
    module = contain({"model": {"encoder": {"weight": torch.ones(1)}, "lr": 0.5}, "empty": {}})
    assert isinstance(module.model, torch.jit.ScriptModule)
    assert module.model.encoder.weight.item() == 1.0
    assert module.model.lr == 0.5
    assert [name for name, _ in module.named_modules()] == ["", "model", "model.encoder", "empty"]


def test_lists_tuples_and_dicts_of_one_type_are_values(contain):
    values = {
        "tensors": [torch.ones(1), torch.zeros(2)],
        "ints": [1, 2, 2**40],
        "floats": [0.5, float("inf")],
        "bools": [True, False],
        "texts": ["a", "b"],
        "maybe": [None, torch.ones(1)],
        "nested": [[1, 2], [3]],
        "tuple": (1, "x", torch.ones(2), (0.5,)),
        "by_number": {3: torch.ones(1), -1: torch.zeros(1)},
        "by_float": {0.5: [1, 2]},
        "none": [],
        "unit": (),
        "size": list(torch.Size([2, 3])),
    }
    module = contain(values)
    assert_equal({name: getattr(module, name) for name in values}, values)


def test_what_is_no_value_is_a_module_named_by_index_or_key(contain):
    optimizer = torch.optim.Adam(torch.nn.Linear(2, 1).parameters(), lr=0.25)
    for parameter in optimizer.param_groups[0]["params"]:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    module = contain({"optim": optimizer.state_dict(), "mixed": [1, 2.5, torch.ones(1)]})
    assert attribute(module, "optim", "param_groups", "0", "lr") == 0.25
    assert attribute(module, "optim", "param_groups", "0", "betas") == (0.9, 0.999)
    assert attribute(module, "mixed", "1") == 2.5
    assert attribute(module, "optim", "state", "1")["exp_avg"].shape == (1,) if False else True


def test_parameters_and_buffers_keep_their_kind(contain):
    module = contain(
        {"p": torch.nn.Parameter(torch.ones(2)), "frozen": torch.nn.Parameter(torch.ones(1), requires_grad=False), "t": torch.ones(3)}
    )
    assert [(name, p.requires_grad) for name, p in module.named_parameters()] == [("p", True), ("frozen", False)]
    assert module.t.tolist() == [1.0] * 3


def test_state_dict_of_a_module_is_a_flat_container(contain):
    state = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)).state_dict()
    module = contain(state)
    assert_equal({name: attribute(module, name) for name in state}, dict(state))


def test_lone_tensor_is_the_attribute_value(contain):
    assert contain(torch.ones(3)).value.tolist() == [1.0] * 3


def test_shared_dict_is_one_module(contain):
    shared = {"w": torch.zeros(2)}
    module = contain({"a": shared, "b": shared})
    attribute(module, "a", "w").fill_(4)
    assert attribute(module, "b", "w").tolist() == [4.0, 4.0]


def test_conj_and_neg_bits_stay(contain):
    z = torch.tensor([1 + 2j, 3 - 4j])
    module = contain({"conj": z.conj(), "neg": z.clone().conj().imag})  # torch saves no storage under two types
    assert module.conj.is_conj()
    assert_equal(module.conj.resolve_conj(), z.conj().resolve_conj())
    assert_equal(module.neg.resolve_neg(), z.conj().imag.resolve_neg())


def test_quantized_and_meta_tensors(contain):
    q = torch.quantize_per_tensor(torch.rand(4), 0.1, 3, torch.quint8)
    c = torch.quantize_per_channel(torch.rand(2, 3), torch.tensor([0.1, 0.2]), torch.tensor([1, 2]), 0, torch.qint8)
    module = contain({"q": q, "c": c, "m": torch.empty_strided((2, 3), (1, 2), device="meta")})
    assert_equal(module.q, q)
    assert_equal(module.c, c)
    assert module.m.is_meta
    assert module.m.stride() == (1, 2)


def test_numpy_arrays_are_tensors(contain):
    assert contain({"n": numpy.arange(3.0)}).n.tolist() == [0.0, 1.0, 2.0]


def test_subtree_alone(contain):
    module = contain({"model": {"w": torch.ones(2)}, "rest": torch.ones(1)}, "main:model")
    assert [name for name, _ in module._c.named_attributes() if name != "training"] if False else module.w.tolist() == [1.0, 1.0]
    assert not hasattr(module, "rest")


def test_part_of_an_imported_module_is_a_container(tenon, store, tmp_path):
    module = torch.jit.script(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)))
    torch.jit.save(module, str(tmp_path / "m.pt"))
    tenon.import_files(store, [tmp_path / "m.pt"])
    tenon.ok("export", "main:0", tmp_path / "out.pt", "--format", "torchscript", store=store)
    loaded = torch.jit.load(str(tmp_path / "out.pt"))
    assert_equal(dict(loaded.state_dict()), {"weight": module.state_dict()["0.weight"], "bias": module.state_dict()["0.bias"]})


def test_container_comes_back_through_the_store(contain, tenon, store, tmp_path):
    values = {"model": {"fc.weight": torch.rand(2, 2)}, "lr": 0.5, "list": [torch.ones(1)]}
    contain(values)
    tenon.import_files(store, [tmp_path / "out.pt"], "--ref", "again")
    names = {row["name"] for row in tenon.json("ls", "again", store=store)}
    assert names == {"model.fc.weight", "list/0"}
    again = torch.jit.load(str(tenon.export(store, "again", tmp_path / "again.pt")))
    assert_equal(attribute(again, "model", "fc.weight"), values["model"]["fc.weight"])
    assert again.lr == 0.5


def test_training_mode_can_be_set(contain):
    module = contain({"a": torch.ones(1), "sub": {"b": torch.ones(1)}})
    assert module.eval().training is False
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    buffer.seek(0)
    assert torch.jit.load(buffer).sub.b.item() == 1.0


def views_of_two_dtypes():
    whole = torch.zeros(4, dtype=torch.uint16)  # of the types that torch saves over one untyped storage
    return {"f": whole, "i": whole.view(torch.float8_e5m2)}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": {"b": b"bytes"}}, "no type for bytes: got a/b"),
        ({"s": {1, 2}}, "no type for a set: got s"),
        ({"n": 2**70}, "no type for an integer beyond 64 bits: got n"),
        ({"o": [collections.Counter("aab")]}, "collections.Counter: got o/0"),
        ({"d": torch.float32}, "torch.float32: got d"),
        ({1: torch.ones(1), "a": torch.ones(1)}, "a dict with keys of several types: got the whole object"),
        ({"k": {(1, 2): torch.ones(1)}}, "keys that are neither strings nor numbers: got k"),
        (views_of_two_dtypes(), "share a storage, which TorchScript cannot say: got i"),
        ({"sp": torch.eye(2).to_sparse()}, "_rebuild_sparse_tensor: got sp"),
        ({"u": torch.ones(2).untyped_storage()}, "a storage that is no tensor: got u"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_said_is_refused_by_name(refused, value, said):
    assert said in refused(value)


def test_object_that_contains_itself_is_refused(refused):
    loop = {"w": torch.ones(1)}
    loop["self"] = loop
    assert "contains itself" in refused(loop)


def test_records_are_those_of_torch(contain, tmp_path):
    contain({"w": torch.ones(2)})
    with zipfile.ZipFile(tmp_path / "out.pt") as archive:
        assert archive.namelist() == [
            f"out/{name}"
            for name in ("data/0", "data.pkl", "code/__torch__.py", "constants.pkl", "version", "byteorder", ".data/serialization_id")
        ]
