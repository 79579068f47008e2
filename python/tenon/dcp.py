"""Sharded checkpoints: a store behind torch.distributed.checkpoint.

    dcp.save(state, storage_writer=tenon.dcp.StorageWriter("run.tenon", step=100))
    dcp.load(state, storage_reader=tenon.dcp.StorageReader("run.tenon", rev="main@step:100"))

Each rank commits its shards, all side by side, as a snapshot on a ref of its own; the coordinator then commits one
snapshot of the same storages on the ref that was asked for, and drops the others. A kill on the way leaves the store
without the new snapshot; ``dcp-*`` refs that it leaves are dropped by a save a day later.

A shard is a row with its global shape and offset as columns, named after the tensor: ``model/fc.weight`` where one shard
is all of it, else ``model/fc.weight/0``, ``/1``, .... What is no tensor is there as the value that it is, where
torch.load(weights_only=True) can tell. So the snapshot is also an ordinary one, to load, show and compare.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import time
import uuid
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import torch
from torch.distributed.checkpoint import StorageReader as _StorageReader
from torch.distributed.checkpoint import StorageWriter as _StorageWriter
from torch.distributed.checkpoint.metadata import (BytesStorageMetadata, ChunkStorageMetadata, Metadata, MetadataIndex,
                                                   TensorProperties, TensorStorageMetadata)
from torch.distributed.checkpoint.planner import (LoadItemType, LoadPlan, LoadPlanner, SavePlan, SavePlanner, WriteItem,
                                                  WriteItemType)
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from . import _saving
from ._revs import split_location
from .errors import CorruptError, InvalidArgumentError, NotFoundError
from .handle import Handle
from .store import CommitResult, PathLike, Snapshot, Store, open

_INDEX = "torch.distributed.checkpoint/index.json"
_BYTES = "torch.distributed.checkpoint/bytes/"
_RANK_REF = "dcp-"  # then when it began, in hexadecimal seconds, a random part, and the rank
_RANK_MESSAGE = "shards of one rank"
_IS_RANK_REF = re.compile(_RANK_REF + r"[0-9a-f]+-[0-9a-f]{8}-\d+")
_LEFT_SECONDS = 24 * 3600
_VERSION = 1

Path = Tuple[Union[str, int], ...]


@dataclasses.dataclass(frozen=True)
class _RankPlan:
    """What the coordinator tells a rank."""

    ref: str
    base: Optional[str]  # the snapshot that this save goes on from
    paths: List[Path]  # of each item of the plan


def _done(value: Any) -> Any:
    future: Any = Future()
    future.set_result(value)
    return future


# --- writing


class StorageWriter(_StorageWriter):
    """Writes checkpoints to ``ref`` of a store, which is made if it is not there. ``message``, ``step`` and ``meta`` as in
    Store.save; ``statistics``, too. ``result`` is the CommitResult, on the coordinator, once dcp.save returned.

    A ``checkpoint_id`` given to dcp.save is the store's path."""

    def __init__(self, store: Union[Store, PathLike, None] = None, *, ref: str = "main", message: str = "",
                 step: Optional[int] = None, meta: Optional[Dict[str, Any]] = None, statistics: bool = True):
        super().__init__()
        self._given = store
        self._facts: Dict[str, Any] = {"ref": ref, "message": message, "step": step, "meta": meta or {},
                                       "statistics": statistics}
        self._is_coordinator = False
        self._base: Optional[str] = None
        self._plans: List[SavePlan] = []
        self.result: Optional[CommitResult] = None

    def reset(self, checkpoint_id: Union[str, "os.PathLike[str]", None] = None) -> None:
        if checkpoint_id:
            self._given = checkpoint_id
        self._plans = []
        self.result = None

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        self._is_coordinator = is_coordinator
        if is_coordinator:  # makes the store, so that ranks need not race
            _drop_left_refs(self._store(create=True))

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        return plan

    def prepare_global_plan(self, plans: List[SavePlan]) -> List[SavePlan]:
        save_id = f"{int(time.time()):x}-{uuid.uuid4().hex[:8]}"
        self._base = _tip(self._store(), self._facts["ref"])
        mapping = {fqn: tuple(path) for plan in plans for fqn, path in (plan.planner_data or {}).items()}
        counts = _count_shards(plans)
        taken: Dict[str, int] = {}
        self._plans = []
        for rank, plan in enumerate(plans):
            paths = []
            for item in plan.items:
                fqn = item.index.fqn
                path: Path = mapping.get(fqn, (fqn,))
                if counts[fqn] > 1:
                    path += (taken.get(fqn, 0),)
                    taken[fqn] = taken.get(fqn, 0) + 1
                paths.append(path)
            orders = _RankPlan(f"{_RANK_REF}{save_id}-{rank}", self._base, paths)
            self._plans.append(dataclasses.replace(plan, storage_data=orders))
        return self._plans

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> "Future[List[WriteResult]]":
        orders: _RankPlan = plan.storage_data
        store = self._store()
        tensors: Dict[Path, Any] = {}
        shards: Dict[Path, WriteItem] = {}
        attachments: Dict[str, bytes] = {}
        results = []
        for item, path in zip(plan.items, orders.paths):
            data = planner.resolve_data(item)
            if item.type == WriteItemType.BYTE_IO:
                assert isinstance(data, io.BytesIO)
                attachments[_BYTES + item.index.fqn] = data.getvalue()
                size = len(data.getvalue())
            else:
                tensors[path] = data.detach()
                shards[path] = item
                size = data.numel() * data.element_size()
            results.append(WriteResult(index=item.index, size_in_bytes=size, storage_data=(orders.ref, path)))
        if results:
            saver = _saving.gather(_nest(tensors, lists=False), compact=True, shards=_places(shards),
                                   attachments=attachments)
            if orders.base is not None:  # so that shards are compared with those of the checkpoint before
                store._core().set_ref(orders.ref, orders.base, None)
            saver.commit(store._core(), ref=orders.ref, message=_RANK_MESSAGE, step=None, meta="{}",
                         statistics=False, expected=orders.base)
        return _done(results)

    def finish(self, metadata: Metadata, results: List[List[WriteResult]]) -> None:
        store = self._store()
        items = {item.index: item for plan in self._plans for item in plan.items}
        refs = sorted({result.storage_data[0] for of_rank in results for result in of_rank})
        ranks = {ref: store.snapshot(ref) for ref in refs}
        loaded = {ref: snapshot.load(mode="private") for ref, snapshot in ranks.items()}
        values: Dict[Path, Any] = {}
        shards: Dict[Path, WriteItem] = {}
        attachments: Dict[str, bytes] = {}
        for result in (result for of_rank in results for result in of_rank):
            ref, path = result.storage_data
            item = items[result.index]
            if item.type == WriteItemType.BYTE_IO:
                content = ranks[ref]._shared.attachment(_BYTES + item.index.fqn)
                attachments[_BYTES + item.index.fqn] = content
                values[path] = _plain_value(content)
            else:
                values[path] = _at(loaded[ref], path)
                shards[path] = item
        attachments[_INDEX] = json.dumps(_index(metadata, shards)).encode()
        facts = dict(self._facts, meta=json.dumps(self._facts["meta"]))
        saver = _saving.gather(_nest(values, lists=True), shards=_places(shards), attachments=attachments)
        target = facts.pop("ref")
        self.result = CommitResult(ref=target, **saver.commit(store._core(), ref=target, expected=..., **facts))
        _drop_rank_refs(store, refs)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: Union[str, "os.PathLike[str]"]) -> bool:
        return os.fspath(checkpoint_id).endswith(".tenon")

    def _store(self, create: bool = False) -> Store:
        if self._given is None:
            raise InvalidArgumentError("no store: give one to StorageWriter, or its path to dcp.save as checkpoint_id")
        if not isinstance(self._given, Store):
            self._given = open(self._given, create=create)
        return self._given


def _tip(store: Store, ref: str) -> Optional[str]:
    try:
        return store.resolve(ref)
    except NotFoundError:
        return None


def _drop_left_refs(store: Store) -> None:
    """Of saves that were killed; others may be under way."""
    def is_left(name: str) -> bool:
        began = name[len(_RANK_REF):].split("-")[0]
        return int(began, 16) < time.time() - _LEFT_SECONDS

    _drop_rank_refs(store, [ref.name for ref in store.refs() if _IS_RANK_REF.fullmatch(ref.name) and is_left(ref.name)])


def _drop_rank_refs(store: Store, names: Sequence[str]) -> None:
    """Their snapshots are forgotten, too. (A ref without shards leads to a snapshot of another history.)"""
    ids = {store.resolve(name) for name in names}
    ids = {one for one in ids if store.snapshot(one).info.message == _RANK_MESSAGE}
    for name in names:
        store.delete_ref(name)
    if ids:
        store.forget(ids=sorted(ids))


def _count_shards(plans: Sequence[SavePlan]) -> Dict[str, int]:
    counts: Dict[str, int] = {}
    for plan in plans:
        for item in plan.items:
            counts[item.index.fqn] = counts.get(item.index.fqn, 0) + 1
    return counts


def _nest(values: Dict[Path, Any], lists: bool) -> Any:
    """Nested dicts of values by path. With ``lists``, what has the keys 0, 1, ... only becomes a list."""
    root: Dict[Any, Any] = {}
    for path, value in values.items():
        at = root
        for key in path[:-1]:
            at = at.setdefault(key, {})
        at[path[-1]] = value

    def listed(node: Any) -> Any:
        if type(node) is not dict:
            return node
        made = {key: listed(value) for key, value in node.items()}
        if made and all(type(key) is int for key in made) and sorted(made) == list(range(len(made))):
            return [made[key] for key in range(len(made))]
        return made

    return {key: listed(value) for key, value in root.items()} if lists else root


def _at(node: Any, path: Path) -> Any:
    for key in path:
        node = node[key]
    return node


def _row_name(path: Path) -> str:
    from . import _core
    return _core.name_of(list(path))


def _places(shards: Dict[Path, WriteItem]) -> Dict[str, Tuple[Sequence[int], Sequence[int]]]:
    """Row name -> shape of the whole and offset in it, of what is not the whole."""
    places = {}
    for path, item in shards.items():
        data = item.tensor_data
        assert data is not None
        if tuple(data.chunk.sizes) != tuple(data.size):
            places[_row_name(path)] = (data.size, data.chunk.offsets)
    return places


def _plain_value(content: bytes) -> Any:
    """What DCP pickled, where that is a plain value; else its bytes."""
    try:
        value = torch.load(io.BytesIO(content), weights_only=True)
    except Exception:  # noqa: BLE001  (what is not plain stays pickled, and is there for DCP in any case)
        return content
    return value if _is_plain(value) else content


def _is_plain(value: Any) -> bool:
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(_is_plain(key) and _is_plain(item) for key, item in value.items())
    return type(value) in (type(None), bool, int, float, complex, str, bytes)


def _index(metadata: Metadata, shards: Dict[Path, WriteItem]) -> Dict[str, Any]:
    """What columns do not tell: which rows make up a tensor, and where DCP's flat names stood."""
    rows: Dict[str, List[str]] = {}
    for path, item in shards.items():
        rows.setdefault(item.index.fqn, []).append(_row_name(path))
    entries: Dict[str, Any] = {}
    for fqn, told in metadata.state_dict_metadata.items():
        if isinstance(told, TensorStorageMetadata):
            entries[fqn] = {"rows": rows.get(fqn, []), "size": list(told.size),
                            "requires_grad": told.properties.requires_grad}
        else:
            entries[fqn] = {"bytes": True}
    planner = metadata.planner_data
    paths = {fqn: list(path) for fqn, path in planner.items()} if isinstance(planner, dict) else None
    return {"version": _VERSION, "entries": entries, "paths": paths}


# --- reading


class StorageReader(_StorageReader):
    """Reads what StorageWriter wrote, in any other layout of ranks. ``rev`` as in Store.load. Every rank maps what it needs
    and nothing else. A ``checkpoint_id`` given to dcp.load is the store's path, with ``@`` and a rev behind it if told."""

    def __init__(self, store: Union[Store, PathLike, None] = None, *, rev: str = "main"):
        super().__init__()
        self._given = store
        self._rev = rev
        self._opened: Optional[Snapshot] = None
        self._rows: Dict[MetadataIndex, str] = {}

    def reset(self, checkpoint_id: Union[str, "os.PathLike[str]", None] = None) -> None:
        if checkpoint_id:
            self._given, target = split_location(checkpoint_id)
            self._rev = target.rev if target.rev != "main" else self._rev
        self._opened = None

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        snapshot = self._snapshot()
        content = snapshot._shared.attachment(_INDEX)
        if content is None:
            raise InvalidArgumentError(f"snapshot {snapshot.id[:12]} of {snapshot._store.path} was not saved by "
                                       "tenon.dcp.StorageWriter: load it with Store.load")
        index = json.loads(content)
        if index["version"] != _VERSION:
            raise InvalidArgumentError(f"sharded checkpoint of version {index['version']}; this release reads {_VERSION}")
        rows: Dict[MetadataIndex, str] = {}
        told: Dict[str, Any] = {}
        for fqn, entry in index["entries"].items():
            if "bytes" in entry:
                told[fqn] = BytesStorageMetadata()
                continue
            handles = [snapshot[name] for name in entry["rows"]]
            told[fqn] = _tensor_metadata(fqn, entry, handles)
            for number, (handle, chunk) in enumerate(zip(handles, told[fqn].chunks)):
                rows[MetadataIndex(fqn, chunk.offsets, number)] = handle.name
        paths = {fqn: tuple(path) for fqn, path in index["paths"].items()} if index["paths"] is not None else None
        # The coordinator reads it and gives it to all: rows travel along, and the id, so that all read one snapshot.
        return Metadata(state_dict_metadata=told, planner_data=paths, storage_data=(snapshot.id, rows))

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        snapshot_id, self._rows = metadata.storage_data
        if self._snapshot().id != snapshot_id:
            self._opened = self._store().snapshot(snapshot_id)

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        return plan

    def prepare_global_plan(self, plans: List[LoadPlan]) -> List[LoadPlan]:
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> "Future[None]":
        snapshot = self._snapshot()
        mapped: Dict[str, torch.Tensor] = {}
        for item in plan.items:
            if item.type == LoadItemType.BYTE_IO:
                content = snapshot._shared.attachment(_BYTES + item.storage_index.fqn)
                if content is None:
                    raise CorruptError(f"sharded checkpoint lacks the value of {item.storage_index.fqn!r}")
                planner.load_bytes(item, io.BytesIO(content))
                continue
            name = self._rows[item.storage_index]
            if name not in mapped:
                mapped[name] = snapshot[name].torch()
            source = mapped[name]
            for dim, (begin, length) in enumerate(zip(item.storage_offsets, item.lengths)):
                source = source.narrow(dim, begin, length)
            target = planner.resolve_tensor(item).detach()
            if target.size() != source.size():
                raise InvalidArgumentError(f"{item.storage_index.fqn!r} has another shape than was planned: "
                                           f"{tuple(target.size())}, not {tuple(source.size())}")
            target.copy_(source)
            planner.commit_tensor(item, target)
        return _done(None)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: Union[str, "os.PathLike[str]"]) -> bool:
        return os.path.exists(split_location(checkpoint_id)[0])

    def _store(self) -> Store:
        if self._given is None:
            raise InvalidArgumentError("no store: give one to StorageReader, or its path to dcp.load as checkpoint_id")
        if not isinstance(self._given, Store):
            self._given = open(self._given)
        return self._given

    def _snapshot(self) -> Snapshot:
        if self._opened is None:
            self._opened = self._store().snapshot(self._rev)
        return self._opened


def _tensor_metadata(fqn: str, entry: Dict[str, Any], handles: Sequence[Handle]) -> TensorStorageMetadata:
    if not handles:
        raise CorruptError(f"sharded checkpoint lists no shard of {fqn!r}")
    dtype = getattr(torch, handles[0].dtype)
    chunks = []
    for handle in handles:
        offset = handle.global_offset or (0,) * handle.ndim
        chunks.append(ChunkStorageMetadata(offsets=torch.Size(offset), sizes=torch.Size(handle.shape)))
    return TensorStorageMetadata(properties=TensorProperties(dtype=dtype, requires_grad=entry["requires_grad"]),
                                 size=torch.Size(entry["size"]), chunks=chunks)
