"""Archives that somebody made to hurt: pickles put together opcode by opcode, in zips whose fields may lie."""

import io
import pickle
import struct
import zipfile

START = b"\x80\x02"


# ---- pickles


def integer(value):
    return pickle.dumps(value, 2)[2:-1]


def string(value):
    data = value if isinstance(value, bytes) else value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def sequence(*items):
    return b"(" + b"".join(items) + b"t"


def extents(values):
    return sequence(*map(integer, values))


def call(function, *arguments):
    return function + sequence(*arguments) + b"R"


def storage(
    key=string("0"), cls=name("torch", "FloatStorage"), location=string("cpu"), numel=integer(4), tag=string("storage")
):
    return sequence(tag, cls, key, location, numel) + b"Q"


NO_HOOKS = call(name("collections", "OrderedDict"))


def tensor(source=None, offset=0, shape=(4,), stride=(1,), requires_grad=b"\x89", hooks=NO_HOOKS):
    """A whole float32 tensor of four elements on record data/0, but for what is said."""
    return call(
        name("torch._utils", "_rebuild_tensor_v2"),
        source or storage(),
        integer(offset),
        extents(shape),
        extents(stride),
        requires_grad,
        hooks,
    )


def program(*body):
    return START + b"".join(body) + b"."


# ---- zips

RECORD = struct.pack("<4f", 1, 2, 3, 4)


def archive(pickled=None, records=None, top="m", version=b"3\n", without=(), method=zipfile.ZIP_STORED):
    """A well-formed archive in the layout of torch.save."""
    entries = {"data.pkl": program(tensor()) if pickled is None else pickled, "byteorder": b"little"}
    entries |= {"data/0": RECORD} if records is None else records
    entries |= {"version": version}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as out:
        for entry, data in entries.items():
            if entry not in without:
                out.writestr(f"{top}/{entry}" if top else entry, data)
    return buffer.getvalue()


class Patch:
    """Overwrites fields of an archive, found by their place in the headers of one entry."""

    LOCAL = {
        "version": (4, "<H"),
        "flags": (6, "<H"),
        "method": (8, "<H"),
        "crc": (14, "<I"),
        "compressed": (18, "<I"),
        "size": (22, "<I"),
        "name_length": (26, "<H"),
        "extra_length": (28, "<H"),
    }
    CENTRAL = {
        "flags": (8, "<H"),
        "method": (10, "<H"),
        "crc": (16, "<I"),
        "compressed": (20, "<I"),
        "size": (24, "<I"),
        "name_length": (28, "<H"),
        "extra_length": (30, "<H"),
        "comment_length": (32, "<H"),
        "disk": (34, "<H"),
        "attributes": (38, "<I"),
        "offset": (42, "<I"),
    }
    END = {
        "disk": (4, "<H"),
        "directory_disk": (6, "<H"),
        "entries_here": (8, "<H"),
        "entries": (10, "<H"),
        "directory_size": (12, "<I"),
        "directory_offset": (16, "<I"),
        "comment_length": (20, "<H"),
    }

    def __init__(self, data=None):
        self.data = bytearray(archive() if data is None else data)

    def local(self, entry, **fields):
        return self._write(self._header(b"PK\3\4", 30, entry), self.LOCAL, fields)

    def central(self, entry, **fields):
        return self._write(self._header(b"PK\1\2", 46, entry), self.CENTRAL, fields)

    def both(self, entry, **fields):
        return self.local(entry, **fields).central(entry, **fields)

    def end(self, **fields):
        return self._write(self.data.rindex(b"PK\5\6"), self.END, fields)

    def rename(self, old, new, count=2):
        """In `count` of the two headers, local first. Names are of one length."""
        assert len(old) == len(new)
        self.data = bytearray(bytes(self.data).replace(old.encode(), new.encode(), count))
        return self

    def payload(self, entry, data):
        at = self._header(b"PK\3\4", 30, entry) + 30 + len(entry)
        self.data[at : at + len(data)] = data
        return self

    def _header(self, signature, size, entry):
        at = -1
        while (at := self.data.index(signature, at + 1)) is not None:
            if self.data[at + size : at + size + len(entry)] == entry.encode():
                return at

    def _write(self, at, layout, fields):
        for field, value in fields.items():
            offset, form = layout[field]
            struct.pack_into(form, self.data, at + offset, value)
        return self
