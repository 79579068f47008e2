"""Objects of the kinds that people save, by name."""

import collections
import dataclasses
import types

import torch

from objects import (
    ALL_DTYPES,
    FLOATS,
    INTEGERS,
    ODD_KEYS,
    ODD_STRINGS,
    PLAIN_DTYPES,
    UNTYPED_DTYPES,
    quantized_tensors,
    random_tensor,
)

BITS = torch.Generator().manual_seed(0)


def views():
    base = torch.arange(24.0).reshape(4, 6)
    return {
        "base": base,
        "offset": base[2:],
        "strided": base[::2, ::3],
        "transposed": base.t(),
        "element": base[1, 2],
        "empty": base[4:],
        "expanded": base[0].expand(5, 6),
        "flat": base.view(-1),
        "overlapping": base.as_strided((3, 4), (1, 2), 5),
        "permuted": base.view(2, 2, 6).permute(2, 0, 1),
        "newaxis": base[None, :, None],
        "channels_last": torch.rand(1, 2, 3, 4).to(memory_format=torch.channels_last),
    }


def views_without_their_base():
    base = torch.arange(1000.0)
    return [base[10:20], base[500:900:7], torch.empty(100)[:0]]


def tied():
    weight = torch.nn.Parameter(torch.rand(4, 3))
    return {"embedding.weight": weight, "head.weight": weight, "again": [weight, weight.data, weight.detach().t()]}


def one_storage_under_two_dtypes():
    base = random_tensor(torch.uint8, 64, BITS)
    return {"base": base, **{str(d): base.view(d) for d in UNTYPED_DTYPES}, "part": base.view(torch.uint16)[3:7]}


def equal_but_apart():
    return {"a": torch.zeros(1000), "b": torch.zeros(1000)}


def optimizer_after_steps(make):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    optimizer = make(model.parameters())
    inputs = torch.rand(8, 4)

    def closure():
        optimizer.zero_grad()
        loss = model(inputs).square().mean()
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10) if "lr" in optimizer.defaults else None
    return {
        "model": model.state_dict(),
        "optim": optimizer.state_dict(),
        "schedule": scheduler and scheduler.state_dict(),
        "step": 3,
    }


def everything_twice():
    tensor, container, marker = torch.rand(3), [1, 2], bytearray(b"same")
    return [tensor, tensor, container, {"again": container}, (tensor, (tensor,)), marker, marker]


def cyclic():
    value = {"tensor": torch.rand(2)}
    value["self"] = [value]
    return value


def deep():
    value = torch.rand(2)
    for level in range(150):
        value = [value] if level % 2 else {"down": value}
    return value


def attributes():
    plain, parameter = torch.rand(2), torch.nn.Parameter(torch.rand(2))
    plain.tag = {"a": torch.rand(1)}
    parameter.fan_in = 3
    return [plain, parameter, torch.nn.Buffer(torch.rand(2))]


def complex_bits():
    base = torch.rand(3, dtype=torch.complex64)
    return [base, base.conj(), base.clone().conj().imag, torch.rand(3, dtype=torch.complex128).conj()]


def sparse():
    dense = torch.eye(4)
    coo = torch.sparse_coo_tensor([[0, 1, 1], [2, 0, 0]], [1.0, 2.0, 3.0], (3, 4))
    return [
        coo,
        coo.coalesce(),
        dense.to_sparse_csr(),
        dense.to_sparse_csc(),
        dense.to_sparse_bsr((2, 2)),
        dense.to_sparse_bsc((2, 2)),
    ]


@dataclasses.dataclass
class Settings:
    width: int
    weight: torch.Tensor


NAMED = {
    "all dtypes": lambda: {str(d): random_tensor(d, 24, BITS).reshape(4, 6) for d in PLAIN_DTYPES},
    "all dtypes, viewed": lambda: [random_tensor(d, 24, BITS).reshape(4, 6)[1::2].t() for d in PLAIN_DTYPES],
    "all dtypes, empty and 0-d": lambda: [
        random_tensor(d, n, BITS).reshape(shape) for d in PLAIN_DTYPES for n, shape in ((0, (0, 3)), (1, ()))
    ],
    "views": views,
    "views without their base": views_without_their_base,
    "tied": tied,
    "two dtypes": one_storage_under_two_dtypes,
    "equal but apart": equal_but_apart,
    "everything twice": everything_twice,
    "cyclic": cyclic,
    "deep": deep,
    "attributes": attributes,
    "complex": complex_bits,
    "quantized": quantized_tensors,
    "sparse": sparse,
    "nested tensor": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "meta": lambda: {"a": torch.zeros(3, 4, device="meta")[1:], "b": torch.rand(2)},
    "typed storages": lambda: [torch.rand(3).storage(), torch.rand(4).half().storage()],
    "storage beside its tensor": lambda: (lambda t: {"tensor": t, "storage": t.storage()})(torch.rand(5)),
    "lone tensor": lambda: torch.rand(2, 3),
    "lone parameter": lambda: torch.nn.Parameter(torch.rand(2, 3)),
    "lone scalar": lambda: 5,
    "empty dict": dict,
    "empty list": list,
    "odd keys": lambda: {key: torch.full((1,), float(i)) for i, key in enumerate(ODD_KEYS)},
    "alike names": lambda: {
        "a.b": torch.zeros(1),
        "a": {"b": torch.ones(1)},
        "a/b": torch.zeros(2),
        0: torch.zeros(3),
        "0": torch.zeros(4),
        '"0"': torch.zeros(5),
        None: torch.zeros(6),
        "None": torch.zeros(7),
    },
    "scalars": lambda: [
        ODD_STRINGS,
        INTEGERS,
        FLOATS,
        [True, False, None],
        [b"x", bytes(range(256)), bytearray(b"x")],
        [1 + 2j, complex("nan")],
    ],
    "torch values": lambda: [
        torch.Size([]),
        torch.Size([2, 3]),
        *ALL_DTYPES,
        torch.device("cpu"),
        torch.device("cuda:3"),
        torch.device("meta"),
    ],
    "collections": lambda: [
        collections.OrderedDict(b=1, a=torch.rand(1)),
        collections.Counter("abc"),
        {1, 2},
        ((), [], {}, ((),)),
    ],
    "opaque": lambda: [
        b"",
        collections.defaultdict(list, a=[torch.rand(2)]),
        frozenset({1}),
        slice(1, 2),
        types.SimpleNamespace(a=torch.rand(2)),
        torch.strided,
        torch.Generator().get_state(),
    ],
    "own class": lambda: {"settings": Settings(3, torch.rand(3)), "weight": torch.rand(2)},
    "numpy": lambda: {
        "array": torch.rand(2, 3).numpy(),
        "scalar": torch.rand(1, dtype=torch.float64).numpy()[0],
        "tensor": torch.rand(2),
    },
    "state dict": lambda: torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).state_dict(),
    "transformer": lambda: torch.nn.TransformerEncoder(
        torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 6
    ).state_dict(),
    "whole module": lambda: torch.nn.Linear(3, 2),
    "SGD": lambda: optimizer_after_steps(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True)),
    "Adam": lambda: optimizer_after_steps(lambda p: torch.optim.Adam(p, amsgrad=True)),
    "AdamW": lambda: optimizer_after_steps(lambda p: torch.optim.AdamW(p, weight_decay=0.1)),
    "LBFGS": lambda: optimizer_after_steps(torch.optim.LBFGS),
}
# What torch itself loads only with weights_only=False.
