#!/usr/bin/env python3
"""Compares two files of torch.save with nothing but Python's standard library.

Equal are files that hold the same nesting, the same values bit by bit in tensors of the same type, shape and
stride, and in which the same tensors share memory. Classes are neither imported nor called.

    tools/compare_checkpoints.py A.pt B.pt      # exit code 0: equal, 1: the first difference is named
"""

import argparse
import collections
import pickle
import sys
import zipfile

STORAGE_ITEM_BYTES = {"FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2, "LongStorage": 8, "ByteStorage": 1,
                      "BoolStorage": 1, "DoubleStorage": 8, "IntStorage": 4, "ShortStorage": 2, "CharStorage": 1,
                      "ComplexFloatStorage": 8, "ComplexDoubleStorage": 16, "UntypedStorage": 1}

Storage = collections.namedtuple("Storage", "kind key")
Tensor = collections.namedtuple("Tensor", "storage offset shape stride")


class Checkpoint(pickle.Unpickler):
    """Reads the object of a file; the few names that torch.save uses for tensors and no other are known."""

    def __init__(self, path):
        self.archive = zipfile.ZipFile(path)
        self.top = self.archive.namelist()[0].split("/")[0]
        super().__init__(self.archive.open(f"{self.top}/data.pkl"))
        self.object = self.load()

    def find_class(self, module, name):
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, stride, *rest: Tensor(storage, offset, shape, stride)
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if name in STORAGE_ITEM_BYTES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} is not known here")

    def persistent_load(self, pid):
        _, kind, key, _, _ = pid
        return Storage(kind, key)

    def elements(self, tensor):
        """The tensor's elements as bytes, one after the other in row-major order."""
        size = STORAGE_ITEM_BYTES[tensor.storage.kind]
        data = self.archive.read(f"{self.top}/data/{tensor.storage.key}")
        offsets = [tensor.offset]
        for extent, stride in zip(tensor.shape, tensor.stride):
            offsets = [offset + i * stride for offset in offsets for i in range(extent)]
        return b"".join(data[offset * size:(offset + 1) * size] for offset in offsets)


def compare(a, b):
    """The first difference in words, or None."""
    partners = {}  # storage key of a: that of b

    def visit(x, y, where):
        if isinstance(x, Tensor) and isinstance(y, Tensor):
            if (x.storage.kind, x.shape, x.stride) != (y.storage.kind, y.shape, y.stride):
                return f"{where}: {x} and {y}"
            if partners.setdefault(x.storage.key, y.storage.key) != y.storage.key:
                return f"{where}: shares memory with other tensors"
            return None if a.elements(x) == b.elements(y) else f"{where}: values differ"
        if isinstance(x, dict) and isinstance(y, dict):
            if list(x) != list(y):
                return f"{where}: keys differ"
            return first(visit(x[key], y[key], f"{where}[{key!r}]") for key in x)
        if isinstance(x, (list, tuple)) and type(x) is type(y):
            if len(x) != len(y):
                return f"{where}: lengths differ"
            return first(visit(*pair, f"{where}[{i}]") for i, pair in enumerate(zip(x, y)))
        return None if type(x) is type(y) and x == y else f"{where}: {x!r} and {y!r}"

    difference = visit(a.object, b.object, "object")
    if difference is None and len(set(partners.values())) != len(partners):
        return "tensors share memory that did not before"
    return difference


def first(differences):
    return next((difference for difference in differences if difference is not None), None)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("a", metavar="A.pt")
    parser.add_argument("b", metavar="B.pt")
    arguments = parser.parse_args()
    difference = compare(Checkpoint(arguments.a), Checkpoint(arguments.b))
    if difference is not None:
        sys.exit(difference)
    print(f"{arguments.a} and {arguments.b} are equal: nesting, types, shapes, strides, ties, every bit")


if __name__ == "__main__":
    main()
