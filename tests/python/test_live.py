"""Following a ref and swapping weights."""

import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

import tenon
from conftest import child_environment

torch = pytest.importorskip("torch")


def model_and_state(seed):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 64))
    return model


def save(store, state, step):
    return store.save({"model": state, "step": step}, step=step)


def test_watch_gives_the_current_snapshot_and_then_the_newest(store):
    first = store.save({"w": torch.zeros(3)})
    watch = store.watch("main")
    assert next(watch).id == first.id
    assert watch.poll() is None and watch.next(0.01) is None
    store.save({"w": torch.ones(3)})
    last = store.save({"w": torch.full((3,), 2.0)})
    assert next(watch).id == last.id
    assert watch.poll() is None


def test_watch_ends_when_its_time_is_over(store):
    store.save({"w": torch.zeros(3)})
    assert [snap.load()["w"].tolist() for snap in store.watch("main", timeout=0.01)] == [[0.0, 0.0, 0.0]]


def test_a_commit_of_another_process_wakes(store):
    store.save({"w": torch.zeros(3)})
    watch = store.watch()
    next(watch)
    script = f"import tenon, numpy; tenon.open({store.path!r}).save({{'w': numpy.ones(3)}}, step=7)"
    child = subprocess.Popen([sys.executable, "-c", script], env=child_environment())
    assert watch.next(60).step == 7
    assert child.wait(60) == 0


def test_ctrl_c_ends_the_waiting(store):
    script = textwrap.dedent(f"""
        import tenon
        watch = tenon.open({store.path!r}).watch("never")
        try:
            print("waiting", flush=True)
            next(watch)
        except KeyboardInterrupt:
            print("interrupted")
    """)
    child = subprocess.Popen([sys.executable, "-c", script], env=child_environment(), stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "waiting\n"
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=60)[0] == "interrupted\n"


def test_a_subscription_calls_with_each_newest_snapshot(store):
    first = store.save({"w": torch.zeros(3)})
    seen, came = [], threading.Semaphore(0)

    def callback(snapshot):
        seen.append(snapshot.id)
        came.release()

    with store.subscribe(callback) as subscription:
        assert came.acquire(timeout=60)
        second = store.save({"w": torch.ones(3)})
        assert came.acquire(timeout=60)
        assert subscription.is_alive
    assert seen == [first.id, second.id]
    assert not subscription.is_alive


def test_what_the_callback_raises_comes_out_of_close(store):
    store.save({"w": torch.zeros(3)})

    def callback(snapshot):
        raise ValueError("no")

    subscription = store.subscribe(callback)
    subscription._thread.join(60)
    with pytest.raises(ValueError, match="no"):
        subscription.close()


def test_changed_since_names_tensors(store):
    a, b = torch.zeros(1000), torch.zeros(1000)
    store.save({"a": a, "b": b})
    first = store.snapshot()
    b[0] = 1
    store.save({"a": a, "b": b})
    assert store.snapshot().changed_since(first) == ["b"]


def test_weights_follow_and_keep_what_did_not_change(store):
    model = model_and_state(1)
    save(store, model.state_dict(), 1)
    weights = tenon.WeightSet(store, "main:model")
    assert weights.update() is None
    assert set(weights) == set(model.state_dict())
    old = weights.current
    with torch.no_grad():
        model[1].bias.add_(1)
    save(store, model.state_dict(), 2)
    swap = weights.update(60)
    assert (swap.changed, swap.removed, swap.after.step) == (["1.bias"], [], 2)
    assert weights["0.weight"] is old["0.weight"]
    assert torch.equal(weights["1.bias"], model[1].bias) and not torch.equal(old["1.bias"], model[1].bias)


@pytest.mark.parametrize("copy", [False, True])
def test_weights_are_swapped_into_a_module(store, copy):
    trained, served = model_and_state(1), model_and_state(2)
    save(store, trained.state_dict(), 1)
    weights = tenon.WeightSet(store, "main:model")
    addresses = [p.data_ptr() for p in served.parameters()]
    assert sorted(weights.swap_into(served, copy=copy)) == sorted(trained.state_dict())
    x = torch.randn(4, 64)
    assert torch.equal(served(x), trained(x))
    assert weights.swap_into(served, copy=copy) == []
    with torch.no_grad():
        trained[0].weight.mul_(2)
    save(store, trained.state_dict(), 2)
    assert weights.update(60)
    assert weights.swap_into(served, copy=copy) == ["0.weight"]
    assert torch.equal(served(x), trained(x))
    can_assign = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 1)
    assert ([p.data_ptr() for p in served.parameters()] == addresses) == (copy or not can_assign)


def test_a_swap_keeps_ties_and_the_kind_of_parameters(store):
    model = torch.nn.Sequential(torch.nn.Embedding(10, 8), torch.nn.Linear(8, 10, bias=False))
    model[1].weight = model[0].weight
    save(store, model.state_dict(), 1)
    weights = tenon.WeightSet(store, "main:model")
    weights.swap_into(model)
    assert model[1].weight is model[0].weight
    assert isinstance(model[0].weight, torch.nn.Parameter) and model[0].weight.requires_grad


def test_a_module_with_other_names_is_refused(store):
    save(store, model_and_state(1).state_dict(), 1)
    weights = tenon.WeightSet(store, "main:model")
    with pytest.raises(tenon.InvalidArgumentError, match="missing.*weight"):
        weights.swap_into(torch.nn.Linear(64, 64))


def test_weights_need_a_ref_and_a_path(store):
    with pytest.raises(tenon.NotFoundError, match="no ref 'main'"):
        tenon.WeightSet(store)
    store.save({"w": torch.zeros(3)})
    with pytest.raises(tenon.NotFoundError, match="nothing under 'model'"):
        tenon.WeightSet(store, "main:model")


def test_processes_tell_of_this_one(store):
    store.save({"w": torch.arange(100_000)})
    watch = store.watch(name="served here")
    snapshot = next(watch)
    (process,) = [one for one in store.processes() if one["pid"] == os.getpid()]
    assert process["name"] == "served here" and process["ref"] == "main"
    assert process["snapshot_id"] == snapshot.id and process["snapshot_bytes"] == 800_000
