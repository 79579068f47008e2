"""What a commit costs is what changed: measured from the segment files, not from what the command says of itself."""

import os
import zipfile

import pytest
import torch

from equal import assert_equal

ROWS = 64 * 1024  # columns, structure and footer of the small models here stay below this
MIB = 1024 * 1024


def random_bytes(nbytes, seed):
    return torch.randint(0, 256, (nbytes,), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def model():
    """Eight storages of 1 MiB, told apart by their content."""
    return {f"layer.{i}": random_bytes(MIB, i).view(torch.float32) for i in range(8)}


class Segments:
    """The segment files of a store, and those that appeared since the last look."""

    def __init__(self, store):
        self._folder = store / "segments"
        self._known = set()

    def added(self):
        new = [path for path in sorted(self._folder.iterdir()) if path not in self._known]
        self._known.update(new)
        assert all(path.suffix == ".seg" for path in new), f"left behind: {new}"
        return b"".join(path.read_bytes() for path in new)


def marker(tensor, at):
    """64 bytes of the tensor's data from `at` on; nothing else will contain them."""
    return tensor.contiguous().view(torch.uint8)[at : at + 64].numpy().tobytes()


@pytest.fixture
def commit(tenon, store, tmp_path):
    """Saves an object, imports it, and returns the bytes of the segments that this added."""
    segments = Segments(store)

    def save_and_import(value, *options):
        torch.save(value, tmp_path / "model.pt")
        tenon.import_files(store, [tmp_path / "model.pt"], *options)
        return segments.added()

    return save_and_import


@pytest.fixture
def loaded(tenon, store, tmp_path):
    def export_and_load(rev):
        return torch.load(tenon.export(store, rev, tmp_path / "out.pt"), weights_only=True)

    return export_and_load


def test_first_import_writes_each_byte_once(commit):
    added = commit(model())
    assert 8 * MIB < len(added) < 8 * MIB + 8 * 64 * 1024 + ROWS
    for tensor in model().values():
        assert added.count(marker(tensor, 1000)) == 1


def test_same_file_again_adds_no_data(commit, loaded):
    commit(model())
    added = commit(model())
    assert len(added) < ROWS
    for tensor in model().values():
        assert marker(tensor, 1000) not in added
    assert_equal(loaded("main"), model())
    assert_equal(loaded("main~1"), model())


def test_one_changed_storage_adds_that_storage_and_rows_only(commit, loaded):
    commit(model())
    changed = model() | {"layer.3": random_bytes(MIB, 100).view(torch.float32)}
    added = commit(changed)
    assert MIB < len(added) < MIB + ROWS + 64 * 1024
    assert marker(changed["layer.3"], 1000) in added
    for name in ("layer.0", "layer.2", "layer.4", "layer.7"):
        assert marker(changed[name], 1000) not in added
    assert_equal(loaded("main"), changed)
    assert_equal(loaded("main~1"), model())


def large_and_changed():
    large = random_bytes(16 * MIB, 1).view(torch.float32)
    changed = large.clone()
    changed[2_000_000] = 0.5
    return {"w": large}, {"w": changed}


def test_one_changed_element_leaves_both_versions_whole(commit, loaded):
    before, after = large_and_changed()
    commit(before)
    commit(after)
    assert_equal(loaded("main"), after)
    assert_equal(loaded("main~1"), before)


def test_one_changed_element_adds_a_part_of_its_storage(commit):
    before, after = large_and_changed()
    commit(before)
    added = commit(after)
    assert marker(after["w"], 0) not in added
    assert len(added) < 2 * MIB + ROWS


def test_an_added_layer_adds_itself(commit, loaded):
    commit(model())
    longer = model() | {"head": random_bytes(MIB // 2, 50).view(torch.float32)}
    added = commit(longer)
    assert len(added) < MIB // 2 + ROWS + 64 * 1024
    assert_equal(loaded("main"), longer)


def test_content_is_found_under_another_name_and_dtype(commit, loaded):
    commit(model())
    moved = {"renamed": {f"block/{i}": tensor.view(torch.int32) for i, tensor in enumerate(reversed(model().values()))}}
    assert len(commit(moved)) < ROWS
    assert_equal(loaded("main"), moved)


def test_content_is_found_from_another_ref(commit, loaded):
    commit(model())
    assert len(commit(model(), "--ref", "other")) < ROWS
    assert_equal(loaded("other"), model())


def test_equal_storages_are_stored_once_and_stay_apart(commit, loaded, tmp_path):
    value = {name: torch.full((MIB // 4,), 1.25) for name in "abcd"}
    assert len(commit(value)) < MIB + ROWS + 64 * 1024
    back = loaded("main")
    assert_equal(back, value)
    back["a"].zero_()
    assert back["b"].eq(1.25).all()
    with zipfile.ZipFile(tmp_path / "out.pt") as archive:
        assert sum("/data/" in name for name in archive.namelist()) == 4


def test_fresh_transformer_keeps_its_72_tensors_apart(commit, loaded):
    """72 tensors, 9 contents: layers are copies of one layer."""
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(64, 4, 256, batch_first=True)
    state = torch.nn.TransformerEncoder(layer, 6).state_dict()
    assert len(state) == 72
    contents = {tensor.numpy().tobytes() for tensor in state.values()}
    assert len(contents) == 9
    assert len(commit(state)) < sum(map(len, contents)) + 9 * 4096 + ROWS
    back = loaded("main")
    assert_equal(back, state)
    assert len({tensor.data_ptr() for tensor in back.values()}) == 72


def test_nothing_is_written_when_nothing_can_be_read(tenon, store, tmp_path):
    segments = Segments(store)
    (tmp_path / "broken.pt").write_bytes(os.urandom(4096))
    assert tenon.run("import", tmp_path / "broken.pt", store=store).returncode == 1
    assert segments.added() == b""
