"""What torch 1.13, as Debian has it, writes and reads. Runs under its Python, which knows nothing of pytest or tenon:

    /usr/bin/python3 debian_torch.py write FOLDER    # sample files; prints what is in them
    /usr/bin/python3 debian_torch.py read FILE       # prints what is in it

Contents are printed as JSON, in words that every torch has, by plain().
"""

import json
import sys

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
        if value.is_complex():
            value = torch.view_as_real(value.resolve_conj())
        numbers = value.detach().to(torch.float64) if value.is_floating_point() else value.detach()
        return facts | {"stride": list(value.stride()), "values": [str(n) for n in numbers.reshape(-1).tolist()]}
    if isinstance(value, dict):
        return {repr(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return repr(value)


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
    }


def write(folder):
    said = {}
    for name, value in samples().items():
        for era in ("zip", "legacy"):
            torch.save(value, f"{folder}/{name}.{era}.pt", _use_new_zipfile_serialization=era == "zip")
            said[f"{name}.{era}.pt"] = plain(value)
    return said


if __name__ == "__main__":
    verb, path = sys.argv[1:]
    print(json.dumps(write(path) if verb == "write" else plain(torch.load(path))))
