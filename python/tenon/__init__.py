"""Tenon: a memory-mapped, columnar tensor store.

    tenon.save(obj, "run.tenon")        # where torch.save(obj, "run.pt") stood
    obj = tenon.load("run.tenon")       # same nesting, zero-copy, copy-on-write

    store = tenon.open("run.tenon", create=True)
    store.save(model=model, optimizer=optimizer, step=100)
    store.load_into(model, "main:model")
    w = store["main:model/fc.weight"]   # .shape .dtype .stats() .numpy() .torch() [0:4]

Works without torch (tensors are numpy arrays), and with torch 1.13 and later.
"""

from ._core import __version__
from .errors import (BusyError, ConflictError, CorruptError, Error, FullError, InvalidArgumentError, LimitError,
                     NoStoreError, NotFoundError, StoreIOError, TooNewError, UnsupportedError, UntrustedError)
from .files import load_file, save_file
from .handle import Handle
from .store import CommitResult, Ref, Snapshot, SnapshotInfo, Store, VerifyReport, load, open, save

__all__ = [
    "BusyError", "CommitResult", "ConflictError", "CorruptError", "Error", "FullError", "Handle", "InvalidArgumentError",
    "LimitError", "NoStoreError", "NotFoundError", "Ref", "Snapshot", "SnapshotInfo", "Store", "StoreIOError",
    "TooNewError", "UnsupportedError", "UntrustedError", "VerifyReport", "__version__", "load", "load_file", "open",
    "save", "save_file",
]
