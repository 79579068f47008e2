"""Several processes: fork, spawn, references in queues, one copy in memory."""

import multiprocessing
import os
import pickle
import threading

import pytest

torch = pytest.importorskip("torch")

import tenon

METHODS = ("fork", "spawn")
# In full: 1 GiB. TENON_PSS_MIB=1024 tests/python/test_processes.py
PSS_MIB = int(os.environ.get("TENON_PSS_MIB", "128"))
WORKERS = 8


def edit_and_sum(store, handle, queue):
    state = store.load("main")
    before = float(state["w"].sum())
    state["w"].fill_(os.getpid() % 97)
    queue.put((before, bool((state["w"] == os.getpid() % 97).all()), float(handle.numpy().sum())))


@pytest.mark.parametrize("method", METHODS)
def test_stores_and_handles_travel_as_references(store, method):
    store.save({"w": torch.ones(1000)})
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    workers = [context.Process(target=edit_and_sum, args=(store, store["main:w"], queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for _ in workers:
        assert queue.get(timeout=120) == (1000.0, True, 1000.0)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert store.load()["w"].sum() == 1000


def test_a_store_opens_itself_again_after_fork(store):
    store.save({"w": torch.ones(10)})
    loaded = store.load()["w"]
    child = os.fork()
    if child == 0:
        code = 1
        try:
            store.save({"w": torch.zeros(10)}, ref="child")
            loaded.fill_(3)
            code = 0 if store.load()["w"].sum() == 10 else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert store.load("child")["w"].sum() == 0 and loaded.sum() == 10
    store.save({"w": torch.ones(1)})


def test_loaded_tensors_pickle_as_torch_pickles_them(store):
    store.save({"w": torch.arange(5.0)})
    assert torch.equal(pickle.loads(pickle.dumps(store.load()["w"])), torch.arange(5.0))


def test_threads_share_a_store(store):
    state = {f"w{i}": torch.rand(1000) for i in range(20)}
    store.save(state)
    errors = []

    def work(number):
        try:
            for _ in range(10):
                loaded = store.load()
                assert all(torch.equal(loaded[name], state[name]) for name in state)
            store.save({"w": torch.ones(3)}, ref=f"thread-{number}")
        except Exception as error:  # noqa: BLE001  (what a thread raises is told by the test)
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and len(store.refs()) == 5


def pss_bytes():
    with open("/proc/self/smaps_rollup") as rollup:
        return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Pss:"))


def load_and_wait(path, is_bare, arrived, leave, results):
    import tenon as module
    torch.set_num_threads(1)  # OpenMP's threads do not outlive a fork, and torch would wait for them
    # A bare process has done everything once, with a store of one small tensor.
    state = module.load(path + ".small" if is_bare else path)
    total = sum(float(tensor.sum()) for tensor in state.values())
    arrived.wait()
    results.put((pss_bytes(), total))
    leave.wait()


def total_pss(context, path, is_bare):
    arrived, leave, results = context.Barrier(WORKERS), context.Barrier(WORKERS), context.Queue()
    workers = [context.Process(target=load_and_wait, args=(path, is_bare, arrived, leave, results))
               for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    figures = [results.get(timeout=300) for _ in workers]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len({total for _, total in figures}) == 1
    return sum(pss for pss, _ in figures)


@pytest.mark.parametrize("method", METHODS)
def test_workers_share_one_copy(tmp_path, method):
    path = str(tmp_path / "large.tenon")
    nbytes = PSS_MIB << 20
    tensors = 64
    tenon.open(path, create=True, durability="relaxed").save(
        {f"layers.{i}.weight": torch.full((nbytes // tensors // 4,), float(i)) + torch.arange(nbytes // tensors // 4) % 7
         for i in range(tensors)})
    tenon.save({"w": torch.ones(10)}, path + ".small")
    context = multiprocessing.get_context(method)
    bare = total_pss(context, path, True)
    with_weights = total_pss(context, path, False)
    # One per cent of the bytes; in small sizes that is less than what differs between two starts of eight processes.
    allowed = nbytes + max(nbytes // 100, WORKERS << 20)
    assert nbytes * 0.9 < with_weights - bare <= allowed, f"{(with_weights - bare) / nbytes:.3f} copies"
