"""TorchScript archives as torch wrote them before 1.3, with a model.json. No torch that can be had today reads them, so
what they hold is said here, and torch judges the values once they are exported."""

import io
import json
import zipfile

import pytest
import torch

from equal import assert_equal
from hostile import call, integer, name, program, sequence, string

TYPES = {
    torch.float32: "FLOAT",
    torch.float64: "DOUBLE",
    torch.float16: "FLOAT16",
    torch.uint8: "UINT8",
    torch.int8: "INT8",
    torch.int16: "INT16",
    torch.int32: "INT32",
    torch.int64: "INT64",
    torch.bool: "BOOL",
}


def described(tensor, key, **fields):
    """A tensor as it stands in the table: integers of 64 bits in quotes, as protobuf has them."""
    return {
        "dims": [str(n) for n in tensor.shape],
        "offset": str(tensor.storage_offset()),
        "strides": [str(n) for n in tensor.stride()],
        "requiresGrad": tensor.requires_grad,
        "dataType": TYPES[tensor.dtype],
        "data": {"key": key},
        "device": "cpu",
    } | fields


def raw(tensor):
    return bytes(tensor.detach().untyped_storage())


def parameter(name, tensor, is_buffer=False):
    return {"isBuffer": is_buffer, "tensorId": str(tensor), "name": name}


def attribute(name, value, kind="Tensor"):
    return {"type": kind, "name": name, "id": str(value)}


def model(main, tensors=(), version="5"):
    return {
        "protoVersion": version,
        "mainModule": {"torchscriptArena": {"key": "code/m.py"}, "name": "M", "optimize": True} | main,
        "producerName": "pytorch",
        "producerVersion": "1.0",
        "tensors": list(tensors),
    }


def archive(said, records=(), values=b"\x80\x02)."):
    """`said` becomes model.json; `values` is the pickle beside it."""
    entries = {"version": b"1\n", "code/m.py": b"op_version_set = 1\n", "debug/m.pkl": b"\x80\x02)."}
    entries |= dict(records) | {"attributes.pkl": values}
    entries["model.json"] = said if isinstance(said, bytes) else json.dumps(said).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        for entry, data in entries.items():
            if data is not None:
                out.writestr(f"m/{entry}", data)
    return buffer.getvalue()


def rows(tenon, store):
    return {row["name"]: row for row in tenon.json("ls", "main", store=store)}


@pytest.fixture
def brought(tenon, store, tmp_path):
    """Imports an archive and exports it; what torch loads."""

    def bring(data):
        file = tmp_path / "m.pt"
        file.write_bytes(data)
        tenon.import_files(store, [file])
        return torch.load(tenon.export(store, "main", tmp_path / "out.pt"), weights_only=True)

    return bring


def test_modules_in_modules_have_dotted_names_and_their_kinds(tenon, store, brought):
    weight, bias, mean = torch.rand(3, 2, requires_grad=True), torch.rand(3), torch.rand(4)[1:]
    inner = {
        "name": "fc",
        "parameters": [parameter("weight", 0), parameter("bias", 1)],
        "submodules": [{"name": "bn", "parameters": [parameter("mean", 2, is_buffer=True)]}],
    }
    said = model(
        {"submodules": [inner], "parameters": [parameter("scale", 1)]},
        [described(t, f"tensors/{i}") for i, t in enumerate((weight, bias, mean))],
    )
    got = brought(archive(said, {f"tensors/{i}": raw(t) for i, t in enumerate((weight, bias, mean))}))
    shared = torch.nn.Parameter(bias, requires_grad=False)
    wanted = {"scale": shared, "fc.weight": torch.nn.Parameter(weight), "fc.bias": shared, "fc.bn.mean": mean}
    assert_equal(got, wanted)
    kinds = {key: row["kind"] for key, row in rows(tenon, store).items()}
    assert kinds == {"scale": "parameter", "fc.weight": "parameter", "fc.bias": "parameter", "fc.bn.mean": "buffer"}


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_every_type_of_elements(brought, dtype):
    tensor = (torch.arange(6).reshape(2, 3) % 2).to(dtype)
    said = model({"parameters": [parameter("t", 0, is_buffer=True)]}, [described(tensor, "tensors/0")])
    assert_equal(brought(archive(said, {"tensors/0": raw(tensor)})), {"t": tensor})


def test_tensors_on_one_record_share_it(brought):
    base = torch.arange(12.0).reshape(3, 4)
    views = [base, base.t(), base[1:, ::2]]
    said = model(
        {"parameters": [parameter(f"v{i}", i, is_buffer=True) for i in range(3)]},
        [described(t, "tensors/0") for t in views],
    )
    got = brought(archive(said, {"tensors/0": raw(base)}))
    assert_equal([got["v0"], got["v1"], got["v2"]], views)
    assert got["v0"].untyped_storage().data_ptr() == got["v2"].untyped_storage().data_ptr()


def test_numbers_need_no_quotes(brought):
    tensor = torch.rand(2, 3)
    plain = described(tensor, "tensors/0", dims=[2, 3], strides=[3, 1], offset=0, dataType=1)
    said = model({"parameters": [{"tensorId": 0, "name": "t"}]}, [plain], version=5)
    assert torch.equal(brought(archive(said, {"tensors/0": raw(tensor)}))["t"], tensor)


def test_a_quantized_tensor(brought):
    tensor = torch.quantize_per_tensor(torch.linspace(-1, 1, 8), 0.0625, 3, torch.quint8)
    table = described(
        tensor.int_repr(), "tensors/0", isQuantized=True, scale=tensor.q_scale(), zeroPoint=str(tensor.q_zero_point())
    )
    said = model({"parameters": [parameter("q", 0, is_buffer=True)]}, [table])
    assert_equal(brought(archive(said, {"tensors/0": raw(tensor.int_repr())})), {"q": tensor})


def reference(index):
    return call(name("torch.jit._pickle", "build_tensor_from_id"), integer(index))


def old_reference(index):
    return name("__main__", "TensorID") + b")\x81" + integer(index) + b"b"


@pytest.mark.parametrize("refer", [reference, old_reference])
def test_attributes_come_from_the_pickle(tenon, store, brought, refer):
    a, b = torch.rand(2), torch.rand(3)
    old_list = name("__main__", "IntList") + b")\x81](" + integer(4) + integer(5) + b"eb"
    new_list = call(name("torch.jit._pickle", "build_intlist"), b"](" + integer(6) + b"e")
    values = program(
        sequence(integer(7), string("text"), b"](" + refer(0) + refer(1) + b"e", refer(1), old_list, new_list)
    )
    names = ["number", "text", "list", "tensor", "old", "new"]
    said = model(
        {"attributes": [attribute(key, i) for i, key in enumerate(names)] + [attribute("nothing", -1)]},
        [described(t, f"tensors/{i}") for i, t in enumerate((a, b))],
    )
    got = brought(archive(said, {"tensors/0": raw(a), "tensors/1": raw(b)}, values))
    assert list(got) == [*names, "nothing"]
    assert_equal([got[key] for key in ("number", "text", "old", "new", "nothing")], [7, "text", [4, 5], [6], None])
    assert_equal(got["list"], [a, b])
    assert torch.equal(got["tensor"], b)
    assert set(rows(tenon, store)) == {"list/0", "list/1", "tensor"}


def test_a_buffer_is_not_an_attribute_again(brought):
    tensor = torch.rand(2)
    main = {"parameters": [parameter("t", 0, is_buffer=True)], "attributes": [attribute("t", 0)]}
    said = model(main, [described(tensor, "tensors/0")])
    assert list(brought(archive(said, {"tensors/0": raw(tensor)}, program(sequence(integer(1)))))) == ["t"]


def test_version_2_has_a_list_of_values_and_version_1_none(brought):
    assert brought(archive(model({"attributes": [attribute("a", 0)]}, version="2"), values=program(b"]K\x07a"))) == {
        "a": 7
    }
    assert brought(archive(model({}, version="1"), {"attributes.pkl": None}, None)) == {}


def test_a_state_of_its_own_is_an_attribute(brought):
    said = model({"submodules": [{"name": "packed", "getStateAttributeId": "0"}]})
    assert brought(archive(said, values=program(sequence(sequence(integer(1), string("x")))))) == {
        "packed.__getstate__": (1, "x")
    }


def test_tensors_of_the_code_are_constants(tenon, store, brought):
    a, b = torch.rand(2), torch.rand(3)
    said = model({"parameters": [parameter("a", 0)]}, [described(t, f"tensors/{i}") for i, t in enumerate((a, b))])
    got = brought(archive(said, {"tensors/0": raw(a), "tensors/1": raw(b)}))
    assert torch.equal(got["constants"][1], b)
    assert set(rows(tenon, store)) == {"a", "constants/1"}


def test_it_can_be_a_container_that_torch_runs(tenon, store, tmp_path, brought):
    tensor = torch.rand(2)
    brought(archive(model({"parameters": [parameter("a.b", 0)]}, [described(tensor, "t")]), {"t": raw(tensor)}))
    out = tmp_path / "container.pt"
    tenon.ok("export", "main", out, "--format", "torchscript", store=store)
    assert torch.equal(getattr(torch.jit.load(out), "a.b"), tensor)


TABLE = [described(torch.rand(4), "tensors/0")]
USED = {"parameters": [parameter("t", 0)]}


def tensor_with(**fields):
    return model(USED, [TABLE[0] | fields])


def nested(levels):
    module = {"name": "m"}
    for _ in range(levels):
        module = {"name": "m", "submodules": [module]}
    return model(module)


REFUSED = {
    "no JSON": (b"{", "corrupt", "not valid JSON"),
    "an array": (b"[]", "corrupt", "wrong kind"),
    "a number": (b"1", "corrupt", "wrong kind"),
    "empty": (b"", "corrupt", "not valid JSON"),
    "no module": (b"{}", "corrupt", "no main module"),
    "two main modules": (b'{"mainModule": {}, "mainModule": {}}', "corrupt", "main module twice"),
    "module that is a number": (b'{"mainModule": 1}', "corrupt", "no main module"),
    "no version": (b'{"mainModule": {}}', "unsupported", "unknown version"),
    "version 6": (model({}, version="6"), "unsupported", "unknown version"),
    "version 2^64": (model({}, version=2**64 - 1), "corrupt", "wrong kind"),
    "version of letters": (model({}, version="five"), "corrupt", "wrong kind"),
    "version with a fraction": (model({}, version=1.5), "corrupt", "wrong kind"),
    "modules 200 deep": (nested(200), "limit", "nested too deeply"),
    "40,000 modules": (model({"submodules": [{}] * 40_000}), "limit", "too many tensors and modules"),
    "40,000 tensors": (model({}, [{}] * 40_000), "limit", "too many tensors and modules"),
    "100 dimensions": (tensor_with(dims=["1"] * 100), "limit", "too many dimensions"),
    "name that is a number": (model({"name": 1}), "corrupt", "wrong kind"),
    "name that is an object": (model({"name": {}}), "corrupt", "wrong kind"),
    "name that is an array": (model({"name": ["M"]}), "corrupt", "wrong kind"),
    "dims that is a number": (tensor_with(dims=4), "corrupt", "wrong kind"),
    "dims in dims": (tensor_with(dims=[["4"]]), "corrupt", "wrong kind"),
    "dims of letters": (tensor_with(dims=["four"]), "corrupt", "wrong kind"),
    "dims of booleans": (tensor_with(dims=[True]), "corrupt", "wrong kind"),
    "dims below 0": (tensor_with(dims=["-4"]), "corrupt", "negative"),
    "dims that do not fit strides": (tensor_with(dims=["2", "2"]), "corrupt", "tensor"),
    "one element too many": (tensor_with(dims=["5"]), "corrupt", "reaches outside its storage"),
    "offset below 0": (tensor_with(offset="-1"), "corrupt", "negative"),
    "offset 2^62": (tensor_with(offset=str(2**62)), "corrupt", "tensor"),
    "flag that is text": (tensor_with(requiresGrad="yes"), "corrupt", "wrong kind"),
    "flag that is a number": (tensor_with(requiresGrad=1), "corrupt", "wrong kind"),
    "scale that is text": (tensor_with(isQuantized=True, scale="1"), "corrupt", "wrong kind"),
    "elements of strings": (tensor_with(dataType="STRING"), "unsupported", "unknown type of elements"),
    "elements of type 99": (tensor_with(dataType=99), "unsupported", "unknown type of elements"),
    "quantized floats": (tensor_with(isQuantized=True), "unsupported", "unknown type of elements"),
    "record that is missing": (tensor_with(data={"key": "tensors/7"}), "corrupt", "lacks a storage"),
    "record outside the archive": (tensor_with(data={"key": "../m/tensors/0"}), "corrupt", "lacks a storage"),
    "tensor beyond the table": (model({"parameters": [parameter("t", 1)]}, TABLE), "corrupt", "not in its table"),
    "tensor -2": (model({"parameters": [parameter("t", -2)]}, TABLE), "corrupt", "not in its table"),
    "parameter of no tensor": (model({"parameters": [{"name": "t"}]}, TABLE), "corrupt", "not in its table"),
    "value beyond the pickle": (model({"attributes": [attribute("a", 1)]}), "corrupt", "not in attributes.pkl"),
    "state beyond the pickle": (model({"getStateAttributeId": "3"}), "corrupt", "not in attributes.pkl"),
}
REFUSED = {what: (archive(said, {"tensors/0": bytes(16)}), kind, text) for what, (said, kind, text) in REFUSED.items()}
REFUSED |= {
    what: (archive(model(USED, TABLE), {"tensors/0": bytes(16)}, values), kind, text)
    for what, (values, kind, text) in {
        "pickle of a number": (program(integer(1)), "corrupt", "holds no list"),
        "pickle cut short": (b"\x80\x02(", "corrupt", "attributes.pkl"),
        "reference beyond the table": (program(sequence(reference(1))), "corrupt", "not in its table"),
        "reference below it": (program(sequence(old_reference(-1))), "corrupt", "not in its table"),
        "reference by text": (
            program(sequence(call(name("torch.jit._pickle", "build_tensor_from_id"), string("0")))),
            "corrupt",
            "by no number",
        ),
    }.items()
}


@pytest.mark.parametrize("what", REFUSED)
def test_is_refused_for_what_it_is(tenon, store, tmp_path, what):
    data, kind, text = REFUSED[what]
    file = tmp_path / "m.pt"
    file.write_bytes(data)
    result = tenon.run("--json", "import", file, store=store)
    error = json.loads(result.stderr)
    assert (result.returncode, error["kind"]) == (1, kind) and text in error["what"] + error["file"], error
    assert file.name in error["file"]
