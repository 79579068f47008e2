"""What a load may import and call.

Safe by default: tensors, containers, numpy's arrays and scalars, and what the program allowed by
``torch.serialization.add_safe_globals``. With ``trusted=True``, anything: a snapshot is then a program.
"""

from __future__ import annotations

import collections
import importlib
import sys
from typing import Any, Dict, List, Optional, Tuple

from .errors import UntrustedError

Name = Tuple[str, str]

# May be called.
_SAFE_CALLS = {
    ("collections", "OrderedDict"), ("collections", "Counter"), ("collections", "defaultdict"), ("collections", "deque"),
    ("builtins", "complex"), ("builtins", "set"), ("builtins", "frozenset"), ("builtins", "slice"),
    ("builtins", "range"), ("_codecs", "encode"),
}
# May be there, as what a defaultdict makes, but are not called.
_SAFE_VALUES = {("builtins", name) for name in
                ("bool", "bytearray", "bytes", "dict", "float", "int", "list", "object", "str", "tuple")}

_TORCH_CALLS = {
    ("torch", "Size"), ("torch", "device"), ("torch", "Tensor"), ("torch.nn.parameter", "Parameter"),
    ("torch.nn.parameter", "Buffer"), ("torch.serialization", "_get_layout"),
    ("torch._tensor", "_rebuild_from_type_v2"), ("torch._tensor", "_rebuild_from_type"),
}
_TORCH_REBUILDS = {
    "_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter",
    "_rebuild_parameter_with_state", "_rebuild_qtensor", "_rebuild_sparse_tensor", "_rebuild_sparse_csr_tensor",
    "_rebuild_meta_tensor_no_storage", "_rebuild_nested_tensor", "_rebuild_wrapper_subclass",
    "_rebuild_device_tensor_from_numpy", "_rebuild_device_tensor_from_cpu_tensor", "_rebuild_xla_tensor",
}
_NUMPY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
_NUMPY_CALLS = ("_reconstruct", "scalar", "_frombuffer")

# What Python 2 and old releases called it.
_RENAMED_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg", "torch.tensor": "torch._tensor"}

_GETATTR = ("builtins", "getattr")

# Whatever is allowed: these run programs.
_NEVER = {"os", "posix", "nt", "sys", "subprocess", "builtins.eval", "builtins.exec"}


class Policy:
    """What one load may do. ``trusted``: everything."""

    def __init__(self, trusted: bool):
        self._trusted = trusted
        self._allowed = {} if trusted else _allowed_by_user()
        self._may_be_called: List[Any] = []
        self._unflatten = self._unflatten_of  # one object, to be known by identity

    def resolve(self, names: List[Name]) -> List[Any]:
        """The objects of these names. Raises one UntrustedError for all that are not allowed."""
        names = [(_RENAMED_MODULES.get(module, module), name) for module, name in names]
        if not self._trusted:
            refused = sorted({".".join(name) for name in names if not self._is_allowed(name)})
            if refused:
                raise _untrusted(refused)
        return [self._find(name) for name in names]

    def make(self, callable_: Any, args: tuple, is_newobj: bool) -> Any:
        if not self._trusted and not any(callable_ is allowed for allowed in self._may_be_called):
            raise _untrusted([getattr(callable_, "__qualname__", repr(callable_))])
        if is_newobj:
            return callable_.__new__(callable_, *args)
        return callable_(*args)

    def append(self, target: Any, item: Any) -> None:
        target.append(item)

    def set_state(self, target: Any, state: Any) -> None:
        """As pickle does it, and only to instances: never to a class, a function or a module."""
        if not self._trusted and not self._may_have_state(target):
            raise _untrusted([f"{type(target).__module__}.{type(target).__qualname__} (its state)"])
        set_state = getattr(target, "__setstate__", None)
        if set_state is not None:
            set_state(state)
            return
        slots = None
        if isinstance(state, tuple) and len(state) == 2:
            state, slots = state
        if state:
            target.__dict__.update({sys.intern(k) if type(k) is str else k: v for k, v in state.items()})
        for name, value in (slots or {}).items():
            setattr(target, name, value)

    def _may_have_state(self, target: Any) -> bool:
        kind = type(target)
        if kind in (collections.OrderedDict, collections.Counter, collections.defaultdict, collections.deque):
            return True
        if any(kind is allowed for allowed in self._allowed.values()):
            return True
        numpy = sys.modules.get("numpy")
        if numpy is not None and (kind is numpy.ndarray or isinstance(target, numpy.dtype)):
            return True
        torch = sys.modules.get("torch")
        return torch is not None and kind in (torch.Tensor, torch.nn.Parameter)

    def _is_allowed(self, name: Name) -> bool:
        module, attribute = name
        if module in _NEVER or ".".join(name) in _NEVER:
            return False
        if name == _GETATTR or name in _SAFE_CALLS or name in _SAFE_VALUES or ".".join(name) in self._allowed:
            return True
        if module == "numpy" or module == "numpy.dtypes":
            return module == "numpy.dtypes" or attribute in ("dtype", "ndarray") or _is_numpy_scalar(attribute)
        if module in _NUMPY_MODULES:
            return attribute in _NUMPY_CALLS
        if module == "torch._utils":
            return attribute in _TORCH_REBUILDS
        return name in _TORCH_CALLS or (module in ("torch", "torch.storage", "torch.cuda") and _is_torch_value(name))

    def _unflatten_of(self, kind: Any, attribute: str) -> Any:
        """What getattr may be called for: how an allowed class of tensors puts its parts together."""
        torch = sys.modules.get("torch")
        is_tensor = torch is not None and isinstance(kind, type) and issubclass(kind, torch.Tensor)
        if not is_tensor or attribute != "__tensor_unflatten__":
            raise _untrusted(["builtins.getattr"])
        found = getattr(kind, attribute)
        self._may_be_called.append(found)
        return found

    def _find(self, name: Name) -> Any:
        if name == _GETATTR and not self._trusted:
            self._may_be_called.append(self._unflatten)
            return self._unflatten
        found = self._allowed.get(".".join(name))
        if found is None:
            found = _import(name)
        if name not in _SAFE_VALUES:
            self._may_be_called.append(found)
        return found


def _import(name: Name) -> Any:
    module, attribute = name
    if module in ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric"):
        found = importlib.import_module(_numpy_core() + "." + module.rsplit(".", 1)[1])
    elif name == ("torch._utils", "_rebuild_sparse_tensor"):
        from ._torch import rebuild_sparse
        return rebuild_sparse
    else:
        found = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


def _numpy_core() -> str:
    import numpy
    return "numpy._core" if int(numpy.__version__.split(".")[0]) >= 2 else "numpy.core"


def _is_numpy_scalar(name: str) -> bool:
    import numpy
    return isinstance(getattr(numpy, name, None), type) and issubclass(getattr(numpy, name), numpy.generic)


def _is_torch_value(name: Name) -> bool:
    """Element types, layouts, schemes, and the classes of tensors and storages."""
    torch = importlib.import_module("torch")
    value = getattr(sys.modules.get(name[0], torch), name[1], None)
    if isinstance(value, (torch.dtype, torch.layout, torch.memory_format, torch.qscheme)):
        return True
    return isinstance(value, type) and name[1].endswith(("Storage", "Tensor"))


def _allowed_by_user() -> Dict[str, Any]:
    """What the program gave to torch.serialization.add_safe_globals, by full name."""
    torch = sys.modules.get("torch")
    list_globals = getattr(getattr(torch, "serialization", None), "get_safe_globals", None)
    allowed = {}
    for entry in list_globals() if list_globals else ():
        value, name = entry if isinstance(entry, tuple) else (entry, f"{entry.__module__}.{entry.__qualname__}")
        allowed[name] = value
    return allowed


def _untrusted(names: List[str]) -> UntrustedError:
    listed = ", ".join(names)
    hint = "allow them with torch.serialization.add_safe_globals, or pass trusted=True if you trust who wrote it"
    error = UntrustedError(f"snapshot needs classes or functions that are not loaded by default: {listed}; {hint}",
                           what="snapshot needs classes or functions that are not loaded by default", got=listed,
                           hint=hint)
    error.names = names
    return error


def policy(trusted: Optional[bool]) -> Policy:
    return Policy(bool(trusted))
