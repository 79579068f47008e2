"""A tensor of a snapshot that is not loaded yet."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Optional, Tuple

from .errors import InvalidArgumentError, UnsupportedError

if TYPE_CHECKING:
    from .store import Snapshot


class Handle:
    """One tensor by name: ``store["main:model/fc.weight"]``. Nothing of its bytes is touched before they are asked for.

    A handle is pinned to a snapshot, so the tensor never changes. It pickles as a reference (store's path, snapshot id,
    name) of a few hundred bytes, and is opened again where it is unpickled, also in another process.
    """

    __slots__ = ("_snapshot", "_row", "_facts")

    def __init__(self, snapshot: "Snapshot", row: int):
        self._snapshot = snapshot
        self._row = row
        self._facts = snapshot._core("shared").row(row)

    @property
    def name(self) -> str:
        """``"model/fc.weight"``"""
        return self._facts["name"]

    @property
    def snapshot_id(self) -> str:
        """32 hex digits."""
        return self._snapshot.id

    @property
    def dtype(self) -> str:
        """Torch's name: ``"float32"``, ``"bfloat16"``."""
        return self._facts["dtype"]

    @property
    def shape(self) -> Tuple[int, ...]:
        """In elements."""
        return self._facts["shape"]

    @property
    def stride(self) -> Tuple[int, ...]:
        """In elements."""
        return self._facts["stride"]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def numel(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def nbytes(self) -> int:
        """Bytes of all elements, as if they were contiguous."""
        return self.numel * self._facts["item_bytes"]

    @property
    def kind(self) -> str:
        """``"plain"``, ``"parameter"`` or ``"buffer"``."""
        return self._facts["kind"]

    @property
    def param(self) -> str:
        """Of optimizer state that was saved with its model: the parameter it belongs to. Else empty."""
        return self._facts["param"]

    @property
    def global_shape(self) -> Tuple[int, ...]:
        """Of a shard: the shape of the whole tensor. Else empty."""
        return self._facts["global_shape"]

    @property
    def global_offset(self) -> Tuple[int, ...]:
        """Of a shard: where in the whole tensor it begins, in elements of each dimension. Else empty."""
        return self._facts["global_offset"]

    @property
    def requires_grad(self) -> bool:
        return self._facts["requires_grad"]

    @property
    def location(self) -> str:
        """The device it was saved from: ``"cpu"``, ``"cuda:0"``, ``"meta"``."""
        return self._facts["location"]

    def stats(self) -> "Optional[dict]":
        """nan_count, inf_count, zero_count, min, max, mean, std (of the population) and norm (2-norm) as counted when it was
        committed, without reading the bytes; NaNs are counted and otherwise left out. None where nothing was kept."""
        return self._snapshot._core("shared").statistics(self._row)

    def numpy(self) -> Any:
        """A read-only numpy array over the store's pages: no copy, one physical copy for all processes.

        Raises UnsupportedError for element types that numpy does not have (bfloat16, float8)."""
        array = self._snapshot._core("shared").array(self._row)
        if array is None:
            raise UnsupportedError(f"numpy has no array for tensor {self.name!r} of type {self.dtype}: use torch()")
        return array

    def torch(self) -> Any:
        """A torch tensor over private pages: no copy until it is written to. Each call is a load of its own: what is
        written to one tensor is seen by no other."""
        if self._facts["quantizer"]:
            return self._snapshot.load(self.name)
        return self._snapshot._core("private").tensor(self._row)

    def __getitem__(self, index: Any) -> Any:
        """A slice, touching no other pages: of ``numpy()``, or of ``torch()`` where numpy lacks the type."""
        array = self._snapshot._core("shared").array(self._row)
        return (self.torch() if array is None else array)[index]

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> Any:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                raise ValueError("another element type needs a copy")
            return array.astype(dtype)
        return array.copy() if copy else array

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None,
                   copy: Optional[bool] = None) -> Any:
        """A capsule over private pages, so that no consumer can harm the store, nor itself by writing to it. Who knows
        DLPack 1.0 is told that they are read-only."""
        if dl_device is not None and tuple(dl_device) != self.__dlpack_device__():
            raise BufferError("the tensor is in the memory of the CPU")
        is_versioned = max_version is not None and tuple(max_version) >= (1, 0)
        core = self._snapshot._core("copy" if copy else "private")
        return core.capsule(self._row, versioned=is_versioned, read_only=not copy)

    def __dlpack_device__(self) -> Tuple[int, int]:
        return (1, 0)

    def memory(self) -> Any:
        """The bytes of a contiguous tensor, read-only, for the buffer protocol: ``memoryview(handle.memory())``."""
        return self._snapshot._core("shared").memory(self._row)

    def __reduce__(self):
        return _open_handle, (os.path.abspath(self._snapshot._store.path), self._snapshot.id, self.name)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a tensor without dimensions has no length")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<tenon.Handle {self.name} {self.dtype} {list(self.shape)} of {self._snapshot.id[:12]}>"


def _open_handle(path: str, snapshot_id: str, name: str) -> Handle:
    from .store import open as open_store
    if not name:
        raise InvalidArgumentError("a handle without a name")
    return open_store(path)[f"{snapshot_id}:{name}"]
