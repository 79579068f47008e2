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

    class Scaled(torch.Tensor):
        """A wrapper subclass as quantization libraries have them: two tensors that pose as one."""

        @staticmethod
        def __new__(cls, data, scale, requires_grad=False):
            return torch.Tensor._make_wrapper_subclass(cls, data.shape, dtype=scale.dtype, requires_grad=requires_grad)

        def __init__(self, data, scale, requires_grad=False):
            self.data_part, self.scale = data, scale

        def __tensor_flatten__(self):
            return ["data_part", "scale"], {"requires_grad": self.requires_grad}

        @staticmethod
        def __tensor_unflatten__(parts, context, size, stride):
            return Scaled(parts["data_part"], parts["scale"], context["requires_grad"])

        def plain(self):
            return self.data_part * self.scale

        @classmethod
        def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
            if function.overloadpacket is torch.ops.aten.detach:
                return cls(args[0].data_part, args[0].scale)
            raise NotImplementedError(function)

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
