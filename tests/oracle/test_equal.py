"""The judge is judged first: every kind of difference must be found, and equal objects must pass."""

import collections
import copy
import io

import numpy
import pytest
import torch

from equal import assert_equal
from objects import ObjectMaker, quantized_tensors


def saved_and_loaded(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)


def noted(note):
    tensor = torch.zeros(2)
    tensor.note = note
    return tensor


class Marked(list):
    """A list with attributes."""


class MarkedFloat(float):
    """A number with attributes."""


class Slotted:
    """Attributes without __dict__, and an equality that looks at nothing."""

    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return isinstance(other, Slotted)

    __hash__ = None


def marked(value, note):
    value.note = note
    return value


def sparse_beside(values, dense):
    return [torch.sparse_coo_tensor(torch.tensor([[0, 2]]), values, (3,), check_invariants=False), dense]


def hooked(tensor):
    tensor.register_hook(print)
    return tensor


ARRAY = numpy.arange(4)
VALUES = torch.ones(2)
META = torch.empty(4, device="meta")
BASE = torch.arange(6.0)
PAIR = [BASE, BASE[1:]]
DIFFERENT = {
    "value": (torch.tensor([1.0]), torch.tensor([2.0])),
    "array lost": ([ARRAY, ARRAY], [ARRAY, ARRAY.copy()]),
    "array gained": ([ARRAY, ARRAY.copy()], [ARRAY, ARRAY]),
    "array's memory lost": ([ARRAY, ARRAY[1:]], [ARRAY, ARRAY.copy()[1:]]),
    "array of objects": (numpy.array([[1], {}], object), numpy.array([[2], {}], object)),
    "array's strides": (numpy.zeros((2, 3)), numpy.zeros((2, 3), order="F")),
    "sparse values shared": (sparse_beside(VALUES, VALUES), sparse_beside(VALUES, VALUES.clone())),
    "attribute of a list": (marked(Marked([1]), 1), marked(Marked([1]), 2)),
    "attribute of a number": (marked(MarkedFloat(1), 1), marked(MarkedFloat(1), 2)),
    "member of a deque": (collections.deque([BASE]), collections.deque([BASE + 1])),
    "length of a deque": (collections.deque([1], 3), collections.deque([1], 4)),
    "slot behind a loose equality": (Slotted(1), Slotted(2)),
    "meta aliases": ([META, META[1:]], [META, torch.empty(4, device="meta")[1:]]),
    "hooks": (hooked(torch.zeros(2, requires_grad=True)), torch.zeros(2, requires_grad=True)),
    "negative zero": (torch.tensor([0.0]), torch.tensor([-0.0])),
    "nan payload": (
        torch.tensor([0x7FC00001], dtype=torch.int32).view(torch.float32),
        torch.tensor([0x7FC00002], dtype=torch.int32).view(torch.float32),
    ),
    "value outside the view": (torch.tensor([1.0, 2.0])[:1], torch.tensor([1.0, 3.0])[:1]),
    "dtype": (torch.zeros(2, dtype=torch.int32), torch.zeros(2, dtype=torch.float32)),
    "shape": (torch.zeros(2, 3), torch.zeros(3, 2)),
    "stride": (torch.zeros(2, 2), torch.zeros(2, 2).t()),
    "storage offset": (torch.zeros(3)[:2], torch.zeros(3)[1:]),
    "storage size": (torch.zeros(2), torch.zeros(3)[:2]),
    "requires_grad": (torch.zeros(2), torch.zeros(2, requires_grad=True)),
    "parameter": (torch.zeros(2), torch.nn.Parameter(torch.zeros(2), requires_grad=False)),
    "conj": (torch.zeros(2, dtype=torch.complex64), torch.zeros(2, dtype=torch.complex64).conj()),
    "tensor attribute": (noted(1), noted(2)),
    "alias lost": (PAIR, [BASE, BASE.clone()[1:]]),
    "alias gained": ([BASE, BASE.clone()], [BASE, BASE.view(6)]),
    "object lost": ([BASE, BASE], [BASE, BASE.view(6)]),
    "list shared": ([[1]] * 2, [[1], [1]]),
    "key order": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "key type": ({"0": 1}, {0: 1}),
    "boolean key": ({True: 1}, {1: 1}),
    "container type": ({"a": 1}, collections.OrderedDict(a=1)),
    "list or tuple": ([1], (1,)),
    "integer or float": (1, 1.0),
    "boolean or integer": (True, 1),
    "float zero": (0.0, -0.0),
    "factory": (collections.defaultdict(list), collections.defaultdict(dict)),
    "length": ([1, 2], [1]),
    "set": ({1, 2}, {1, 3}),
    "numpy": (numpy.zeros(2), numpy.ones(2)),
    "quantizer": (
        torch.quantize_per_tensor(BASE, 0.1, 0, torch.quint8),
        torch.quantize_per_tensor(BASE, 0.1, 1, torch.quint8),
    ),
    "sparse": (torch.eye(2).to_sparse(), torch.ones(2, 2).to_sparse()),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_difference_is_found(name):
    left, right = DIFFERENT[name]
    for got, wanted in ((left, right), (right, left)):
        assert_equal(copy.copy(got) if isinstance(got, list) else got, got)
        with pytest.raises(AssertionError):
            assert_equal(got, wanted)


def test_attributes_of_containers_are_compared():
    left, right = torch.nn.Linear(1, 1).state_dict(), torch.nn.Linear(1, 1).state_dict()
    with torch.no_grad():
        for name in left:
            right[name].copy_(left[name])
    assert_equal(left, right)
    del right._metadata
    with pytest.raises(AssertionError):
        assert_equal(left, right)


def test_an_object_that_holds_itself_is_compared():
    left, right = [1], [1]
    left.append(left)
    right.append(right)
    assert_equal(left, right)


SPECIAL = {
    "quantized": quantized_tensors(),
    "sparse": torch.eye(3).to_sparse_csr(),
    "meta": torch.zeros(2, device="meta"),
    "storage": BASE.storage(),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_what_torch_saves_and_loads_is_equal(name):
    assert_equal(saved_and_loaded(SPECIAL[name]), SPECIAL[name])


@pytest.mark.parametrize("seed", range(20))
def test_one_seed_gives_one_object(seed):
    assert_equal(ObjectMaker(seed).make(), ObjectMaker(seed).make())
