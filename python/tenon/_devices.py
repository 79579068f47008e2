"""Bytes between a store and devices: from any device when saving, to any when loading.

What goes to or comes from CUDA passes through a bounded ring of pinned buffers, so that copies run beside each other: a
copy straight from a mapping is several times slower, and pinning everything would need as much locked memory.
"""

from __future__ import annotations

import threading
from typing import Any, Callable, Optional

RING_BUFFERS = 2
BUFFER_BYTES = 32 << 20


class Ring:
    """Pinned buffers (plain ones where nothing can be pinned), used in turn; a buffer is used again when its copy ended.

    ``pinned``: whether to pin. One thread at a time."""

    def __init__(self, pinned: bool, buffer_bytes: int = BUFFER_BYTES, count: int = RING_BUFFERS):
        import torch
        self._torch = torch
        self._pinned = pinned
        self._buffers = [torch.empty(buffer_bytes, dtype=torch.uint8, pin_memory=pinned) for _ in range(count)]
        self._events: "list[Any]" = [None] * count
        self._next = 0

    def _take(self) -> int:
        index = self._next
        self._next = (index + 1) % len(self._buffers)
        if self._events[index] is not None:
            self._events[index].synchronize()
            self._events[index] = None
        return index

    def upload(self, source: Any, target: Any) -> None:
        """Copies a flat byte tensor of the CPU into one of a device; ends when the copy did."""
        size = self._buffers[0].numel()
        for begin in range(0, source.numel(), size):
            piece = source[begin:begin + size]
            index = self._take()
            staged = self._buffers[index][:piece.numel()]
            staged.copy_(piece)
            target[begin:begin + size].copy_(staged, non_blocking=self._pinned)
            if self._pinned:
                self._events[index] = self._torch.cuda.Event()
                self._events[index].record()
        self._drain()

    def download(self, source: Any, target: Any) -> None:
        """Copies a flat byte tensor of a device into one of the CPU."""
        size = self._buffers[0].numel()
        waiting: "list[Any]" = []
        for begin in range(0, source.numel(), size):
            piece = source[begin:begin + size]
            if len(waiting) == len(self._buffers):
                self._deliver(waiting.pop(0), target)
            index = self._take()
            self._buffers[index][:piece.numel()].copy_(piece, non_blocking=self._pinned)
            event = None
            if self._pinned:
                event = self._torch.cuda.Event()
                event.record()
            waiting.append((index, begin, piece.numel(), event))
        for piece in waiting:
            self._deliver(piece, target)

    def _deliver(self, piece: Any, target: Any) -> None:
        index, begin, size, event = piece
        if event is not None:
            event.synchronize()
        target[begin:begin + size].copy_(self._buffers[index][:size])

    def _drain(self) -> None:
        for index, event in enumerate(self._events):
            if event is not None:
                event.synchronize()
                self._events[index] = None


_ring: Optional[Ring] = None
_ring_lock = threading.Lock()


def _with_ring(device_type: str, copy: Callable[[Ring], None]) -> None:
    global _ring
    with _ring_lock:
        if _ring is None:
            import torch
            _ring = Ring(pinned=device_type == "cuda" and torch.cuda.is_available())
        copy(_ring)


def _as_bytes(storage: Any) -> Any:
    """A flat byte tensor over an untyped storage."""
    import torch
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage, 0, (storage.nbytes(),), (1,))


class DeviceReader:
    """Reads an untyped storage of a device piece by piece, as a commit asks for it."""

    def __init__(self, storage: Any):
        import torch
        self._bytes = _as_bytes(storage)
        self.location = str(torch.serialization.location_tag(storage))

    def read_into(self, offset: int, out: memoryview) -> None:
        import torch
        target = torch.frombuffer(out, dtype=torch.uint8)
        source = self._bytes[offset:offset + target.numel()]
        if source.device.type == "cuda":
            _with_ring("cuda", lambda ring: ring.download(source, target))
        else:
            target.copy_(source)


def _to_cuda(storage: Any, device: Any) -> Any:
    import torch
    target = torch.UntypedStorage(storage.nbytes(), device=device)
    if storage.nbytes():
        _with_ring("cuda", lambda ring: ring.upload(_as_bytes(storage), _as_bytes(target)))
    return target


def _restore(storage: Any, location: str) -> Any:
    """A storage of the CPU at `location`, as torch restores it; raises as torch does where the device is missing."""
    import torch
    if location.startswith("cuda") and torch.cuda.is_available():
        device = torch.device(location)
        if device.index is None or device.index < torch.cuda.device_count():
            return _to_cuda(storage, device)
    return torch.serialization.default_restore_location(storage, location)


class Placement:
    """Where storages go. ``map_location`` as in torch.load: None, a callable, a dict, a string or a torch.device."""

    def __init__(self, map_location: Any = None, device: Any = None):
        if map_location is not None and device is not None:
            raise TypeError("give map_location or device, not both")
        chosen = device if device is not None else map_location
        self._map = chosen
        self.also_from_cpu = chosen is not None and str(chosen) != "cpu"

    def __call__(self, storage: Any, location: str) -> Any:
        chosen = self._map
        if chosen is None:
            return _restore(storage, location)
        if isinstance(chosen, dict):
            return _restore(storage, str(chosen.get(location, location)))
        if callable(chosen):
            placed = chosen(storage, location)
            return _restore(storage, location) if placed is None else placed
        return _restore(storage, str(chosen))
