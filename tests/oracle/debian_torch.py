"""What torch 1.13, as Debian has it, writes and reads. Runs under its Python, which knows nothing of pytest or tenon:

    /usr/bin/python3 debian_torch.py write FOLDER    # sample files; prints what is in them
    /usr/bin/python3 debian_torch.py read FILE       # prints what is in it
    /usr/bin/python3 debian_torch.py script FOLDER   # TorchScript archives; prints what they compute
    /usr/bin/python3 debian_torch.py run FILE        # prints what one computes

Contents are printed as JSON, in words that every torch has, by plain() and shares().
"""

import json
import sys
from typing import Dict, List, NamedTuple, Tuple

import torch


def plain(value):
    """The content of a loaded object, without identities."""
    if isinstance(value, torch.Tensor):
        facts = {"dtype": str(value.dtype), "shape": list(value.shape), "type": type(value).__name__}
        if value.layout == torch.sparse_coo:
            return facts | {"indices": plain(value._indices()), "values": plain(value._values())}
        if value.layout == torch.sparse_csr:
            return facts | {
                "crow": plain(value.crow_indices()),
                "col": plain(value.col_indices()),
                "values": plain(value.values()),
            }
        if value.is_quantized:
            facts["scheme"] = str(value.qscheme())
            value = value.int_repr()
        if value.is_meta:
            return facts | {"stride": list(value.stride())}
        if value.is_complex():
            value = torch.view_as_real(value.resolve_conj())
        numbers = value.detach().to(torch.float64) if value.is_floating_point() else value.detach()
        return facts | {"stride": list(value.stride()), "values": [str(n) for n in numbers.reshape(-1).tolist()]}
    if isinstance(value, dict):
        return {repr(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return repr(value)


def shares(value):
    """Of every dense tensor inside, in order, the first that is the same object, and the first on the same storage."""
    found = []

    def walk(inner):
        if isinstance(inner, torch.Tensor) and inner.layout == torch.strided and not inner.is_meta:
            found.append(inner)
        elif isinstance(inner, (dict, list, tuple)):
            for item in inner.values() if isinstance(inner, dict) else inner:
                walk(item)

    walk(value)
    storages = [tensor.storage().data_ptr() or id(tensor) for tensor in found]
    return [[[other is tensor for other in found].index(True), storages.index(storages[i])] for i, tensor in enumerate(found)]


def scheduler():
    """Two steps of one, which keeps numbers and lists."""
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))], lr=0.5)
    made = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    optimizer.step()
    made.step()
    return {"scheduler": made.state_dict(), "optimizer": optimizer.state_dict()}


def samples():
    base = torch.arange(12.0).reshape(3, 4)
    values = torch.linspace(-1, 1, 12).reshape(3, 4)
    scales, points = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64), torch.tensor([0, 1, 2])
    return {
        "views": [base, base.t(), base[1:, ::2]],
        "dtypes": {
            str(d): (torch.arange(6) % 2).to(d)
            for d in (torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.uint8, torch.bool, torch.complex64)
        },
        "csr": torch.eye(3).to_sparse_csr(),
        "coo": torch.eye(3).to_sparse(),
        "quantized": [
            torch.quantize_per_tensor(values, 0.05, 3, torch.quint8),
            torch.quantize_per_channel(values, scales, points, 0, torch.qint8),
        ],
        "module": torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)).state_dict(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "aliases": [base, base, base.view(-1)[3:], [base.t()], torch.zeros(3), torch.zeros(3)],
        "empty": [torch.zeros(0), torch.zeros(0, dtype=torch.float64), torch.zeros(2, 0, 3)],
        "devices": [torch.device("cpu"), torch.device("cuda:1"), torch.Size([2, 3]), torch.float16],
        "scheduler": scheduler(),
        "meta": torch.empty(2, 3, device="meta"),
        "zip in a payload": torch.tensor(list(b"PK\5\6" * 8), dtype=torch.uint8),
    }


def write(folder):
    said = {}
    for name, value in samples().items():
        for era in ("zip", "legacy"):
            torch.save(value, f"{folder}/{name}.{era}.pt", _use_new_zipfile_serialization=era == "zip")
            said[f"{name}.{era}.pt"] = [plain(value), shares(value)]
    return said


# ---- TorchScript


class Branches(torch.nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x + 1
        return x - 1


class Nested(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(4)
        self.branches = Branches()
        self.register_buffer("whole", torch.arange(8.0))
        self.register_buffer("upper", self.whole[4:])
        self.first = torch.nn.Linear(4, 4)
        self.second = torch.nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x):
        self.whole.add_(1)
        return self.branches(self.norm(self.second(self.first(x)))) + self.upper


class Recurrent(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(4, 3)

    def forward(self, x):
        return self.lstm(x)[0]


class Pair(NamedTuple):
    left: torch.Tensor
    right: torch.Tensor


class ManyTypes(torch.nn.Module):
    numbers: List[int]
    table: Dict[str, torch.Tensor]
    both: Tuple[int, str]

    def __init__(self):
        super().__init__()
        self.numbers = [1, 2, 3]
        self.table = {"a": torch.ones(4), "b": torch.zeros(4)}
        self.both = (7, "seven")

    def forward(self, x):
        pair = Pair(x + self.table["a"], x * self.numbers[2])
        return pair.left - pair.right + self.both[0]


def script_modules():
    """Small modules with fixed weights."""
    torch.manual_seed(7)
    given = inputs()[0]
    return {
        "branches": torch.jit.script(Branches()),
        "branches, traced": torch.jit.trace(Branches(), given, check_trace=False),
        "nested": torch.jit.script(Nested().eval()),
        "convolution, traced": torch.jit.trace(torch.nn.Conv1d(1, 2, 3), given.reshape(3, 1, 4), check_trace=False),
        "many types": torch.jit.script(ManyTypes()),
        "lstm": torch.jit.script(Recurrent()),
    }


def inputs():
    positive = torch.linspace(0.5, 2, 12).reshape(3, 4)
    return [positive, -positive]


def outputs(module):
    """What it computes of two inputs, and its state."""
    with torch.no_grad():
        fits = [x.reshape(3, 1, 4) if "Conv1d" in module.original_name else x for x in inputs()]
        return [plain([module(x) for x in fits]), plain(dict(module.state_dict()))]


def script(folder):
    said = {}
    for name, module in script_modules().items():
        torch.jit.save(module, f"{folder}/{name}.pt")
        said[f"{name}.pt"] = outputs(torch.jit.load(f"{folder}/{name}.pt"))
    return said


def read(path):
    value = torch.load(path)
    return [plain(value), shares(value)]


if __name__ == "__main__":
    verb, path = sys.argv[1:]
    verbs = {"write": write, "read": read, "script": script, "run": lambda file: outputs(torch.jit.load(file))}
    print(json.dumps(verbs[verb](path)))
