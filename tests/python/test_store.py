"""Store: saving, loading parts, modes, isolation, history, errors."""

import pickle

import pytest

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")

import classes
import tenon


def pointer(tensor):
    return classes.storage_of(tensor).data_ptr()


# --- loading parts


def test_a_subtree_is_loaded_with_its_prefix_stripped(store):
    store.save({"model": {"a.b": torch.ones(2), "c": torch.zeros(2)}, "other": torch.ones(5)}, step=1)
    loaded = store.load("main:model")
    assert list(loaded) == ["a.b", "c"] and torch.equal(loaded["a.b"], torch.ones(2))
    assert torch.equal(store.load("main:other"), torch.ones(5))


def test_a_prefix_of_names_selects_whole_components(store):
    store.save({"layers.1.w": torch.ones(1), "layers.10.w": torch.zeros(1)})
    assert list(store.load("main:layers.1")) == ["w"]
    with pytest.raises(tenon.NotFoundError):
        store.load("main:layers.2")


def test_the_one_liners_take_revs_and_paths(tmp_path):
    path = tmp_path / "run.tenon"
    first = tenon.save({"model": torch.ones(1)}, path, step=100)
    tenon.save({"model": torch.zeros(1)}, path, step=200)
    assert tenon.load(path)["model"].item() == 0
    assert tenon.load(f"{path}:model").item() == 0
    assert tenon.load(f"{path}@main~1:model").item() == 1
    assert tenon.load(f"{path}@{first.id[:8]}")["model"].item() == 1
    with pytest.raises(tenon.NoStoreError):
        tenon.load(tmp_path / "nothing.tenon")
    with pytest.raises(FileNotFoundError):
        tenon.load(tmp_path / "nothing.tenon")


@pytest.mark.parametrize("text, target", [
    ("main", ("main", "")), ("main:model", ("main", "model")), (":model", ("main", "model")),
    ("main@step:1200:model/fc", ("main@step:1200", "model/fc")), ("main@min:val_loss", ("main@min:val_loss", "")),
    ("main@2026-11-20:a:b", ("main@2026-11-20", "a:b")), ("abcd~2:x", ("abcd~2", "x"))])
def test_a_target_is_a_rev_and_a_path(text, target):
    from tenon._revs import split_target
    assert tuple(split_target(text)) == target


def test_a_location_is_a_path_and_a_target(tmp_path):
    from tenon._revs import split_location
    store = tmp_path / "a@b:c.tenon"
    store.mkdir()
    assert split_location(str(store)) == (str(store), ("main", ""))
    assert split_location(f"{store}@step:100:model") == (str(store), ("main@step:100", "model"))
    assert split_location(f"{store}@v1") == (str(store), ("v1", ""))
    assert split_location(f"{store}@2026-11-20") == (str(store), ("main@2026-11-20", ""))
    assert split_location(f"{store}:m") == (str(store), ("main", "m"))


# --- modes and isolation


def test_writes_stay_in_one_load(store):
    store.save(torch.zeros(10_000))
    first, second = store.load(), store.load()
    first.fill_(1)
    assert not second.any() and not store.load().any()
    assert store.verify(read_data=True).is_sound


def test_private_tensors_are_mapped_and_copies_are_not(store):
    store.save({"w": torch.rand(300_000)})
    with open("/proc/self/maps") as maps:
        segments = [line for line in maps if ".seg" in line]
    del segments
    for mode, is_mapped in (("private", True), ("copy", False)):
        tensor = store.load(mode=mode)["w"]
        with open("/proc/self/maps") as maps:
            ranges = [line.split()[0].split("-") for line in maps if ".seg" in line]
        inside = any(int(a, 16) <= pointer(tensor) < int(b, 16) for a, b in ranges)
        assert inside == is_mapped
        tensor.zero_()


def test_a_part_is_copied_without_the_rest(store):
    state = {"model": {"a": torch.rand(50_000), "tied": None, "n": np.arange(5)}, "optim": torch.rand(50_000)}
    state["model"]["tied"] = state["model"]["a"][100:200]
    store.save(state)
    loaded = store.load("main:model", mode="copy")
    assert torch.equal(loaded["a"], state["model"]["a"]) and loaded["n"].tolist() == [0, 1, 2, 3, 4]
    loaded["tied"].zero_()
    assert not loaded["a"][100:200].any() and store.load("main:model/a")[100:200].any()


def test_a_copy_of_a_part_is_checked(store):
    import pathlib
    store.save({"a": torch.zeros(100_000), "b": torch.rand(10)})
    segment, = pathlib.Path(store.path, "segments").glob("*.seg")
    segment.chmod(0o644)
    with segment.open("r+b") as file:
        file.seek(200_000)
        file.write(b"damage")
    assert store.load("main:b", mode="copy").shape == (10,)
    with pytest.raises(tenon.CorruptError) as caught:
        store.load("main:a", mode="copy")
    assert caught.value.file.endswith(".seg") and caught.value.offset is not None


def test_shared_mode_gives_read_only_arrays(store):
    store.save({"w": torch.rand(4, 5), "h": torch.ones(3, dtype=torch.bfloat16)})
    loaded = store.load(mode="shared")
    assert isinstance(loaded["w"], np.ndarray) and not loaded["w"].flags.writeable
    assert np.array_equal(loaded["w"], store.load()["w"].numpy())
    assert isinstance(loaded["h"], tenon.Handle) and loaded["h"].dtype == "bfloat16"
    with pytest.raises(ValueError):
        loaded["w"][0, 0] = 1


def test_a_mapping_lives_as_long_as_a_tensor_over_it(store):
    import gc
    import shutil
    store.save({"w": torch.arange(50_000.0)})
    tensor = store.load()["w"]
    array = store["main:w"].numpy()
    path = store.path
    store.close()
    del store
    shutil.rmtree(path)
    gc.collect()
    assert torch.equal(tensor, torch.arange(50_000.0)) and array[-1] == 49_999
    view = tensor[10:20]
    del tensor
    gc.collect()
    assert view.tolist() == list(range(10, 20))


def test_a_closed_store_says_so(store):
    store.close()
    with pytest.raises(tenon.InvalidArgumentError, match="closed"):
        store.load()


# --- saving


def test_what_the_store_has_is_not_written_again(store):
    state = {f"layer.{i}": torch.rand(10_000) for i in range(5)}
    first = store.save(state)
    state["layer.2"] = torch.rand(10_000)
    second = store.save(state)
    assert first.written_bytes == 200_000 and second.written_bytes == 40_000 and second.reused_storages == 4


def test_memory_that_is_shared_by_several_storages_stays_shared(store):
    """Two torch storages over one piece of memory, which torch.save would write twice and load apart."""
    array = np.arange(10.0)
    store.save({"a": torch.from_numpy(array), "b": torch.from_numpy(array[5:]), "c": array})
    loaded = store.load()
    loaded["b"].zero_()
    assert loaded["a"][5:].tolist() == [0] * 5 and loaded["c"][5:].tolist() == [0] * 5
    assert loaded["a"][:5].tolist() == [0, 1, 2, 3, 4]


def test_views_of_several_types_over_the_same_bytes_are_kept(store):
    x = torch.zeros(4, dtype=torch.complex64)
    store.save([x, x.real, torch.view_as_real(x), x.view(torch.uint8)])
    complex_, real, pairs, raw = store.load()
    real.fill_(1)
    assert complex_.tolist() == [1] * 4 and pairs[:, 0].tolist() == [1] * 4 and raw.any()


def test_numpy_arrays_and_scalars_are_kept_with_their_aliases(store):
    base = np.arange(12, dtype=np.int16).reshape(3, 4)
    saved = {"c": base, "f": np.asfortranarray(base), "view": base[1:, ::2], "scalar": np.float32(2.5),
             "objects": np.array([1, "a"], dtype=object), "text": np.array(["a", "bc"]), "empty": np.zeros((0, 3)),
             "big": base.astype(">i4"), "zero": np.array(7)}
    store.save(saved)
    loaded = store.load()
    for name, value in saved.items():
        expected = pickle.loads(pickle.dumps(value, 2))  # numpy itself swaps the bytes of foreign types
        assert type(loaded[name]) is type(value) and loaded[name].dtype == expected.dtype
        assert np.array_equal(loaded[name], value)
    loaded["view"][:] = 0
    assert loaded["c"][1, 0] == 0 and loaded["f"][1, 0] == 4
    assert loaded["f"].flags.f_contiguous


def test_what_speaks_dlpack_is_saved_as_a_tensor(store):
    class Foreign:
        def __init__(self, tensor):
            self.tensor = tensor

        def __dlpack__(self, **options):
            return self.tensor.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.tensor.__dlpack_device__()

    store.save({"x": Foreign(torch.arange(6.0).view(2, 3).T)})
    assert torch.equal(store.load()["x"], torch.arange(6.0).view(2, 3).T)


def test_objects_with_state_slots_and_items_come_back_when_trusted(store):
    numbers = classes.Numbers([1, torch.ones(1)])
    numbers.note = "x"
    store.save({"s": classes.Slotted(1, [2]), "n": numbers, "p": classes.Point(torch.zeros(1), "y")})
    loaded = store.load(trusted=True)
    assert (loaded["s"].a, loaded["s"].b) == (1, [2]) and loaded["n"].note == "x" and len(loaded["n"]) == 2
    assert loaded["p"].y == "y" and type(loaded["p"]) is classes.Point


def test_what_cannot_be_pickled_leaves_the_store_as_it_was(store):
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        store.save({"w": torch.ones(2), "f": lambda: 0})
    assert store.refs() == []


def test_expected_tips_are_checked(store):
    first = store.save(torch.ones(1), expected=None)
    store.save(torch.zeros(1), expected=first.id)
    with pytest.raises(tenon.ConflictError):
        store.save(torch.ones(2), expected=first.id)
    with pytest.raises(tenon.ConflictError):
        store.save(torch.ones(2), expected=None)


def test_optimizer_rows_know_their_parameters(store):
    model = classes.Tied()
    optimizer = torch.optim.Adam([{"params": model.norm.parameters()}, {"params": model.embed.parameters()}])
    model(torch.arange(5)).sum().backward()
    optimizer.step()
    store.save({"epoch": 3}, model=model, optimizer=optimizer, step=9)
    snapshot = store.snapshot()
    params = {name: snapshot[name].param for name in snapshot if name.startswith("optim/state")}
    assert params["optim/state/0/exp_avg"] == "norm.weight" and params["optim/state/2/exp_avg_sq"] == "embed.weight"
    assert all(params.values()) and snapshot["model/norm.weight"].param == ""
    loaded = store.load()
    assert loaded["epoch"] == 3 and snapshot.step == 9
    fresh = torch.optim.Adam([{"params": model.norm.parameters()}, {"params": model.embed.parameters()}])
    fresh.load_state_dict(loaded["optim"])


# --- history


def test_log_refs_tags_and_bundles(store, tmp_path):
    first = store.save({"w": torch.ones(3)}, message="one", step=1, meta={"loss": 0.5})
    second = store.save({"w": torch.zeros(3)}, step=2)
    store.tag("v1", "main~1")
    assert {(ref.name, ref.id, ref.is_tag) for ref in store.refs()} == {("main", second.id, False), ("v1", first.id, True)}
    newest, oldest = store.log()
    assert (newest.id, newest.parents) == (second.id, (first.id,))
    assert (oldest.message, oldest.step, oldest.meta) == ("one", 1, {"loss": 0.5})
    assert oldest.created_at.tzinfo is not None and store.log(limit=1) == [newest]
    store.bundle("v1", tmp_path / "v1.tenon")
    bundle = tenon.open(tmp_path / "v1.tenon")
    assert bundle.is_bundle and bundle.load()["w"].tolist() == [1, 1, 1]
    with pytest.raises(tenon.Error):
        bundle.save({})
    store.set_ref("old", "v1")
    assert store.resolve("old") == first.id
    store.delete_ref("old")
    with pytest.raises(tenon.NotFoundError):
        store.resolve("old")


def test_verify_reports_damage(store):
    import pathlib
    store.save({"w": torch.rand(100_000)})
    assert store.verify(read_data=True).is_sound
    segment, = pathlib.Path(store.path, "segments").glob("*.seg")
    segment.chmod(0o644)
    with segment.open("r+b") as file:
        file.seek(200_000)
        byte = file.read(1)
        file.seek(200_000)
        file.write(bytes([byte[0] ^ 1]))
    report = store.verify(read_data=True)
    assert not report.is_sound and report.damage[0]["file"].endswith(".seg")


def test_errors_carry_the_facts(store, tmp_path):
    store.save({"weight": torch.ones(1)})
    with pytest.raises(tenon.NotFoundError) as caught:
        store["main:wieght"]
    assert caught.value.kind == "not_found" and "weight" in caught.value.hint and isinstance(caught.value, LookupError)
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is tenon.NotFoundError and again.hint == caught.value.hint
    with pytest.raises(ValueError):
        store.load(mode="none")
    (tmp_path / "file.tenon").write_bytes(b"nothing")
    with pytest.raises(tenon.Error):
        tenon.open(tmp_path / "file.tenon", create=True)
    assert (tmp_path / "file.tenon").read_bytes() == b"nothing"


def test_opening_creates_only_when_asked(tmp_path):
    with pytest.raises(tenon.NoStoreError):
        tenon.open(tmp_path / "new.tenon")
    assert not (tmp_path / "new.tenon").exists()
    tenon.open(tmp_path / "new.tenon", create=True)
    tenon.open(tmp_path / "new.tenon", create=True).save(torch.ones(1))


# --- the same functions as safetensors.torch


def test_files_of_tensors(tmp_path):
    tensors = {"a": torch.rand(3, 4), "b": torch.ones(2, dtype=torch.bfloat16)}
    tenon.save_file(tensors, tmp_path / "m.tenon", metadata={"format": "pt"})
    tenon.save_file(tensors, tmp_path / "m.tenon", metadata={"format": "pt"})
    loaded = tenon.load_file(tmp_path / "m.tenon")
    assert list(loaded) == ["a", "b"] and all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert tenon.open(tmp_path / "m.tenon").snapshot().meta == {"format": "pt"}
    assert [path.name for path in tmp_path.iterdir()] == ["m.tenon"]
    with pytest.raises(tenon.InvalidArgumentError):
        tenon.save_file({"a": 3}, tmp_path / "m.tenon")
