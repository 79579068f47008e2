"""What a load may import: files from strangers run nothing."""

import collections
import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")

import tenon


class Reduces:
    """Pickles as a call."""

    def __init__(self, function, *args, state=None):
        self.call = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function, args", [
    (os.system, ("touch /tmp/tenon-was-here",)), (eval, ("1+1",)), (exec, ("",)), (subprocess.call, (["true"],)),
    (sys.exit, ()), (__import__, ("os",)), (getattr, (object, "__class__")), (print, ("x",)),
    (torch.load, ("x",)), (np.load, ("x",))])
def test_functions_are_refused_and_not_called(store, function, args):
    store.save({"x": Reduces(function, *args), "w": torch.ones(1)})
    with pytest.raises(tenon.UntrustedError) as caught:
        store.load()
    assert function.__name__ in caught.value.names[0]
    assert not os.path.exists("/tmp/tenon-was-here")
    assert torch.equal(store.load("main:w"), torch.ones(1)), "what does not need it still loads"


def test_containers_load(store):
    saved = [collections.OrderedDict(a=1), collections.Counter("aab"), collections.defaultdict(list, {1: [2]}),
             collections.deque([1, 2]), 1j, slice(1, 2), {"s": {1}}, bytearray(b"x"), torch.Size([1, 2]),
             torch.device("cpu"), torch.float16, torch.sparse_coo]
    store.save(saved)
    loaded = store.load()
    assert loaded == saved and [type(value) for value in loaded] == [type(value) for value in saved]
    loaded[2]["new"].append(1)


def test_plain_types_are_values_and_not_called(store):
    store.save(Reduces(bytes, 10))
    with pytest.raises(tenon.UntrustedError, match="bytes"):
        store.load()


def test_state_goes_to_instances_only(store):
    """A pickle that would change a class or a function of this process."""
    before = dict(vars(torch.nn.Parameter))
    store.save(Reduces(torch.device, "cpu", state={"x": 1}))
    with pytest.raises(tenon.UntrustedError, match="state"):
        store.load()
    assert dict(vars(torch.nn.Parameter)) == before


def test_deep_nesting_ends_in_an_error(store):
    nested = []
    for _ in range(900):
        nested = [nested]
    sys.setrecursionlimit(5000)
    try:
        store.save(nested)
        depth, loaded = 0, store.load()
        while loaded:
            loaded, depth = loaded[0], depth + 1
        assert depth == 900
        for _ in range(2000):
            nested = [nested]
        sys.setrecursionlimit(50_000)
        store.save(nested)
        with pytest.raises(tenon.LimitError, match="nested"):
            store.load()
    finally:
        sys.setrecursionlimit(1000)


def test_sparse_indices_out_of_range_are_refused(store):
    good = torch.sparse_coo_tensor([[0, 1]], [1.0, 2.0], (3,))
    indices = good._indices()
    indices[0, 1] = 77  # what torch saves without looking, and would follow out of bounds
    store.save(good)
    with pytest.raises(RuntimeError, match="index|indices|size"):
        store.load()
    compressed = torch.eye(3).to_sparse_csr()
    compressed.col_indices()[0] = 99
    store.save(compressed)
    with pytest.raises(RuntimeError):
        store.load()
