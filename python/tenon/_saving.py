"""From Python objects to a draft: pickles what is no tensor, and leaves tensors to the extension."""

from __future__ import annotations

import io
import pickle
from typing import Any, Dict, Optional

from . import _core

# As torch.save has it: what every release of torch reads after export.
_PROTOCOL = 2


def gather(obj: Any, *, compact: bool = False, params: Optional[Dict[str, str]] = None) -> Any:
    """A _core.Saver with the draft of `obj`: it can be committed, from any thread, while the tensors stay unchanged."""
    saver = _core.Saver()
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=_PROTOCOL)
    pickler.persistent_id = saver.persistent_id_function()  # type: ignore[method-assign]
    pickler.dump(obj)
    saver.finish(buffer.getbuffer(), compact=compact, params=params or {})
    return saver


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
