"""Classes and modules that tests save; importable in every process."""

import collections

try:
    import torch
except ImportError:
    torch = None

Point = collections.namedtuple("Point", "x y")


class Config:
    def __init__(self, rate, tensors):
        self.rate = rate
        self.tensors = tensors
        self.myself = self

    def __eq__(self, other):
        return self.rate == other.rate


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a, b):
        self.a, self.b = a, b


class Numbers(list):
    pass


if torch:

    def storage_of(tensor):
        """The untyped storage, in every release of torch."""
        return tensor.untyped_storage() if hasattr(tensor, "untyped_storage") else tensor.storage()._storage

    class Tied(torch.nn.Module):
        def __init__(self, width=8):
            super().__init__()
            self.embed = torch.nn.Embedding(16, width)
            self.norm = torch.nn.BatchNorm1d(width)
            self.head = torch.nn.Linear(width, 16, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, tokens):
            return self.head(self.norm(self.embed(tokens)))

    class Tagged(torch.Tensor):
        pass

    class WithExtraState(torch.nn.Module):
        """The note's custom module state."""

        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(3, 3)
            self.count = 0

        def get_extra_state(self):
            return {"count": self.count}

        def set_extra_state(self, state):
            self.count = state["count"]
