"""Deep equality of what torch.load returns: nothing that a program could tell apart may differ.

Compared are values bit for bit (NaN payloads too: whole storages, not only what a view shows), dtype, shape, stride,
storage offset, requires_grad, conj and neg bits, hooks, the types of tensors and containers, key types and key order,
Python attributes and slots, which objects are one and the same, which tensors share a storage, and which arrays memory.

    assert_equal(got, wanted)   # raises AssertionError with the place: "root['model'][3]: stride (1,), wanted (2,)"
"""

import collections
import struct
import types

import numpy
import torch


def assert_equal(got, wanted):
    """Raises AssertionError unless `got` is to a program what `wanted` is."""
    _Comparison().compare(got, wanted, "root")


class _Pairing:
    """A one-to-one relation between the identities of two graphs; keeps its members alive, so that ids stay theirs."""

    def __init__(self, what):
        self._what = what
        self._left, self._right, self._alive = {}, {}, []

    def join(self, left_key, right_key, alive, place):
        """True if the pair is new, False if it is known; raises if either side was paired with another."""
        known = self._left.get(left_key, right_key), self._right.get(right_key, left_key)
        if known != (right_key, left_key):
            raise AssertionError(f"{place}: {self._what} is shared with other places than wanted")
        is_new = left_key not in self._left
        self._left[left_key], self._right[right_key] = right_key, left_key
        self._alive.append(alive)
        return is_new


class _Comparison:
    def __init__(self):
        self._objects = _Pairing("object")
        self._storages = _Pairing("storage")
        self._arrays = _Pairing("array's memory")

    def compare(self, got, wanted, place):
        _same(type(got), type(wanted), "type", place)
        if _has_identity(wanted) and not self._objects.join(id(got), id(wanted), (got, wanted), place):
            return
        if isinstance(wanted, torch.Tensor):
            self._compare_tensors(got, wanted, place)
        elif isinstance(wanted, (torch.UntypedStorage, torch.TypedStorage)):
            self._compare_storage_objects(got, wanted, place)
        elif isinstance(wanted, dict):
            self._compare_dicts(got, wanted, place)
        elif isinstance(wanted, (list, tuple, collections.deque)) and not isinstance(wanted, torch.Size):
            _same(getattr(got, "maxlen", None), getattr(wanted, "maxlen", None), "maxlen", place)
            self._compare_sequences(got, wanted, place)
            self._compare_attributes(got, wanted, place)
        elif isinstance(wanted, (set, frozenset)):
            self._compare_sequences(
                *(sorted(x, key=lambda item: (type(item).__name__, repr(item))) for x in (got, wanted)), place
            )
        elif isinstance(wanted, (float, complex)):
            _same(_bits(got), _bits(wanted), "value", place)
            self._compare_attributes(got, wanted, place)
        elif type(wanted).__module__ == "numpy":
            self._compare_numpy(got, wanted, place)
        elif _has_attributes(wanted) or _slots_of(wanted):
            self._compare_attributes(got, wanted, place)
        else:
            _same(got, wanted, "value", place)

    def _compare_dicts(self, got, wanted, place):
        _same(len(got), len(wanted), "length", place)
        for i, (got_key, wanted_key) in enumerate(zip(got, wanted, strict=True)):
            self.compare(got_key, wanted_key, f"key {i} of {place}")
            self.compare(got[got_key], wanted[wanted_key], f"{place}[{wanted_key!r}]")
        if isinstance(wanted, collections.defaultdict):
            _same(got.default_factory, wanted.default_factory, "default_factory", place)
        self._compare_attributes(got, wanted, place)

    def _compare_sequences(self, got, wanted, place):
        _same(len(got), len(wanted), "length", place)
        for i, (a, b) in enumerate(zip(got, wanted, strict=True)):
            self.compare(a, b, f"{place}[{i}]")

    def _compare_attributes(self, got, wanted, place):
        left, right = getattr(got, "__dict__", {}), getattr(wanted, "__dict__", {})
        _same(sorted(left), sorted(right), "attributes", place)
        for name in right:
            self.compare(left[name], right[name], f"{place}.{name}")
        for name in _slots_of(wanted):
            nothing = object()
            left, right = getattr(got, name, nothing), getattr(wanted, name, nothing)
            _same(left is nothing, right is nothing, f"lack of {name}", place)
            if right is not nothing:
                self.compare(left, right, f"{place}.{name}")

    def _compare_tensors(self, got, wanted, place):
        for fact in ("dtype", "layout", "device", "requires_grad", "is_nested"):
            _same(getattr(got, fact), getattr(wanted, fact), fact, place)
        self._compare_attributes(got, wanted, place)
        _same(list(got._backward_hooks or ()), list(wanted._backward_hooks or ()), "hooks", place)
        if wanted.is_nested:
            self._compare_sequences(got.unbind(), wanted.unbind(), place)
            return
        _same(got.shape, wanted.shape, "shape", place)
        if wanted.layout != torch.strided:
            self._compare_sparse(got, wanted, place)
        else:
            self._compare_strided(got, wanted, place)

    def _compare_strided(self, got, wanted, place):
        for fact in ("stride", "storage_offset", "is_conj", "is_neg"):
            _same(getattr(got, fact)(), getattr(wanted, fact)(), fact, place)
        if wanted.device.type == "meta":  # no bytes, yet two of them may stand for one storage
            left, right = got.untyped_storage(), wanted.untyped_storage()
            self._storages.join(left._cdata, right._cdata, (left, right), place)
            return
        if wanted.is_quantized:
            self._compare_quantizers(got, wanted, place)
        self._compare_storages(got.untyped_storage(), wanted.untyped_storage(), place)

    def _compare_quantizers(self, got, wanted, place):
        _same(got.qscheme(), wanted.qscheme(), "qscheme", place)
        if wanted.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
            facts = ("q_scale", "q_zero_point")
        else:
            facts = ("q_per_channel_scales", "q_per_channel_zero_points", "q_per_channel_axis")
        for fact in facts:
            left, right = getattr(got, fact)(), getattr(wanted, fact)()
            # The accessors of channels make new tensors each time, so neither identity nor aliasing is compared.
            is_tensor = isinstance(right, torch.Tensor)
            _same(left.tolist() if is_tensor else left, right.tolist() if is_tensor else right, fact, place)

    def _compare_sparse(self, got, wanted, place):
        if wanted.layout == torch.sparse_coo:
            _same(got.is_coalesced(), wanted.is_coalesced(), "is_coalesced", place)
            parts = ("_indices", "_values")
        elif wanted.layout in (torch.sparse_csr, torch.sparse_bsr):
            parts = ("crow_indices", "col_indices", "values")
        else:
            parts = ("ccol_indices", "row_indices", "values")
        for part in parts:
            self.compare(getattr(got, part)(), getattr(wanted, part)(), f"{place}.{part}()")

    def _compare_storages(self, got, wanted, place):
        _same(got.nbytes(), wanted.nbytes(), "storage size", place)
        # torch itself gives every empty storage an identity of its own.
        if wanted.nbytes() == 0 or not self._storages.join(got._cdata, wanted._cdata, (got, wanted), place):
            return
        if not torch.equal(_bytes_of(got), _bytes_of(wanted)):
            differing = (_bytes_of(got) != _bytes_of(wanted)).nonzero()[0].item()
            raise AssertionError(f"{place}: storage differs from byte {differing} on")

    def _compare_storage_objects(self, got, wanted, place):
        if isinstance(wanted, torch.TypedStorage):
            _same(got.dtype, wanted.dtype, "dtype", place)
            got, wanted = got._untyped_storage, wanted._untyped_storage
        self._compare_storages(got, wanted, place)

    def _compare_numpy(self, got, wanted, place):
        for fact in ("dtype", "shape"):
            _same(getattr(got, fact), getattr(wanted, fact), fact, place)
        if isinstance(wanted, numpy.ndarray):
            _same(got.strides, wanted.strides, "strides", place)
            _same(got.flags.writeable, wanted.flags.writeable, "writeable", place)
            left, right = _root_of(got), _root_of(wanted)
            self._arrays.join(id(left), id(right), (left, right), place)
        if wanted.dtype.hasobject:
            self.compare(got.tolist(), wanted.tolist(), place)
        else:
            _same(got.tobytes(), wanted.tobytes(), "bytes", place)


def _has_identity(value):
    """Whether a program could write through one reference and see it through another."""
    kinds = (torch.Tensor, torch.TypedStorage, numpy.ndarray, dict, list, set, bytearray, collections.deque)
    return isinstance(value, kinds) or _has_attributes(value) or bool(_slots_of(value))


def _slots_of(value):
    """Names of the attributes that classes written in Python keep outside of __dict__."""
    slots = [vars(kind).get("__slots__", ()) for kind in type(value).__mro__ if kind.__module__ != "builtins"]
    names = [name for some in slots for name in ([some] if isinstance(some, str) else some)]
    return [name for name in names if name not in ("__dict__", "__weakref__") and not name.startswith("__")]


def _root_of(array):
    """What owns the memory of an array."""
    while isinstance(array, numpy.ndarray) and array.base is not None:
        array = array.base
    return array


def _has_attributes(value):
    """Instances of somebody's class; classes and functions are what they are named."""
    return hasattr(value, "__dict__") and not isinstance(value, (type, types.FunctionType))


def _bits(number):
    if isinstance(number, complex):
        return struct.pack("<dd", number.real, number.imag)
    return struct.pack("<d", number)


def _bytes_of(storage):
    return torch.empty(0, dtype=torch.uint8).set_(storage)


def _same(got, wanted, what, place):
    if got != wanted:
        raise AssertionError(f"{place}: {what} {got!r}, wanted {wanted!r}")
