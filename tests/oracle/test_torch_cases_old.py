"""torch's own serialization tests as round trips: what torch checks after its load holds after `tenon import` and
`tenon export`, too. Each test has the number and name of its case in torch's test/test_serialization.py; cases that are
not here stand in LEFT_OUT of test_torch_cases.py, with the reason.
"""

import gzip
import io
import pickle

import pytest
import torch

from conftest import fixtures_folder
from equal import assert_equal
from hostile import archive, extents, name, program, sequence, storage, tensor
from trip import trip  # noqa: F401 - a fixture


def sample(file):
    path = fixtures_folder() / file
    if not path.is_file():
        pytest.skip(f"no sample file {path} (set TENON_FIXTURES)")
    return path


def aliasing_objects():
    """As torch's own test has them: tensors, their storages, views of them, tuples of storages."""
    a = [torch.randn(5, 5).float() for _ in range(2)]
    b = [a[i % 2] for i in range(4)]
    b += [a[0].storage(), a[0].reshape(-1)[1:4].clone().storage(), torch.arange(1, 11).int()]
    first = torch.FloatTensor().set_(a[0].reshape(-1)[1:4].clone().storage(), 0, (3,), (1,))
    second = torch.FloatTensor().set_(a[0].reshape(-1)[1:4].clone().storage(), 0, (3,), (1,))
    return [*b, (first.storage(), first.storage(), second.storage()), a[0].reshape(-1)[0:2]]


@pytest.mark.parametrize("zipped", [True, False])
def test_case_01_serialization(trip, zipped):
    got, _ = trip.check(trip.save(aliasing_objects(), _use_new_zipfile_serialization=zipped))
    got[0].fill_(7)
    assert got[2] is got[0] and (got[4].tolist() == [7.0] * 25) and (got[8].tolist() == [7.0, 7.0])
    assert got[7][0] is got[7][1] and got[7][0] is not got[7][2]


def test_case_02_serialization_python2_stream(trip):
    got, _ = trip.check(sample("_serialization__serialized.pt"), weights_only=False)
    assert all(type(item) is not bytes for item in got)  # Python 2's strings are text


def test_case_03_serialization_backwards_compat(trip):
    got, wanted = trip.check(sample("legacy_serialized.pt"), weights_only=False)
    assert got[0] is got[2] and got[1] is got[3]
    got[0].fill_(3)
    assert got[4].tolist() == [3.0] * 25
    assert len(wanted) == 6


class OldTensorV1:
    """How torch before 0.2 pickled a tensor."""

    def __init__(self, value):
        self.value = value

    def state(self):
        return self.value.storage(), self.value.storage_offset(), tuple(self.value.size()), self.value.stride()

    def __reduce__(self):
        return torch.Tensor, (), self.state()


class OldTensorV2(OldTensorV1):
    """And before 0.4."""

    def __reduce__(self):
        return torch._utils._rebuild_tensor, self.state()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("old", [OldTensorV1, OldTensorV2])
def test_case_04_old_tensors(trip, old, zipped):
    value = torch.randn(30).as_strided([2, 3], [9, 3], 2)
    got, _ = trip.check(trip.save(old(value), _use_new_zipfile_serialization=zipped))
    assert torch.equal(got, value) and got.stride() == (9, 3) and got.storage_offset() == 2
    assert [row["shape"] for row in trip.rows().values()] == [[2, 3]]


def test_case_05_serialization_storage_slice(trip):
    """Two slices of one storage lie in one slot. torch 2 has no storages within storages: they come out apart."""
    trip.check(sample("storage_slice__serialized.pt"))
    first, second = trip.rows().values()
    assert first["slot_id"] == second["slot_id"]
    assert second["storage_offset_bytes"] == first["storage_offset_bytes"] + 4


def test_case_06_load_nonexistent_device(trip):
    out = trip.through(sample("load_nonexistent_device__serialized.pt"))
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(out)
    wanted, got = (
        torch.load(path, map_location="cpu") for path in (sample("load_nonexistent_device__serialized.pt"), out)
    )
    assert_equal(got, wanted)
    assert [row["location"] for row in trip.rows().values()] == ["cuda:0"]


def test_case_07_serialization_map_location(trip):
    original = sample("load_nonexistent_device__serialized.pt")
    out = trip.through(original)
    for place in (lambda kept, _location: kept, {"cuda:0": "cpu"}, "cpu", torch.device("cpu"), "meta"):
        assert_equal(torch.load(out, map_location=place), torch.load(original, map_location=place))


def test_case_08_new_format_old_format_compat(trip):
    value = [torch.ones(200, 200) for _ in range(30)]
    outs = [trip.through(trip.save(value, _use_new_zipfile_serialization=zipped)) for zipped in (True, False)]
    assert_equal(torch.load(outs[0]), torch.load(outs[1]))
    legacy = trip.save(value, _use_new_zipfile_serialization=False)
    (said,) = trip.tenon.import_files(trip.store, [legacy])
    assert said["written_bytes"] == 0


def test_case_09_serialization_fake_zip(trip):
    value = [torch.tensor([ord("P"), ord("K"), 5, 6] * 8, dtype=torch.uint8)]
    trip.check(trip.save(value, _use_new_zipfile_serialization=False))


def test_case_10_serialization_gzip(trip):
    """A path leads to the file itself: it is named, and unpacking it is left to its owner."""
    packed = trip.new_path(".pt.gz")
    packed.write_bytes(gzip.compress(trip.save([torch.ones(2)]).read_bytes()))
    assert "gzip" in trip.refused(packed) and "unpack it first" in trip.refused(packed)


@pytest.mark.parametrize("begin", [0, 12345, (2 << 30) + 77])
def test_case_11_serialization_offset(trip, begin):
    """Objects one after the other among foreign pickles, also beyond 2 GiB."""
    path = trip.new_path(".bin")
    values, offsets = [aliasing_objects(), {"i": torch.arange(5)}], []
    with path.open("wb") as out:
        out.seek(begin)
        pickle.dump({"before": 1}, out)
        for value in values:
            offsets.append(out.tell())
            torch.save(value, out, _use_new_zipfile_serialization=False)
            pickle.dump("between", out)
    for value, offset in zip(values, offsets, strict=True):
        with path.open("rb") as file:
            file.seek(offset)
            wanted = torch.load(file)
        assert_equal(torch.load(trip.through(path, "--offset", offset)), wanted)


def test_case_12_serialization_with_header(trip):
    inner = trip.save({"a": torch.ones(3), "b": torch.rand(200)})
    path = trip.write(b"a header\0" + inner.read_bytes())
    assert_equal(torch.load(trip.through(path, "--offset", 9)), torch.load(inner))
    assert "known" in trip.refused(path)


def test_case_13_serialization_zipfile(trip):
    import zipfile

    value = {"a": torch.rand(3), "b": torch.arange(1000)}
    out = trip.through(trip.save(value))
    reader = torch._C.PyTorchFileReader(str(out))
    with zipfile.ZipFile(out) as foreign:
        assert foreign.testzip() is None
        for record in reader.get_all_records():
            assert foreign.read(f"{out.stem}/{record}") == reader.get_record(record)


def test_case_14_serialization_zipfile_utils(trip):
    """Records that torch.save does not write do not disturb."""
    path = trip.new_path()
    inner = torch._C.PyTorchFileReader(str(trip.save([torch.ones(4)])))
    writer = torch._C.PyTorchFileWriter(str(path))
    for record in inner.get_all_records():
        if record not in ("version", ".data/version", ".data/serialization_id"):
            data = inner.get_record(record)
            writer.write_record(record, data, len(data))
    writer.write_record("c/d", b"more", 4)
    writer.write_end_of_file()
    assert torch.load(trip.through(path))[0].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("file", ["a b.pt", "é.pt", "x", ".hidden.pt", "日本/w.pt", "$(touch x).pt"])
def test_case_17_pathlike_serialization(trip, file):
    path = trip.folder / file
    path.parent.mkdir(exist_ok=True)
    torch.save({"a": torch.ones(2)}, path)
    trip.check(path)


def sparse_objects():
    dense = torch.zeros(4, 6)
    dense[0, 1], dense[2, 2:4], dense[3, 5] = 1, 2, 3
    coo = torch.sparse_coo_tensor([[0, 1, 1], [2, 0, 0]], [1.0, 2.0, 3.0], (3, 4))
    return {
        "coo": coo,
        "coalesced": coo.coalesce(),
        "hybrid": torch.sparse_coo_tensor([[0, 2]], torch.rand(2, 3), (4, 3)),
        "empty": torch.sparse_coo_tensor(torch.zeros(2, 0, dtype=torch.int64), [], (3, 4)),
        "csr": dense.to_sparse_csr(),
        "csc": dense.to_sparse_csc(),
        "bsr": dense.to_sparse_bsr((2, 2)),
        "bsc": dense.to_sparse_bsc((2, 2)),
        "parameter": torch.nn.Parameter(coo.clone()),
    }


SPARSE_PARTS = {
    "coo": ["indices", "values"],
    "hybrid": ["indices", "values"],
    "csr": ["crow_indices", "col_indices", "values"],
    "csc": ["ccol_indices", "row_indices", "values"],
    "bsr": ["crow_indices", "col_indices", "values"],
    "bsc": ["ccol_indices", "row_indices", "values"],
    "parameter": ["indices", "values"],
}


def test_case_18_serialization_sparse(trip):
    trip.check_both_eras(sparse_objects())
    names = list(trip.rows())
    for one, parts in SPARSE_PARTS.items():
        assert [row.removeprefix(f"{one}.") for row in names if row.startswith(f"{one}.")] == parts
    lone = trip.tenon.export(trip.store, "main:csr", trip.new_path())
    assert torch.load(lone).layout == torch.sparse_csr
    part = trip.tenon.export(trip.store, "main:csr.values", trip.new_path())
    assert torch.load(part).tolist() == [1, 2, 2, 3]


class Spoof:
    """A sparse tensor that is pickled with other parts."""

    def __init__(self, value, *parts):
        self.value, self.parts = value, parts

    def __reduce_ex__(self, protocol):
        function, (layout, data) = self.value.__reduce_ex__(protocol)
        return function, (layout, (*self.parts, *data[len(self.parts) :]))


INVALID_SPARSE = {
    "coo": (sparse_objects()["coo"], torch.tensor([[0, 1, 9], [2, 0, 0]])),
    "negative": (sparse_objects()["coo"], torch.tensor([[0, 1, -1], [2, 0, 0]])),
    "csr": (sparse_objects()["csr"], torch.tensor([0, 9, 1, 3, 4])),
    "csc": (sparse_objects()["csc"], torch.tensor([0, 0, 1, 9, 3, 3, 4])),
    "bsr": (sparse_objects()["bsr"], torch.tensor([0, 9, 3])),
    "bsc": (sparse_objects()["bsc"], torch.tensor([0, 9, 2, 3])),
}


def require_refused_by_torch_before_and_after(trip, path):
    """Indices are data: they are kept, and torch judges them as it judges the original."""
    for file in (path, trip.through(path)):
        with torch.sparse.check_sparse_tensor_invariants(), pytest.raises((RuntimeError, pickle.UnpicklingError)):
            torch.load(file)


@pytest.mark.parametrize("which", ["coo", "negative"])
def test_case_19_serialization_sparse_invalid(trip, which):
    require_refused_by_torch_before_and_after(trip, trip.save(Spoof(*INVALID_SPARSE[which])))


@pytest.mark.parametrize("which", ["csr", "csc", "bsr", "bsc"])
def test_case_20_serialization_sparse_compressed_invalid(trip, which):
    require_refused_by_torch_before_and_after(trip, trip.save(Spoof(*INVALID_SPARSE[which])))


class LegacySpoof(Spoof):
    """The same by the old constructor."""

    def __reduce_ex__(self, protocol):
        return torch.sparse.FloatTensor, (*self.parts, self.value._values(), self.value.size())


def test_case_21_serialization_sparse_invalid_legacy_ctor(trip):
    require_refused_by_torch_before_and_after(trip, trip.save(LegacySpoof(*INVALID_SPARSE["coo"])))


def test_case_22_serialize_device(trip):
    trip.check_both_eras([torch.device(d) for d in ("cpu", "cuda", "cuda:0", "cuda:3", "mps", "meta")])


def test_case_23_save_different_dtype_unallocated(trip):
    dtypes = (torch.float32, torch.float64, torch.int8, torch.complex64, torch.bool, torch.bfloat16)
    for zipped in (True, False):
        value = [torch.tensor([], dtype=d) for d in dtypes]
        trip.check(trip.save(value, _use_new_zipfile_serialization=zipped))


def test_case_24_save_different_dtype_error(trip):
    """torch refuses to write one storage under two element types. Tenon keeps both, and what it writes, torch reads."""
    base = torch.rand(2, dtype=torch.complex64)
    with pytest.raises(RuntimeError, match="different types"):
        torch.save([base, base.imag], io.BytesIO())
    whole = storage(cls=name("torch", "ComplexFloatStorage"), numel=b"K\x02")
    parts = storage(numel=b"K\x04")
    path = trip.write(archive(program(sequence(tensor(whole, shape=(2,)), tensor(parts, 1, (2,), (2,))))))
    got = torch.load(trip.through(path))
    assert got[0].tolist() == [1 + 2j, 3 + 4j] and got[1].tolist() == [2, 4]
    got[1].fill_(0)
    assert got[0].tolist() == [1, 3]


def test_case_60_quantized_fixtures(trip):
    """Quantized tensors of every scheme, of both eras, and torch's own sample files."""
    values = torch.linspace(-1, 1, 24).reshape(4, 6)
    scales, points = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64), torch.tensor([0, 1, 2, 3])
    value = {
        "tensor": torch.quantize_per_tensor(values, 0.05, 3, torch.quint8),
        "channel": torch.quantize_per_channel(values, scales, points, 0, torch.qint8),
        "floats": torch.quantize_per_channel(values, scales.float(), points.float(), 0, torch.quint8),
        "nibbles": torch.quantize_per_channel(values, scales.float(), points.float(), 0, torch.quint4x2),
        "view": torch.quantize_per_tensor(values, 1 / 3, -3, torch.qint32)[1:, ::2],
    }
    trip.check_both_eras(value)
    rows = trip.rows()
    assert rows["tensor"]["quantizer"] == "per_tensor_affine(scale=0.05, zero_point=3)"
    assert rows["channel"]["quantizer"] == "per_channel_affine(axis=0)"
    assert rows["channel.scales"]["dtype"] == "float64" and rows["channel.zero_points"]["dtype"] == "int64"
    for file in ("expected", "input", "state_dict"):
        trip.check(sample(f"TestSerialization.test_conv2d.{file}.pt"))


def test_case_60_quantized_parameters_in_lists(trip):
    """As torch before 1.4 wrote the scales of channels."""
    quantizer = sequence(name("torch", "per_channel_affine"), b"](G" + bytes(8) + b"e", b"](K\x03e", b"K\x00")
    call = name("torch._utils", "_rebuild_qtensor") + sequence(
        storage(cls=name("torch", "QInt32Storage")), b"K\x00", extents((1, 4)), extents((4, 1)), quantizer, b"\x89", b"N"
    )
    got, _ = trip.check(trip.write(archive(program(call + b"R"))))
    assert got.q_per_channel_zero_points().tolist() == [3]
