"""Hostile safetensors, npy and npz files, and indexes of shards, by what is wrong with them.

FLAT_REFUSED    name: (bytes of the file, kind of the error)
FLAT_ACCEPTED   name: bytes of a file that looks odd and is sound
"""

import io
import json
import struct
import zipfile
import zlib

# ---- safetensors


def safetensors(header, data=b"", length=None):
    """`header` is bytes of JSON, or what JSON is made of."""
    if not isinstance(header, bytes):
        header = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(dtype="U8", shape=(4,), begin=0, end=4, **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]} | more


def one(data=b"abcd", **fields):
    return safetensors({"w": entry(**fields)}, data)


def raw(fields, data=b"abcd"):
    """The fields of one tensor as they stand."""
    return safetensors(b'{"w":{' + fields + b"}}", data)


def field(dtype=b'"U8"', shape=b"[4]", offsets=b"[0,4]"):
    return raw(b'"dtype":' + dtype + b',"shape":' + shape + b',"data_offsets":' + offsets)


SOUND = one()
EMPTY = b'{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'

LENGTHS = {f"length {n:#x}": (SOUND[:0] + struct.pack("<Q", n) + SOUND[8:], "corrupt") for n in (
    *(0, 1, 7, 8, len(SOUND) - 7, len(SOUND), 100_000_000, 100_000_001, 2**32, 2**47, 2**48, 2**63 - 1, 2**63, 2**64 - 1),
)}  # fmt: skip

JSON = {
    "BOM": safetensors(b"\xef\xbb\xbf{}"),
    "space before": safetensors(b" {}"),
    "NUL after": safetensors(b"{}\0"),
    "NUL and more after": safetensors(b'{}\0{"w":1}'),
    "two values": safetensors(b"{}{}"),
    "an array": safetensors(b"[]"),
    "a string": safetensors(b'"{}"'),
    "not closed": safetensors(b'{"w":' + EMPTY),
    "comma after": safetensors(b'{"w":' + EMPTY + b",}"),
    "no colon": safetensors(b'{"w" ' + EMPTY + b"}"),
    "key without quotes": safetensors(b"{w:" + EMPTY + b"}"),
    "single quotes": safetensors(b"{'w':" + EMPTY + b"}"),
    "comment": safetensors(b"{/* */}"),
    "line comment": safetensors(b"{//\n}"),
    "invalid UTF-8": safetensors(b'{"\xff":' + EMPTY + b"}"),
    "overlong UTF-8": safetensors(b'{"\xc0\x80":' + EMPTY + b"}"),
    "UTF-8 cut short": safetensors(b'{"\xe2\x82":' + EMPTY + b"}"),
    "UTF-8 beyond Unicode": safetensors(b'{"\xf4\x90\x80\x80":' + EMPTY + b"}"),
    "surrogate as UTF-8": safetensors(b'{"\xed\xa0\x80":' + EMPTY + b"}"),
    "lone high surrogate": safetensors(b'{"\\ud800":' + EMPTY + b"}"),
    "lone low surrogate": safetensors(b'{"\\udc00":' + EMPTY + b"}"),
    "surrogates swapped": safetensors(b'{"\\udc00\\ud800":' + EMPTY + b"}"),
    "half an escape": safetensors(b'{"\\u00":' + EMPTY + b"}"),
    "unknown escape": safetensors(b'{"\\x41":' + EMPTY + b"}"),
    "NUL in a name": safetensors(b'{"a\0b":' + EMPTY + b"}"),
    "control in a name": safetensors(b'{"a\x01b":' + EMPTY + b"}"),
    "name twice": safetensors(b'{"w":' + EMPTY + b',"w":' + EMPTY + b"}"),
    "name twice, escaped": safetensors(b'{"w":' + EMPTY + b',"\\u0077":' + EMPTY + b"}"),
    "tensor null": safetensors(b'{"w":null}'),
    "tensor number": safetensors(b'{"w":1}'),
    "tensor array": safetensors(b'{"w":[]}'),
    "tensor string": safetensors(b'{"w":"U8"}'),
    "tensor empty": safetensors(b'{"w":{}}'),
    "metadata as a tensor": safetensors({"__metadata__": entry()}, b"abcd"),
    "metadata null": safetensors(b'{"__metadata__":null}'),
    "metadata array": safetensors(b'{"__metadata__":[]}'),
    "metadata string": safetensors(b'{"__metadata__":"pt"}'),
    "metadata number": safetensors({"__metadata__": {"a": 1}}),
    "metadata value null": safetensors({"__metadata__": {"a": None}}),
    "metadata value true": safetensors({"__metadata__": {"a": True}}),
    "metadata twice": safetensors(b'{"__metadata__":{},"__metadata__":{}}'),
    "metadata key twice": safetensors(b'{"__metadata__":{"a":"b","a":"c"}}'),
    "deep": safetensors(b'{"w":' * 100_000 + b"1" + b"}" * 100_000),
}

FIELDS = {
    "dtype missing": raw(b'"shape":[4],"data_offsets":[0,4]'),
    "shape missing": raw(b'"dtype":"U8","data_offsets":[0,4]'),
    "offsets missing": raw(b'"dtype":"U8","shape":[4]'),
    "dtype twice": raw(b'"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]'),
    "shape twice": raw(b'"dtype":"U8","shape":[4],"shape":[4],"data_offsets":[0,4]'),
    "offsets twice": raw(b'"dtype":"U8","shape":[4],"data_offsets":[0,4],"data_offsets":[0,4]'),
    "field more": one(stride=[1]),
    "dtype number": field(dtype=b"1"),
    "dtype null": field(dtype=b"null"),
    "dtype array": field(dtype=b'["U8"]'),
    "shape number": field(shape=b"4"),
    "shape string": field(shape=b'"4"'),
    "shape null": field(shape=b"null"),
    "offsets object": field(offsets=b'{"0":4}'),
    "offsets of one": field(offsets=b"[4]"),
    "offsets of three": field(offsets=b"[0,4,4]"),
    "offsets of none": field(offsets=b"[]"),
    "extent 4.0": field(shape=b"[4.0]"),
    "extent 4e0": field(shape=b"[4e0]"),
    "extent 1e400": field(shape=b"[1e400]"),
    "extent -0": field(shape=b"[-0]"),
    "extent -4": field(shape=b"[-4]"),
    "extent 04": field(shape=b"[04]"),
    "extent true": field(shape=b"[true]"),
    "extent null": field(shape=b"[null]"),
    "extent string": field(shape=b'["4"]'),
    "extent 2^53+1": field(shape=b"[9007199254740993]"),
    "extent 2^63": field(shape=b"[9223372036854775808]"),
    "extent 2^64": field(shape=b"[18446744073709551616]"),
    "extent of 1000 digits": field(shape=b"[" + b"9" * 1000 + b"]"),
    "product wraps to 4": one(shape=(2**62 + 1, 4)),
    "product 2^64": one(shape=(2**32, 2**32)),
    "product wraps with bytes": one(dtype="F32", shape=(2**62 + 1,)),
    "product of nothing and 2^80": safetensors({"w": entry(shape=(0, 2**40, 2**40), end=0)}),
    "too short": one(shape=(5,)),
    "too long": one(shape=(3,)),
    "of another size": one(dtype="F64", shape=(4,)),
    "begin after end": field(offsets=b"[4,0]"),
    "end past the data": one(end=5, shape=(5,)),
    "end 2^64-1": field(offsets=b"[0,18446744073709551615]"),
    "end 2^64": field(offsets=b"[0,18446744073709551616]"),
    "begin -1": field(offsets=b"[-1,4]"),
    "begin 2^63, end 2^63+4": field(offsets=b"[9223372036854775808,9223372036854775812]"),
    "end 4.0": field(offsets=b"[0,4.0]"),
    "begin not 0": safetensors({"w": entry(begin=1, end=4, shape=(3,))}, b"abcd"),
    "gap": safetensors({"a": entry(end=2, shape=(2,)), "b": entry(begin=3, shape=(1,))}, b"abcd"),
    "overlap": safetensors({"a": entry(end=3, shape=(3,)), "b": entry(begin=2, shape=(2,))}, b"abcd"),
    "the same range twice": safetensors({"a": entry(), "b": entry()}, b"abcd"),
    "empty inside another": safetensors({"a": entry(), "b": entry(begin=2, end=2, shape=(0,))}, b"abcd"),
    "bytes after": SOUND + b"x",
    "bytes after nothing": safetensors({}, b"x"),
    "data cut": SOUND[:-1],
    "no data": SOUND[:-4],
    "F4 of three": one(dtype="F4", shape=(3,), end=2, data=b"ab"),
    "F6 of one": one(dtype="F6_E2M3", shape=(1,), end=1, data=b"a"),
}

UNSUPPORTED = {
    "F6_E2M3": one(dtype="F6_E2M3", shape=(4,), end=3, data=b"abc"),
    "F6_E3M2": one(dtype="F6_E3M2", shape=(4,), end=3, data=b"abc"),
    "F4 with an odd row": one(dtype="F4", shape=(2, 1), end=1, data=b"a"),
    "F4 without dimensions, two of them": safetensors(
        {"a": entry("F4", (), 0, 0), "b": entry("F4", (), 0, 1)}, b"a"
    ),
    "dtype unknown": one(dtype="F128"),
    "dtype lower case": one(dtype="u8"),
    "dtype empty": one(dtype=""),
    "dtype of controls": one(dtype="\x1b[2J\x07"),
    "dtype of torch": one(dtype="float32"),
}
# A single 4-bit element is half a byte, whatever its range.
FIELDS["F4 without dimensions, two of them"] = UNSUPPORTED.pop("F4 without dimensions, two of them")


def many(count, separator=b","):
    return separator.join(b'"%d":%s' % (i, EMPTY) for i in range(count))


LIMITS = {
    "65 dimensions": one(shape=(1,) * 64 + (4,)),
    "a million dimensions": field(shape=b"[" + b"1," * 1_000_000 + b"4]"),
    "nested shape": field(shape=b"[[4]]"),
    "100,000 empty tensors": safetensors(b"{" + many(100_000) + b"}"),
    "a million empty tensors": safetensors(b"{" + many(1_000_000) + b"}"),
    "a name of 5 MB": safetensors(b'{"' + b"n" * 5_000_000 + b'":' + EMPTY + b"}"),
    "a name of 100 KB": safetensors(b'{"' + b"n" * 100_000 + b'":' + EMPTY + b"}"),
    "metadata of 50 MB": safetensors(b'{"__metadata__":{"a":"' + b"x" * 50_000_000 + b'"}}'),
    "metadata of ten 1 MB": safetensors({"__metadata__": {str(i): "x" * 1_000_000 for i in range(10)}}),
    "metadata of controls": safetensors(b'{"__metadata__":{"a":"' + b"\\u0001" * 600_000 + b'","b":"' + b"\\u0001" * 600_000 + b'"}}'),
    "metadata of a million pairs": safetensors(
        b'{"__metadata__":{' + b",".join(b'"%d":""' % i for i in range(1_000_000)) + b"}}"
    ),
    "a number of 10 MB": field(shape=b"[" + b"1" * 10_000_000 + b"]"),
    "header above 100 MB": safetensors(b"{}" + b" " * 100_000_000),
}

SAFETENSORS = (
    LENGTHS
    | {what: (data, "corrupt") for what, data in JSON.items()}
    | {what: (data, "corrupt") for what, data in FIELDS.items()}
    | {what: (data, "unsupported") for what, data in UNSUPPORTED.items()}
    | {what: (data, "limit") for what, data in LIMITS.items()}
    | {f"cut at {cut}": (SOUND[:cut], "corrupt") for cut in range(1, len(SOUND), 4)}
)
# That deep it is no tensor any more: the first wrong token decides.
SAFETENSORS["depth 10^5 of arrays"] = (field(shape=b"[" * 100_000 + b"]" * 100_000), "limit")

# ---- npy


def literal(descr="'|u1'", order="False", shape="(4,)"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()


def npy(header=None, data=b"abcd", version=(1, 0), length=None):
    header = literal() if header is None else header
    length = len(header) if length is None else length
    form = "<H" if version[0] == 1 else "<I"
    return b"\x93NUMPY" + bytes(version) + struct.pack(form, length) + header + data


NPY_CORRUPT = {
    "header empty": npy(b""),
    "header of spaces": npy(b" " * 100),
    "header of NULs": npy(b"\0" * 100),
    "header no dict": npy(b"['descr']"),
    "header not closed": npy(literal()[:-1]),
    "header and more": npy(literal() + b" + {}"),
    "header twice": npy(literal() + literal()),
    "header binary": npy(bytes(range(256))),
    "header call": npy(b"__import__('os').system('true')"),
    "header dict call": npy(b"dict(descr='|u1', fortran_order=False, shape=(4,))"),
    "header unpacked": npy(b"{**{}, 'descr': '|u1', 'fortran_order': False, 'shape': (4,)}"),
    "header comprehension": npy(b"{k: 1 for k in 'abc'}"),
    "key missing": npy(b"{'descr': '|u1', 'shape': (4,)}"),
    "key twice": npy(b"{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (4,)}"),
    "key more": npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (4,), 'x': 1}"),
    "key number": npy(b"{1: '|u1', 'fortran_order': False, 'shape': (4,)}"),
    "descr number": npy(literal(descr="1")),
    "descr None": npy(literal(descr="None")),
    "descr empty": npy(literal(descr="''")),
    "descr order alone": npy(literal(descr="'<'")),
    "descr without order": npy(literal(descr="'i4'", shape="(1,)")),
    "descr bytes": npy(literal(descr="b'|u1'")),
    "descr formatted": npy(literal(descr="f'|u1'")),
    "descr escaped": npy(literal(descr="'\\x7cu1'")),
    "descr added": npy(literal(descr="'|u' '1'")),
    "descr not closed": npy(literal(descr="'|u1")),
    "long descr": npy(literal(descr="'<" + "i" * 1000 + "'")),
    "order 0": npy(literal(order="0")),
    "order None": npy(literal(order="None")),
    "order string": npy(literal(order="'False'")),
    "order call": npy(literal(order="bool()")),
    "order not": npy(literal(order="not True")),
    "shape list": npy(literal(shape="[4]")),
    "shape number": npy(literal(shape="4")),
    "shape in brackets": npy(literal(shape="(4)")),
    "shape None": npy(literal(shape="None")),
    "shape comma alone": npy(literal(shape="(,)")),
    "shape commas": npy(literal(shape="(4,,)")),
    "shape not closed": npy(literal(shape="(4,")),
    "extent -1": npy(literal(shape="(-1,)")),
    "extent +4": npy(literal(shape="(+4,)")),
    "extent 4.0": npy(literal(shape="(4.0,)")),
    "extent 4e0": npy(literal(shape="(4e0,)")),
    "extent 0x4": npy(literal(shape="(0x4,)")),
    "extent 04": npy(literal(shape="(04,)")),
    "extent 4_0": npy(literal(shape="(4_0,)")),
    "extent 2+2": npy(literal(shape="(2+2,)")),
    "extent True": npy(literal(shape="(True,)")),
    "extent 2^63": npy(literal(shape="(9223372036854775808,)")),
    "extent of 1000 digits": npy(literal(shape="(" + "9" * 1000 + ",)")),
    "product 2^64": npy(literal(shape="(4294967296, 4294967296)")),
    "product wraps to 4": npy(literal(shape="(4611686018427387905, 4)")),
    "product wraps with bytes": npy(literal(descr="'<f4'", shape="(4611686018427387905,)")),
    "product of nothing and 2^80": npy(literal(shape="(0, 1099511627776, 1099511627776)"), b""),
    "nested shape": npy(literal(shape="((4,),)")),
    "parentheses 10^4": npy(literal(shape="(" * 10_000 + ")" * 10_000)),
    "too short": npy(data=b"abc"),
    "too long": npy(data=b"abcde"),
    "no data": npy(data=b""),
    "two arrays": npy() + npy(),
    "length 0": npy(length=0),
    "length 1": npy(length=1),
    "length past the end": npy(length=0xFFFF),
    "length past the end, version 2": npy(version=(2, 0), length=0xFFFFFFFF),
    "length cut": b"\x93NUMPY\x01\x00\x10",
    "version cut": b"\x93NUMPY\x01",
    "magic alone": b"\x93NUMPY",
    "magic cut": b"\x93NUMP",
    "magic wrong": b"\x93NUMPX" + npy()[6:],
}
NPY_UNSUPPORTED = {
    "objects": npy(literal(descr="'|O'"), b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R."),
    "byte strings": npy(literal(descr="'|S4'", shape="()")),
    "byte strings, old": npy(literal(descr="'|a4'", shape="()")),
    "text": npy(literal(descr="'<U1'", shape="()")),
    "void": npy(literal(descr="'|V4'", shape="()")),
    "dates": npy(literal(descr="'<M8[D]'", shape="()")),
    "time spans": npy(literal(descr="'<m8[s]'", shape="()")),
    "extended": npy(literal(descr="'<f16'", shape="()")),
    "extended complex": npy(literal(descr="'<c32'", shape="()")),
    "structured": npy(literal(descr="[('a', '<i4')]", shape="()")),
    "structured of structured": npy(literal(descr="[('a', [('b', '|O')])]", shape="()")),
    "subarray": npy(literal(descr="('<i4', (1,))", shape="()")),
    "unknown letter": npy(literal(descr="'<q4'", shape="()")),
    "unknown size": npy(literal(descr="'<i3'", shape="()")),
    "descr of controls": npy(literal(descr="'<\x1b[2J'")),
    "version 0": npy(version=(0, 0)),
    "version 1.1": npy(version=(1, 1)),
    "version 4": npy(version=(4, 0)),
    "version 255": npy(version=(255, 255)),
}
NPY_LIMITS = {
    "65 dimensions": npy(literal(shape="(" + "1, " * 64 + "4)")),
    "header of 10 MB": npy(literal() + b" " * 10_000_000, version=(2, 0)),
    "header of 64 KiB and 1": npy(literal() + b" " * 65536, version=(3, 0)),
}
NPY = (
    {what: (data, "corrupt") for what, data in NPY_CORRUPT.items()}
    | {what: (data, "unsupported") for what, data in NPY_UNSUPPORTED.items()}
    | {what: (data, "limit") for what, data in NPY_LIMITS.items()}
    | {f"cut at {cut}": (npy()[:cut], "corrupt") for cut in range(7, len(npy()), 6)}
)

# ---- npz


def npz(members=None, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as out:
        for name, data in ({"w.npy": npy()} if members is None else members).items():
            out.writestr(name, data)
    return buffer.getvalue()


def deflated(claim, payload):
    """One deflated member that is `payload`, and claims to inflate to `claim` bytes."""
    crc = zlib.crc32(npy())
    fields = struct.pack("<HHHHHIII", 20, 0, 8, 0, 0, crc, len(payload), claim)
    local = b"PK\3\4" + fields + struct.pack("<HH", 5, 0) + b"w.npy" + payload
    central = b"PK\1\2" + struct.pack("<H", 20) + fields + struct.pack("<HHHHHII", 5, 0, 0, 0, 0, 0, 0) + b"w.npy"
    return local + central + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)


def raw_deflate(data):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


WHOLE = raw_deflate(npy())

NPZ = {
    "member no array": (npz({"w.npy": b"this is no array at all"}), "corrupt"),
    "member empty": (npz({"w.npy": b""}), "corrupt"),
    "member cut": (npz({"w.npy": npy()[:-1]}), "corrupt"),
    "member longer": (npz({"w.npy": npy() + b"x"}), "corrupt"),
    "member of objects": (npz({"w.npy": NPY_UNSUPPORTED["objects"]}), "unsupported"),
    "member of objects, last": (npz({"v.npy": npy(), "w.npy": NPY_UNSUPPORTED["objects"]}), "unsupported"),
    "member a pickle": (npz({"w.npy": npy(), "x.pkl": b"\x80\x02N."}), "unsupported"),
    "member a folder": (npz({"w.npy": npy(), "a/": b""}), "unsupported"),
    "name climbs": (npz().replace(b"w.npy", b"../py").replace(b"../py", b"../.n"), "corrupt"),
    "name absolute": (npz().replace(b"w.npy", b"/.npy"), "corrupt"),
    "name has a backslash": (npz().replace(b"w.npy", b"\\.npy"), "corrupt"),
    "name has NUL": (npz().replace(b"w.npy", b"\0.npy"), "corrupt"),
    "name twice": (npz({"v.npy": npy(), "w.npy": npy()}).replace(b"v.npy", b"w.npy"), "corrupt"),
    "CRC of a member": (npz().replace(b"abcd", b"abce"), "corrupt"),
    "encrypted": (npz().replace(b"PK\3\4\x14\0\0\0", b"PK\3\4\x14\0\1\0").replace(b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0"), "unsupported"),
    "bzip2": (npz(method=zipfile.ZIP_BZIP2), "unsupported"),
    "lzma": (npz(method=zipfile.ZIP_LZMA), "unsupported"),
    "inflates to less": (deflated(len(npy()) + 1, WHOLE), "corrupt"),
    "inflates to more": (deflated(len(npy()) - 1, WHOLE), "corrupt"),
    "deflated bytes after": (deflated(len(npy()), WHOLE + b"x"), "corrupt"),
    "deflated cut": (deflated(len(npy()), WHOLE[:-3]), "corrupt"),
    "deflated rubbish": (deflated(len(npy()), b"\xff" * 50), "corrupt"),
    "claims 4 GiB": (deflated(0xFFFFFFFE, WHOLE), "corrupt"),
    "bomb that is too long": (deflated(2**20, raw_deflate(npy(literal(shape="(1048000,)"), bytes(2**24)))), "corrupt"),
    "cut in half": (npz()[: len(npz()) // 2], "corrupt"),
    "central directory gone": (npz()[: npz().index(b"PK\1\2")], "corrupt"),
}
del NPZ["name climbs"]
NPZ["name climbs"] = (npz({"aa/w.npy": npy()}).replace(b"aa/w.npy", b"../w.npy"), "corrupt")

# ---- an index


def index(weight_map, **more):
    return json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map} | more).encode()


INDEXES = {
    "JSON without a map": (b'{"metadata":{}}', "unsupported"),
    "JSON empty": (b"{}", "unsupported"),
    "JSON not closed": (b'{"weight_map":{', "corrupt"),
    "JSON NUL": (index({}) + b"\0", "corrupt"),
    "JSON deep": (b'{"weight_map":' * 100_000, "corrupt"),
    "JSON arrays deep": (b'{"a":' + b"[" * 100_000, "limit"),
    "map array": (b'{"weight_map":["a"]}', "corrupt"),
    "map null": (b'{"weight_map":null}', "corrupt"),
    "map number": (b'{"weight_map":{"a":1}}', "corrupt"),
    "map nested": (b'{"weight_map":{"a":{"b":"c"}}}', "corrupt"),
    "map twice": (b'{"weight_map":{},"weight_map":{}}', "corrupt"),
    "name twice": (b'{"weight_map":{"a":"x","a":"x"}}', "corrupt"),
    "shard missing": (index({"a": "no-such.safetensors"}), "not_found"),
    "shard climbs": (index({"a": "../../etc/passwd"}), "unsupported"),
    "shard absolute": (index({"a": "/etc/passwd"}), "unsupported"),
    "shard a folder": (index({"a": "."}), "unsupported"),
    "shard empty": (index({"a": ""}), "unsupported"),
    "shard NUL": (index({"a": "x\0y"}), "unsupported"),
    "shard is the index": (index({"a": "hostile file.pt"}), "unsupported"),
    "names a million tensors": (index({str(i): "a" for i in range(1_000_000)}), "limit"),
    "names 100,000 files": (index({str(i): str(i) for i in range(100_000)}), "limit"),
    "a name of 1 MB": (index({"n" * 1_000_000: "a"}), "limit"),
}

FLAT_REFUSED = {
    f"{kind}: {what}": case
    for kind, cases in (("safetensors", SAFETENSORS), ("npy", NPY), ("npz", NPZ), ("index", INDEXES))
    for what, case in cases.items()
}

FLAT_ACCEPTED = {
    "safetensors: sound": SOUND,
    "safetensors: no tensors": safetensors({}),
    "safetensors: padded with spaces": safetensors(b'{"w":' + EMPTY + b"}" + b" \t\r\n" * 1000),
    "safetensors: padded with 90 MB": safetensors(b'{"w":' + EMPTY + b"}" + b" " * 90_000_000),
    "safetensors: not aligned": safetensors({"a": entry(end=1, shape=(1,)), "b": entry("F32", (1,), 1, 5)}, b"abcde"),
    "safetensors: empty ones share an offset": safetensors(
        {"a": entry(end=0, shape=(0,)), "b": entry(), "c": entry(end=0, shape=(3, 0)), "d": entry(begin=4, shape=(0,))},
        b"abcd",
    ),
    "safetensors: NUL in a name": safetensors({"a\0b": entry()}, b"abcd"),
    "safetensors: name of controls": safetensors({"\x1b[2J\x07\n": entry()}, b"abcd"),
    "safetensors: name empty": safetensors({"": entry()}, b"abcd"),
    "safetensors: names of paths": safetensors({"../../etc/passwd": entry()}, b"abcd"),
    "safetensors: extent 2^40 of none": safetensors({"w": entry(end=0, shape=(0, 2**40))}),
    "safetensors: 64 dimensions": one(shape=(1,) * 63 + (4,)),
    "safetensors: 15,000 tensors": safetensors(b"{" + many(15_000) + b"}"),
    "safetensors: metadata of 3 MB": safetensors({"__metadata__": {"a": "x" * 3_000_000}}),
    "npy: sound": npy(),
    "npy: extents of long": npy(literal(shape="(2L, 2L)")),
    "npy: double quotes": npy(b'{"shape":(4,),"fortran_order":False,"descr":"|u1"}'),
    "npy: extent 2^40 of none": npy(literal(shape="(0, 1099511627776)"), b""),
    "npz: sound": npz(),
    "npz: deflated": npz(method=zipfile.ZIP_DEFLATED),
    "npz: name empty": npz({".npy": npy()}),
    "npz: name of controls": npz({"\x1b[2J.npy": npy()}),
    "npz: deflated zeros": npz({"w.npy": npy(literal(shape="(100000000,)"), bytes(100_000_000))}, zipfile.ZIP_DEFLATED),
    "npz: 500 members": npz({f"{i}.npy": npy() for i in range(500)}),
    "npz: 2,000 deflated members": npz({f"{i}.npy": npy() for i in range(2000)}, zipfile.ZIP_DEFLATED),
}
