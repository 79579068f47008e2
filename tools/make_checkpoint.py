#!/usr/bin/env python3
"""Writes a checkpoint as torch.save does, with nothing but Python's standard library.

The model is a small transformer of random weights: several element types, a tied weight, a view, nested
dicts and lists, an optimizer state. Checkpoints of one seed differ between steps as training makes them
differ: one layer, its optimizer state and the counters change, everything else stays.

    tools/make_checkpoint.py OUT.pt [--step N] [--layers N] [--width N] [--seed N]
"""

import argparse
import array
import random
import struct
import sys
import zipfile

STORAGE_CLASSES = {"float32": "FloatStorage", "float16": "HalfStorage", "bfloat16": "BFloat16Storage",
                   "int64": "LongStorage", "uint8": "ByteStorage", "bool": "BoolStorage"}
ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "uint8": 1, "bool": 1}


class Storage:
    """Bytes that one or several tensors are views of."""

    def __init__(self, dtype, data):
        self.dtype = dtype
        self.data = data

    @property
    def numel(self):
        return len(self.data) // ITEM_BYTES[self.dtype]


class Tensor:
    """A view of a storage; offset, shape and stride count elements."""

    def __init__(self, storage, shape, offset=0, stride=None):
        self.storage = storage
        self.offset = offset
        self.shape = tuple(shape)
        self.stride = tuple(stride) if stride is not None else contiguous_stride(shape)

    def transposed(self):
        return Tensor(self.storage, self.shape[::-1], self.offset, self.stride[::-1])

    def rows(self, begin, end):
        return Tensor(self.storage, (end - begin,) + self.shape[1:], self.offset + begin * self.stride[0], self.stride)


def contiguous_stride(shape):
    stride, step = [], 1
    for extent in reversed(shape):
        stride.insert(0, step)
        step *= extent
    return tuple(stride)


class Pickle:
    """Protocol 2, as far as a checkpoint needs it. Storages are numbered as they are met."""

    def __init__(self):
        self.out = bytearray(b"\x80\x02")
        self.storages = []

    def finish(self, value):
        self.put(value)
        return bytes(self.out + b".")

    def put(self, value):
        if value is None:
            self.out += b"N"
        elif isinstance(value, bool):
            self.out += b"\x88" if value else b"\x89"
        elif isinstance(value, int):
            data = value.to_bytes(8, "little", signed=True)
            self.out += b"\x8a" + bytes([len(data)]) + data
        elif isinstance(value, float):
            self.out += b"G" + struct.pack(">d", value)
        elif isinstance(value, str):
            data = value.encode()
            self.out += b"X" + struct.pack("<I", len(data)) + data
        elif isinstance(value, dict):
            self.put_dict(value)
        elif isinstance(value, list):
            self.out += b"]("
            for item in value:
                self.put(item)
            self.out += b"e"
        elif isinstance(value, tuple):
            self.out += b"("
            for item in value:
                self.put(item)
            self.out += b"t"
        elif isinstance(value, Tensor):
            self.put_tensor(value)
        else:
            raise TypeError(f"no pickle for {type(value)}")

    def put_dict(self, value):
        self.out += b"}("
        for key, item in value.items():
            self.put(key)
            self.put(item)
        self.out += b"u"

    def put_global(self, module, name):
        self.out += f"c{module}\n{name}\n".encode()

    def put_tensor(self, tensor):
        self.put_global("torch._utils", "_rebuild_tensor_v2")
        self.out += b"("
        self.put_storage(tensor.storage)
        self.put(tensor.offset)
        self.put(tensor.shape)
        self.put(tensor.stride)
        self.put(False)  # requires_grad
        self.put_global("collections", "OrderedDict")
        self.out += b")R"  # no hooks
        self.out += b"tR"

    def put_storage(self, storage):
        if storage not in self.storages:
            self.storages.append(storage)
        self.out += b"("
        self.put("storage")
        self.put_global("torch", STORAGE_CLASSES[storage.dtype])
        self.put(str(self.storages.index(storage)))
        self.put("cpu")
        self.put(storage.numel)
        self.out += b"tQ"


class Weights:
    """Random tensors. One pool of normal values serves all of them, each from a place of its own."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.pool = array.array("f", (self.random.gauss(0, 0.02) for _ in range(1 << 16)))

    def floats(self, count):
        values = array.array("f")
        while len(values) < count:
            begin = self.random.randrange(len(self.pool))
            values += self.pool[begin:begin + count - len(values)]
        if sys.byteorder == "big":
            values.byteswap()
        return values.tobytes()

    def float32(self, *shape):
        return Tensor(Storage("float32", self.floats(product(shape))), shape)

    def bfloat16(self, *shape):
        data = self.floats(product(shape))
        halves = bytearray(len(data) // 2)  # the upper half of each float
        halves[0::2], halves[1::2] = data[2::4], data[3::4]
        return Tensor(Storage("bfloat16", bytes(halves)), shape)

    def float16(self, *shape):
        values = (self.random.gauss(0, 1) for _ in range(product(shape)))
        return Tensor(Storage("float16", struct.pack(f"<{product(shape)}e", *values)), shape)


def product(shape):
    result = 1
    for extent in shape:
        result *= extent
    return result


def int64(*values):
    return Tensor(Storage("int64", struct.pack(f"<{len(values)}q", *values)), (len(values),))


def make_layer(weights, width):
    return {"attn.qkv.weight": weights.float32(3 * width, width), "attn.out.weight": weights.float32(width, width),
            "mlp.up.weight": weights.bfloat16(4 * width, width), "mlp.down.weight": weights.bfloat16(width, 4 * width),
            "norm.weight": weights.float16(width)}


def make_checkpoint(step, layers, width, seed):
    embedding = Weights(seed).float32(16 * width, width)
    model = {"embed.weight": embedding}
    state = {}
    for layer in range(layers):
        # A layer is as the newest step that trained it has left it; each step trains one.
        trained = step - (step - layer) % layers
        weights = Weights(f"{seed}/{layer}/{max(trained, 0)}")
        for name, tensor in make_layer(weights, width).items():
            model[f"layers.{layer}.{name}"] = tensor
        state[layer] = {"step": int64(max(trained, 0)), "exp_avg": weights.float32(width, width)}
    model["lm_head.weight"] = embedding  # tied
    model["attn_mask"] = Tensor(Storage("bool", bytes(int(j <= i) for i in range(16) for j in range(16))), (16, 16))
    return {"model": model,
            "probe": {"first_tokens": embedding.rows(0, 4), "unembed": embedding.transposed()},
            "optim": {"state": state, "param_groups": [{"lr": 3e-4, "betas": (0.9, 0.95), "params": list(range(layers))}]},
            "tokens_seen": Tensor(Storage("int64", struct.pack("<q", step * 4096)), ()),
            "rng_state": Tensor(Storage("uint8", bytes(random.Random(step).randrange(256) for _ in range(64))), (64,)),
            "step": step, "config": {"layers": layers, "width": width, "name": "tiny", "dropout": None, "tied": True}}


def write_record(archive, name, data):
    info = zipfile.ZipInfo(f"checkpoint/{name}", date_time=(1980, 1, 1, 0, 0, 0))
    begin = archive.fp.tell() + 30 + len(info.filename.encode()) + 4
    padding = -begin % 64  # torch aligns the bytes of every record so
    info.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
    archive.writestr(info, data)


def save(checkpoint, path):
    pickle = Pickle()
    data = pickle.finish(checkpoint)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        write_record(archive, "data.pkl", data)
        write_record(archive, "byteorder", b"little")
        for key, storage in enumerate(pickle.storages):
            write_record(archive, f"data/{key}", storage.data)
        write_record(archive, "version", b"3\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", metavar="OUT.pt")
    parser.add_argument("--step", type=int, default=0)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    save(make_checkpoint(arguments.step, arguments.layers, arguments.width, arguments.seed), arguments.out)


if __name__ == "__main__":
    main()
