"""torch.save, `tenon import`, `tenon export`, torch.load: what comes back is what went in.

The measure is what torch itself loads from the file that went in: with weights_only where that suffices, else without,
and through mmap. Files of one kind go into one store in one process.
"""

import re

import numpy
import pytest
import torch

from conftest import measure
from equal import assert_equal
from named_objects import NAMED, optimizer_after_steps, tied, views
from objects import ObjectMaker

SEEDS = range(200)
UNSAFE = {"opaque", "own class", "numpy", "whole module"}


# ---- there and back


class Batch:
    """Files imported into one store by one process; each is exported when its turn comes."""

    def __init__(self, tenon, folder, files):
        self._tenon, self._folder, self._store = tenon, folder, tenon.make_store(folder / "run.tenon")
        self._files = dict(files)
        said = tenon.import_files(self._store, self._files.values())
        self._ids = {name: one["snapshot_id"] for name, one in zip(self._files, said, strict=True)}

    def file(self, name):
        return self._files[name]

    def check(self, name):
        out = self._folder / f"out-{self._ids[name]}.pt"
        self._tenon.export(self._store, self._ids[name], out)
        check_same(self._files[name], out)
        out.unlink()


def check_same(before, after):
    is_safe = is_loadable_safely(before)
    for mmap in (False, True):
        wanted = torch.load(before, weights_only=is_safe, mmap=mmap and is_mappable(before))
        assert_equal(torch.load(after, weights_only=is_safe, mmap=mmap), wanted)


def is_loadable_safely(path):
    try:
        torch.load(path, weights_only=True)
    except Exception as refusal:  # the pickle module's own, and whatever a refused class leads to
        assert "weights" in str(refusal).lower(), refusal
        return False
    return True


def is_mappable(path):
    """Files with a byte-order mark of another kind are not; what they hold is compared without a mapping then."""
    try:
        torch.load(path, weights_only=False, mmap=True)
    except (RuntimeError, ValueError):
        return False
    return True


def saved(folder, values):
    files = {}
    for i, (name, value) in enumerate(values):
        files[name] = folder / f"{i}.pt"
        torch.save(value, files[name])
    return files


@pytest.fixture(scope="module")
def named(tenon, tmp_path_factory):
    folder = tmp_path_factory.mktemp("named")
    torch.manual_seed(0)
    return Batch(tenon, folder, saved(folder, ((name, make()) for name, make in NAMED.items())))


@pytest.fixture(scope="module")
def seeded(tenon, tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeded")
    makers = ((seed, ObjectMaker(seed, has_opaque=seed % 5 == 0)) for seed in SEEDS)
    return Batch(tenon, folder, saved(folder, ((seed, maker.make()) for seed, maker in makers)))


@pytest.mark.parametrize("name", NAMED)
def test_named_object_comes_back(named, name):
    assert is_loadable_safely(named.file(name)) == (name not in UNSAFE)
    named.check(name)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_object_comes_back(seeded, seed):
    seeded.check(seed)


def test_what_is_exported_is_exported_alike_again(tenon, store, tmp_path):
    torch.save(tied(), tmp_path / "model.pt")
    tenon.import_files(store, [tmp_path / "model.pt"])
    first, second = tmp_path / "a" / "model.pt", tmp_path / "b" / "model.pt"
    for out in (first, second):
        out.parent.mkdir()
        tenon.import_files(store, [tenon.export(store, "main", out)])
    assert second.read_bytes() == first.read_bytes()


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_saves_of_every_protocol_that_torch_reads_come_back(tenon, store, tmp_path, protocol):
    file = tmp_path / "model.pt"
    torch.save({"views": views(), "texts": ["a", b"b", bytearray(b"c"), {1, 2}]}, file, pickle_protocol=protocol)
    tenon.import_files(store, [file])
    check_same(file, tenon.export(store, "main", tmp_path / "out.pt"))


def test_a_save_of_protocol_0_is_refused_with_an_offset_and_a_hint(tenon, store, tmp_path):
    file = tmp_path / "model.pt"
    torch.save({"w": torch.rand(3)}, file, pickle_protocol=0)
    with pytest.raises(Exception):  # noqa: B017 - torch cannot read it either
        torch.load(file, weights_only=False)
    result = tenon.run("import", file, store=store)
    assert result.returncode == 1
    assert re.search(r"at offset \d+", result.stderr), result.stderr
    assert "pickle_protocol=2" in result.stderr


@pytest.mark.parametrize("setting, value", [("save.compute_crc32", False), ("save.storage_alignment", 4096)])
def test_saves_with_other_settings_come_back(tenon, store, tmp_path, setting, value):
    from torch.utils.serialization import config

    file = tmp_path / "model.pt"
    with config.patch({setting: value}):
        torch.save(views(), file)
    tenon.import_files(store, [file])
    check_same(file, tenon.export(store, "main", tmp_path / "out.pt"))


def long_lists():
    return {
        "integers": list(range(2_000_000)),
        "lists": [[i, -i] for i in range(400_000)],
        "tuples": [(i, i + 1) for i in range(600_000)],
        "vocabulary": {f"token{i}": i for i in range(1_000_000)},
        "floats": [i / 3 for i in range(3_000_000)],
    }


@pytest.mark.parametrize("name", ["integers", "lists", "tuples", "vocabulary", "floats"])
def test_long_lists_come_back_in_bounded_memory(tenon, store, tmp_path, name):
    """The file's size and 64 MiB; three times the file and 64 MiB for floats."""
    file, out = tmp_path / "long.pt", tmp_path / "out.pt"
    value = long_lists()[name]
    torch.save(value, file)
    bound = file.stat().st_size * (3 if name == "floats" else 1) + 64 * 1024 * 1024
    for arguments in (["import", file], ["export", "main", out], ["ls", file], ["show", "--structure", "main"]):
        took = measure(tenon, tmp_path, "--store", store, *arguments)
        assert took["exit_code"] == 0, arguments
        assert took["peak_bytes"] < bound, (arguments, took)
    assert torch.load(out, weights_only=True) == value


@pytest.mark.parametrize(
    "how", [{}, {"pickle_protocol": 4}, {"_use_new_zipfile_serialization": False}], ids=["zip", "protocol 4", "legacy"]
)
def test_long_numpy_array_costs_its_file_and_little_more(tenon, store, tmp_path, how):
    file, out = tmp_path / "long.pt", tmp_path / "out.pt"
    array = numpy.arange(10_500_000.0)
    torch.save({"a": array}, file, **how)
    for arguments in (["import", file], ["export", "main", out], ["ls", file]):
        took = measure(tenon, tmp_path, "--store", store, *arguments)
        assert took["exit_code"] == 0, arguments
        assert took["peak_bytes"] < file.stat().st_size + 64 * 1024 * 1024, (arguments, took)
    numpy.testing.assert_array_equal(torch.load(out, weights_only=False)["a"], array)


def test_tensors_of_a_container_at_many_places_are_all_there(tenon, store, tmp_path):
    file, out = tmp_path / "shared.pt", tmp_path / "out.pt"
    tensors = [torch.rand(2) for _ in range(50)]
    torch.save({"r": [tensors] * 200}, file)
    assert tenon.import_files(store, [file])[0]["tensors"] == 10_000
    assert len(tenon.json("ls", "main:r/199", store=store)) == 50
    assert tenon.json("export", "main:r/199", out, store=store)[0]["tensors"] == 50
    assert_equal(torch.load(out, weights_only=True), tensors)


def test_more_memory_is_given_where_it_is_asked_for(tenon, store, tmp_path):
    file, out = tmp_path / "keys.pt", tmp_path / "out.pt"
    value = {"k" * 50_000: {f"t{i}": torch.full((1,), i) for i in range(1_000)}}
    torch.save(value, file)
    refused = tenon.run("import", file, store=store)
    assert refused.returncode == 1 and "names" in refused.stderr and "--max-memory" in refused.stderr
    tenon.import_files(store, [file], "--max-memory", "256M")
    assert_equal(torch.load(tenon.export(store, "main", out), weights_only=True), value)


def test_zip_of_another_writer_comes_back(tenon, store, tmp_path):
    """Deflated, not aligned, no zip64: what Python's zipfile makes of the records."""
    import zipfile

    original, rewritten = tmp_path / "model.pt", tmp_path / "rewritten.pt"
    torch.save(views(), original)
    with zipfile.ZipFile(original) as source, zipfile.ZipFile(rewritten, "w", zipfile.ZIP_DEFLATED) as target:
        for record in source.namelist():
            target.writestr(record, source.read(record))
    tenon.import_files(store, [rewritten])
    check_same(original, tenon.export(store, "main", tmp_path / "out.pt"))


def test_subtree_is_exported_without_its_prefix(tenon, store, tmp_path):
    value = optimizer_after_steps(torch.optim.AdamW)
    torch.save(value, tmp_path / "run.pt")
    tenon.import_files(store, [tmp_path / "run.pt"])
    for key in ("model", "optim"):
        out = tenon.export(store, f"main:{key}", tmp_path / f"{key}.pt")
        assert_equal(torch.load(out, weights_only=True), torch.load(tmp_path / "run.pt", weights_only=True)[key])
    lone = tenon.export(store, "main:model/0.weight", tmp_path / "weight.pt")
    assert_equal(torch.load(lone, weights_only=True), value["model"]["0.weight"])


def test_exported_archive_is_laid_out_as_torchs_own(tenon, store, tmp_path):
    """Record for record, and byte for byte outside of the pickle and the digits of the serialization id."""
    import zipfile

    original, out = tmp_path / "model.pt", tmp_path / "out" / "model.pt"
    out.parent.mkdir()
    torch.save({f"{i}": torch.rand(i * 10) for i in range(12)}, original)
    tenon.import_files(store, [original])
    tenon.export(store, "main", out)
    with zipfile.ZipFile(original) as wanted, zipfile.ZipFile(out) as got:
        assert got.testzip() is None
        assert got.namelist() == wanted.namelist()
        for a, b in zip(got.infolist(), wanted.infolist(), strict=True):
            assert (a.flag_bits, a.compress_type, a.date_time) == (b.flag_bits, b.compress_type, b.date_time)
            if not a.filename.endswith(("data.pkl", "serialization_id")):
                assert got.read(a) == wanted.read(b), a.filename
    reader = torch._C.PyTorchFileReader(str(out))
    for record in reader.get_all_records():
        assert reader.get_record_offset(record) % 64 == 0, record
