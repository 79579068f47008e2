"""Objects as programs save them, and odder: a seeded generator, and the element types that this torch can save."""

import collections
import io
import random

import torch


def _is_savable(dtype):
    try:
        torch.save(torch.zeros(16, dtype=torch.uint8).view(dtype), io.BytesIO())
    except (KeyError, RuntimeError, TypeError):
        return False
    return True


def _all_dtypes():
    found = {d for d in vars(torch).values() if isinstance(d, torch.dtype)}
    return sorted(filter(_is_savable, found), key=str)


ALL_DTYPES = _all_dtypes()
QUANTIZED_DTYPES = [d for d in ALL_DTYPES if str(d).startswith(("torch.qint", "torch.quint"))]
PLAIN_DTYPES = [d for d in ALL_DTYPES if d not in QUANTIZED_DTYPES]
# torch.save refuses one storage under two element types, but for uint8 and those it has no storage classes for.
UNTYPED_DTYPES = [
    d
    for d in PLAIN_DTYPES
    if str(d).startswith(("torch.float8", "torch.float4", "torch.bits", "torch.uint16", "torch.uint32", "torch.uint64"))
]

ODD_STRINGS = [
    "",
    "0",
    "a.b",
    "a/b",
    "a/",
    ".",
    "..",
    "weight",
    "é",
    "日本",
    "a b",
    '"',
    "\\",
    "\n",
    "\t\x00\x7f",
    "~",
    "a:b",
    "-1",
    "None",
    "x" * 300,
]
ODD_KEYS = ODD_STRINGS + [
    0,
    -1,
    2,
    2**40,
    2**70,
    -(2**70),
    1.5,
    float("inf"),
    None,
    True,
    False,
    b"key",
    b"\xff\x00",
    (1, "a"),
    ((),),
    (None, (2.5, b"z")),
]
INTEGERS = [
    0,
    1,
    -1,
    255,
    256,
    65535,
    65536,
    -128,
    2**31 - 1,
    2**31,
    -(2**31),
    -(2**31) - 1,
    2**63 - 1,
    2**63,
    -(2**63),
    2**64,
    2**100,
    -(2**100),
    3**700,
]
FLOATS = [0.0, -0.0, 1.5, -2.25, 5e-324, 1.7976931348623157e308, float("inf"), float("-inf"), float("nan"), 0.1]


def random_tensor(dtype, numel, generator):
    """Random bits: NaNs with payloads, denormals and all; True and False where the type has no other values."""
    if dtype == torch.bool:
        return torch.randint(0, 2, (numel,), dtype=torch.uint8, generator=generator).to(torch.bool)
    item = torch.empty(0, dtype=dtype).element_size()
    return torch.randint(0, 256, (numel * item,), dtype=torch.uint8, generator=generator).view(dtype)


def quantized_tensors():
    values = torch.linspace(-1, 1, 24).reshape(4, 6)
    scales, zero_points = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64), torch.tensor([0, 1, 2, 3])
    return {
        "per_tensor": [
            torch.quantize_per_tensor(values, 0.05, 3, d) for d in (torch.quint8, torch.qint8, torch.qint32)
        ],
        "per_channel": torch.quantize_per_channel(values, scales, zero_points, 0, torch.qint8),
        "float_qparams": torch.quantize_per_channel(values, scales.float(), zero_points.float(), 0, torch.quint4x2),
        "view": torch.quantize_per_tensor(values, 0.05, 3, torch.quint8)[1:, ::2],
    }


class ObjectMaker:
    """Random nested objects; one seed always gives the same object. `has_opaque`: also what weights_only refuses."""

    def __init__(self, seed, has_opaque=False):
        self._random = random.Random(seed)
        self._bits = torch.Generator().manual_seed(seed)
        self._has_opaque = has_opaque
        self._tensors = []  # candidates for views and ties
        self._containers = []  # candidates for being met again

    def make(self):
        return self._choose(self._state_dict, self._dict, self._ordered_dict, self._list, self._tuple, self.tensor)(0)

    def _choose(self, *options):
        return self._random.choice(options)

    # ---- tensors

    def tensor(self, _depth=0):
        make = self._choose(self._fresh, self._fresh, self._view, self._view, self._tied, self._parameter, self._marked)
        made = make()
        self._tensors.append(made)
        return made

    def _fresh(self):
        dtype = self._choose(*PLAIN_DTYPES)
        shape = self._choose((), (0,), (1,), (7,), (3, 4), (2, 0, 5), (2, 3, 4), (1, 1, 1, 2), (64, 33))
        return random_tensor(dtype, torch.Size(shape).numel(), self._bits).reshape(shape)

    def _base(self):
        plain = [
            t for t in self._tensors if t.layout == torch.strided and type(t) is torch.Tensor and not t.requires_grad
        ]
        return self._random.choice(plain) if plain else self._fresh()

    def _view(self):
        base = self._base()
        options = [base.detach, lambda: base.view_as(base), lambda: base.unsqueeze(0)]
        if base.dim() > 0:
            options += [
                lambda: base[: base.shape[0] // 2],
                lambda: base[::2],
                lambda: base[1:],
                lambda: base[base.shape[0] :],
                lambda: base.transpose(0, -1),
                lambda: base.unsqueeze(0).expand(5, *base.shape),
            ]
        if base.numel() > 0:
            options += [
                lambda: base.reshape(-1)[base.numel() - 1],
                lambda: base.as_strided((2, 3), (0, 0), base.storage_offset()),
            ]
        if base.is_complex() and base.dtype != torch.complex32:
            options += [base.conj, lambda: base.conj().imag] if base.dtype == torch.complex128 else [base.conj]
        if base.dtype == torch.uint8 and base.is_contiguous() and base.storage_offset() == 0:
            options += [
                lambda: base.view(
                    self._choose(*(d for d in UNTYPED_DTYPES if torch.empty(0, dtype=d).element_size() == 1))
                )
            ] * 4
        view = self._choose(*options)()
        # .imag shows complex storage as float, and torch.save refuses that beside its base.
        return base.conj() if view.dtype != base.dtype and base.is_complex() else view

    def _tied(self):
        return self._choose(*self._tensors) if self._tensors else self._fresh()

    def _parameter(self):
        data = self._choose(self._fresh, self._base)()
        is_float = (
            data.is_floating_point() and data.element_size() > 1 or data.dtype in (torch.complex64, torch.complex128)
        )
        return torch.nn.Parameter(data, requires_grad=is_float and self._choose(True, False))

    def _marked(self):
        tensor = random_tensor(self._choose(torch.float32, torch.float64, torch.bfloat16), 6, self._bits)
        if self._choose(True, False):
            return tensor.requires_grad_()
        tensor.note = self._choose("text", 3, None, [1, 2])
        return tensor

    # ---- everything else

    def value(self, depth):
        if depth > 4:
            return self._choose(self.tensor, self._scalar)(depth)
        return self._choose(
            self.tensor,
            self.tensor,
            self.tensor,
            self._scalar,
            self._scalar,
            self._dict,
            self._list,
            self._tuple,
            self._ordered_dict,
            self._met_again,
        )(depth)

    def _scalar(self, _depth=0):
        options = [
            lambda: self._choose(*INTEGERS),
            lambda: self._choose(*FLOATS),
            lambda: self._choose(*ODD_STRINGS),
            lambda: self._choose(None, True, False),
            lambda: self._choose(b"bytes", bytes(range(256))),
            lambda: bytearray(b"array"),
            lambda: complex(self._choose(*FLOATS), self._choose(*FLOATS)),
            lambda: torch.Size([2, 3]),
            lambda: self._choose(*ALL_DTYPES),
            lambda: torch.device("cpu"),
            lambda: torch.device("cuda", 1),
            lambda: {1, "two", 3.5},
            lambda: set(),
            lambda: collections.Counter("abca"),
        ]
        if self._has_opaque:
            options += [
                lambda: b"",
                lambda: frozenset([1, 2]),
                lambda: slice(1, None, 2),
                lambda: range(3),
                lambda: torch.strided,
                lambda: collections.defaultdict(list, a=[1]),
                lambda: torch.Generator().get_state(),
            ]
        return self._choose(*options)()

    def _size(self):
        return self._choose(0, 1, 2, 3, 5)

    def _met_again(self, depth):
        return self._choose(*self._containers) if self._containers else self._list(depth)

    def _remember(self, container):
        self._containers.append(container)
        return container

    def _dict(self, depth):
        return self._remember({self._choose(*ODD_KEYS): self.value(depth + 1) for _ in range(self._size())})

    def _ordered_dict(self, depth):
        return self._remember(
            collections.OrderedDict((self._choose(*ODD_KEYS), self.value(depth + 1)) for _ in range(self._size()))
        )

    def _list(self, depth):
        return self._remember([self.value(depth + 1) for _ in range(self._size())])

    def _tuple(self, depth):
        return tuple(self.value(depth + 1) for _ in range(self._size()))

    def _state_dict(self, _depth):
        modules = [torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(4), torch.nn.Embedding(5, 3), torch.nn.LayerNorm(6)]
        model = torch.nn.Sequential(*self._random.sample(modules, 2))
        for parameter in model.parameters():
            parameter.data = torch.rand(parameter.shape, generator=self._bits)
        return {"model": model.state_dict(), "epoch": self._choose(*INTEGERS), "extra": self.value(2)}
