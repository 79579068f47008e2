"""Saves that go on while the program does."""

from __future__ import annotations

import concurrent.futures
import threading
import warnings
from typing import Any, Callable, List, Optional

from . import _core
from ._facts import CommitResult
from .errors import InvalidArgumentError


class PendingSave:
    """What ``save(..., wait=False)`` returns.

    ``staged`` is a future that is done once the bytes are ours, so that tensors may change; it is done when save returns.
    ``durable`` is a future of the CommitResult, done when the snapshot is committed. The methods are those of
    ``durable``."""

    def __init__(self) -> None:
        self.staged: "concurrent.futures.Future[None]" = concurrent.futures.Future()
        self.durable: "concurrent.futures.Future[CommitResult]" = concurrent.futures.Future()
        self._is_told = False  # whether somebody asked how it went

    def result(self, timeout: Optional[float] = None) -> CommitResult:
        """Waits; raises what the commit raised. ``timeout`` in seconds: then concurrent.futures.TimeoutError."""
        try:
            return self.durable.result(timeout)
        finally:
            self._is_told = self._is_told or self.durable.done()

    def exception(self, timeout: Optional[float] = None) -> Optional[BaseException]:
        error = self.durable.exception(timeout)
        self._is_told = True
        return error

    def done(self) -> bool:
        return self.durable.done()

    def add_done_callback(self, function: "Callable[[PendingSave], Any]") -> None:
        """Calls ``function`` with this object when the commit ended, one way or the other, in some thread."""
        self.durable.add_done_callback(lambda _: function(self))

    def __repr__(self) -> str:
        return f"<tenon.PendingSave {'done' if self.done() else 'under way'}>"


class BackgroundWriter:
    """The saves of one store in one thread, in order; at most ``limit`` are under way, and each has memory for its bytes,
    which is kept for the next one."""

    def __init__(self, limit: int):
        if limit < 1:
            raise InvalidArgumentError("max_in_flight is at least 1")
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="tenon-save")
        self._free = threading.Semaphore(limit)
        self._buffers: List[Any] = []
        self._pending: List[PendingSave] = []
        self._lock = threading.Lock()

    def submit(self, saver: Any, commit: Callable[[], CommitResult]) -> PendingSave:
        """Waits for a free place, takes the bytes, and returns; ``commit`` runs later."""
        self._warn_of_failures()
        pending = PendingSave()
        self._free.acquire()
        with self._lock:
            buffer = self._buffers.pop() if self._buffers else _core.StagingBuffer()
        try:
            saver.stage(buffer)
            with self._lock:
                self._pending.append(pending)
            self._thread.submit(self._run, pending, buffer, commit)
        except BaseException:
            self._give_back(buffer)
            raise
        pending.staged.set_result(None)
        return pending

    def wait(self) -> None:
        """Until nothing is under way. Raises the first failure that nobody asked about."""
        with self._lock:
            waiting = list(self._pending)
        errors = [error for pending in waiting if not pending._is_told and (error := pending.exception()) is not None]
        concurrent.futures.wait([pending.durable for pending in waiting])
        self._forget_what_is_told()
        if errors:
            raise errors[0]

    def close(self) -> None:
        self._thread.shutdown(wait=True)
        self._buffers.clear()

    def _run(self, pending: PendingSave, buffer: Any, commit: Callable[[], CommitResult]) -> None:
        try:
            result = commit()
        except BaseException as error:  # noqa: BLE001  (told by the future)
            self._give_back(buffer)
            pending.durable.set_exception(error)
        else:
            self._give_back(buffer)
            pending._is_told = True  # there is nothing to miss
            pending.durable.set_result(result)

    def _give_back(self, buffer: Any) -> None:
        with self._lock:
            self._buffers.append(buffer)
        self._free.release()

    def _forget_what_is_told(self) -> None:
        with self._lock:
            self._pending = [pending for pending in self._pending if not (pending.done() and pending._is_told)]

    def _warn_of_failures(self) -> None:
        """Of saves that failed and whose future nobody looked at: training goes on, but not in silence."""
        with self._lock:
            ended = [pending for pending in self._pending if pending.done() and not pending._is_told]
        for error in (pending.exception() for pending in ended):
            if error is not None:
                warnings.warn(f"a save in the background failed: {error}", RuntimeWarning, stacklevel=4)
        self._forget_what_is_told()
