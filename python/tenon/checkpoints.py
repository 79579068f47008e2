"""Checkpoints of a training run: when to save, what to keep."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

from ._background import PendingSave
from ._facts import CommitResult, SnapshotInfo
from .errors import InvalidArgumentError, NotFoundError
from .store import PathLike, Store, open

Saved = Union[CommitResult, PendingSave]


class CheckpointManager:
    """Saves every so many steps and keeps what the rules say.

        manager = tenon.CheckpointManager("run.tenon", save_every=100, keep_last=3, keep_every=1000,
                                          keep_best="min:val_loss")
        for step in range(manager.next_step(), steps):
            ...
            manager.save(step, model=model, optimizer=optimizer, metrics={"val_loss": loss})
        manager.wait()

    A snapshot stays if any rule keeps it: the ``keep_last`` newest, the first of each ``keep_every`` steps, the best by a
    metric (``"min:val_loss"``, ``"max:accuracy:3"`` for the three best, or several such), one for each of so many hours,
    days, weeks or months; and always the newest, and what a tag points to. Without any rule all stay. What is forgotten
    gives its space back at once.

    Saves go on in the background (``wait=True``: they do not); ``max_in_flight`` may be under way. A ref that somebody
    else moved never ends the run: see ``on_moved`` of Store.save.
    """

    def __init__(self, store: Union[Store, PathLike], ref: str = "main", *, save_every: int = 1, keep_last: int = 0,
                 keep_every: int = 0, keep_best: Union[str, Sequence[str]] = (), keep_hourly: int = 0,
                 keep_daily: int = 0, keep_weekly: int = 0, keep_monthly: int = 0, wait: bool = False,
                 on_moved: str = "rebase", max_in_flight: int = 2):
        if save_every < 1:
            raise InvalidArgumentError("save_every is at least 1")
        self.store = store if isinstance(store, Store) else open(store, create=True, max_in_flight=max_in_flight)
        self.ref = ref
        self._save_every = save_every
        self._waits = wait
        self._on_moved = on_moved
        rules: Dict[str, Any] = {"keep_last": keep_last, "keep_every": keep_every, "keep_best": keep_best,
                                 "keep_hourly": keep_hourly, "keep_daily": keep_daily, "keep_weekly": keep_weekly,
                                 "keep_monthly": keep_monthly}
        self._rules = {name: value for name, value in rules.items() if value}
        self._best = [keep_best] if isinstance(keep_best, str) else list(keep_best)

    # --- saving

    def should_save(self, step: int) -> bool:
        return step % self._save_every == 0

    def save(self, step: int, obj: Any = None, *, metrics: Optional[Mapping[str, float]] = None, force: bool = False,
             **options: Any) -> Optional[Saved]:
        """Saves if it is time (or ``force``); else returns None. ``metrics`` are the snapshot's metadata; ``options`` as in
        Store.save: ``model``, ``optimizer``, ``message``."""
        if not force and not self.should_save(step):
            return None
        saved = self.store.save(obj, ref=self.ref, step=step, meta=metrics, on_moved=self._on_moved, wait=self._waits,
                                **options)
        if isinstance(saved, PendingSave):
            saved.add_done_callback(self._clean_after)
        else:
            self.clean(saved.ref)
        return saved

    def _clean_after(self, pending: PendingSave) -> None:
        if pending.durable.exception() is None:
            self.clean(pending.durable.result().ref)

    def clean(self, ref: Optional[str] = None) -> List[str]:
        """Forgets what no rule keeps and gives its space back. Returns the ids. Done after every save."""
        if not self._rules:
            return []
        rows = self.store.forget(refs=[ref or self.ref], **self._rules)
        gone = [row.info.id for row in rows if not row.is_kept]
        if gone:
            self.store.gc()
        return gone

    def wait(self) -> None:
        """Until every save is durable. Raises the first failure that nobody asked about."""
        self.store.wait()

    # --- looking

    def checkpoints(self) -> List[SnapshotInfo]:
        """Newest first."""
        try:
            return self.store.log(self.ref)
        except NotFoundError:
            return []

    def all_steps(self) -> List[int]:
        """Oldest first."""
        return [info.step for info in reversed(self.checkpoints()) if info.step is not None]

    def latest_step(self) -> Optional[int]:
        return next((info.step for info in self.checkpoints() if info.step is not None), None)

    def next_step(self) -> int:
        """Where a run goes on: 0, or the step after the newest checkpoint."""
        latest = self.latest_step()
        return 0 if latest is None else latest + 1

    def best_step(self, metric: Optional[str] = None) -> Optional[int]:
        """By ``"min:val_loss"`` or ``"max:accuracy"``; by the first rule of ``keep_best`` unless told."""
        chosen = metric or (self._best[0] if self._best else None)
        if chosen is None:
            raise InvalidArgumentError("no metric: give one, or a keep_best rule")
        way, name = chosen.split(":")[:2]
        try:
            snapshot_id = self.store.resolve(f"{self.ref}@{way}:{name}")
        except NotFoundError:
            return None
        return self.store.snapshot(snapshot_id).step

    # --- loading

    def load(self, step: Optional[int] = None, path: str = "", **options: Any) -> Any:
        """The newest checkpoint, or that of a step, or a part of it; ``options`` as in Store.load."""
        return self.store.load(self._target(step, path), **options)

    def load_into(self, model: Any, step: Optional[int] = None, path: str = "model", **options: Any) -> Any:
        return self.store.load_into(model, self._target(step, path), **options)

    def _target(self, step: Optional[int], path: str) -> str:
        rev = self.ref if step is None else f"{self.ref}@step:{step}"
        return f"{rev}:{path}"

    def __enter__(self) -> "CheckpointManager":
        return self

    def __exit__(self, *_: Any) -> None:
        self.wait()
