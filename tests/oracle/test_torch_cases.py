"""torch's own serialization tests as round trips, continued: see test_torch_cases_old.py."""

import argparse
import datetime
import pathlib
import re
import struct
import warnings

import numpy
import pytest
import torch
import torch.nested._internal.nested_tensor  # noqa: F401 - so that weights_only knows its classes
import torch.utils.serialization
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals, skip_data

import test_torch_cases_old
from equal import assert_equal
from hostile import Patch, archive, name, program, storage, string, tensor
from objects import PLAIN_DTYPES, UNTYPED_DTYPES, random_tensor
from subclasses import Color, Net, Outer, Plain, Settings, Slotted, WithState, Wrapper
from test_torch_cases_old import sample
from trip import trip  # noqa: F401 - a fixture

LEFT_OUT = {
    15: "torch.load on a TorchScript archive: for the tests of TorchScript",
    16: "2 and 4 GiB files: ZipTest.EntriesBeyondFourGibibytesAreWritten, too large for every run",
    31: "torch refuses to write a zero tensor without storage, so there is no such file",
    49: "file-like objects that read short or throw: Tenon takes paths",
}
TORCHSCRIPT_CASES = range(50, 60)  # stand beside the reader of TorchScript


def test_every_case_is_here_or_left_out_for_a_reason(capsys):
    tests = {**globals(), **vars(test_torch_cases_old)}
    here = {int(found[1]) for found in (re.match(r"test_case_(\d+)_", test) for test in tests) if found}
    wanted = set(range(1, 61)) - set(TORCHSCRIPT_CASES)
    assert here | LEFT_OUT.keys() == wanted and not here & LEFT_OUT.keys()
    with capsys.disabled():
        for case, reason in LEFT_OUT.items():
            print(f"\n  case {case} left out: {reason}", end="")
    print()


# ---- what a restricted reader makes of it


def test_case_25_safe_load_basic_types(trip):
    trip.check_both_eras({"int": 123, "str": "world", "float": 3.14, "bool": False, "none": None, "tuple": (1, "a")})


def test_case_26_weights_only_error(trip):
    """Who loads what comes out is told of the same class as with the original."""
    original = trip.save({"a": Settings(3), "w": torch.ones(2)})
    for path in (original, trip.through(original)):
        with pytest.raises(Exception, match="subclasses.Settings was not an allowed global"):
            torch.load(path, weights_only=True)


def test_case_27_weights_only_safe_globals(trip):
    value = {"newobj": Settings(3), "slots": Slotted(1, 2), "w": torch.ones(2)}
    with safe_globals([Settings, Slotted]):
        got, _ = trip.check(trip.save(value))
    assert got["slots"] == Slotted(1, 2)


@pytest.mark.parametrize("module", ["os", "sys", "posix", "nt"])
def test_case_27_weights_only_blocklist(trip, module):
    path = trip.write(archive(program(name(module, "anything"))))
    with pytest.raises(Exception, match="blocked"):
        torch.load(trip.through(path), weights_only=True)
    for target in (path, "main"):
        result = trip.tenon.run("--json", "globals", target, store=trip.store)
        assert result.returncode == 4 and '"safety":"dangerous"' in result.stdout


def test_case_28_sets(trip):
    trip.check_both_eras({"set": {1, "two"}, "empty": set()})


def test_case_29_get_unsafe_globals_in_checkpoint(trip):
    value = {"a": Settings(1), "b": torch.ones(1), "c": numpy.ones(2), "d": datetime.timedelta(1), "e": {1}}
    path = trip.save(value)
    wanted = {one.replace("__builtin__", "builtins") for one in get_unsafe_globals_in_checkpoint(str(path))}
    trip.through(path)
    for target in (path, "main"):
        listed = trip.tenon.json("globals", target, store=trip.store)
        got = {f"{one['module']}.{one['name']}" for one in listed if one["safety"] != "safe"}
        assert got == wanted
    assert "subclasses.Settings" in wanted and "numpy.dtype" in wanted


def test_torchs_allow_list_is_ours(trip):
    allowed = [full.rpartition(".") for full in torch._weights_only_unpickler._get_allowed_globals()]
    path = trip.write(archive(program(b"(", *(name(module, one) for module, _, one in allowed), b"t")))
    listed = trip.tenon.json("globals", path, store=trip.store)
    assert {(one["module"], one["name"]) for one in listed} == {(module, one) for module, _, one in allowed}
    assert {one["safety"] for one in listed} == {"safe"}


# ---- bits and attributes


def test_case_30_serialization_math_bits(trip):
    base = torch.randn(3, 3, dtype=torch.complex64)
    trip.check(trip.save([base, base.conj()]))
    trip.check(trip.save([base.conj().imag]))
    both = torch._neg_view(torch.randn(2, 2, dtype=torch.complex128).conj())
    got, _ = trip.check(trip.save(both))
    assert got.is_conj() and got.is_neg()


def test_case_32_serialization_python_attr(trip):
    plain, parameter = torch.zeros(3), torch.nn.Parameter(torch.zeros(3))
    plain.foo, parameter.foo, parameter.bar = "hello", torch.ones(1), [1]
    quantized = torch.quantize_per_tensor(torch.ones(2), 0.5, 0, torch.quint8)
    quantized.foo = 3
    sparse = torch.eye(2).to_sparse()
    sparse.foo = {"t": torch.ones(2)}
    got, _ = trip.check(trip.save([plain, parameter, quantized, sparse]))
    assert [one.foo for one in (got[0], got[2])] == ["hello", 3] and got[3].foo["t"].tolist() == [1, 1]


def test_case_33_meta_serialization(trip):
    got, _ = trip.check(trip.save(torch.empty(1024, 8, device="meta")[:, ::2]))
    assert got.stride() == (8, 2) and trip.rows()["."]["slot_id"] is None


def test_case_34_lr_scheduler_serialization(trip):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6, total_steps=10)
    trip.check_both_eras(scheduler.state_dict(), weights_only=False)


# ---- zip, of every era


def record_of(path, record):
    return torch._C.PyTorchFileReader(str(path)).get_record(record)


def test_case_35_serialization_byteorder_mark(trip):
    assert record_of(trip.through(trip.save([torch.ones(2)])), "byteorder") == b"little"


@pytest.mark.parametrize("file", ["", "_half", "_float", "_double"])
def test_case_36_load_bom_data(trip, file):
    """Big-endian files that say so hold what their little-endian twins do."""
    swapped, twin = (trip.through(sample(f"load_bom_data{file}__data_{order}_bom.pt")) for order in ("be", "le"))
    assert_equal(torch.load(swapped), torch.load(twin))
    trip.check(sample(f"load_bom_data{file}__data_be_no_bom.pt"))


@pytest.mark.parametrize("dtype", [d for d in PLAIN_DTYPES if d not in UNTYPED_DTYPES and d != torch.complex32])
def test_case_36_load_bom_data_of_every_type(trip, dtype):
    """Numbers are swapped one by one, the halves of complex ones apart."""
    value = random_tensor(dtype, 24, torch.Generator().manual_seed(1))
    parts = torch.view_as_real(value).numpy() if dtype.is_complex else value.view(torch.uint8).numpy()
    item = parts.itemsize if dtype.is_complex else value.element_size()
    data = parts.view(numpy.uint8).reshape(-1, item)[:, ::-1].tobytes()
    pickled = record_of(trip.save(value), "data.pkl")
    big = trip.write(archive(pickled, {"byteorder": b"big", "data/0": data}))
    assert_equal(torch.load(trip.through(big)), value)
    trip.check(big)


def test_case_37_serialization_mmap_loading(trip):
    path = trip.through(trip.save(Net().state_dict() | {"views": list(torch.arange(9.0).view(3, 3))}))
    assert_equal(torch.load(path, mmap=True), torch.load(path))


def test_case_38_serialization_dtype(trip):
    """Even and odd elements of one storage, of types without a storage class: they alias afterwards."""
    for dtype in [*UNTYPED_DTYPES, torch.complex32]:
        base = random_tensor(dtype, 64, torch.Generator().manual_seed(2))
        got, _ = trip.check(trip.save({"base": base, "even": base[::2], "odd": base[1::2]}))
        got["base"].view(torch.uint8).fill_(0)
        assert not got["odd"].view(torch.uint8).any() if base.element_size() == 1 else True


@pytest.mark.parametrize("bits", range(1, 8))
def test_case_39_serialization_uintx_intx(trip, bits):
    """torch has no storage for these: they occur as the type that a wrapper poses as, and as values."""
    for sign in ("uint", "int"):
        dtype = getattr(torch, f"{sign}{bits}")
        inner = torch.arange(4, dtype=torch.uint8)
        path = trip.save({"wrapper": Wrapper(inner, inner + 1, dtype), "dtype": dtype})
        with safe_globals([Wrapper]):
            loaded = torch.load(trip.through(path), weights_only=True)
        assert loaded["dtype"] == loaded["wrapper"].dtype == dtype
        assert loaded["wrapper"].b.tolist() == [1, 2, 3, 4]


def test_case_40_filewriter_metadata_writing(trip):
    """Records that are holes, to be filled later, are zeros until then."""
    path = trip.new_path()
    with skip_data():
        torch.save({"a": torch.ones(1000)}, path)
    got, _ = trip.check(path)
    assert not got["a"].any()
    offset = torch._C.PyTorchFileReader(str(path)).get_record_offset("data/0")
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(struct.pack("<f", 7) * 1000)
    got, _ = trip.check(path)
    assert got["a"].tolist() == [7] * 1000


def test_case_41_mmap_load_offset_calculation(trip):
    value = {"a": torch.rand(10), "none": torch.empty(0), "b": torch.rand(1000).half(), "c": torch.rand(1, 1)}
    path = trip.through(trip.save(value))
    with torch.utils.serialization.config.patch({"load.calculate_storage_offsets": True}):
        assert_equal(torch.load(path, mmap=True), torch.load(path))


@pytest.mark.parametrize("alignment", [64, 128, 512, 4096])
def test_case_42_storage_alignment(trip, alignment):
    with torch.utils.serialization.config.patch({"save.storage_alignment": alignment}):
        path = trip.save([torch.rand(n) for n in (1, 100, 3)])
    trip.check(path)
    reader = torch._C.PyTorchFileReader(str(trip.through(path)))
    assert all(reader.get_record_offset(f"data/{key}") % 64 == 0 for key in range(3))


def test_case_43_crc32_options(trip):
    with torch.utils.serialization.config.patch({"save.compute_crc32": False}):
        path = trip.save([torch.rand(1000)])
    trip.check(path)


def test_case_44_has_format_version(trip):
    value = {str(d): random_tensor(d, 16, torch.Generator().manual_seed(3)) for d in PLAIN_DTYPES}
    path = trip.save(value)
    got, _ = trip.check(path)
    assert [str(t.dtype) for t in got.values()] == list(value)
    out = trip.through(path)
    assert record_of(out, ".format_version") == b"1" and record_of(out, ".storage_alignment") == b"64"


# ---- classes of others


def test_case_45_tensor_subclass_wrapper_serialization(trip):
    path = trip.save({"w": Wrapper(torch.rand(2, 3), torch.ones(2, 3))})
    with safe_globals([Wrapper]):
        wanted, got = (torch.load(one, weights_only=True)["w"] for one in (path, trip.through(path)))
    assert type(got) is Wrapper and got.shape == wanted.shape and got.stride() == wanted.stride()
    assert_equal([got.a, got.b], [wanted.a, wanted.b])
    assert list(trip.rows()) == ["w/a", "w/b"]


def test_case_45_tensor_subclass_getstate_overwrite(trip):
    got, _ = trip.check(trip.save([torch.rand(3).as_subclass(WithState)]), weights_only=False)
    assert got[0].was_set == {"marked": True}
    assert trip.rows()["0"]["wrapper"] == "subclasses.WithState"


def test_case_45_empty_class_serialization(trip):
    value = torch.rand(3).as_subclass(Plain)
    value.note = "kept"
    with safe_globals([Plain]):
        got, _ = trip.check(trip.save([value, torch.nn.Parameter(torch.rand(2).as_subclass(Plain))]))
    assert got[0].note == "kept" and type(got[0]) is Plain


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_case_46_serialization_nested_class(trip, protocol):
    """From protocol 4 on a nested class has a name of its own; before, it is got from the outer one."""
    value = {"class": Outer.Inner, "instance": Outer.Inner(torch.ones(2)), "w": torch.rand(1)}
    with warnings.catch_warnings(action="ignore"):
        got, _ = trip.check(trip.save(value, pickle_protocol=protocol), weights_only=False)
    assert got["class"] is Outer.Inner and got["instance"].value.tolist() == [1, 1]


def test_case_46_serialization_byte_literal(trip):
    trip.check_both_eras({"bytes": b"\x00\xff\n", "array": bytearray(b"\x80")})


def test_case_46_load_njt_weights_only(trip):
    value = torch.nested.nested_tensor([torch.rand(2, 3), torch.rand(4, 3)], layout=torch.jagged)
    path = trip.save({"njt": value})
    wanted, got = (torch.load(one, weights_only=True)["njt"] for one in (path, trip.through(path)))
    assert_equal(list(got.unbind()), list(wanted.unbind()))


def test_case_46_strided_nested_tensor(trip):
    value = torch.nested.nested_tensor([torch.rand(2, 3), torch.rand(4, 3)])
    trip.check(trip.save({"n": value}))  # torch cannot read its own legacy files of these
    assert list(trip.rows()) == ["n.buffer", "n.sizes", "n.strides", "n.offsets"]


def test_case_47_load_python2_unicode_module(trip):
    """A whole module that Python 2 and torch 0.2 pickled; its classes are nowhere, its parameters are rows."""
    trip.through(sample("model_epoch_50.pth"))
    rows = [row for name, row in trip.rows().items() if name.startswith("model/")]
    assert len(rows) == 20 and all(row["kind"] == "parameter" for row in rows)


def test_case_48_serialization_container(trip):
    """Legacy files name the source of a module's class; zips do not, and nothing else is lost."""
    path = trip.save(Net(), _use_new_zipfile_serialization=False)
    assert b"module" in path.read_bytes()
    with warnings.catch_warnings(action="ignore"):
        got, wanted = trip.check(path, weights_only=False)
    inputs = torch.rand(5, 3)
    assert torch.equal(got(inputs), wanted(inputs))


# ---- any object that can be pickled


def arrays():
    base = numpy.arange(24, dtype=numpy.float32).reshape(4, 6)
    types = "b1 i1 u1 i2 u2 i4 u4 i8 u8 f2 f4 f8 c8 c16".split()
    return {
        "base": base,
        "fortran": numpy.asfortranarray(base),
        "column": base[:, 1],
        "0-d": numpy.array(3),
        "empty": numpy.zeros((0, 3)),
        "types": {code: (numpy.arange(6) % 2).astype(code).reshape(2, 3) for code in types},
        "same": [base, base],
        "scalars": [numpy.float64(0.1), numpy.int8(-3), numpy.bool_(True), numpy.complex64(1 + 2j), numpy.float16(0.5)],
    }


def odd_arrays():
    """What a row cannot express."""
    return [
        numpy.arange(3, dtype=">f4"),
        numpy.array(["a", "bc"]),
        numpy.array([b"x"]),
        numpy.array([1, "x", None], dtype=object),
        numpy.zeros(2, dtype=[("a", "i4"), ("b", "f8")]),
        numpy.array(["2026-01-02"], dtype="M8[D]"),
        numpy.ma.array([1, 2], mask=[0, 1]),
        numpy.arange(3, dtype=numpy.longdouble),
        numpy.array([torch.ones(2)] + [None], dtype=object)[:1],
    ]


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_numpy_arrays_and_scalars(trip, protocol):
    value = arrays()
    with warnings.catch_warnings(action="ignore"):
        got, _ = trip.check(trip.save(value, pickle_protocol=protocol), weights_only=False)
    assert got["same"][0] is got["same"][1] and got["fortran"].flags.f_contiguous and got["base"].flags.writeable
    rows = trip.rows()
    assert rows["base"]["wrapper"] == "numpy.ndarray" and rows["base"]["dtype"] == "float32"
    assert rows["fortran"]["stride"] == [1, 4] and rows["types/c16"]["dtype"] == "complex128"
    assert trip.tenon.ok("cat", "main:base", "--slice", "1,2", store=trip.store).stdout.strip() == "8.0"
    text = trip.tenon.ok("show", "--structure", "main", store=trip.store).stdout
    assert "numpy.float64(0.1)" in text and "'base': float32 [4, 6] numpy.ndarray" in text


def test_numpy_arrays_are_read_with_numpys_safe_globals(trip):
    names = [
        bytes,  # of an array without elements
        numpy._core.multiarray._reconstruct,
        numpy._core.multiarray.scalar,
        numpy.ndarray,
        numpy.dtype,
        *{type(numpy.dtype(code)) for code in "b1 i1 u1 i2 u2 i4 u4 i8 u8 f2 f4 f8 c8 c16".split()},
    ]
    with safe_globals(names):
        trip.check(trip.save(arrays()))


def test_numpy_arrays_that_no_row_expresses_stay_what_they_are(trip):
    got, wanted = trip.check(trip.save(odd_arrays()[:-3]), weights_only=False)
    assert [one.dtype for one in got] == [one.dtype for one in wanted]
    masked, extended, holding = odd_arrays()[-3:]
    got = torch.load(trip.through(trip.save([masked, extended, holding])), weights_only=False)
    assert got[0].mask.tolist() == [False, True] and got[1].tolist() == [0, 1, 2] and got[2][0].tolist() == [1, 1]


def objects():
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))], lr=0.1)
    return {
        "namespace": argparse.Namespace(lr=0.1, layers=[1, 2]),
        "optimizer": optimizer,
        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 3),
        "time": [
            datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=datetime.timezone.utc),
            datetime.date(2026, 1, 2),
            datetime.timedelta(days=1, microseconds=3),
        ],
        "enums": [Color.RED, Color.BLUE],
        "path": pathlib.PurePosixPath("/a/b"),
        "dataclass": Settings(3),
        "module": Net(),
        "slots": Slotted(torch.ones(1).tolist(), None),
        "function": torch.nn.functional.relu,
        "exception": ValueError("x"),
        "range": [range(3), slice(1, None, 2)],
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("which", objects())
def test_objects_of_any_class_come_back(trip, which, zipped):
    value = {"it": objects()[which], "w": torch.ones(1)}
    path = trip.save(value, _use_new_zipfile_serialization=zipped)
    with warnings.catch_warnings(action="ignore"):
        out = trip.through(path)
        wanted, got = (torch.load(one, weights_only=False)["it"] for one in (path, out))
    if which == "exception":
        assert repr(got) == repr(wanted)
    elif which in ("optimizer", "scheduler"):
        assert type(got) is type(wanted)
        assert_equal(got.state_dict(), wanted.state_dict())
    else:
        assert_equal(got, wanted)
    text = trip.tenon.ok("show", "--structure", path, store=trip.store).stdout
    assert text == trip.tenon.ok("show", "--structure", "main", store=trip.store).stdout
    assert "'it': " in text and "'w': float32 [1]" in text


def test_device_tensors_made_of_numpy_arrays(trip):
    """As XLA and MTIA write theirs. torch rebuilds them where it has the device: here, on the processor."""
    array = numpy.arange(6.0, dtype=numpy.float32).reshape(2, 3)

    class Posing:
        def __reduce__(self):
            return torch._utils._rebuild_device_tensor_from_numpy, (array, torch.float32, "cpu", False)

    got, _ = trip.check(trip.save({"w": Posing()}), weights_only=False)
    assert got["w"].tolist() == array.tolist()
    assert trip.rows()["w"]["wrapper"] == "numpy.ndarray"


# ---- archives that others rewrote, or damaged


def test_case_plus_rezipped_archives(trip):
    import zipfile

    original = trip.save({"a": torch.rand(1000), "b": torch.zeros(5000)})
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = trip.new_path()
        with zipfile.ZipFile(original) as source, zipfile.ZipFile(path, "w", method) as target:
            for record in source.namelist():
                target.writestr(record, source.read(record))
        assert_equal(torch.load(trip.through(path)), torch.load(original))


def test_case_plus_flat_names_and_second_directory(trip):
    assert "directory" in trip.refused(trip.write(archive(top="")))
    two = Patch(archive(records={"data/0": bytes(16), "data/1": b""})).rename("m/data/1", "n/data/1")
    assert "directory" in trip.refused(trip.write(two.data))


@pytest.mark.parametrize("version", [b"0\n", b"11\n", b"99", b"x"])
def test_case_plus_unknown_version(trip, version):
    assert "version" in trip.refused(trip.write(archive(version=version)))


@pytest.mark.parametrize("version", [b"1", b"2\n", b"3\n", b"10\n"])
def test_case_plus_known_version(trip, version):
    assert torch.load(trip.through(trip.write(archive(version=version)))).tolist() == [1, 2, 3, 4]


def test_case_plus_flipped_byte(trip):
    """torch loads it silently; a CRC that is there is checked."""
    patch = Patch()
    patch.payload("m/data/0", b"\xff")
    path = trip.write(patch.data)
    assert torch.load(path).tolist()[1:] == [2, 3, 4]
    assert "CRC" in trip.refused(path)
    zeroed = trip.write(patch.both("m/data/0", crc=0).data)
    assert_equal(torch.load(trip.through(zeroed)), torch.load(zeroed))


@pytest.mark.parametrize("nbytes", [0, 12, 15, 20, 4096])
def test_case_plus_short_and_long_record(trip, nbytes):
    assert "wrong length" in trip.refused(trip.write(archive(records={"data/0": bytes(nbytes)})))


def test_case_plus_prefix_and_suffix_junk(trip):
    assert torch.load(trip.through(trip.write(archive() + b"junk after"))).tolist() == [1, 2, 3, 4]
    assert trip.refused(trip.write(b"junk before" + archive()))


def test_case_plus_pointer_keys(trip):
    """As torch 1.6 to 1.8 named its records."""
    key = "94107684012240"
    records = {f"data/{key}": struct.pack("<4f", 1, 2, 3, 4)}
    pickled = program(tensor(storage(string(key))))
    path = trip.write(archive(pickled, records, without={"byteorder"}))
    trip.check(path)
