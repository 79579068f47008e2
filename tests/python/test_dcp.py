"""torch.distributed.checkpoint over a store: several ranks, other layouts, and torch's own cases."""

import os
import subprocess
import sys
import textwrap

import pytest

torch = pytest.importorskip("torch")
if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 3):
    pytest.skip("torch.distributed.checkpoint has its present interface since torch 2.3", allow_module_level=True)

import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException

import tenon
import tenon.dcp
from conftest import child_environment

PRELUDE = """
import sys
import torch, torch.distributed as dist, torch.distributed.checkpoint as dcp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
import tenon, tenon.dcp

rank, world, path, meeting = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method="file://" + meeting, rank=rank, world_size=world)
mesh = init_device_mesh("cpu", (world,))

def whole():
    generator = torch.Generator().manual_seed(5)
    return {name: torch.rand(*shape, generator=generator).to(dtype) for name, shape, dtype in (
        ("rows", (7, 6), torch.float32), ("columns", (4, 9), torch.bfloat16), ("same", (5,), torch.float64),
        ("short", (1, 3), torch.float32))}

PLACES = {"rows": Shard(0), "columns": Shard(1), "same": Replicate(), "short": Shard(0)}

def sharded(values):
    return {name: distribute_tensor(value, mesh, [PLACES[name]]) for name, value in values.items()}

def check(state):
    for name, value in whole().items():
        assert torch.equal(state[name].full_tensor(), value), name
"""


def run_ranks(world, code, path, folder):
    """Runs `code` once per rank, and expects all of them to succeed."""
    meeting = folder / f"meeting-{world}-{len(list(folder.iterdir()))}"
    program = PRELUDE + textwrap.dedent(code) + "\ndist.destroy_process_group()\n"
    ranks = [subprocess.Popen([sys.executable, "-c", program, str(rank), str(world), str(path), str(meeting)],
                              env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
             for rank in range(world)]
    outputs = [rank.communicate(timeout=300)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * world, "\n".join(outputs)


SAVE = """
    state = {"model": sharded(whole()), "step": 7, "names": ["a", "b"], "nested": {"lr": 0.5}}
    dcp.save(state, storage_writer=tenon.dcp.StorageWriter(path, step=7, message="sharded", meta={"loss": 1.5}))
"""
LOAD = """
    state = {"model": sharded({name: torch.zeros_like(value) for name, value in whole().items()}), "step": 0,
             "names": ["", ""], "nested": {"lr": 0.0}}
    dcp.load(state, storage_reader=tenon.dcp.StorageReader(path))
    check(state["model"])
    assert (state["step"], state["names"], state["nested"]) == (7, ["a", "b"], {"lr": 0.5})
"""


@pytest.fixture(scope="module")
def saved_by_two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dcp")
    run_ranks(2, SAVE, folder / "run.tenon", folder)
    return folder / "run.tenon"


@pytest.mark.parametrize("world", [1, 2, 3])
def test_what_two_ranks_saved_is_loaded_by_any_number(saved_by_two, tmp_path, world):
    run_ranks(world, LOAD, saved_by_two, tmp_path)


def test_shards_are_rows_that_know_the_whole(saved_by_two):
    store = tenon.open(saved_by_two)
    snapshot = store.snapshot()
    assert snapshot.step == 7 and snapshot.meta == {"loss": 1.5} and snapshot.info.message == "sharded"
    first, second = snapshot["model/rows/0"], snapshot["model/rows/1"]
    assert {first.shape, second.shape} == {(4, 6), (3, 6)} and first.global_shape == second.global_shape == (7, 6)
    assert {first.global_offset, second.global_offset} == {(0, 0), (4, 0)}
    assert snapshot["model/same"].global_shape == () and snapshot["model/same"].shape == (5,)
    assert {snapshot[f"model/columns/{i}"].global_offset for i in (0, 1)} == {(0, 0), (0, 5)}


def test_the_snapshot_is_an_ordinary_one(saved_by_two):
    store = tenon.open(saved_by_two)
    state = store.load()
    assert state["step"] == 7 and state["names"] == ["a", "b"] and state["nested"] == {"lr": 0.5}
    parts = sorted(state["model"]["rows"], key=len, reverse=True)
    assert [part.shape for part in parts] == [(4, 6), (3, 6)] and state["model"]["same"].dtype == torch.float64
    assert store.verify(read_data=True).is_sound


def test_nothing_of_single_ranks_is_left(saved_by_two):
    store = tenon.open(saved_by_two)
    assert [ref.name for ref in store.refs()] == ["main"] and len(store.log()) == 1
    assert store.snapshot().info.parents == ()
    store.gc()
    assert store.verify(read_data=True).is_sound and store.load()["step"] == 7


def test_the_next_save_writes_only_shards_that_changed(tmp_path):
    path = tmp_path / "run.tenon"
    run_ranks(2, """
        big = {"a": torch.zeros(1000, 1000), "b": torch.ones(1000, 1000)}
        PLACES.update(a=Shard(0), b=Shard(0))
        state = sharded(big)
        for step in range(2):
            dcp.save(state, storage_writer=tenon.dcp.StorageWriter(path, step=step))
            if rank == 1:
                state["b"].to_local().fill_(3)
    """, path, tmp_path)
    store = tenon.open(path)
    assert [info.step for info in store.log()] == [1, 0]
    assert {change.name for change in store.diff("main~1")} == {"b/1"}
    used = sum(entry.stat().st_size for entry in (path / "segments").iterdir())
    assert used < 8_000_000 + 2_000_000 + 400_000, used


# ---- one process


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.tenon"


def save(state, path, **options):
    writer = tenon.dcp.StorageWriter(path, **options)
    dcp.save(state, storage_writer=writer, no_dist=True)
    return writer.result


def load(state, path, **options):
    dcp.load(state, storage_reader=tenon.dcp.StorageReader(path, **options), no_dist=True)
    return state


def zeros_like(state):
    return {key: torch.zeros_like(value) if isinstance(value, torch.Tensor) else value for key, value in state.items()}


class TwoLayers(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.sequential = torch.nn.Sequential(torch.nn.Linear(5, 20), torch.nn.ReLU(), torch.nn.Linear(20, 3))

    def forward(self, x):
        return self.sequential(x)


def test_read_write_only_tensor(path):
    """torch's test_checkpoint / test_file_system_checkpoint_cpu: a plain module without ranks."""
    saved, fresh = TwoLayers(), TwoLayers()
    result = save(saved.state_dict(), path)
    assert result.ref == "main" and result.id == tenon.open(path).resolve("main")
    state = fresh.state_dict()
    load(state, path)
    fresh.load_state_dict(state)
    for name, value in saved.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value)


def test_every_element_type_is_written_and_read(path):
    names = ("float32", "float64", "float16", "bfloat16", "int8", "uint8", "int64", "bool", "complex64", "float8_e4m3fn")
    state = {name: torch.arange(4).to(getattr(torch, name)) for name in names if hasattr(torch, name)}
    save(state, path)
    assert all(torch.equal(a.view(torch.uint8) if a.dtype.itemsize == 1 else a, state[name].view(torch.uint8)
                           if a.dtype.itemsize == 1 else state[name])
               for name, a in load(zeros_like(state), path).items())


def test_optimizer_state_and_plain_objects(path):
    """torch's test_state_dict cases: nested dicts, lists, objects that are pickled."""
    model = TwoLayers()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.rand(2, 5)).sum().backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optim": optimizer.state_dict(), "extra": {"shape": torch.Size([1, 2]), "n": 3},
             "list": [torch.ones(2), 4, None]}
    save(state, path)
    fresh = TwoLayers()
    other = torch.optim.Adam(fresh.parameters())
    fresh(torch.rand(2, 5)).sum().backward()
    other.step()
    loaded = {"model": fresh.state_dict(), "optim": other.state_dict(), "extra": {"shape": None, "n": 0},
              "list": [torch.zeros(2), 0, 1]}
    load(loaded, path)
    for number, entry in state["optim"]["state"].items():
        for key, value in entry.items():
            assert torch.equal(loaded["optim"]["state"][number][key], value)
    assert loaded["optim"]["param_groups"] == state["optim"]["param_groups"]
    assert loaded["extra"] == {"shape": torch.Size([1, 2]), "n": 3}
    assert torch.equal(loaded["list"][0], torch.ones(2)) and loaded["list"][1:] == [4, None]


def test_a_slice_of_a_large_tensor_keeps_itself_only(path):
    save({"w": torch.arange(1000.0)[10:15]}, path)
    assert tenon.open(path).snapshot().info.nbytes == 20
    assert load({"w": torch.zeros(5)}, path)["w"].tolist() == [10, 11, 12, 13, 14]


def test_load_missing_and_mismatched_names_are_refused(path):
    """torch's test_load_with_different_keys and shape mismatch."""
    save({"w": torch.ones(3)}, path)
    with pytest.raises(CheckpointException, match="Missing key"):
        load({"other": torch.ones(3)}, path)
    with pytest.raises(CheckpointException, match="[Ss]ize"):
        load({"w": torch.ones(4)}, path)


def test_partial_loading_reads_what_is_asked_for(path):
    save({"a": torch.ones(3), "b": torch.full((2,), 5.0)}, path)
    assert load({"b": torch.zeros(2)}, path)["b"].tolist() == [5, 5]


def test_checkpoint_ids_are_paths(path):
    dcp.save({"w": torch.ones(2)}, checkpoint_id=path, storage_writer=tenon.dcp.StorageWriter(step=1), no_dist=True)
    dcp.save({"w": torch.zeros(2)}, checkpoint_id=path, storage_writer=tenon.dcp.StorageWriter(step=2), no_dist=True)
    state = {"w": torch.full((2,), 9.0)}
    dcp.load(state, checkpoint_id=str(path) + "@step:1", storage_reader=tenon.dcp.StorageReader(), no_dist=True)
    assert state["w"].tolist() == [1, 1]
    dcp.load(state, checkpoint_id=path, storage_reader=tenon.dcp.StorageReader(rev="main"), no_dist=True)
    assert state["w"].tolist() == [0, 0]
    with pytest.raises(CheckpointException, match="no store: give one"):
        save({"w": torch.ones(1)}, None)


def test_async_save_commits(path):
    future = dcp.async_save({"w": torch.ones(4)}, storage_writer=tenon.dcp.StorageWriter(path, step=3), no_dist=True)
    getattr(future, "upload_completion", future).result(timeout=120)
    assert load({"w": torch.zeros(4)}, path)["w"].sum() == 4


def test_metadata_is_what_torch_would_write(path, tmp_path):
    """Beside torch's own file system writer: sizes, types and chunks agree."""
    state = {"a": {"w": torch.rand(2, 3, requires_grad=True)}, "n": 1}
    save(state, path)
    dcp.save(state, checkpoint_id=tmp_path / "theirs", no_dist=True)
    theirs = dcp.FileSystemReader(tmp_path / "theirs").read_metadata()
    ours = tenon.dcp.StorageReader(path).read_metadata()
    assert ours.planner_data == theirs.planner_data
    assert ours.state_dict_metadata.keys() == theirs.state_dict_metadata.keys()
    a, b = ours.state_dict_metadata["a.w"], theirs.state_dict_metadata["a.w"]
    assert (a.size, a.properties, a.chunks) == (b.size, b.properties, b.chunks)
    assert type(ours.state_dict_metadata["n"]) is type(theirs.state_dict_metadata["n"])


def test_an_ordinary_snapshot_is_refused_by_name(path):
    tenon.save({"w": torch.ones(1)}, path)
    with pytest.raises(CheckpointException, match="not saved by tenon.dcp.StorageWriter"):
        load({"w": torch.ones(1)}, path)


def test_a_save_that_fails_leaves_nothing(path):
    save({"w": torch.ones(3)}, path)
    before = sorted(os.listdir(path / "segments"))
    for _ in range(2):
        with pytest.raises(CheckpointException, match="no dense tensor.*sparse"):
            save({"w": torch.ones(3), "sparse": torch.eye(3).to_sparse()}, path)
    store = tenon.open(path)
    assert [ref.name for ref in store.refs()] == ["main"] and len(store.log()) == 1
    store.gc()
    assert sorted(os.listdir(path / "segments")) == before and store.verify(read_data=True).is_sound


def test_values_alone_are_a_checkpoint(path):
    save({"step": 3, "names": ["a"]}, path)
    assert tenon.load(path) == {"step": 3, "names": ["a"]}
    assert load({"step": 0, "names": [""]}, path) == {"step": 3, "names": ["a"]}


def test_statistics_are_gathered_while_ranks_write(path):
    save({"w": torch.tensor([1.0, float("nan"), 3.0])}, path)
    assert tenon.open(path).snapshot()["w"].stats()["nan_count"] == 1
    save({"v": torch.ones(2)}, path, statistics=False)
    assert tenon.open(path).snapshot()["v"].stats() is None


@pytest.mark.skipif(not os.environ.get("TENON_TEST_SLOW"), reason="a minute: set TENON_TEST_SLOW=1")
def test_hundreds_of_values_are_written(path):
    state = {f"k{i}": i for i in range(500)} | {f"w{i}": torch.full((3,), float(i)) for i in range(500)}
    save(state, path)
    loaded = load({key: 0 if isinstance(value, int) else torch.zeros(3) for key, value in state.items()}, path)
    assert all(loaded[f"k{i}"] == i and loaded[f"w{i}"][0] == i for i in range(500))
