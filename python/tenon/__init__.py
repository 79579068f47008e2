"""Tenon: a memory-mapped, columnar tensor store.

    tenon.save(obj, "run.tenon")        # where torch.save(obj, "run.pt") stood
    obj = tenon.load("run.tenon")       # same nesting, zero-copy, copy-on-write

    store = tenon.open("run.tenon", create=True)
    store.save(model=model, optimizer=optimizer, step=100)
    store.load_into(model, "main:model")
    w = store["main:model/fc.weight"]   # .shape .dtype .stats() .numpy() .torch() [0:4]

    tenon.CheckpointManager("run.tenon", keep_last=3, keep_best="min:val_loss")
    tenon.dcp.StorageWriter, StorageReader   # behind torch.distributed.checkpoint

Works without torch (tensors are numpy arrays), and with torch 1.13 and later.
"""

import importlib as _importlib

from ._background import PendingSave
from ._core import __version__
from ._facts import (Change, CommitResult, DiskUsage, GcReport, Ref, ReflogEntry, Retention, SnapshotInfo,
                     VerifyReport)
from .checkpoints import CheckpointManager
from .errors import (BusyError, ConflictError, CorruptError, Error, FullError, InvalidArgumentError, LimitError,
                     NoStoreError, NotFoundError, StoreIOError, TooNewError, UnsupportedError, UntrustedError)
from .files import load_file, save_file
from .handle import Handle
from .live import Subscription, Watch, WeightSet, WeightSwap
from .query import Result
from .store import Snapshot, Store, load, open, save

__all__ = [
    "BusyError", "Change", "CheckpointManager", "CommitResult", "ConflictError", "CorruptError", "DiskUsage", "Error",
    "FullError", "GcReport", "Handle", "InvalidArgumentError", "LimitError", "NoStoreError", "NotFoundError",
    "PendingSave", "Ref", "ReflogEntry", "Result", "Retention", "Snapshot", "SnapshotInfo", "Store", "StoreIOError",
    "Subscription", "TooNewError", "UnsupportedError", "UntrustedError", "VerifyReport", "Watch", "WeightSet",
    "WeightSwap", "__version__", "load", "load_file", "open",
    "save", "save_file",
]


def __getattr__(name: str):
    if name == "dcp":  # needs torch.distributed, which takes a while to import
        return _importlib.import_module("tenon.dcp")
    raise AttributeError(f"module 'tenon' has no attribute {name!r}")
