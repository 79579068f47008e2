"""safetensors, numpy and sharded checkpoints: what their own packages write comes in, and they read what comes out.

The measure is the package itself: safetensors' reader and writer, numpy.load and numpy.save. Bytes are compared, so NaNs
count by their payload.
"""

import json
import struct

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from safetensors.numpy import load_file as load_with_numpy
from safetensors.torch import load_file, save_file

from equal import assert_equal
from objects import ALL_DTYPES, random_tensor

BITS = torch.Generator().manual_seed(0)


def can_save_safely(dtype):
    try:
        safetensors.torch.save({"w": random_tensor(dtype, 4, BITS)})
    except (KeyError, ValueError, RuntimeError, TypeError, safetensors.SafetensorError):
        return False
    return True


SAFE_DTYPES = [dtype for dtype in ALL_DTYPES if can_save_safely(dtype)]
OTHER_DTYPES = [dtype for dtype in ALL_DTYPES if dtype not in SAFE_DTYPES]
NUMPY_DTYPES = ["b1", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8", "c8", "c16"]
# What the package writes, but cannot read: {"F4"}. Then torch.load judges what was imported.
UNREADABLE = {torch.float4_e2m1fn_x2}


def raw(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def assert_same_tensors(got, wanted):
    assert list(got) == list(wanted)
    for name in wanted:
        assert (got[name].dtype, got[name].shape, raw(got[name])) == (
            wanted[name].dtype,
            wanted[name].shape,
            raw(wanted[name]),
        ), name


def test_every_type_of_the_package_is_tried():
    assert {header_of_type(dtype) for dtype in SAFE_DTYPES} >= {
        *("BOOL", "U8", "I8", "I16", "U16", "F16", "BF16", "I32", "U32", "F32", "F64", "I64", "U64", "C64"),
        *("F4", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"),
    }


def header_of_type(dtype):
    data = safetensors.torch.save({"w": random_tensor(dtype, 4, BITS)})
    return json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])["w"]["dtype"]


@pytest.mark.parametrize("dtype", SAFE_DTYPES, ids=str)
def test_safetensors_come_back_byte_for_byte(tenon, store, tmp_path, dtype):
    tensors = {
        "b": random_tensor(dtype, 24, BITS).reshape(2, 3, 4),
        "a.weight": random_tensor(dtype, 5, BITS),
        "a/b": random_tensor(dtype, 1, BITS).reshape(()) if dtype not in UNREADABLE else random_tensor(dtype, 1, BITS),
        "0": random_tensor(dtype, 8, BITS)[:0],
        "é\n\x00": random_tensor(dtype, 2, BITS),
    }
    original, out = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    save_file(tensors, original, metadata={"format": "pt"})
    tenon.import_files(store, [original])
    tenon.export(store, "main", out)
    assert out.read_bytes() == original.read_bytes()
    if dtype not in UNREADABLE:
        assert_same_tensors(dict(sorted(load_file(out).items())), dict(sorted(tensors.items())))


@pytest.mark.parametrize("dtype", SAFE_DTYPES, ids=str)
def test_a_state_dict_goes_to_safetensors_and_back_to_torch(tenon, store, tmp_path, dtype):
    tensors = {"z.w": random_tensor(dtype, 6, BITS).reshape(3, 2), "a": random_tensor(dtype, 3, BITS), "5": torch.ones(2)}
    torch.save(tensors, tmp_path / "in.pt")
    tenon.import_files(store, [tmp_path / "in.pt"])
    middle = tenon.export(store, "main", tmp_path / "middle.safetensors")
    if dtype not in UNREADABLE:
        loaded = load_file(middle)
        assert_same_tensors({name: loaded[name] for name in tensors}, tensors)
    tenon.import_files(store, [middle])
    back = torch.load(tenon.export(store, "main", tmp_path / "out.pt"), weights_only=True)
    assert_same_tensors({name: back[name] for name in tensors}, tensors)
    assert set(back) == set(tensors)


@pytest.mark.parametrize("dtype", OTHER_DTYPES, ids=str)
def test_types_that_safetensors_lacks_are_refused_by_name(tenon, store, tmp_path, dtype):
    tensor = random_tensor(dtype, 4, BITS) if "q" not in str(dtype) else None
    if tensor is None:
        tensor = torch.quantize_per_tensor(torch.rand(4), 0.1, 0, dtype) if "x" not in str(dtype) else None
    if tensor is None:
        pytest.skip("torch makes no tensor of this type by itself")
    torch.save({"model": {"w": tensor}}, tmp_path / "in.pt")
    if tenon.run("import", tmp_path / "in.pt", store=store).returncode != 0:
        pytest.skip("not imported as a tensor")
    result = tenon.run("export", "main", tmp_path / "out.safetensors", store=store)
    assert result.returncode == 1
    assert not (tmp_path / "out.safetensors").exists()
    assert "model/w" in result.stderr or "no tensor" in result.stderr or "holds no" in result.stderr, result.stderr


def test_metadata_is_shown_and_written_back(tenon, store, tmp_path):
    metadata = {"format": "pt", "note": 'é "quoted"\n', "empty": ""}
    save_file({"w": torch.ones(2)}, tmp_path / "in.safetensors", metadata=metadata)
    tenon.import_files(store, [tmp_path / "in.safetensors"], "--meta", "lr=0.5")
    (logged,) = tenon.json("log", store=store)
    assert logged["meta"] == {"safetensors": metadata, "lr": 0.5}
    with safetensors.safe_open(tenon.export(store, "main", tmp_path / "out.safetensors"), "pt") as out:
        assert out.metadata() == metadata


def test_what_came_from_torch_says_so_as_transformers_asks(tenon, store, tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "in.pt")
    tenon.import_files(store, [tmp_path / "in.pt"])
    with safetensors.safe_open(tenon.export(store, "main", tmp_path / "out.safetensors"), "pt") as out:
        assert out.metadata() == {"format": "pt"}


def tied_and_strided():
    base = torch.arange(24.0).reshape(4, 6)
    return {
        "base": base,
        "tied": base,
        "transposed": base.t(),
        "strided": base[::2, ::3],
        "expanded": base[1].expand(3, 6),
        "element": base[1, 2],
        "empty": base[:0],
        "channels_last": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(torch.rand(3)),
    }


@pytest.mark.parametrize("ending", ["safetensors", "npz"])
def test_views_and_ties_are_written_in_full(tenon, store, tmp_path, ending):
    value = tied_and_strided()
    torch.save(value, tmp_path / "in.pt")
    tenon.import_files(store, [tmp_path / "in.pt"])
    out = tmp_path / f"out.{ending}"
    result = tenon.ok("export", "main", out, store=store)
    assert "6 tensors share memory" in result.stderr
    loaded = load_file(out) if ending == "safetensors" else {k: torch.from_numpy(v) for k, v in np.load(out).items()}
    assert set(loaded) == set(value)
    for name, tensor in value.items():
        assert torch.equal(loaded[name], tensor.detach()), name
    if ending == "safetensors":
        assert all(tensor.is_contiguous() for tensor in loaded.values())


def test_a_nest_is_called_by_its_paths_and_a_part_by_its_keys(tenon, store, tmp_path):
    value = {"model": {"fc.weight": torch.rand(2, 3), "a/b": torch.rand(1)}, "optim": {"state": {0: {"exp": torch.rand(4)}}}, "step": 5}
    torch.save(value, tmp_path / "in.pt")
    tenon.import_files(store, [tmp_path / "in.pt"])
    whole = load_file(tenon.export(store, "main", tmp_path / "whole.safetensors"))
    assert set(whole) == {"model/fc.weight", 'model/"a/b"', "optim/state/0/exp"}
    part = load_file(tenon.export(store, "main:model", tmp_path / "part.safetensors"))
    assert_same_tensors(part, dict(sorted(value["model"].items())))
    arrays = np.load(tenon.export(store, "main:model", tmp_path / "part.npz"))
    assert set(arrays) == {"fc.weight", "a/b"}
    lone = np.load(tenon.export(store, "main:model/fc.weight", tmp_path / "lone.npy"))
    assert np.array_equal(lone, value["model"]["fc.weight"].numpy())


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("kind", NUMPY_DTYPES)
def test_arrays_come_back(tenon, store, tmp_path, kind, byte_order, order):
    dtype = np.dtype(byte_order + kind)
    random = np.random.default_rng(0)
    count = 2 * 3 * 4
    bits = random.integers(0, 2, count, np.uint8) if kind == "b1" else random.integers(0, 256, count * dtype.itemsize, np.uint8)
    array = np.asarray(bits.view(dtype).reshape(2, 3, 4), order=order)
    np.save(tmp_path / "in.npy", array)
    np.savez(tmp_path / "in.npz", **{"a": array, "b/c": array[0], "scalar": array[0, 0, 0], "empty": array[:, :0]})
    np.savez_compressed(tmp_path / "deflated.npz", a=array)
    for file in ("in.npy", "in.npz", "deflated.npz"):
        tenon.import_files(store, [tmp_path / file])
        out = tenon.export(store, "main", tmp_path / f"out-{file}")
        got, wanted = np.load(out), np.load(tmp_path / file)
        pairs = [(got, wanted)] if file.endswith("npy") else [(got[name], wanted[name]) for name in wanted]
        assert file.endswith("npy") or list(got) == list(wanted)
        for a, b in pairs:
            assert (a.dtype, a.shape) == (b.dtype.newbyteorder("<"), b.shape)
            assert a.tobytes() == b.astype(b.dtype.newbyteorder("<")).tobytes()
            assert a.flags.f_contiguous == b.flags.f_contiguous


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_npy_comes_in(tenon, store, tmp_path, version):
    array = np.arange(6.0).reshape(2, 3)
    with (tmp_path / "in.npy").open("wb") as out:
        np.lib.format.write_array(out, array, version=version)
    tenon.import_files(store, [tmp_path / "in.npy"])
    assert np.array_equal(np.load(tenon.export(store, "main", tmp_path / "out.npy")), array)


def test_what_numpy_wrote_is_written_alike(tenon, store, tmp_path):
    np.save(tmp_path / "in.npy", np.asfortranarray(np.random.default_rng(0).random((30, 40))))
    tenon.import_files(store, [tmp_path / "in.npy"])
    assert tenon.export(store, "main", tmp_path / "out.npy").read_bytes() == (tmp_path / "in.npy").read_bytes()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([{}, None], object), "Python objects"),
        (np.array(["text"]), "text"),
        (np.array([b"bytes"]), "byte strings"),
        (np.zeros(2, [("a", "i4"), ("b", "f8")]), "structured"),
        (np.array(["2026-11-25"], "M8[D]"), "dates"),
        (np.zeros(2, "m8[s]"), "time spans"),
        (np.zeros(2, np.longdouble), "extended precision"),
        (np.zeros(2, "V4"), "void"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arrays_that_torch_has_no_type_for_are_refused_by_name(tenon, store, tmp_path, array, message):
    np.save(tmp_path / "in.npy", array)
    np.savez(tmp_path / "in.npz", fine=np.zeros(2), other=array)
    for file in ("in.npy", "in.npz"):
        result = tenon.run("import", tmp_path / file, store=store)
        assert result.returncode == 1 and message in result.stderr, result.stderr
    assert "(other.npy)" in result.stderr


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.complex32], ids=str)
def test_types_that_numpy_lacks_are_refused_by_name(tenon, store, tmp_path, dtype):
    torch.save({"w": torch.zeros(2).to(dtype)}, tmp_path / "in.pt")
    tenon.import_files(store, [tmp_path / "in.pt"])
    result = tenon.run("export", "main", tmp_path / "out.npz", store=store)
    assert result.returncode == 1 and "tensor w" in result.stderr and str(dtype)[6:] in result.stderr
    assert [path.name for path in tmp_path.glob("out*")] == []


def test_a_large_deflated_member_comes_in(tenon, store, tmp_path):
    array = np.arange(9_000_000, dtype=np.int32) // 1000
    np.savez_compressed(tmp_path / "in.npz", a=array, b=array[::-1].copy())
    tenon.import_files(store, [tmp_path / "in.npz"])
    out = np.load(tenon.export(store, "main", tmp_path / "out.npz"))
    assert np.array_equal(out["a"], array) and np.array_equal(out["b"], array[::-1])


# ---- sharded


def shards(folder, kind):
    """Three shards and their index, as Hugging Face's libraries lay them out."""
    folder.mkdir()
    tensors = {f"layers.{i}.weight": torch.rand(8, i + 1) for i in range(7)}
    names = list(tensors)
    ending = "safetensors" if kind == "safetensors" else "bin"
    stem = "model" if kind == "safetensors" else "pytorch_model"
    weight_map = {}
    for number in range(3):
        part = {name: tensors[name] for name in names[number::3]}
        file = f"{stem}-{number + 1:05}-of-00003.{ending}"
        if kind == "safetensors":
            save_file(part, folder / file, metadata={"format": "pt"})
        else:
            torch.save(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    index = folder / f"{stem}.{ending}.index.json"
    size = sum(tensor.nbytes for tensor in tensors.values())
    index.write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": dict(sorted(weight_map.items()))}, indent=2))
    return index, tensors


@pytest.mark.parametrize("kind", ["safetensors", "torch"])
def test_shards_come_in_as_one(tenon, store, tmp_path, kind):
    index, tensors = shards(tmp_path / "model", kind)
    for path in (index, index.parent):
        (said,) = tenon.import_files(store, [path])
        assert said["format"] == "sharded checkpoint" and said["tensors"] == 7
        loaded = load_file(tenon.export(store, "main", tmp_path / "out.safetensors"))
        assert_same_tensors(dict(sorted(loaded.items())), dict(sorted(tensors.items())))
    assert tenon.ok("ls", index).stdout.count("layers.") == 7
    values = torch.tensor(tenon.json("cat", f"{index}:layers.0.weight")[0]["values"])
    assert torch.allclose(values, tensors["layers.0.weight"])


def test_ties_within_a_torch_shard_stay(tenon, store, tmp_path):
    weight = torch.rand(3)
    torch.save({"a": weight, "b": weight}, tmp_path / "one.bin")
    (tmp_path / "m.index.json").write_text(json.dumps({"weight_map": {"a": "one.bin", "b": "one.bin"}}))
    tenon.import_files(store, [tmp_path / "m.index.json"])
    assert_equal(torch.load(tenon.export(store, "main", tmp_path / "out.pt")), {"a": weight, "b": weight})


@pytest.mark.parametrize("harm", ["missing", "cut", "swapped"])
def test_a_harmed_shard_is_named_and_nothing_is_imported(tenon, store, tmp_path, harm):
    index, _ = shards(tmp_path / "model", "safetensors")
    first, second, _ = sorted(index.parent.glob("*.safetensors"))
    if harm == "missing":
        first.unlink()
    elif harm == "cut":
        first.write_bytes(first.read_bytes()[:-1])
    else:
        content = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(content)
    result = tenon.run("import", index, store=store)
    assert result.returncode == 1 and first.name in result.stderr
    assert tenon.run("log", store=store).returncode != 0


# ---- files as they are


def test_files_are_looked_into_without_a_store(tenon, tmp_path):
    weight = torch.arange(6.0).reshape(2, 3)
    save_file({"w": weight}, tmp_path / "a.safetensors")
    np.savez(tmp_path / "a.npz", w=weight.numpy())
    np.save(tmp_path / "a.npy", weight.numpy())
    for file, name in (("a.safetensors", ":w"), ("a.npz", ":w"), ("a.npy", "")):
        path = tmp_path / file
        for verb in (["ls", path], ["tree", path], ["show", f"{path}{name}"]):
            assert "float32" in tenon.ok(*verb, cwd=tmp_path).stdout
        assert tenon.json("cat", f"{path}{name}", cwd=tmp_path)[0]["values"] == weight.tolist()
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tenon"] == []


def test_numpy_reads_what_it_can_of_safetensors(tenon, store, tmp_path):
    torch.save({"w": torch.arange(4.0)}, tmp_path / "in.pt")
    tenon.import_files(store, [tmp_path / "in.pt"])
    assert load_with_numpy(tenon.export(store, "main", tmp_path / "out.safetensors"))["w"].tolist() == [0, 1, 2, 3]
