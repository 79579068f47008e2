"""Flat dicts of tensors in one file, with the signatures of safetensors.torch."""

from __future__ import annotations

import os
import tempfile
from typing import Any, Dict, Optional, Union

from .errors import InvalidArgumentError, UnsupportedError
from .store import PathLike, open


def save_file(tensors: Dict[str, Any], filename: PathLike, metadata: Optional[Dict[str, str]] = None) -> None:
    """Writes tensors by name as a bundle: one file that is a read-only store. Unlike safetensors, views and ties are kept.
    An existing file is replaced; it appears only when it is complete.

    ``metadata`` is text by text, and comes back in the snapshot's meta.
    """
    for name, value in tensors.items():
        if not isinstance(name, str) or not hasattr(value, "shape"):
            raise InvalidArgumentError(f"save_file takes tensors by name, not {name!r}: {type(value).__name__}")
    target = os.path.abspath(os.fspath(filename))
    if target.endswith(".safetensors"):
        raise UnsupportedError("safetensors files are not written", hint="give the file another ending: a bundle")
    with tempfile.TemporaryDirectory(prefix=".tenon-", dir=os.path.dirname(target)) as folder:
        store = open(os.path.join(folder, "new"), create=True, durability="relaxed")
        store.save(dict(tensors), meta=metadata, compact=True)
        finished = os.path.join(folder, "bundle.tenon")
        store.bundle("main", finished)
        os.replace(finished, target)


def load_file(filename: PathLike, device: Union[str, int] = "cpu") -> Dict[str, Any]:
    """The tensors of a bundle by name, zero-copy on the CPU."""
    if isinstance(device, int):
        device = f"cuda:{device}"
    return open(filename).load("main", device=None if device == "cpu" else device)
