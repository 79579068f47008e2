"""State dicts into modules, without a copy."""

from __future__ import annotations

import collections.abc
import inspect
from typing import Any, Dict, List, Tuple

from .errors import InvalidArgumentError, UnsupportedError

Place = Tuple[Any, str]  # a module, and the name of what it holds


def tied_places(model: Any) -> List[List[Place]]:
    """Places that hold one and the same parameter or buffer, in groups of two and more."""
    places: Dict[int, List[Place]] = {}
    seen = set()
    for module in model.modules():
        if id(module) in seen:
            continue
        seen.add(id(module))
        for table in (module._parameters, module._buffers):
            for name, tensor in table.items():
                if tensor is not None:
                    places.setdefault(id(tensor), []).append((module, name))
    return [group for group in places.values() if len(group) > 1]


def _value(place: Place) -> Any:
    module, name = place
    return module._parameters[name] if name in module._parameters else module._buffers[name]


def _set_value(place: Place, value: Any) -> None:
    module, name = place
    table = module._parameters if name in module._parameters else module._buffers
    table[name] = value


def load_state(model: Any, state: Any, strict: bool) -> Any:
    """As ``model.load_state_dict(state, strict, assign=True)``, but what was tied in the model stays tied.

    Of several values for one tied tensor the last one counts, as it does where they are copied in."""
    if not isinstance(state, collections.abc.Mapping):
        raise InvalidArgumentError(f"a state dict is wanted, not a {type(state).__name__}: name its path, as in 'main:model'")
    before = [[(place, _value(place)) for place in group] for group in tied_places(model)]
    if "assign" in inspect.signature(model.load_state_dict).parameters:
        result = model.load_state_dict(state, strict=strict, assign=True)
    elif any(tensor.is_meta for tensor in model.state_dict().values() if hasattr(tensor, "is_meta")):
        raise UnsupportedError("a model on the meta device can be loaded into since torch 2.1")
    else:
        return model.load_state_dict(state, strict=strict)
    for group in before:
        assigned = [place for place, old in group if _value(place) is not old]
        if assigned:
            value = _value(assigned[-1])
            for place, _ in group:
                _set_value(place, value)
    return result


def single_device(model: Any) -> Any:
    """Where a model is, if it has real tensors and all are on one device other than the CPU; else None."""
    devices = {tensor.device for tensor in list(model.parameters()) + list(model.buffers())}
    devices = {device for device in devices if device.type != "meta"}
    if len(devices) == 1:
        device = devices.pop()
        return None if device.type == "cpu" else device
    return None
