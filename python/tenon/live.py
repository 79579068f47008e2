"""Following a ref, and swapping weights while they are used."""

from __future__ import annotations

import dataclasses
import threading
import weakref
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Mapping, Optional

from ._revs import split_target
from .errors import InvalidArgumentError, NotFoundError

if TYPE_CHECKING:
    from .store import Snapshot, Store

_SLICE_S = 0.1  # how long stopping may take


class Watch:
    """An iterator over the snapshots of a ref: the current one first, then the newest after each wake; it may skip some.

    Each is newer than the one before (a ref that is moved back is news, too). Waiting lets other threads run, and Ctrl-C
    ends it. One thread at a time.
    """

    def __init__(self, store: "Store", ref: str, timeout: Optional[float], name: str):
        self._store, self._timeout = store, timeout
        self._core = store._core().watch(ref, name)

    def _snapshot(self, core: Any) -> "Optional[Snapshot]":
        from .store import Snapshot
        return None if core is None else Snapshot(self._store, core)

    def poll(self) -> "Optional[Snapshot]":
        """The ref's snapshot if it is another than the one given last; does not wait."""
        return self._snapshot(self._core.poll())

    def next(self, timeout: Optional[float] = None) -> "Optional[Snapshot]":
        """The same, waited for, ``timeout`` seconds at most; None when they are over."""
        return self._snapshot(self._core.next(timeout))

    def __iter__(self) -> "Iterator[Snapshot]":
        return self

    def __next__(self) -> "Snapshot":
        """Ends when nothing came for the ``timeout`` that the watch was made with."""
        snapshot = self.next(self._timeout)
        if snapshot is None:
            raise StopIteration
        return snapshot


class Subscription:
    """Calls a function with each new snapshot, in a thread of its own, until it is closed. As a context manager it closes
    itself. What the function raises ends the subscription, and is raised by ``close``."""

    def __init__(self, watch: Watch, callback: "Callable[[Snapshot], Any]"):
        self._watch, self._callback = watch, callback
        self._is_over = threading.Event()
        self._error: Optional[BaseException] = None
        self._thread = threading.Thread(target=self._run, name="tenon-subscription", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._is_over.is_set():
                snapshot = self._watch.next(_SLICE_S)
                if snapshot is not None:
                    self._callback(snapshot)
        except BaseException as error:  # told by close(), wherever it came from
            self._error = error

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        """Waits for a call that is running, unless it comes from that very call."""
        self._is_over.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def __enter__(self) -> "Subscription":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


@dataclasses.dataclass(frozen=True)
class WeightSwap:
    """What an update did."""

    before: "Snapshot"
    after: "Snapshot"
    changed: List[str]  # names whose values or geometry are new, without the set's prefix
    removed: List[str]


class WeightSet(Mapping):
    """The current weights of a ref by name, swapped while others read them.

        weights = tenon.WeightSet(store, "main:model")
        weights.swap_into(model)
        for request in requests:
            if weights.update(): weights.swap_into(model)      # between steps
            answer(model, request)

    ``current`` is a dict that is never changed, only replaced: whoever took it keeps it whole. Tensors that did not change
    stay the same objects in the next one, and nothing of them is mapped or read again; so they also keep what somebody
    wrote into them. With mode ``"shared"``, or without torch, values are numpy arrays.
    """

    def __init__(self, store: "Store", target: str = "main", *, mode: str = "private", name: str = ""):
        """``target``: a ref, and the path of a state dict in it. Raises NotFoundError if there is no such ref or path."""
        ref, self._path = split_target(target)
        self._mode = mode
        self._watch = Watch(store, ref, None, name)
        self._updating = threading.Lock()
        self._models: "weakref.WeakKeyDictionary[Any, Dict[str, Any]]" = weakref.WeakKeyDictionary()
        first = self._watch.poll()
        if first is None:
            raise NotFoundError(f"no ref '{ref}'")
        self._state = (first, self._load(first, first.keys(), {}))
        if self._path and not self.current:
            raise NotFoundError(f"nothing under '{self._path}' in snapshot {first.id}")

    @property
    def snapshot(self) -> "Snapshot":
        return self._state[0]

    @property
    def current(self) -> Dict[str, Any]:
        return self._state[1]

    def __getitem__(self, name: str) -> Any:
        return self.current[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.current)

    def __len__(self) -> int:
        return len(self.current)

    def update(self, timeout: Optional[float] = 0) -> Optional[WeightSwap]:
        """Swaps to the newest snapshot if there is a newer one, for which it waits ``timeout`` seconds at most (None: as
        long as it takes)."""
        with self._updating:
            after = self._watch.next(timeout)
            if after is None:
                return None
            before, old = self._state
            changed = after.changed_since(before)
            new = self._load(after, changed, old)
            self._state = (after, new)
            return WeightSwap(before, after, [self._key(name) for name in changed if self._is_under(name)],
                              [name for name in old if name not in new])

    def swap_into(self, model: Any, *, copy: bool = False, strict: bool = True) -> List[str]:
        """Puts the current weights into a torch module: those that it does not have yet. Call it between steps.

        By pointer: parameters and buffers are replaced, without a copy (before torch 2.1 values are copied). With ``copy``,
        values are copied into the tensors that are there: addresses stay, for CUDA graphs and for what holds references.
        Returns the names that were swapped. ``strict``: as in load_state_dict, names must match.
        """
        import torch
        current, had = self.current, self._models.get(model, {})
        fresh = {name: value for name, value in current.items() if had.get(name) is not value}
        values = {name: value if isinstance(value, torch.Tensor) else torch.from_numpy(value.copy())
                  for name, value in fresh.items()}
        self._check_names(model, current, strict)
        if copy:
            targets = model.state_dict()
            with torch.no_grad():
                for name in values.keys() & targets.keys():
                    targets[name].copy_(values[name])
        else:
            from .modules import load_state
            load_state(model, values, strict=False)
        self._models[model] = current
        return list(fresh)

    @staticmethod
    def _check_names(model: Any, current: Dict[str, Any], strict: bool) -> None:
        wanted = model.state_dict().keys()
        missing, unexpected = wanted - current.keys(), current.keys() - wanted
        if strict and (missing or unexpected):
            raise InvalidArgumentError(f"the model has other names: missing {sorted(missing)}, unexpected "
                                       f"{sorted(unexpected)}; choose a path, or strict=False")

    def _is_under(self, name: str) -> bool:
        return not self._path or name.startswith(self._path + "/")

    def _key(self, name: str) -> str:
        return name[len(self._path) + 1:] if self._path else name

    def _load(self, snapshot: "Snapshot", fresh: List[str], old: Dict[str, Any]) -> Dict[str, Any]:
        """The weights of ``snapshot``: ``fresh`` ones from it, the others as they are in ``old``."""
        from .store import _has_torch
        is_fresh, core = set(fresh), None
        as_arrays = self._mode == "shared" or not _has_torch()
        weights = {}
        for name in snapshot.keys():
            if not self._is_under(name):
                continue
            key = self._key(name)
            if name not in is_fresh:
                weights[key] = old[key]
                continue
            core = core or snapshot._core(self._mode)
            row = core.require(name)
            weights[key] = core.array(row) if as_arrays else core.tensor(row)
        return weights
