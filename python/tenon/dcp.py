"""Sharded checkpoints: a store behind torch.distributed.checkpoint.

    dcp.save(state, storage_writer=tenon.dcp.StorageWriter("run.tenon", step=100))
    dcp.load(state, storage_reader=tenon.dcp.StorageReader("run.tenon", rev="main@step:100"))

Ranks write their shards side by side into one file, each what its shard differs in from the checkpoint before; the
coordinator then commits all of it as one snapshot. Who dies on the way leaves nothing.

A shard is a row with its global shape and offset as columns, named after the tensor: ``model/fc.weight`` where one shard
is all of it, else ``model/fc.weight/0``, ``/1``, .... What is no tensor is there as the value that it is, where
torch.load(weights_only=True) can tell. So the snapshot is also an ordinary one, to load, show and compare.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
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

from . import _core, _saving
from ._revs import split_location
from .errors import CorruptError, InvalidArgumentError, UnsupportedError
from .handle import Handle
from .store import CommitResult, PathLike, Snapshot, Store, open

_INDEX = "torch.distributed.checkpoint/index.json"
_BYTES = "torch.distributed.checkpoint/bytes/"
_VERSION = 1

Path = Tuple[Union[str, int], ...]


@dataclasses.dataclass(frozen=True)
class _RankPlan:
    """What the coordinator tells a rank."""

    ticket: str  # of the commit under way
    paths: List[Path]  # of each item of the plan


@dataclasses.dataclass(frozen=True)
class _Part:
    """The shards that one rank wrote."""

    content: bytes  # for JointCommit.commit
    names: List[str]  # of its rows


@dataclasses.dataclass(frozen=True)
class _Written:
    """What a rank tells of an item."""

    path: Path
    content: Optional[bytes] = None  # of what is no tensor
    part: Optional[_Part] = None  # with the rank's first item


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
        self._joint: Any = None  # of the coordinator, while a save is under way
        self._plans: List[SavePlan] = []
        self.result: Optional[CommitResult] = None

    def reset(self, checkpoint_id: Union[str, "os.PathLike[str]", None] = None) -> None:
        if checkpoint_id:
            self._given = checkpoint_id
        self._plans = []
        self._joint = None
        self.result = None

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        if is_coordinator:  # makes the store, so that ranks need not race
            self._store(create=True)

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        return plan

    def prepare_global_plan(self, plans: List[SavePlan]) -> List[SavePlan]:
        self._joint = _core.JointCommit(self._store()._core(), self._facts["ref"], self._facts["statistics"])
        mapping = {fqn: tuple(path) for plan in plans for fqn, path in (plan.planner_data or {}).items()}
        counts = _count_shards(plans)
        taken: Dict[str, int] = {}
        self._plans = []
        for plan in plans:
            paths = []
            for item in plan.items:
                fqn = item.index.fqn
                path: Path = mapping.get(fqn, (fqn,))
                if counts[fqn] > 1:
                    path += (taken.get(fqn, 0),)
                    taken[fqn] = taken.get(fqn, 0) + 1
                paths.append(path)
            orders = _RankPlan(self._joint.ticket(), paths)
            self._plans.append(dataclasses.replace(plan, storage_data=orders))
        return self._plans

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> "Future[List[WriteResult]]":
        orders: _RankPlan = plan.storage_data
        tensors: Dict[Path, Any] = {}
        shards: Dict[Path, WriteItem] = {}
        results = []
        for item, path in zip(plan.items, orders.paths):
            data = planner.resolve_data(item)
            if item.type == WriteItemType.BYTE_IO:
                assert isinstance(data, io.BytesIO)
                size, written = len(data.getbuffer()), _Written(path, content=data.getvalue())
            else:
                tensors[path] = data.detach()
                shards[path] = item
                size, written = data.numel() * data.element_size(), _Written(path)
            results.append(WriteResult(index=item.index, size_in_bytes=size, storage_data=written))
        if tensors:
            try:
                part = self._write_part(orders.ticket, tensors, shards)
            except BaseException:
                self._joint = None  # who keeps the exception keeps this writer
                raise
            first = results[0]
            results[0] = dataclasses.replace(first, storage_data=dataclasses.replace(first.storage_data, part=part))
        return _done(results)

    def _write_part(self, ticket: str, tensors: Dict[Path, Any], shards: Dict[Path, WriteItem]) -> _Part:
        saver = _saving.gather(_nest(tensors, lists=False), compact=True, shards=_places(shards))
        content, names = _core.write_part(self._store()._core(), ticket, saver)
        unwritten = sorted(set(map(_row_name, tensors)).difference(names))
        if unwritten:
            raise UnsupportedError(f"shards that are no dense tensor cannot be saved: {', '.join(unwritten)}")
        return _Part(content, names)

    def finish(self, metadata: Metadata, results: List[List[WriteResult]]) -> None:
        items = {item.index: item for plan in self._plans for item in plan.items}
        written = [(items[result.index], result.storage_data) for of_rank in results for result in of_rank]
        parts = [told.part for _, told in written if told.part is not None]
        rows = {name: number for number, name in enumerate(name for part in parts for name in part.names)}
        values: Dict[Path, Any] = {}
        shards: Dict[Path, WriteItem] = {}
        attachments: Dict[str, bytes] = {}
        for item, told in written:
            if told.content is not None:
                attachments[_BYTES + item.index.fqn] = told.content
                values[told.path] = _plain_value(told.content)
            else:
                values[told.path] = _saving.Row(rows[_row_name(told.path)])
                shards[told.path] = item
        attachments[_INDEX] = json.dumps(_index(metadata, shards)).encode()
        facts = self._facts
        done = self._joint.commit([part.content for part in parts], _saving.structure_of(_nest(values, lists=True)),
                                  facts["message"], facts["step"], json.dumps(facts["meta"]), attachments)
        self._joint = None
        self.result = CommitResult(ref=facts["ref"], **done)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: Union[str, "os.PathLike[str]"]) -> bool:
        return os.fspath(checkpoint_id).endswith(".tenon")

    def _store(self, create: bool = False) -> Store:
        if self._given is None:
            raise InvalidArgumentError("no store: give one to StorageWriter, or its path to dcp.save as checkpoint_id")
        if not isinstance(self._given, Store):
            self._given = open(self._given, create=create)
        return self._given


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


def _row_name(path: Path) -> str:
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
