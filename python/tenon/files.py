"""Flat dicts of tensors in one file, with the signatures of safetensors.torch."""

from __future__ import annotations

import os
import tempfile
from typing import Any, Dict, Optional, Union

from .errors import InvalidArgumentError, NoStoreError
from .store import PathLike, open


def save_file(tensors: Dict[str, Any], filename: PathLike, metadata: Optional[Dict[str, str]] = None) -> None:
    """Writes tensors by name as a bundle, one file that is a read-only store; with the ending ``.safetensors``, as that. A
    bundle keeps views and ties; safetensors has neither, so each name gets its elements in full. An existing file is
    replaced; it appears only when it is complete.

    ``metadata`` is text by text: a bundle's snapshot has it as its meta, safetensors as ``__metadata__``.
    """
    for name, value in tensors.items():
        if not isinstance(name, str) or not hasattr(value, "shape"):
            raise InvalidArgumentError(f"save_file takes tensors by name, not {name!r}: {type(value).__name__}")
    target = os.path.abspath(os.fspath(filename))
    is_safetensors = target.endswith(".safetensors")
    meta: Any = {"safetensors": dict(metadata)} if is_safetensors and metadata is not None else metadata
    with tempfile.TemporaryDirectory(prefix=".tenon-", dir=os.path.dirname(target)) as folder:
        store = open(os.path.join(folder, "new"), create=True, durability="relaxed")
        store.save(dict(tensors), meta=meta, compact=True)
        if is_safetensors:
            store.export("main", target)
            return
        finished = os.path.join(folder, "bundle.tenon")
        store.bundle("main", finished)
        os.replace(finished, target)


def load_file(filename: PathLike, device: Union[str, int] = "cpu") -> Dict[str, Any]:
    """The tensors of a bundle by name, zero-copy on the CPU; also those of a .safetensors, .npz or flat .pt file, which is
    copied once."""
    if isinstance(device, int):
        device = f"cuda:{device}"
    options = {"device": None if device == "cpu" else device}
    try:
        return open(filename).load("main", **options)
    except NoStoreError:
        if not os.path.isfile(filename):
            raise
    with tempfile.TemporaryDirectory(prefix="tenon-") as folder:
        store = open(os.path.join(folder, "file.tenon"), create=True, durability="relaxed")
        store.import_file(filename)
        return store.load("main", **options)
