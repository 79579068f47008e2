"""Stores and snapshots."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from typing import Any, Callable, Dict, Iterator, List, Literal, Mapping, Optional, Sequence, Tuple, Union, overload

from . import _core, _saving
from ._background import BackgroundWriter, PendingSave
from ._facts import (Change, CommitResult, DiskUsage, GcReport, Ref, ReflogEntry, Retention, SnapshotInfo, VerifyReport,
                     disk_usage, reflog_entry, retention, snapshot_info)
from ._policy import Policy
from ._revs import split_location, split_target
from ._tips import Tips
from .errors import ConflictError, InvalidArgumentError, NoStoreError
from .handle import Handle
from .live import Subscription, Watch
from .query import Function, Result, query

PathLike = Union[str, "os.PathLike[str]"]

_MODES = ("private", "shared", "copy")


class Snapshot:
    """One immutable checkpoint of a store, its tensors by name. Names, statistics and ``numpy()`` of its handles stay
    readable after its store was closed and after it was forgotten; every other load opens it again."""

    def __init__(self, store: "Store", core: Any):
        self._store = store
        self._shared = core
        self._info = snapshot_info(core.info())

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

    def changed_since(self, older: "Snapshot") -> List[str]:
        """Names of the tensors that ``older`` does not have just so: new names, other geometry, other bytes."""
        return [self._shared.name(row) for row in self._shared.changed_since(older._shared)]

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

    def __init__(self, path: PathLike, core: Any = None, max_in_flight: int = 2):
        self.path = os.fspath(path)
        self._opened = _core.Store.open(self.path) if core is None else core
        self._pid = os.getpid()
        self._is_closed = False
        self._functions: Dict[str, Tuple[int, Function]] = {}
        self._max_in_flight = max_in_flight
        self._writer: Optional[BackgroundWriter] = None
        self._tips = Tips()

    def _core(self) -> Any:
        if self._is_closed:
            raise InvalidArgumentError(f"store {self.path} is closed")
        if self._pid != os.getpid():  # locks are not shared with the parent: this process opens its own
            self._opened = _core.Store.open(self.path)
            self._pid = os.getpid()
            self._writer = None  # its thread stayed in the parent
        return self._opened

    def _background(self) -> BackgroundWriter:
        self._core()
        if self._writer is None:
            self._writer = BackgroundWriter(self._max_in_flight)
        return self._writer

    # --- saving

    @overload
    def save(self, obj: Any = None, *, ref: str = "main", message: str = "", step: Optional[int] = None,
             meta: Optional[Mapping[str, Any]] = None, model: Any = None, optimizer: Any = None, compact: bool = False,
             statistics: bool = True, expected: Any = ..., on_moved: Optional[str] = None,
             wait: Literal[True] = True) -> CommitResult: ...

    @overload
    def save(self, obj: Any = None, *, ref: str = "main", message: str = "", step: Optional[int] = None,
             meta: Optional[Mapping[str, Any]] = None, model: Any = None, optimizer: Any = None, compact: bool = False,
             statistics: bool = True, expected: Any = ..., on_moved: Optional[str] = None,
             wait: Literal[False]) -> PendingSave: ...

    def save(self, obj: Any = None, *, ref: str = "main", message: str = "", step: Optional[int] = None,
             meta: Optional[Mapping[str, Any]] = None, model: Any = None, optimizer: Any = None, compact: bool = False,
             statistics: bool = True, expected: Any = ..., on_moved: Optional[str] = None,
             wait: bool = True) -> Union[CommitResult, PendingSave]:
        """Commits an object as a snapshot on ``ref``, the ref's tip its parent; durable when it returns (unless the store
        was made relaxed).

        ``obj`` is any nesting that torch.save takes. Storages go to the store as they are, views and ties are kept, and
        bytes that the store has already are not written again; the rest is pickled. In its place, or beside a dict of
        more, ``model`` and ``optimizer`` save their state dicts as ``model`` and ``optim``, and each row of optimizer
        state knows its parameter.

        ``meta`` is JSON. ``compact`` keeps of each storage only what its tensors use.

        ``wait=False`` returns a PendingSave once the bytes are copied, so that training can go on; at most
        ``max_in_flight`` saves of a store are under way, and one more waits for its turn.

        ``on_moved`` is what happens where somebody else moved the ref since this object saved to it: ``"rebase"`` (the
        default) puts the snapshot on top of what is there; ``"fork"`` leaves it alone and goes on from the last snapshot
        of one's own on a new ref, ``main-2``, with a warning; ``"raise"`` raises ConflictError. ``expected`` is the id
        that the ref must have (None: it must not exist); with it, ``"raise"`` is the default.

        Raises what pickling raises for objects that cannot be pickled, and tenon.Error; then the store is as it was.
        """
        core = self._core()
        saver = self._gather(obj, model, optimizer, compact)
        facts = {"message": message, "step": step, "meta": json.dumps(dict(meta or {})), "statistics": statistics}

        def commit() -> CommitResult:
            target, result = self._tips.commit(
                core, ref, expected, on_moved,
                lambda name, tip: saver.commit(core, ref=name, expected=tip, **facts))
            return CommitResult(ref=target, **result)

        return commit() if wait else self._background().submit(saver, commit)

    @staticmethod
    def _gather(obj: Any, model: Any, optimizer: Any, compact: bool) -> Any:
        state = _saving.state_of(model, optimizer)
        if obj is None and not state:
            raise InvalidArgumentError("nothing to save: give an object, a model or an optimizer")
        if state and obj is not None:
            if not isinstance(obj, dict) or state.keys() & obj.keys():
                raise InvalidArgumentError("beside model= and optimizer= an object is a dict with other keys")
            state = {**state, **obj}
        params = _saving.optimizer_params(model, optimizer, state)
        return _saving.gather(state or obj, compact=compact, params=params)

    def wait(self) -> None:
        """Until no save of this object is under way. Raises the first failure that nobody asked its future about."""
        if self._writer is not None and self._pid == os.getpid():
            self._writer.wait()

    def import_file(self, path: PathLike, *, ref: str = "main", message: str = "", step: Optional[int] = None) -> str:
        """Commits a .pt, .pth, TorchScript, .safetensors, .npy or .npz file, recognised by its content. Nothing in it is
        imported or called. Returns the snapshot's id."""
        return self._core().import_file(os.fspath(path), ref=ref, message=message, step=step)

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
        of the snapshot, as with ``load_state_dict(assign=True)``; what is tied in the model stays tied. Parameters are other
        objects then: make optimizers afterwards.

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

    # --- following

    def watch(self, ref: str = "main", *, timeout: Optional[float] = None, name: str = "") -> Watch:
        """The ref's snapshots as they come: ``for snap in store.watch("main")``. The iteration ends when nothing came for
        ``timeout`` seconds. ``name`` is what ``tenon ps`` calls this process."""
        return Watch(self, ref, timeout, name)

    def subscribe(self, callback: Callable[[Snapshot], Any], ref: str = "main", *, name: str = "") -> Subscription:
        """Calls ``callback`` with the current snapshot, and then with the newest one whenever the ref moves, in a thread
        of its own."""
        return Subscription(Watch(self, ref, None, name), callback)

    def processes(self) -> List[Dict[str, Any]]:
        """Who uses the store, and what it pays for that (bytes; None where this process may not look); see
        ``tenon help ps``."""
        return self._core().processes()

    # --- history

    def refs(self) -> List[Ref]:
        return [Ref(*ref) for ref in self._core().refs()]

    def log(self, rev: str = "main", limit: Optional[int] = None) -> List[SnapshotInfo]:
        """First parents from ``rev`` on, newest first."""
        return [snapshot_info(facts) for facts in self._core().log(rev, limit)]

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

    def diff(self, older: str, newer: str = "main", *, by: str = "name", numeric: bool = True, prefix: str = "",
             all: bool = False) -> List[Change]:  # noqa: A002
        """What differs between two snapshots, in the newer one's order. ``by="param"`` matches tensors whatever the model
        was wrapped in; ``numeric=False`` leaves the numbers out, and most of the reading; ``all`` lists equal tensors,
        too."""
        if by not in ("name", "param"):
            raise InvalidArgumentError(f"tensors are matched by 'name' or 'param', not by {by!r}")
        core = self._core()
        rows = core.diff(core.snapshot(older, "shared"), core.snapshot(newer, "shared"), by_param=by == "param",
                         numeric=numeric, prefix=prefix)
        return [Change(**row) for row in rows if all or row["change"] != "same"]

    def reflog(self, ref: str = "", limit: Optional[int] = None) -> List[ReflogEntry]:
        """What happened to a ref, or to the whole store, newest first."""
        return [reflog_entry(facts) for facts in self._core().reflog(ref, limit)]

    def undo(self, dry_run: bool = False) -> ReflogEntry:
        """Takes back the newest mutation, and says which. The snapshot of an undone commit stays in the store."""
        return reflog_entry(self._core().undo(dry_run))

    def forget(self, *, keep_last: int = 0, keep_hourly: int = 0, keep_daily: int = 0, keep_weekly: int = 0,
               keep_monthly: int = 0, keep_every: int = 0, keep_best: Union[str, Sequence[str]] = (),
               keep_tagged: bool = False, refs: Sequence[str] = (), ids: Sequence[str] = (), unreachable: bool = False,
               dry_run: bool = False) -> List[Retention]:
        """Forgets the snapshots in the histories of ``refs`` (all, if none is named) that no rule keeps, and says why each
        stays or goes. Tips of refs and tags stay. Until gc() their bytes are there, and undo() brings them back.

        ``keep_every=N``: the first of each N steps. ``keep_best``: ``"min:val_loss"``, ``"max:accuracy:3"``, numbers of
        the metadata. ``ids``: forget just these."""
        keep = {"last": keep_last, "hourly": keep_hourly, "daily": keep_daily, "weekly": keep_weekly,
                "monthly": keep_monthly, "every": keep_every, "tagged": keep_tagged,
                "best": [keep_best] if isinstance(keep_best, str) else list(keep_best)}
        rows = self._core().forget(keep=keep, refs=list(refs), ids=[self.resolve(one) for one in ids],
                                   unreachable=unreachable, dry_run=dry_run)
        return [retention(row) for row in rows]

    def gc(self, dry_run: bool = False) -> GcReport:
        """Gives the disk space of forgotten snapshots back, beside readers and writers."""
        return GcReport(**self._core().gc(dry_run))

    def du(self) -> DiskUsage:
        """What the store takes on disk, and what each snapshot uniquely costs."""
        return disk_usage(self._core().du())

    def clone(self, out: PathLike) -> "Store":
        """A consistent copy in a new directory, every byte checked, beside readers and writers."""
        self._core().clone(os.fspath(out))
        return Store(out)

    def export(self, target: str, out: PathLike, format: Optional[str] = None) -> None:  # noqa: A002
        """Writes a snapshot, or a part of it, as a file: ``"pt"`` (torch.load reads it with weights_only=True),
        ``"torchscript"``, ``"safetensors"``, ``"npz"`` or ``"npy"``; by the file's ending unless told."""
        rev, path = split_target(target)
        name = os.fspath(out)
        chosen = format or os.path.splitext(name)[1].lstrip(".").replace("pth", "pt")
        core = self._core()
        core.export_file(core.snapshot(rev, "shared"), path, name, chosen)

    def bundle(self, rev: str, out: PathLike) -> None:
        """Writes one snapshot as a single-file, read-only store, digests checked. Replaces nothing."""
        self._core().bundle(rev, os.fspath(out))

    def sql(self, statement: str, *, timeout: float = 0) -> Result:
        """Asks in SQL (docs/sql.md): ``store.sql("SELECT name, norm FROM tensors('main')").df()``.

        Reads only. ``timeout`` in seconds, over all rows; 0 is none: beyond it tenon.LimitError. What is wrong with the
        statement raises tenon.InvalidArgumentError with ``offset``, the byte where it is wrong, if that is known.
        """
        return query(self._core(), statement, timeout, self._functions)

    def register_function(self, name: str, function: Function, argument_count: int = -1) -> None:
        """Makes ``function`` one of SQL for this store object's statements; -1: any number of arguments.

        It gets None, int, float, str or bytes and returns one of them (or bool). What it raises ends the statement.
        """
        self._functions[name] = (argument_count, function)

    def verify(self, read_data: bool = False) -> VerifyReport:
        """Looks at every checksum, with ``read_data`` at every byte. Damage is reported, not raised."""
        return VerifyReport(**_core.Store.verify(self.path, read_data))

    @property
    def is_bundle(self) -> bool:
        return self._core().is_bundle()

    # --- life

    def close(self) -> None:
        """Ends saves that are under way, and gives descriptors back. What was loaded stays valid."""
        if self._writer is not None and self._pid == os.getpid():
            self._writer.close()
        self._writer = None
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


def open(path: PathLike, *, create: bool = False, durability: str = "full",  # noqa: A001
         max_in_flight: int = 2) -> Store:
    """Opens a store or a bundle; with ``create``, makes an empty store where nothing is. ``max_in_flight``: how many saves
    may be under way in the background. Raises NoStoreError."""
    path = os.fspath(path)
    try:
        return Store(path, max_in_flight=max_in_flight)
    except NoStoreError:
        if not create or os.path.exists(path):
            raise
    try:
        return Store(path, _core.Store.init(path, durability), max_in_flight)
    except ConflictError:  # somebody else made it meanwhile
        return Store(path, max_in_flight=max_in_flight)


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
