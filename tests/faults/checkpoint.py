"""Small checkpoints in torch's zip format, made and read with the standard library alone.

A checkpoint is a flat dict of one-dimensional float32 tensors. Reading is strict: what is not exactly such a file
raises ValueError, so that nothing half-right passes for whole.
"""

import collections
import io
import pickle
import random
import sys
import types
import zipfile


class Checkpoint:
    """`tensors`: name -> bytes of float32 elements; `ties`: name -> the name whose storage it shares."""

    def __init__(self, tensors, ties=None):
        self.tensors = dict(tensors)
        self.ties = dict(ties or {})

    def __eq__(self, other):
        return self.tensors == other.tensors and self.ties == other.ties

    @staticmethod
    def make(seed, sizes_bytes, ties=None):
        source = random.Random(seed)
        return Checkpoint({name: source.randbytes(size) for name, size in sizes_bytes.items()}, ties)

    def changed(self, name, offset, new_bytes):
        """The same, but for these bytes of one tensor."""
        old = self.tensors[name]
        tensors = dict(self.tensors)
        tensors[name] = old[:offset] + new_bytes + old[offset + len(new_bytes):]
        return Checkpoint(tensors, self.ties)

    def write(self, path):
        keys = {name: str(index) for index, name in enumerate(self.tensors)}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("archive/data.pkl", _pickle(self, keys))
            archive.writestr("archive/byteorder", "little")
            for name, key in keys.items():
                archive.writestr(f"archive/data/{key}", self.tensors[name])
            archive.writestr("archive/version", "3\n")

    def write_reference(self, folder):
        """As observe.cc reads it."""
        folder.mkdir(parents=True)
        first_of = {**{name: name for name in self.tensors}, **self.ties}
        (folder / "names").write_text("".join(f"{name}\t{first}\n" for name, first in first_of.items()))
        for name, content in self.tensors.items():
            (folder / name).write_bytes(content)

    @staticmethod
    def read(path):
        with zipfile.ZipFile(path) as archive:  # checks each record's CRC
            records = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
        loaded = _Unpickler(io.BytesIO(records["data.pkl"]), records).load()
        if not isinstance(loaded, dict):
            raise ValueError(f"{path} holds a {type(loaded).__name__}, not a dict")
        first_of, tensors, ties = {}, {}, {}
        for name, tensor in loaded.items():
            first = first_of.setdefault(tensor.storage.key, name)
            if first != name:
                ties[name] = first
            else:
                tensors[name] = tensor.bytes()
        return Checkpoint(tensors, ties)


class _Storage:
    def __init__(self, key, content):
        self.key = key
        self.content = content


class _Tensor:
    def __init__(self, storage, offset, shape, stride):
        if offset != 0 or len(shape) != 1 or stride != (1,):
            raise ValueError(f"unexpected geometry: offset {offset}, shape {shape}, stride {stride}")
        if len(storage.content) != 4 * shape[0]:
            raise ValueError(f"storage of {len(storage.content)} bytes for {shape[0]} elements")
        self.storage = storage
        self.shape = shape

    def bytes(self):
        return self.storage.content

    def __reduce__(self):
        hooks = collections.OrderedDict()
        return _torch_utils._rebuild_tensor_v2, (self.storage, 0, self.shape, (1,), False, hooks)


def _rebuild_tensor_v2(storage, offset, shape, stride, requires_grad, hooks, metadata=None):
    return _Tensor(storage, offset, tuple(shape), tuple(stride))


def _torch_stand_ins():
    """Modules in which pickle finds torch's names, where there is no torch."""
    torch = types.ModuleType("torch")
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})
    utils = types.ModuleType("torch._utils")
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    _rebuild_tensor_v2.__module__ = "torch._utils"
    return torch, utils


_torch, _torch_utils = _torch_stand_ins()


class _Pickler(pickle.Pickler):
    def persistent_id(self, value):
        if not isinstance(value, _Storage):
            return None
        return ("storage", _torch.FloatStorage, value.key, "cpu", len(value.content) // 4)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file, records):
        super().__init__(file)
        self._records = records

    def find_class(self, module, name):
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
            ("torch", "FloatStorage"): _torch.FloatStorage,
            ("collections", "OrderedDict"): collections.OrderedDict,
        }
        if (module, name) not in known:
            raise ValueError(f"unexpected global {module}.{name}")
        return known[module, name]

    def persistent_load(self, pid):
        kind, cls, key, location, numel = pid
        content = self._records[f"data/{key}"]
        if (kind, cls, location) != ("storage", _torch.FloatStorage, "cpu") or len(content) != 4 * numel:
            raise ValueError(f"unexpected storage {pid} of {len(content)} bytes")
        return _Storage(key, content)


def _pickle(checkpoint, keys):
    storages = {name: _Storage(keys[name], content) for name, content in checkpoint.tensors.items()}
    storages.update({name: storages[first] for name, first in checkpoint.ties.items()})
    tensors = {name: _Tensor(s, 0, (len(s.content) // 4,), (1,)) for name, s in storages.items()}
    out = io.BytesIO()
    with _stand_ins_installed():
        _Pickler(out, protocol=2).dump(tensors)
    return out.getvalue()


class _stand_ins_installed:
    """For as long as pickle checks that a name leads back to its object."""

    def __enter__(self):
        self._before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
        sys.modules.update({"torch": _torch, "torch._utils": _torch_utils})

    def __exit__(self, *_):
        for name, module in self._before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
