"""Stores and snapshots."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.util
import json
import os
import sys
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple, Union

from . import _core, _saving
from ._policy import Policy
from ._revs import split_location, split_target
from .errors import ConflictError, InvalidArgumentError, NoStoreError
from .handle import Handle

PathLike = Union[str, "os.PathLike[str]"]

_MODES = ("private", "shared", "copy")


@dataclasses.dataclass(frozen=True)
class SnapshotInfo:
    """What is known of a snapshot without its tensors."""

    id: str  # 32 hex digits
    parents: Tuple[str, ...]  # first parent first
    created_at: datetime.datetime  # UTC
    step: Optional[int]
    message: str
    meta: Dict[str, Any]
    tensor_count: int
    slot_count: int
    nbytes: int  # of all slots


@dataclasses.dataclass(frozen=True)
class CommitResult:
    """What a save did."""

    id: str  # of the snapshot, 32 hex digits
    ref: str
    sequence: int
    written_bytes: int  # of storages, as new data
    reused_bytes: int  # of storages that the store already had
    written_storages: int
    reused_storages: int


@dataclasses.dataclass(frozen=True)
class Ref:
    name: str
    id: str
    is_tag: bool


@dataclasses.dataclass(frozen=True)
class VerifyReport:
    """``damage`` is empty for a sound store; each entry has file, offset, what and snapshots."""

    damage: List[Dict[str, Any]]
    segments: int
    snapshots: int
    storages: int
    read_bytes: int

    @property
    def is_sound(self) -> bool:
        return not self.damage


def _info(facts: Dict[str, Any]) -> SnapshotInfo:
    created = datetime.datetime.fromtimestamp(facts.pop("created_at_ns") / 1e9, datetime.timezone.utc)
    facts["meta"] = json.loads(facts["meta"])
    return SnapshotInfo(created_at=created, **facts)


class Snapshot:
    """One immutable checkpoint of a store, its tensors by name. Names, statistics and ``numpy()`` of its handles stay
    readable after its store was closed and after it was forgotten; every other load opens it again."""

    def __init__(self, store: "Store", core: Any):
        self._store = store
        self._shared = core
        self._info = _info(core.info())

    @property
    def id(self) -> str:
        """32 hex digits."""
        return self._info.id

    @property
    def info(self) -> SnapshotInfo:
        return self._info

    @property
    def step(self) -> Optional[int]:
        return self._info.step

    @property
    def meta(self) -> Dict[str, Any]:
        return self._info.meta

    def __len__(self) -> int:
        """The number of tensors."""
        return len(self._shared)

    def __iter__(self) -> Iterator[str]:
        return iter([self._shared.name(row) for row in range(len(self._shared))])

    def __contains__(self, name: str) -> bool:
        return self._shared.find(name) is not None

    def keys(self) -> List[str]:
        """Names in the order of saving."""
        return list(self)

    def __getitem__(self, name: str) -> Handle:
        """Raises NotFoundError, naming close matches."""
        return Handle(self, self._shared.require(name))

    def select(self, prefix: str = "") -> List[Handle]:
        """Tensors under ``prefix``, sorted by name; whole components match: ``layers.1`` is not ``layers.10``."""
        return [Handle(self, row) for row in self._shared.select(prefix)]

    def load(self, path: str = "", **options: Any) -> Any:
        """As Store.load, of this very snapshot."""
        return self._store._load(self.id, path, **options)

    def _core(self, mode: str) -> Any:
        """The C++ snapshot. Shared pages are mapped once; every other load has its own."""
        return self._shared if mode == "shared" else self._store._core().snapshot(self.id, mode)

    def __repr__(self) -> str:
        return f"<tenon.Snapshot {self.id[:12]} step={self.step} {len(self)} tensors>"


class Store:
    """A store: a directory that many processes read and write at once, or a bundle (one file, read-only).

    Threads may share it. It pickles as its path. In a forked child it opens itself again. Closing it is never needed and
    harms nothing that was loaded.
    """

    def __init__(self, path: PathLike, core: Any = None):
        self.path = os.fspath(path)
        self._opened = _core.Store.open(self.path) if core is None else core
        self._pid = os.getpid()
        self._is_closed = False

    def _core(self) -> Any:
        if self._is_closed:
            raise InvalidArgumentError(f"store {self.path} is closed")
        if self._pid != os.getpid():  # locks are not shared with the parent: this process opens its own
            self._opened = _core.Store.open(self.path)
            self._pid = os.getpid()
        return self._opened

    # --- saving

    def save(self, obj: Any = None, *, ref: str = "main", message: str = "", step: Optional[int] = None,
             meta: Optional[Mapping[str, Any]] = None, model: Any = None, optimizer: Any = None, compact: bool = False,
             statistics: bool = True, expected: Any = ...) -> CommitResult:
        """Commits an object as a snapshot on ``ref``, the ref's tip its parent; durable when it returns (unless the store
        was made relaxed).

        ``obj`` is any nesting that torch.save takes. Storages go to the store as they are, views and ties are kept, and
        bytes that the store has already are not written again; the rest is pickled. In its place, or beside a dict of
        more, ``model`` and ``optimizer`` save their state dicts as ``model`` and ``optim``, and each row of optimizer
        state knows its parameter.

        ``meta`` is JSON. ``compact`` keeps of each storage only what its tensors use. ``expected``: the id that the ref
        must have (None: it must not exist), else ConflictError.

        Raises what pickling raises for objects that cannot be pickled, and tenon.Error; then the store is as it was.
        """
        state = _saving.state_of(model, optimizer)
        if obj is None and not state:
            raise InvalidArgumentError("nothing to save: give an object, a model or an optimizer")
        if state and obj is not None:
            if not isinstance(obj, dict) or state.keys() & obj.keys():
                raise InvalidArgumentError("beside model= and optimizer= an object is a dict with other keys")
            state = {**state, **obj}
        params = _saving.optimizer_params(model, optimizer, state)
        saver = _saving.gather(state or obj, compact=compact, params=params)
        result = saver.commit(self._core(), ref=ref, message=message, step=step, meta=json.dumps(dict(meta or {})),
                              statistics=statistics, expected=expected)
        return CommitResult(ref=ref, **result)

    # --- loading

    def snapshot(self, rev: str = "main") -> Snapshot:
        """The snapshot that ``rev`` names: a ref or tag, an id or 4 or more digits of it, each with ``~N``."""
        return Snapshot(self, self._core().snapshot(rev, "shared"))

    def load(self, target: str = "main", *, mode: str = "private", map_location: Any = None, device: Any = None,
             trusted: bool = False) -> Any:
        """The object that was saved, or a part of it: ``"main"``, ``"main:model"`` (its prefix stripped; other tensors are
        not touched).

        ``mode``: ``"private"``, tensors over copy-on-write pages, nothing is copied until it is written to, and nothing
        written reaches the store or another load; ``"copy"``, plain memory; ``"shared"``, read-only numpy arrays over
        pages that all processes share (a Handle where numpy lacks the element type). Without torch, tensors are numpy
        arrays in every mode.

        ``map_location`` as in torch.load (callable, dict, string, torch.device), or ``device`` for all of it.

        Classes other than tensors, containers, numpy's and those of torch.serialization.add_safe_globals are loaded only
        if ``trusted``; else UntrustedError names them all.
        """
        rev, path = split_target(target)
        return self._load(rev, path, mode=mode, map_location=map_location, device=device, trusted=trusted)

    def _load(self, rev: str, path: str, *, mode: str = "private", map_location: Any = None, device: Any = None,
              trusted: bool = False) -> Any:
        if mode not in _MODES:
            raise InvalidArgumentError(f"no mode {mode!r}: one of {', '.join(_MODES)}")
        copies_part = mode == "copy" and path != ""  # the library's own copies are of all there is
        core = self._core().snapshot(rev, "shared" if copies_part else mode)

        def make_handle(row: int) -> Handle:
            return Handle(Snapshot(self, core if mode == "shared" else self._core().snapshot(core.info()["id"], "shared")),
                          row)

        as_arrays = mode == "shared" or not _has_torch()
        placement = None
        if not as_arrays:
            from ._devices import Placement
            placement = Placement(map_location, device)
        elif map_location is not None or device is not None:
            raise InvalidArgumentError("map_location and device need torch and mode 'private' or 'copy'")
        return core.load(prefix=path, copies_part=copies_part, as_arrays=as_arrays, place=placement,
                         place_cpu=placement is not None and placement.also_from_cpu, policy=Policy(trusted),
                         make_handle=make_handle)

    def load_into(self, model: Any, target: str = "main", *, strict: bool = True, mode: str = "private",
                  map_location: Any = None, device: Any = None) -> Any:
        """Assigns a saved state dict to a torch module, without a copy; also to one on the meta device. Dtypes become those
        of the snapshot, as with ``load_state_dict(assign=True)``; what is tied in the model stays tied.

        Returns missing_keys and unexpected_keys; with ``strict`` they raise RuntimeError, as different shapes always do,
        in torch's own words. A model on another device gets its tensors there.
        """
        from .modules import load_state, single_device
        if map_location is None and device is None:
            device = single_device(model)
        state = self.load(target, mode=mode, map_location=map_location, device=device)
        return load_state(model, state, strict)

    def __getitem__(self, target: str) -> Handle:
        """A lazy handle: ``store["main:model/fc.weight"]``."""
        rev, path = split_target(target)
        return self.snapshot(rev)[path or "."]

    # --- history

    def refs(self) -> List[Ref]:
        return [Ref(*ref) for ref in self._core().refs()]

    def log(self, rev: str = "main", limit: Optional[int] = None) -> List[SnapshotInfo]:
        """First parents from ``rev`` on, newest first."""
        return [_info(facts) for facts in self._core().log(rev, limit)]

    def resolve(self, rev: str) -> str:
        """The id, 32 hex digits."""
        return self._core().resolve(rev)

    def tag(self, name: str, rev: str = "main") -> str:
        """A name that does not move. Returns the id."""
        snapshot_id = self.resolve(rev)
        self._core().create_tag(name, snapshot_id)
        return snapshot_id

    def set_ref(self, name: str, rev: str, expected: Any = ...) -> None:
        """Points a ref at a snapshot; ``expected`` as in save."""
        self._core().set_ref(name, self.resolve(rev), expected)

    def delete_ref(self, name: str) -> None:
        """Removes a ref or tag; its snapshot stays."""
        self._core().delete_ref(name)

    def bundle(self, rev: str, out: PathLike) -> None:
        """Writes one snapshot as a single-file, read-only store, digests checked. Replaces nothing."""
        self._core().bundle(rev, os.fspath(out))

    def verify(self, read_data: bool = False) -> VerifyReport:
        """Looks at every checksum, with ``read_data`` at every byte. Damage is reported, not raised."""
        return VerifyReport(**_core.Store.verify(self.path, read_data))

    @property
    def is_bundle(self) -> bool:
        return self._core().is_bundle()

    # --- life

    def close(self) -> None:
        """Gives descriptors back. What was loaded stays valid."""
        self._is_closed = True
        self._opened = None

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __reduce__(self):
        return Store, (os.path.abspath(self.path),)

    def __repr__(self) -> str:
        return f"<tenon.Store {self.path}>"


def _has_torch() -> bool:
    if "torch" in sys.modules:
        return sys.modules["torch"] is not None
    return importlib.util.find_spec("torch") is not None


def open(path: PathLike, *, create: bool = False, durability: str = "full") -> Store:  # noqa: A001
    """Opens a store or a bundle; with ``create``, makes an empty store where nothing is. Raises NoStoreError."""
    path = os.fspath(path)
    try:
        return Store(path)
    except NoStoreError:
        if not create or os.path.exists(path):
            raise
    try:
        return Store(path, _core.Store.init(path, durability))
    except ConflictError:  # somebody else made it meanwhile
        return Store(path)


def save(obj: Any, f: PathLike, *, ref: str = "main", message: str = "", step: Optional[int] = None,
         meta: Optional[Mapping[str, Any]] = None, compact: bool = False) -> CommitResult:
    """Where ``torch.save(obj, "run.pt")`` stood: a snapshot more on ref ``main`` of the store ``f``, which is made if it
    is not there. See Store.save."""
    return open(f, create=True).save(obj, ref=ref, message=message, step=step, meta=meta, compact=compact)


def load(f: PathLike, map_location: Any = None, *, mode: str = "private", device: Any = None, trusted: bool = False,
         weights_only: Optional[bool] = None, mmap: Optional[bool] = None) -> Any:
    """Where ``torch.load`` stood: the newest of ref ``main``; ``"run.tenon@step:100"``, ``"run.tenon@v1"`` and
    ``"run.tenon:model"`` name others and parts. See Store.load.

    ``weights_only=False`` is ``trusted=True``, and ``mmap=False`` is ``mode="copy"``, so that calls of torch.load can stay.
    """
    path, (rev, part) = split_location(f)
    if mmap is False:
        mode = "copy"
    return open(path).load(f"{rev}:{part}", mode=mode, map_location=map_location, device=device,
                           trusted=trusted or weights_only is False)
