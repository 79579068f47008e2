"""The hostile files themselves, by what is wrong with them.

REFUSED     name: (bytes of the file, whether the refusal can give an offset)
CONTAINED   name: bytes of a file that may be refused or held as data, if that costs little
code(mark)  name: a pickle that would run something, were it run
"""

import io
import itertools
import struct
import tarfile
import zipfile

from hostile import (
    NO_HOOKS,
    RECORD,
    START,
    Patch,
    archive,
    call,
    extents,
    integer,
    name,
    program,
    sequence,
    storage,
    string,
    tensor,
)


LAYOUT = call(name("torch.serialization", "_get_layout"), string("torch.sparse_coo"))
QUANTIZED = call(
    name("torch._utils", "_rebuild_qtensor"),
    storage(cls=name("torch", "QInt32Storage")),
    integer(0),
    extents((4,)),
    extents((1,)),
    sequence(name("torch", "per_channel_affine"), tensor(), tensor(), integer(2**62)),
    b"\x89",
    NO_HOOKS,
)
# Says a million elements, brings eight bytes.
ARRAY = (
    call(name("numpy.core.multiarray", "_reconstruct"), name("numpy", "ndarray"), extents((0,)), b"C\x01b")
    + sequence(
        integer(1),
        extents((1_000_000,)),
        call(name("numpy", "dtype"), string("f4"), b"\x89", b"\x88")
        + sequence(integer(3), string("<"), b"NNN", integer(-1), integer(-1), integer(0))
        + b"b",
        b"\x89",
        b"C\x08" + bytes(8),
    )
    + b"b"
)


def pickled(*body):
    return archive(program(*body))


# ---- files of the formats before


MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
FOUR = struct.pack("<q4f", 4, 1, 2, 3, 4)


def legacy(body=None, keys=None, data=FOUR, version=START + b"M\xe9\x03."):
    """One tensor on one storage, but for what is said."""
    listed = START + b"]" + (string("0") if keys is None else keys) + b"a."
    return MAGIC + version + program(b"}") + program(tensor() if body is None else body) + listed + data


def tar(**members):
    """A tar archive, as torch had it, of members that may be replaced."""
    whole = {
        "pickle": program(b"X\x01\x00\x00\x001Q"),
        "tensors": program(b"K\x01")
        + program(b"K\x01K\x02", name("torch", "FloatTensor"), b"\x87")
        + struct.pack("<iiqqq", 1, 0, 4, 1, 0),
        "storages": program(b"K\x01")
        + program(b"K\x02", string("cpu"), name("torch", "FloatStorage"), b"\x87")
        + FOUR
        + program(b"]"),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as out:
        for member, data in (whole | members).items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


OLD_FORMATS = {
    "legacy cut in its magic": MAGIC[:10],
    "legacy of its magic only": MAGIC,
    "legacy of another version": legacy(version=START + b"M\xea\x03."),
    "legacy without storages": legacy(data=b""),
    "legacy storage cut": legacy(data=FOUR[:-1]),
    "legacy storage of -1": legacy(data=struct.pack("<q", -1)),
    "legacy storage of 2^63-1": legacy(data=struct.pack("<q", 2**63 - 1)),
    "legacy storage of 2^62+4": legacy(data=struct.pack("<q", 2**62 + 4) + FOUR[8:]),
    "legacy storage longer than said": legacy(data=struct.pack("<q", 5) + bytes(20)),
    "legacy storage of another name": legacy(keys=string("1")),
    "legacy storage named by a number": legacy(keys=b"K\x00"),
    "legacy storage twice": legacy(keys=string("0") + b"a" + string("0"), data=FOUR * 2),
    "legacy keys that are none": legacy()[: -len(FOUR)].replace(START + b"]" + string("0") + b"a.", program(b"N")),
    "legacy view outside": legacy(storage()[:-2] + sequence(string("v"), integer(3), integer(2)) + b"tQ"),
    "legacy view of 2^62": legacy(storage()[:-2] + sequence(string("v"), integer(2**62), integer(2**62)) + b"tQ"),
    "legacy view before its storage": legacy(storage()[:-2] + sequence(string("v"), integer(-1), integer(2)) + b"tQ"),
    "legacy of an unknown reference": legacy(sequence(string("module")) + b"Q"),
    "tar of something else": tar(pickle=b"").replace(b"pickle", b"pickel"),
    "tar with a flipped header": b"x" + tar()[1:],
    "tar cut in its first file": tar()[:520],
    "tar without end of pickle": tar(pickle=START),
    "tar of an unknown tensor": tar(pickle=program(b"X\x01\x00\x00\x009Q")),
    "tar of a billion storages": tar(storages=program(integer(10**9))),
    "tar of minus one storage": tar(storages=program(integer(-1))),
    "tar storage of 2^62": tar(
        storages=program(b"K\x01")
        + program(b"K\x02", string("cpu"), name("torch", "FloatStorage"), b"\x87")
        + struct.pack("<q", 2**62)
    ),
    "tar tensor of rank 2^31-1": tar(
        tensors=program(b"K\x01")
        + program(b"K\x01K\x02", name("torch", "FloatTensor"), b"\x87")
        + struct.pack("<ii", 2**31 - 1, 0)
    ),
    "tar tensor outside": tar(
        tensors=program(b"K\x01")
        + program(b"K\x01K\x02", name("torch", "FloatTensor"), b"\x87")
        + struct.pack("<iiqqq", 1, 0, 5, 1, 0)
    ),
}


# ---- what must be refused; the offset of the flaw is known to who reads the bytes of a zip or a pickle

FILES = {
    "empty": b"",
    "one byte": b"P",
    "four bytes": b"PK\3\4",
    "magic and zeros": b"PK\3\4" + bytes(1000),
    "zeros": bytes(5000),
    "text": b"this is no checkpoint\n" * 50,
    "elf": b"\x7fELF" + bytes(100),
    "wrong magic": b"QK" + archive()[2:],
    "preview format": b"PYTORCH1" + bytes(100),
    "end record alone": b"PK\5\6" + bytes(18),
    "end records": b"PK\3\4" + b"PK\5\6" * 20000,
    "bytes before": b"#!/bin/sh\n" + archive(),
    "two archives": archive() + archive(),
    "html": b"<!DOCTYPE html><html>not found</html>",
    "git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123\n",
}

ARCHIVES = {
    "no data.pkl": archive(without=("data.pkl",)),
    "no version": archive(without=("version",)),
    "no storage": archive(records={}),
    "no top directory": archive(top=""),
    "record under another top": Patch().rename("m/data/0", "n/data/0").data,
    "version 0": archive(version=b"0\n"),
    "version 11": archive(version=b"11\n"),
    "version of letters": archive(version=b"three"),
    "version -1": archive(version=b"-1"),
    "version of 400 digits": archive(version=b"1" * 400),
    "version empty": archive(version=b""),
    "byte order middle": archive(records={"data/0": RECORD, "byteorder": b"middle"}),
    "pickle is empty": archive(b""),
    "record too short": archive(records={"data/0": RECORD[:12]}),
    "record too long": archive(records={"data/0": RECORD * 2}),
    "record empty": archive(records={"data/0": b""}),
}

ZIPS = {
    "crc of record": Patch().payload("m/data/0", b"\xff").data,
    "crc of pickle": Patch().payload("m/data.pkl", b"\x81").data,
    "crc fields disagree": Patch().local("m/data/0", crc=1).data,
    "names disagree": Patch().rename("m/data/0", "m/data/1", 1).data,
    "name climbs": Patch().rename("m/data/0", "m/../../").data,
    "name absolute": Patch().rename("m/data/0", "/m/ata/0").data,
    "name has NUL": Patch().rename("m/data/0", "m/da\0a/0").data,
    "name has backslash": Patch().rename("m/data/0", "m\\data\\0").data,
    "name twice": Patch(archive(records={"data/0": RECORD, "data/1": RECORD})).rename("m/data/1", "m/data/0").data,
    "encrypted": Patch().both("m/data/0", flags=1).data,
    "strong encryption": Patch().both("m/data/0", flags=0x40).data,
    "flags disagree": Patch().local("m/data/0", flags=0x800).data,
    "methods disagree": Patch().local("m/data/0", method=8).data,
    "method deflate64": Patch().both("m/data/0", method=9).data,
    "method zstd": Patch().both("m/data/0", method=93).data,
    "stored bytes called deflated": Patch().both("m/data/0", method=8).data,
    "sizes disagree": Patch().local("m/data/0", size=15).data,
    "two sizes of a stored entry": Patch().both("m/data/0", size=15).data,
    "size 4 GiB": Patch().both("m/data/0", size=0xFFFFFFFE, compressed=0xFFFFFFFE).data,
    "size says zip64": Patch().both("m/data/0", size=0xFFFFFFFF, compressed=0xFFFFFFFF).data,
    "bomb by claim": Patch(archive(method=zipfile.ZIP_DEFLATED)).both("m/data.pkl", size=0xFFFFFFF0).data,
    "entries overlap": Patch().central("m/data/0", offset=0).data,
    "offset past the end": Patch().central("m/data/0", offset=0x7FFFFFFF).data,
    "extra past the end": Patch().central("m/data/0", extra_length=0xFFFF).data,
    "name past the end": Patch().central("m/version", name_length=0xFFFF).data,
    "local extra past the end": Patch().local("m/version", extra_length=0xFFFF).data,
    "comment past the end": Patch().end(comment_length=1).data,
    "on disk 1": Patch().central("m/data/0", disk=1).data,
    "of two disks": Patch().end(disk=1).data,
    "half the entries": Patch().end(entries_here=2).data,
    "one entry more": Patch().end(entries=5, entries_here=5).data,
    "one entry less": Patch().end(entries=3, entries_here=3).data,
    "65535 entries": Patch().end(entries=0xFFFF, entries_here=0xFFFF).data,
    "directory moved": Patch().end(directory_offset=7).data,
    "directory longer": Patch().end(directory_size=0x7FFFFFFF).data,
    "directory empty": Patch().end(directory_size=0, entries=0, entries_here=0).data,
    "comment of an entry": Patch().central("m/data/0", comment_length=4).data,
}

PICKLES = {
    "no stop": START + b"N",
    "stop alone": START + b".",
    "protocol 6": b"\x80\x06N.",
    "protocol cut": b"\x80",
    "two pickles": START + b"N." + START + b"N.",
    "bytes after": START + b"N.rest",
    "pop": START + b"0.",
    "pop mark": START + b"1.",
    "dup": START + b"2.",
    "mark left over": START + b"(.",
    "tuple without mark": START + b"t.",
    "tuple1 of nothing": START + b"\x85.",
    "tuple3 of two": START + b"NN\x87.",
    "list without mark": START + b"l.",
    "dict without mark": START + b"d.",
    "dict of three": START + b"(NNNd.",
    "append alone": START + b"Na.",
    "append to None": START + b"NNa.",
    "append to dict": START + b"}Na.",
    "append to tuple": START + b")Na.",
    "appends without mark": START + b"]e.",
    "appends to None": START + b"N(Ne.",
    "setitem alone": START + b"NNs.",
    "setitem on None": START + b"NNNs.",
    "setitem on list": START + b"]NNs.",
    "setitem on tuple": START + b")NNs.",
    "setitem on string": START + string("x") + b"NNs.",
    "setitems on list": START + b"](NNu.",
    "setitems odd": START + b"}(NNNu.",
    "setitems without mark": START + b"}NNu.",
    "additems on list": START + b"](N\x90.",
    "additems on dict": START + b"}(N\x90.",
    "reduce alone": START + b"R.",
    "reduce with list": START + name("a", "b") + b"]R.",
    "newobj alone": START + b"\x81.",
    "build alone": START + b"Nb.",
    "build None": START + b"NNb.",
    "get unknown": START + b"h\x05.",
    "long get unknown": START + b"j\xff\xff\xff\xff.",
    "text get unknown": START + b"g7\n.",
    "text get of letters": START + b"gx\n.",
    "put of nothing": START + b"q\x00.",
    "memoize nothing": START + b"\x94.",
    "global cut": START + b"cos\nsystem",
    "stack global of ints": START + b"K\x01K\x02\x93.",
    "stack global dotted": START + b"\x8c\x02os\x8c\x0bpath.system\x93.",
    "global dotted": START + b"cos\npath.system\n.",
    "extension 1": START + b"\x82\x01.",
    "extension 2": START + b"\x83\x01\x00.",
    "extension 4": START + b"\x84\x01\x00\x00\x00.",
    "persistent of nothing": START + b"Q.",
    "int of letters": START + b"Iabc\n.",
    "float of letters": START + b"Fabc\n.",
    "long of letters": START + b"Labc\n.",
    "string unquoted": START + b"Sabc\n.",
    "string half quoted": START + b"S'abc\n.",
    "unicode cut": START + b"Vabc",
    "float cut": START + b"G\x00\x00.",
    "int cut": START + b"J\x00.",
    "invalid utf-8": START + string(b"\xff\xfe\xfd") + b".",
    "million marks": START + b"(" * 1_000_000 + b".",
    "buffer": START + b"\x97.",
    "read-only buffer": START + b"\x98.",
}
# One opcode that no pickle has, at several places.
PICKLES |= {
    f"opcode {code:#x}": START + b"N0" + bytes([code]) + b"N."
    for code in (0x00, 0x01, 0x7F, 0x99, 0xA0, 0xC0, 0xFE, 0xFF)
}
# Lengths that lie.
PICKLES |= {
    f"{what} of {length:#x}": START + opcode + struct.pack(form, length) + b"abc."
    for (what, opcode, form), length in itertools.product(
        [
            ("unicode", b"X", "<I"),
            ("string", b"T", "<I"),
            ("bytes", b"B", "<I"),
            ("long", b"\x8b", "<I"),
            ("unicode8", b"\x8d", "<Q"),
            ("bytes8", b"\x8e", "<Q"),
            ("bytearray8", b"\x96", "<Q"),
            ("frame", b"\x95", "<Q"),
        ],
        [5, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1],
    )
    if length < 2 ** (8 * struct.calcsize(form))
}

TENSORS = {
    "persistent text": b"Pstorage\n",
    "persistent None": b"NQ",
    "numel beyond the record": tensor(storage(numel=integer(5))),
    "numel 2^40": tensor(storage(numel=integer(2**40))),
    "numel wraps to 4 bytes": tensor(storage(numel=integer(0x4000000000000001))),
    "numel 2^62": tensor(storage(numel=integer(2**62))),
    "numel 2^63-1": tensor(storage(numel=integer(2**63 - 1))),
    "numel 2^64": tensor(storage(numel=integer(2**64))),
    "numel -1": tensor(storage(numel=integer(-1))),
    "numel 0": tensor(storage(numel=integer(0))),
    "numel float": tensor(storage(numel=b"G" + struct.pack(">d", 4.0))),
    "numel string": tensor(storage(numel=string("4"))),
    "numel None": tensor(storage(numel=b"N")),
    "numel True": tensor(storage(numel=b"\x88")),
    "key missing": tensor(storage(key=string("1"))),
    "key climbs": tensor(storage(key=string("../data/0"))),
    "key empty": tensor(storage(key=string(""))),
    "key int": tensor(storage(key=integer(0))),
    "key None": tensor(storage(key=b"N")),
    "class unknown": tensor(storage(cls=name("torch", "HugeStorage"))),
    "class string": tensor(storage(cls=string("FloatStorage"))),
    "class os.system": tensor(storage(cls=name("os", "system"))),
    "location int": tensor(storage(location=integer(3))),
    "tag unknown": tensor(storage(tag=string("module"))),
    "pid of three": tensor(sequence(string("storage"), name("torch", "FloatStorage"), string("0")) + b"Q"),
    "pid list": tensor(b"]Q"),
    "pid string": tensor(string("0") + b"Q"),
    "one past the end": tensor(shape=(5,)),
    "offset one past": tensor(offset=1),
    "offset 2^40": tensor(offset=2**40),
    "offset 2^63-1": tensor(offset=2**63 - 1),
    "offset 2^64": tensor(offset=2**64),
    "offset -1": tensor(offset=-1),
    "shape 2^32 squared": tensor(shape=(2**32, 2**32), stride=(0, 0)),
    "shape 2^62 by 4": tensor(shape=(2**62, 4), stride=(0, 0)),
    "shape 2^64": tensor(shape=(2**64,)),
    "shape -1": tensor(shape=(-1,)),
    "shape -4 -1": tensor(shape=(-4, -1), stride=(1, 1)),
    "stride -1": tensor(shape=(4,), stride=(-1,), offset=3),
    "stride 2": tensor(stride=(2,)),
    "stride 2^62": tensor(shape=(2, 2), stride=(2**62, 1)),
    "stride wraps": tensor(shape=(5,), stride=(2**62,)),
    "stride 2^64": tensor(stride=(2**64,)),
    "stride too short": tensor(shape=(2, 2), stride=(1,)),
    "stride too long": tensor(stride=(1, 1)),
    "shape of strings": call(
        name("torch._utils", "_rebuild_tensor_v2"),
        storage(),
        integer(0),
        sequence(string("4")),
        extents((1,)),
        b"\x89",
        NO_HOOKS,
    ),
    "shape None": call(
        name("torch._utils", "_rebuild_tensor_v2"), storage(), integer(0), b"N", extents((1,)), b"\x89", NO_HOOKS
    ),
    "requires_grad None": tensor(requires_grad=b"N"),
    "100 dimensions": tensor(shape=(1,) * 100, stride=(1,) * 100),
    "10,000 dimensions": tensor(shape=(1,) * 10_000, stride=(1,) * 10_000),
    "meta of 2^62 squared": call(
        name("torch._utils", "_rebuild_meta_tensor_no_storage"),
        name("torch", "float32"),
        extents((2**62, 2**62)),
        extents((1, 1)),
        b"\x89",
    ),
}


# ---- TorchScript


def module(*members, cls="M"):
    """An instance of a compiled class; members are name and value in turn."""
    return name("__torch__", cls) + b")\x81}(" + b"".join(members) + b"ub"


def script(body, constants=None, **records):
    """A TorchScript archive around the object, with whatever other records."""
    entries = {"data/0": RECORD, "constants.pkl": program(b")") if constants is None else constants}
    return archive(program(body), entries | records)


SCRIPTS = {
    "constants cut short": (script(module(), b"\x80\x02("), True),
    "constants that call": (script(module(), program(call(name("os", "path.join"), string("x")))), True),
    "constants outside their record": (script(module(), program(sequence(tensor(storage(key=string("7")))))), False),
    "constant one past the end": (
        script(module(), program(sequence(tensor(shape=(5,)))), **{"constants/0": RECORD}),
        False,
    ),
    "object cut short": (archive(b"\x80\x02}(", {"constants.pkl": program(b")")}), True),
    "object that is two": (archive(program() + program(), {"constants.pkl": program(b")")}), True),
    "attribute without a name": (script(module(integer(1), b"N")), False),
    "storage of nowhere": (script(module(string("w"), tensor(storage(key=string("9"))))), False),
    "storage too short": (script(module(string("w"), tensor(storage(numel=integer(5))))), False),
    "storage as an attribute's name": (script(module(storage(), b"N")), False),
    "offset 2^62": (script(module(string("w"), tensor(offset=2**62))), False),
    "shape 2^32 squared": (script(module(string("w"), tensor(shape=(2**32, 2**32), stride=(1, 1)))), False),
    "a long name of 5,000 attributes": (
        script(
            module(
                string("k" * 60_000),
                module(*(part for i in range(5_000) for part in (string(f"a{i}"), b"N")), cls="N"),
                string("lists"),
                b"](" + b"]" * 1_000_000 + b"e",
            )
        ),
        False,
    ),
    "modules 20,000 deep": (script(b"".join([b"c__torch__\nM\n)\x81}", string("m")] * 20_000) + b"N" + b"sb" * 20_000), False),
}


def truncations():
    """Cut short at many places: everything near the ends, and points between."""
    whole = archive(records={"data/0": RECORD} | {f"extra/{i}": bytes(100) for i in range(5)})
    cuts = {*range(1, 8), *range(len(whole) - 30, len(whole)), *range(8, len(whole), len(whole) // 40)}
    return {f"cut at {cut}": whole[:cut] for cut in sorted(cuts)}


REFUSED = (
    {f"file: {what}": (data, False) for what, data in FILES.items()}
    | {f"archive: {what}": (data, False) for what, data in ARCHIVES.items()}
    | {what: (data, False) for what, data in OLD_FORMATS.items()}
    | {f"zip: {what}": (data, True) for what, data in ZIPS.items()}
    | {f"pickle: {what}": (archive(data), True) for what, data in PICKLES.items()}
    | {f"script: {what}": case for what, case in SCRIPTS.items()}
    | {f"tensor: {what}": (pickled(body), False) for what, body in TENSORS.items()}
    | {what: (data, False) for what, data in truncations().items()}
)

# ---- what may be held as data, if that costs little


def laughs(level, levels=60):
    """Each level holds the one before it twice: few nodes, 2^60 paths."""
    body = b"".join(level(i) for i in range(levels))
    return tensor() + b"q\x00" + body


def under_long_key(count):
    """A name of each tensor has the whole key in it."""
    named = b"".join(string(f"t{i}") + tensor() for i in range(count))
    return pickled(b"}", string("k" * 60_000), b"}(", named, b"us")


def keyed_and_listed(count, key_bytes, lists):
    """Hostile in two ways: many names with a long key in each, and many small values."""
    named = b"".join(string(f"t{i}") + (b"h\x01" if i else tensor() + b"q\x01") for i in range(count))
    return pickled(b"(", b"}", string("k" * key_bytes), b"}(", named, b"us", b"](" + b"]" * lists + b"e", b"t")


# A short pickle says the same long thing again and again; whoever looks at it each time never ends.
REPEATED = {
    "ordered dict of bad pairs": pickled(
        b"NN\x86q\x05]q\x06(" + b"h\x05" * 250_000 + b"Ne0ccollections\nOrderedDict\nq\x07](",
        b"h\x07h\x06\x85R0" * 100_000 + b"e",
    ),
    "list in itself, long, at many places": pickled(b"]q\x00(h\x00", b"N" * 300_000, b"e0(", b"h\x00" * 300_000, b"t"),
    "list of a tensor, long, at many places": pickled(
        b"]q\x01(", tensor(), b"N" * 300_000, b"e0(", b"h\x01" * 100_000, b"t"
    ),
    "list of numbers, long, at many places": pickled(b"]q\x01(", b"N" * 300_000, b"e(", b"h\x01" * 300_000, b"t"),
    "key of 60,000 letters, many times": pickled(
        string("k" * 60_000) + b"q\x000}(", b"h\x00]" * 200_000, b"u"
    ),
    "key in a tuple, many times": pickled(string("k" * 1_000_000) + b"\x85q\x000}(", b"h\x00]" * 200_000, b"u"),
    "key of bytes, many times": pickled(
        b"\x80\x03B" + struct.pack("<I", 1_000_000) + b"b" * 1_000_000 + b"q\x000}(", b"h\x00]" * 200_000, b"u"
    ),
    "shape of 300,000, many times": pickled(
        name("torch._utils", "_rebuild_tensor_v2")
        + b"q\x00(" + storage() + b"K\x00(" + b"K\x01" * 300_000 + b"tq\x02h\x02\x89" + NO_HOOKS + b"tq\x01](",
        b"h\x00h\x01R" * 100_000 + b"e",
    ),
    "flags of 300,000, many times": pickled(
        name("torch._utils", "_rebuild_tensor_v2")
        + b"q\x00(" + storage() + b"K\x00K\x04\x85K\x01\x85\x89" + NO_HOOKS + b"}(" + string("conj") + b"q\x05\x88",
        b"h\x05\x88" * 300_000 + b"utq\x01](" + b"h\x00h\x01R" * 100_000 + b"e",
    ),
    "sparse of 300,000 arguments, many times": pickled(
        name("torch._utils", "_rebuild_sparse_tensor") + b"q\x00(" + b"K\x01" * 300_000 + b"tq\x01](",
        b"h\x00h\x01R" * 100_000 + b"e",
    ),
    "set of 300,000, many times": pickled(
        name("builtins", "set") + b"q\x00](" + b"N" * 300_000 + b"e\x85q\x01](", b"h\x00h\x01R" * 100_000 + b"e"
    ),
    "bytes of a million letters, many times": pickled(
        name("_codecs", "encode") + b"q\x00" + string("k" * 1_000_000) + string("latin1") + b"\x86q\x01](",
        b"h\x00h\x01R" * 100_000 + b"e",
    ),
    "names of the longest integer": pickled(b"](", (b"I" + b"9" * 4300 + b"\n") * 1000, b"e"),
    "lines without an end": pickled(b"I" + b"9" * 3_000_000),
    "lists and 250 names of 60,000": keyed_and_listed(250, 60_000, 800_000),
    "lists and 20,000 names of 400": keyed_and_listed(20_000, 400, 800_000),
    "lists and 40,000 names": keyed_and_listed(40_000, 10, 800_000),
    "100,000 names of one tensor": keyed_and_listed(100_000, 10, 1),
}

SCRIPTS_CONTAINED = {
    "script: module in itself": script(name("__torch__", "M") + b")\x81q\x00}(" + string("m") + b"h\x00ub"),
    "script: module at many places": script(
        module(string("m"), module(string("w"), tensor()) + b"q\x01", string("all"), b"(" + b"h\x01" * 100_000 + b"t")
    ),
    "script: modules that hold one twice": script(
        module() + b"q\x00" + b"".join(module(string("a"), b"h" + bytes([i]), string("b"), b"h" + bytes([i])) + b"q" + bytes([i + 1]) for i in range(60))
    ),
    "script: object is a number": script(integer(1)),
    "script: code that is no code": script(module(string("w"), tensor()), **{"code/__torch__.py": b"\xff\x00class M:" * 1000}),
    "script: classes without end": script(
        module(string("w"), tensor()),
        **{"code/__torch__.py": b"".join(b"class C%d:\n  __parameters__ = [" % i + b'"a", ' * 20 + b"\n" for i in range(20_000))},
    ),
    "script: debug information a million deep": script(module(), **{"code/__torch__.py.debug_pkl": START + b"(" * 1_000_000}),
    "script: tensor by a number": script(module(string("w"), call(name("torch.jit._pickle", "build_tensor_from_id"), integer(3)))),
    "script: sparse of 300,000 arguments, many times": script(
        module(
            string("w"),
            name("torch._utils", "_rebuild_sparse_tensor") + b"q\x000(" + b"K\x01" * 300_000 + b"tq\x010](",
            b"h\x00h\x01R" * 100_000 + b"e",
        )
    ),
}

CONTAINED = {
    "two left over": pickled(b"NN"),
    "call of None": pickled(b"N)R"),
    "instance of None": pickled(b"N)\x81"),
    "million empty lists": pickled(b"](", b"]" * 1_000_000, b"e"),
    "ten million empty lists": pickled(b"](", b"]" * 10_000_000, b"e"),
    "million empty dicts": pickled(b"](", b"}" * 1_000_000, b"e"),
    "million small integers": pickled(b"](", b"K\x01" * 1_000_000, b"e"),
    "million globals": pickled(b"](", b"ca\nb\n" * 1_000_000, b"e"),
    "million calls": pickled(b"ca\nb\nq\x00](", b"h\x00)R" * 1_000_000, b"e"),
    "memo index 2^32-1": pickled(b"Nr\xff\xff\xff\xff"),
    "memo indexes far apart": pickled(b"N" + b"".join(b"r" + struct.pack("<I", i * 40_000_000) for i in range(100))),
    "million nested tuples": pickled(tensor(), b"\x85" * 1_000_000),
    "million nested lists": pickled(b"]" * 1_000_000, b"a" * 999_999),
    "hundred thousand nested dicts": pickled((b"}" + integer(1)) * 100_000, b"N" + b"s" * 100_000),
    "laughing tuples": pickled(laughs(lambda i: b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]))),
    "laughing lists": pickled(laughs(lambda i: b"0](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]))),
    "laughing dicts": pickled(
        laughs(lambda i: b"0}(K\x01h" + bytes([i]) + b"K\x02h" + bytes([i]) + b"uq" + bytes([i + 1]))
    ),
    "list in itself": pickled(b"]q\x00h\x00a"),
    "dict in itself": pickled(b"}q\x00K\x01h\x00s"),
    "list as its own key": pickled(b"}]q\x00Ns"),
    "unhashable key": pickled(b"}}Ns"),
    "one key twice": pickled(b"}(K\x01NK\x01Nu"),
    "million Nones": pickled(b"](", b"N" * 1_000_000, b"e"),
    "integer of a million bits": pickled(b"\x8b" + struct.pack("<I", 125_000) + b"\x7f" * 125_000),
    "expanded to 2^40 elements": pickled(tensor(shape=(2**20, 2**20), stride=(0, 0))),
    "expanded to 2^62 elements": pickled(tensor(shape=(2**31, 2**31), stride=(0, 0))),
    "overlapping to 2^40": pickled(tensor(shape=(2, 2**39), stride=(1, 0))),
    "no elements of 2^62 rows": pickled(tensor(shape=(2**62, 0), stride=(1, 1))),
    "no elements, stride 2^62": pickled(tensor(shape=(0, 2, 2), stride=(2**62, 2**62, 1))),
    "10,000 tensors on one storage": pickled(b"(", tensor() * 10_000, b"t"),
    "10,000 names of one tensor": pickled(tensor(), b"q\x00(", b"h\x00" * 10_000, b"t"),
    "400 places of 50 tensors": pickled(b"](", tensor() * 50, b"eq\x010(", b"h\x01" * 400, b"t"),
    "million places of one tensor": pickled(tensor(), b"q\x000(", b"h\x00" * 1_000_000, b"t"),
    "million places of a list": pickled(b"]q\x00Na0(", b"h\x00" * 1_000_000, b"t"),
    "long key of 3,000 tensors": under_long_key(3_000),
    "long key of 20,000 tensors": under_long_key(20_000),
    "two million integers": pickled(b"](", b"J\x01\x02\x03\x00" * 2_000_000, b"e"),
    "two million floats": pickled(b"](", (b"G" + bytes(8)) * 2_000_000, b"e"),
    "two million appended one by one": pickled(b"]", b"Na" * 2_000_000),
    "five million on the stack": pickled(b"(", b"N" * 5_000_000, b"t"),
    "a million marks with lists": pickled(b"](" * 1_000_000),
    "memo of ten million": pickled(b"N", b"r\x80\x96\x98\x00", b"N0" * 5_000_000),
    "million lists of one": pickled(b"](", b"]Na" * 1_000_000, b"e"),
    "long key": pickled(b"}", string("k" * 1_000_000), tensor(), b"s"),
    "key of controls": pickled(b"}", string("\x1b[2J\x1b]0;title\x07\n\r"), tensor(), b"s"),
    "nested class": pickled(b"\x80\x04" + string("nowhere") + string("Outer.Inner") + b"\x93", b")\x81"),
    "sparse of a storage": pickled(
        call(name("torch._utils", "_rebuild_sparse_tensor"), LAYOUT, sequence(storage(), storage(), extents((4,))))
    ),
    "storage where a size should be": pickled(
        call(name("torch._utils", "_rebuild_sparse_tensor"), LAYOUT, sequence(tensor(), tensor(), storage()))
    ),
    "quantizer of itself": pickled(QUANTIZED),
    "array of a lie": pickled(ARRAY),
    "unknown class": pickled(name("nowhere", "Nothing"), b")\x81}X\x01\x00\x00\x00a", tensor(), b"sb"),
    "rebuild of another torch": pickled(call(name("torch._utils", "_rebuild_tensor_v9"), storage())),
    "rebuild with too little": pickled(call(name("torch._utils", "_rebuild_tensor_v2"), storage())),
    "rebuild of a number": pickled(call(name("torch._utils", "_rebuild_parameter"), integer(1), b"\x88", NO_HOOKS)),
    "meta of 2^62": pickled(
        call(
            name("torch._utils", "_rebuild_meta_tensor_no_storage"),
            name("torch", "float32"),
            extents((2**62,)),
            extents((1,)),
            b"\x89",
        )
    ),
    "deflated zeros": archive(
        program(tensor(storage(numel=integer(2**21)), shape=(2**21,))),
        {"data/0": bytes(2**23)},
        method=zipfile.ZIP_DEFLATED,
    ),
    "deflated zeros of 64 MiB": archive(
        program(tensor(storage(numel=integer(2**24)), shape=(2**24,))),
        {"data/0": bytes(2**26)},
        method=zipfile.ZIP_DEFLATED,
    ),
    "bytes after the archive": archive() + b"x" * 60000,
} | REPEATED | SCRIPTS_CONTAINED


def code(mark):
    """Pickles that would make the file `mark`, were anything in them run."""
    command = string(f"touch {mark}")
    return {
        "posix.system": call(name("posix", "system"), command),
        "os.system": call(name("os", "system"), command),
        "nt.system": call(name("nt", "system"), command),
        "subprocess": call(name("subprocess", "check_output"), b"](" + string("touch") + string(mark) + b"e"),
        "eval": call(name("builtins", "eval"), string(f"open('{mark}', 'w')")),
        "exec, Python 2": call(name("__builtin__", "exec"), string(f"open('{mark}', 'w')")),
        "open": call(name("builtins", "open"), string(mark), string("w")),
        "getattr": call(
            call(name("builtins", "getattr"), call(name("builtins", "__import__"), string("os")), string("system")),
            command,
        ),
        "instance": b"(" + command + b"ios\nsystem\n",
        "object": b"(" + name("os", "system") + command + b"o",
        "newobj": name("subprocess", "Popen") + sequence(command) + b"\x81",
        "torch.load within": call(name("torch", "load"), string(mark)),
        "hub": call(name("torch.hub", "load"), string(mark)),
        "setstate": name("torch", "Tensor") + b")\x81" + sequence(command) + b"b",
        "tensor of a lookalike class": call(
            name("torch._tensor", "_rebuild_from_type_v2"),
            name("os", "system"),
            name("torch", "Tensor"),
            sequence(command),
            b"}",
        ),
        "type of a parameter": call(
            name("torch._tensor", "_rebuild_from_type_v2"),
            name("torch._utils", "_rebuild_tensor_v2"),
            name("os", "system"),
            sequence(storage(), integer(0), extents((4,)), extents((1,)), b"\x89", NO_HOOKS),
            b"}",
        ),
        "nested name": b"\x80\x04" + string("os") + string("path.os.system") + b"\x93" + sequence(command) + b"R",
        "hooks": tensor(hooks=call(name("os", "system"), command)),
        "hidden behind a key": b"}" + call(name("os", "system"), command) + b"Ns",
    }


CODE = list(code("mark"))
