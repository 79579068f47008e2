"""What a disk may hold after the power is cut, rebuilt from a record of the operations (recorder.h has its format).

The model is that of POSIX and no kinder: data is durable once its file is synced (or the descriptor syncs its own
writes), a name once its directory is synced. Whatever is not durable may have happened or not, each on its own and in
any order; a write may be torn between any two sectors. Only what the kernel promises is assumed: a rename is atomic.
"""

import dataclasses
import hashlib
import os
import posixpath

SECTOR = 512
PAGE = 4096


@dataclasses.dataclass(frozen=True)
class Operation:
    kind: str           # write, truncate, sync, put (a name appears), rename, drop (a name goes)
    target: int         # the file, or for names the directory
    offset: int = 0     # of a write; new size of a truncate
    data: bytes = b""
    durable: bool = False  # in itself
    name: str = ""
    old_name: str = ""
    file: int = 0       # what the name leads to


class Record:
    """`operations`, in which files are numbered anew, because inode numbers are used again.

    `directories`: the numbers of those that are directories.
    """

    ROOT = 0

    def __init__(self, raw, root):
        self.operations = []
        self.directories = {self.ROOT}
        self._root = str(root)
        self._by_inode = {os.stat(root).st_ino: self.ROOT}
        self._entries = {self.ROOT: {}}  # the live tree, to find what a path means at its time
        self._files = 1
        self._parse(raw)

    def _parse(self, raw):
        at = 0
        while at < len(raw):
            end = raw.index(b"\n", at)
            kind, *fields = raw[at:end].decode().split("\t")
            at = end + 1
            if kind == "write":
                inode, offset, size, durable = map(int, fields)
                self._add(Operation("write", self._by_inode[inode], offset, raw[at:at + size], bool(durable)))
                at += size
            else:
                getattr(self, f"_parse_{kind}")(*fields)

    def _add(self, operation):
        self.operations.append(operation)

    def _parse_truncate(self, inode, size):
        self._add(Operation("truncate", self._by_inode[int(inode)], int(size)))

    def _parse_sync(self, inode):
        self._add(Operation("sync", self._by_inode[int(inode)]))

    def _parse_create(self, inode, path):
        self._by_inode[int(inode)] = self._files
        self._files += 1
        self._put(self._by_inode[int(inode)], path)

    def _parse_mkdir(self, inode, path):
        self._parse_create(inode, path)
        self.directories.add(self._by_inode[int(inode)])
        self._entries[self._by_inode[int(inode)]] = {}

    def _parse_link(self, inode, path):
        self._put(self._by_inode[int(inode)], path)

    def _put(self, file, path):
        directory, name = self._locate(path)
        self._entries[directory][name] = file
        self._add(Operation("put", directory, name=name, file=file))

    def _parse_rename(self, inode, old, new):
        directory, name = self._locate(new)
        old_directory, old_name = self._locate(old)
        if directory != old_directory:
            raise ValueError(f"a rename between directories is not modelled: {old} to {new}")
        file = self._entries[directory].pop(old_name)
        self._entries[directory][name] = file
        self._add(Operation("rename", directory, name=name, old_name=old_name, file=file))

    def _parse_unlink(self, path):
        directory, name = self._locate(path)
        file = self._entries[directory].pop(name)
        self._add(Operation("drop", directory, name=name, file=file))

    _parse_rmdir = _parse_unlink

    def _locate(self, path):
        relative = posixpath.relpath(path, self._root)
        if relative.startswith(".."):
            raise ValueError(f"{path} is outside {self._root}")
        *parents, name = relative.split("/")
        directory = self.ROOT
        for parent in parents:
            directory = self._entries[directory][parent]
        return directory, name

    def durable_after(self, count):
        """Indexes, among the first `count` operations, of those that a power cut right after them cannot undo."""
        durable, synced = set(), set()
        for index in range(count - 1, -1, -1):
            operation = self.operations[index]
            if operation.kind == "sync":
                synced.add(operation.target)
            elif operation.durable or operation.target in synced:
                durable.add(index)
        return durable

    def changes(self, count):
        return [index for index in range(count) if self.operations[index].kind != "sync"]


def tears(operation, source, variants):
    """Parts of a write that may be all that reached the disk: lists of (begin, end) within its data."""
    begin, size = operation.offset, len(operation.data)
    sectors = _cuts(begin, size, SECTOR)
    pages = _cuts(begin, size, PAGE)
    parts = []
    if len(sectors) > 2:
        cut = source.choice(sectors[1:-1])
        parts += [[(0, cut)], [(cut, size)]]
    if len(pages) > 2:
        lost = source.randrange(len(pages) - 1)
        parts.append([(0, pages[lost]), (pages[lost + 1], size)])
        parts.append([(a, b) for a, b in zip(pages[::2], pages[1::2])])
    source.shuffle(parts)
    return parts[:variants]


def _cuts(begin, size, unit):
    """0, every multiple of `unit` in the file that the write crosses, size; relative to its data."""
    first = (begin // unit + 1) * unit - begin
    return [0, *range(first, size, unit), size]


def build(record, applied, torn=None):
    """The tree after the operations in `applied` (indexes): path -> bytes, or None for a directory.

    `torn`: index of a write -> the parts of it that happened.
    """
    torn = torn or {}
    contents, entries = {}, {directory: {} for directory in record.directories}
    for index in sorted(applied):
        operation = record.operations[index]
        if operation.kind == "write":
            parts = torn.get(index, [(0, len(operation.data))])
            _write(contents.setdefault(operation.target, bytearray()), operation, parts)
        elif operation.kind == "truncate":
            _resize(contents.setdefault(operation.target, bytearray()), operation.offset)
        else:
            _apply_name(entries[operation.target], operation)
    return _walk(record, contents, entries)


def _write(content, operation, parts):
    for begin, end in parts:
        at = operation.offset + begin
        if len(content) < at + end - begin:
            _resize(content, at + end - begin)
        content[at:at + end - begin] = operation.data[begin:end]


def _resize(content, size):
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


def _apply_name(names, operation):
    if operation.kind == "drop":
        if names.get(operation.name) == operation.file:
            del names[operation.name]
        return
    if operation.kind == "rename" and names.get(operation.old_name) == operation.file:
        del names[operation.old_name]
    names[operation.name] = operation.file


def _walk(record, contents, entries):
    tree, pending = {}, [("", Record.ROOT)]
    while pending:
        prefix, directory = pending.pop()
        for name, file in entries[directory].items():
            path = posixpath.join(prefix, name)
            if file in record.directories:
                tree[path] = None
                pending.append((path, file))
            else:
                tree[path] = bytes(contents.get(file, b""))
    return tree


def read_tree(root):
    """The same form, of a real folder."""
    tree = {}
    for folder, folders, files in os.walk(root):
        for name in folders:
            tree[posixpath.relpath(posixpath.join(folder, name), root)] = None
        for name in files:
            path = posixpath.join(folder, name)
            with open(path, "rb") as file:
                tree[posixpath.relpath(path, root)] = file.read()
    return tree


def digest_of(tree):
    digest = hashlib.blake2b()
    for path, content in sorted(tree.items()):
        digest.update(f"{path} {'-' if content is None else len(content)}\n".encode())
        digest.update(content or b"")
    return digest.digest()


def write_tree(tree, root):
    os.makedirs(root)
    for path, content in sorted(tree.items()):  # a folder sorts before what is in it
        if content is None:
            os.mkdir(posixpath.join(root, path))
    for path, content in tree.items():
        if content is not None:
            with open(posixpath.join(root, path), "wb") as file:
                file.write(content)
