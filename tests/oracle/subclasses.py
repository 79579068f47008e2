"""Classes that the tests pickle: importable from here by every torch.load of a test."""

import dataclasses
import enum

import torch


class Wrapper(torch.Tensor):
    """Two tensors that pose as one, without bytes of its own."""

    @staticmethod
    def __new__(cls, a, b, dtype=None):
        return torch.Tensor._make_wrapper_subclass(cls, a.shape, dtype=dtype or a.dtype, strides=a.stride())

    def __init__(self, a, b, dtype=None):
        self.a, self.b = a, b

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        if function.overloadpacket is torch.ops.aten.detach:
            return cls(args[0].a, args[0].b)
        raise NotImplementedError(function)


class Plain(torch.Tensor):
    """A subclass with bytes, without anything of its own."""


class WithState(torch.Tensor):
    """A subclass that says itself what its state is."""

    def __getstate__(self):
        return {"marked": True}

    def __setstate__(self, state):
        self.was_set = state


class Outer:
    class Inner:
        def __init__(self, value):
            self.value = value


class Slotted:
    __slots__ = ("left", "right")

    def __init__(self, left, right):
        self.left, self.right = left, right

    def __eq__(self, other):
        return type(other) is Slotted and (self.left, self.right) == (other.left, other.right)

    __hash__ = None


class Color(enum.Enum):
    RED = 1
    BLUE = "blue"


@dataclasses.dataclass
class Settings:
    width: int
    name: str = "x"


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(3, 2)
        self.register_buffer("scale", torch.ones(2))
        self.note = "hello"

    def forward(self, x):
        return self.fc(x) * self.scale
