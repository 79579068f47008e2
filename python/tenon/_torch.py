"""What the extension needs of torch, where releases of torch differ or speed does not matter."""

from __future__ import annotations

import collections
import re
from typing import Any

import torch

from ._devices import DeviceReader  # noqa: F401  (the extension takes it from here)
from .errors import UnsupportedError

# (tensor) -> its untyped storage
if hasattr(torch.Tensor, "untyped_storage"):
    untyped_storage = torch.Tensor.untyped_storage
else:  # torch < 2.0

    def untyped_storage(tensor):
        return tensor.storage()._storage


def typed_storage(untyped: Any, dtype: torch.dtype) -> "torch.TypedStorage":
    try:
        return torch.TypedStorage(wrap_storage=untyped, dtype=dtype, _internal=True)
    except TypeError:  # torch < 2.0
        return torch.TypedStorage(wrap_storage=untyped, dtype=dtype)


def describe_storage(storage: Any):
    """(untyped storage, its class in torch's pickles, bytes of an element)"""
    if isinstance(storage, torch.UntypedStorage):
        return storage, torch.UntypedStorage, 1
    untyped = getattr(storage, "_untyped_storage", None)
    untyped = storage._storage if untyped is None else untyped
    name = getattr(storage, "_pickle_storage_type", None) or storage.pickle_storage_type  # the latter in torch < 2.0
    return untyped, getattr(torch, name()), storage.element_size()


def make_parameter(tensor: torch.Tensor, requires_grad: bool) -> torch.nn.Parameter:
    return torch.nn.Parameter(tensor, requires_grad)


def set_bits(tensor: torch.Tensor, is_conj: bool, is_neg: bool) -> torch.Tensor:
    """The bytes are stored as they are; the bits say how they are read."""
    if hasattr(torch._utils, "set_tensor_metadata"):
        metadata = {name: True for name, is_set in (("conj", is_conj), ("neg", is_neg)) if is_set}
        torch._utils.set_tensor_metadata(tensor, metadata)
        return tensor
    if is_conj:  # torch < 2.0
        tensor = tensor.conj()
    return tensor._neg_view() if is_neg else tensor


def rebuild_typed(tensor: torch.Tensor, kind: Any, state: Any) -> Any:
    """A subclass, or attributes."""
    if isinstance(tensor, torch.nn.Parameter) and kind is None:
        return torch._utils._set_obj_state(tensor, state)
    if state is None:
        return tensor.as_subclass(kind)
    return torch._tensor._rebuild_from_type_v2(lambda made: made, kind or torch.Tensor, (tensor,), state)


def flatten(tensor: torch.Tensor) -> Any:
    """How a wrapper subclass is pickled: its parts, and the call of its class that puts them together again. (torch.save
    pickles its __dict__ instead, where it has one.)"""
    if isinstance(tensor, torch.nn.Parameter):
        return torch._utils._rebuild_parameter, (tensor.detach(), tensor.requires_grad, collections.OrderedDict())
    names, context = tensor.__tensor_flatten__()
    parts = {name: getattr(tensor, name) for name in names}
    return type(tensor).__tensor_unflatten__, (parts, context, tensor.size(), tensor.stride())


def rebuild_sparse(layout: Any, data: tuple) -> torch.Tensor:
    """A sparse tensor, by constructors that check its indices, since what is read may be damaged or hostile. (torch's own
    rebuild function leaves that to the end of torch.load.)"""
    # torch < 2.0 always checks.
    checks = {"check_invariants": True} if hasattr(torch.sparse, "check_sparse_tensor_invariants") else {}
    if layout is not torch.sparse_coo:
        compressed, plain, values, size = data
        return torch.sparse_compressed_tensor(compressed, plain, values, size, layout=layout, **checks)
    indices, values, size = data[:3]
    tensor = torch.sparse_coo_tensor(indices, values, size, **checks)
    return tensor._coalesced_(data[3]) if len(data) == 4 else tensor


_QUANTIZER = re.compile(r"(?P<scheme>\w+)\((?P<arguments>.*)\)")


def rebuild_quantized(storage, offset_bytes, shape, stride, dtype, quantizer, scales, zero_points, requires_grad):
    """A quantized tensor from its storage and its quantizer's text, see docs/format.md."""
    match = _QUANTIZER.fullmatch(quantizer)
    if match is None:
        raise UnsupportedError(f"unknown quantizer: {quantizer}")
    arguments = dict(part.split("=") for part in match["arguments"].split(", "))
    scheme = getattr(torch, match["scheme"])
    if "axis" in arguments:
        parameters = (scheme, scales, zero_points, int(arguments["axis"]))
    else:
        parameters = (scheme, float(arguments["scale"]), int(arguments["zero_point"]))
    dtype = getattr(torch, dtype)
    typed = typed_storage(storage, dtype)
    item = torch.empty((), dtype=torch.uint8).element_size() if dtype not in (torch.qint32,) else 4
    return torch._utils._rebuild_qtensor(typed, offset_bytes // item, tuple(shape), tuple(stride), parameters,
                                         requires_grad, {})
