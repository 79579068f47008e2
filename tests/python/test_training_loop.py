"""What a training loop needs: saves in the background, refs that others moved, checkpoints with rules, watching."""

import os
import threading
import warnings

import pytest

np = pytest.importorskip("numpy")

import tenon


def state(value, n=1000):
    return {"w": np.full(n, float(value))}


# ---- wait=False


def test_a_save_in_the_background_has_the_bytes_when_it_returns(store):
    array = np.arange(100_000.0)
    pending = store.save({"w": array}, step=4, wait=False)
    assert pending.staged.done()
    array[:] = -1
    result = pending.result(timeout=60)
    assert pending.done() and pending.exception() is None and result.id == store.resolve("main")
    assert np.array_equal(np.asarray(store.load()["w"]), np.arange(100_000.0))
    assert store.snapshot().step == 4


def test_saves_in_the_background_are_committed_in_order(store):
    pending = [store.save(state(i), step=i, wait=False) for i in range(12)]
    store.wait()
    assert all(one.done() for one in pending)
    assert [info.step for info in store.log()] == list(range(11, -1, -1))
    assert [float(np.asarray(store.load(f"main~{11 - i}")["w"])[0]) for i in range(12)] == list(range(12))


def test_no_more_than_the_limit_are_under_way(tmp_path, monkeypatch):
    store = tenon.open(tmp_path / "run.tenon", create=True, durability="relaxed", max_in_flight=2)
    store.save(state(0))
    may_commit = threading.Event()
    commit = store._tips.commit
    monkeypatch.setattr(store._tips, "commit", lambda *a: (may_commit.wait(60), commit(*a))[1])
    saves = []
    third = threading.Thread(target=lambda: saves.extend(store.save(state(i), wait=False) for i in (1, 2, 3)))
    third.start()
    third.join(1)
    assert third.is_alive() and len(saves) == 2, "the third waits for a place"
    may_commit.set()
    third.join(60)
    store.wait()
    assert len(store.log()) == 4
    assert len(store._background()._buffers) == 2, "memory is kept for the next saves, for each of two"
    with pytest.raises(tenon.InvalidArgumentError, match="at least 1"):
        tenon.open(tmp_path / "run.tenon", max_in_flight=0).save(state(1), wait=False)


def test_a_failure_in_the_background_is_told(store):
    pending = store.save(state(1), expected="0" * 32, wait=False)
    with pytest.raises(tenon.ConflictError):
        pending.result(timeout=60)
    store.wait()  # whoever asked has been told
    missed = store.save(state(1), expected="0" * 32, wait=False)
    while not missed.done():
        pass
    with pytest.warns(RuntimeWarning, match="save in the background failed"):
        store.save(state(2), wait=False).result()
    store.save(state(1), expected="0" * 32, wait=False)
    with pytest.raises(tenon.ConflictError):
        store.wait()
    store.wait()
    assert len(store.log()) == 1


def test_what_cannot_be_pickled_fails_at_once_also_in_the_background(store):
    with pytest.raises((AttributeError, TypeError)) as refusal:
        store.save({"f": threading.Lock()}, wait=False)
    assert "pickle" in str(refusal.value)
    store.wait()


def test_closing_a_store_ends_its_saves(tmp_path):
    with tenon.open(tmp_path / "run.tenon", create=True) as store:
        pending = store.save(state(1), wait=False)
    assert pending.done() and len(tenon.open(tmp_path / "run.tenon").log()) == 1


def test_a_forked_child_saves_in_the_background_by_itself(store):
    store.save(state(1), wait=False).result()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            store.save(state(2), ref="child", wait=False).result(60)
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    store.save(state(3), wait=False).result()
    assert len(store.log()) == 2 and len(store.log("child")) == 1


# ---- refs that somebody else moved


@pytest.fixture
def moved(store):
    """A store object whose ref another one moved after its save."""
    store.save(state(1), on_moved="raise")
    tenon.open(store.path).save(state(2))
    return store


def test_a_moved_ref_is_gone_on_from_unless_asked(moved):
    result = moved.save(state(3))
    assert result.ref == "main" and len(moved.log()) == 3


def test_a_moved_ref_raises_if_asked(moved):
    with pytest.raises(tenon.ConflictError):
        moved.save(state(3), on_moved="raise")
    assert len(moved.log()) == 2


def test_a_moved_ref_is_left_alone_if_asked(moved):
    moved.save([0], ref="main-2")  # a name that is taken
    with pytest.warns(RuntimeWarning, match="saves go to 'main-3'"):
        result = moved.save(state(3), on_moved="fork")
    assert result.ref == "main-3" and len(moved.log("main-3")) == 2 and len(moved.log()) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert moved.save(state(4), on_moved="fork").ref == "main-3"
    assert len(moved.log("main-3")) == 3
    with pytest.raises(tenon.InvalidArgumentError, match="rebase, fork, raise"):
        moved.save(state(4), on_moved="merge")


# ---- checkpoints


def test_a_manager_saves_when_it_is_time_and_keeps_what_rules_say(tmp_path):
    with tenon.CheckpointManager(tmp_path / "run.tenon", save_every=2, keep_last=2, keep_every=10,
                                 keep_best="min:val_loss") as manager:
        assert manager.latest_step() is None and manager.next_step() == 0 and manager.all_steps() == []
        for step in range(25):
            saved = manager.save(step, state(step), metrics={"val_loss": abs(step - 12) + 1})
            assert (saved is None) == (step % 2 == 1)
    assert manager.all_steps() == [0, 10, 12, 20, 22, 24]
    assert manager.best_step() == 12 and manager.best_step("max:val_loss") == 24
    assert (manager.latest_step(), manager.next_step()) == (24, 25)
    assert float(np.asarray(manager.load(step=12)["w"])[0]) == 12 and float(np.asarray(manager.load()["w"])[0]) == 24
    usage = manager.store.du()
    assert usage.forgotten == 0 and len(usage.snapshots) == 6
    assert manager.store.verify(read_data=True).is_sound


def test_a_manager_without_rules_keeps_all_and_saves_if_forced(tmp_path):
    manager = tenon.CheckpointManager(tmp_path / "run.tenon", save_every=100, wait=True)
    manager.save(0, state(0))
    assert manager.save(1, state(1)) is None
    assert manager.save(1, state(1), force=True).ref == "main"
    assert manager.all_steps() == [0, 1] and manager.clean() == []
    with pytest.raises(tenon.InvalidArgumentError, match="no metric"):
        manager.best_step()
    with pytest.raises(tenon.InvalidArgumentError, match="save_every"):
        tenon.CheckpointManager(tmp_path / "run.tenon", save_every=0)
    assert manager.best_step("min:loss") is None


# ---- history


def test_watching_gives_the_present_and_what_comes(store):
    seen = []

    def watch():
        for snapshot in store.watch("live", timeout=30):
            seen.append(snapshot.step)
            if snapshot.step == 3:
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    for step in range(4):
        store.save(state(step), step=step, ref="live")
    watcher.join(60)
    assert seen[-1] == 3 and seen == sorted(set(seen))
    assert [snapshot.step for snapshot in store.watch("live", timeout=0.05)] == [3]


def test_diff_tells_what_changed_and_by_how_much(store):
    store.save({"a": np.zeros(4), "b": np.ones(2), "old": np.ones(1)})
    store.save({"a": np.array([0.0, 0, 3, -4]), "b": np.ones(2), "new": np.ones(3)})
    changes = {change.name: change for change in store.diff("main~1")}
    assert {name: change.change for name, change in changes.items()} == {"a": "changed", "old": "removed", "new": "added"}
    assert (changes["a"].l2_diff, changes["a"].max_abs_diff, changes["a"].changed_numel, changes["a"].numel) == (5, 4, 2, 4)
    assert changes["new"].l2_diff is None and changes["new"].old_name is None
    assert len(store.diff("main~1", all=True)) == 4
    assert store.diff("main~1", numeric=False)[0].l2_diff is None
    with pytest.raises(tenon.InvalidArgumentError):
        store.diff("main~1", by="layer")


def test_forgetting_and_undoing_and_what_it_costs(store, tmp_path):
    for step in range(5):
        store.save(state(step, 10_000), step=step, meta={"loss": step})
    rows = store.forget(keep_last=1, keep_best="min:loss", dry_run=True)
    assert [row.info.step for row in rows if row.is_kept] == [4, 0] and rows[0].reasons == ["last 1", "tip of main"]
    assert len(store.log()) == 5
    store.forget(keep_last=1)
    assert len(store.log()) == 1
    assert store.undo().action == "forget"
    assert len(store.log()) == 5
    store.forget(ids=["main~4"])
    store.forget(keep_last=2)
    report = store.gc()
    assert report.snapshots == 3 and report.freed_bytes > 200_000 and store.du().forgotten == 0
    assert {entry.action for entry in store.reflog()} >= {"commit", "forget"}
    copy = store.clone(tmp_path / "copy.tenon")
    assert [info.id for info in copy.log()] == [info.id for info in store.log()]


def test_files_go_in_and_out(store, tmp_path):
    values = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.int8)}
    store.save({"model": values, "step": 3})
    store.export("main:model", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as back:
        assert np.array_equal(back["a"], values["a"]) and back["b"].dtype == np.int8
    snapshot_id = store.import_file(tmp_path / "out.npz", ref="back", message="again", step=9)
    assert store.snapshot("back").id == snapshot_id and store.snapshot("back").step == 9
    assert np.array_equal(np.asarray(store.load("back")["a"]), values["a"])
    tenon.save_file(values, tmp_path / "out.safetensors", metadata={"k": "v"})
    loaded = tenon.load_file(tmp_path / "out.safetensors")
    assert np.array_equal(np.asarray(loaded["a"]), values["a"])
    with pytest.raises(tenon.InvalidArgumentError, match="no such format"):
        store.export("main", tmp_path / "out.xyz")
