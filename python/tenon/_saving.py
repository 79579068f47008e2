"""From Python objects to a draft: pickles what is no tensor, and leaves tensors to the extension."""

from __future__ import annotations

import io
import pickle
from typing import Any, Dict, Optional, Sequence, Tuple

from . import _core

# As torch.save has it: what every release of torch reads after export.
_PROTOCOL = 2


class _Pickler(pickle.Pickler):
    """Pickles all but tensors. A wrapper subclass (a tensor made of tensors) is taken apart as it says itself, so that its
    parts are rows."""

    def reducer_override(self, obj: Any) -> Any:
        if hasattr(type(obj), "__tensor_flatten__") and hasattr(type(obj), "__tensor_unflatten__"):
            from ._torch import flatten
            return flatten(obj)
        return NotImplemented


def gather(obj: Any, *, compact: bool = False, params: Optional[Dict[str, str]] = None,
           shards: Optional[Dict[str, Tuple[Sequence[int], Sequence[int]]]] = None,
           attachments: Optional[Dict[str, bytes]] = None) -> Any:
    """A _core.Saver with the draft of `obj`: it can be committed, from any thread, while the tensors stay unchanged.

    `params`: name prefix -> parameter. `shards`: row name -> shape of the whole, and where in it the row begins."""
    saver = _core.Saver()
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, protocol=_PROTOCOL)
    pickler.persistent_id = saver.persistent_id_function()  # type: ignore[method-assign]
    pickler.dump(obj)
    placed = {name: (list(shape), list(offset)) for name, (shape, offset) in (shards or {}).items()}
    saver.finish(buffer.getbuffer(), {"compact": compact, "params": params or {}, "shards": placed,
                                      "attachments": attachments or {}})
    return saver


class Row:
    """Stands for a tensor in an object that `structure_of` pickles."""

    def __init__(self, number: int):
        self.number = number


class _StructurePickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Optional[int]:
        return obj.number if type(obj) is Row else None


def structure_of(obj: Any) -> bytes:
    """The structure of a snapshot whose tensors are `obj`'s rows."""
    buffer = io.BytesIO()
    _StructurePickler(buffer, protocol=_PROTOCOL).dump(obj)
    return buffer.getvalue()


def state_of(model: Any, optimizer: Any) -> Dict[str, Any]:
    state = {}
    if model is not None:
        state["model"] = model.state_dict()
    if optimizer is not None:
        state["optim"] = optimizer.state_dict()
    return state


def optimizer_params(model: Any, optimizer: Any, state: Dict[str, Any]) -> Dict[str, str]:
    """Which parameter the rows below ``optim/state/<key>`` belong to.

    An optimizer numbers its parameters through all groups; where its state is keyed by names, they are what is kept."""
    if model is None or optimizer is None:
        return {}
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    in_order = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbers = [key for group in state["optim"]["param_groups"] for key in group["params"]]
    return {f"optim/state/{key}": name_of[id(parameter)]
            for key, parameter in zip(numbers, in_order) if id(parameter) in name_of}
