"""What can go wrong, as exceptions.

Every exception that Tenon raises is a ``tenon.Error`` and carries the facts that are known: ``kind`` (a stable lower-case
name), ``what``, ``file``, ``offset`` (bytes from the start of the file), ``got``, ``wanted`` and ``hint``; what is not known
is None. Where Python has an exception for it, the class is one of those, too.
"""

from __future__ import annotations

from typing import Optional


class Error(Exception):
    """The base of all. ``str(error)`` is the whole message in one line."""

    kind: str = "error"

    def __init__(self, message: str, *, what: Optional[str] = None, file: Optional[str] = None,
                 offset: Optional[int] = None, got: Optional[str] = None, wanted: Optional[str] = None,
                 hint: Optional[str] = None):
        super().__init__(message)
        self.what = what or message
        self.file = file
        self.offset = offset
        self.got = got
        self.wanted = wanted
        self.hint = hint

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self):
        return _rebuild, (type(self), self.args[0], self.__dict__.copy())


def _rebuild(kind, message, facts):
    error = kind(message)
    error.__dict__.update(facts)
    return error


class NotFoundError(Error, LookupError):
    """A ref, snapshot, tensor or file that is not there."""

    kind = "not_found"


class NoStoreError(Error, FileNotFoundError):
    """The path is not a store."""

    kind = "no_store"


class InvalidArgumentError(Error, ValueError):
    """The caller's mistake."""

    kind = "invalid_argument"


class CorruptError(Error):
    """Bytes that are not what they must be."""

    kind = "corrupt"


class ConflictError(Error):
    """The ref is not where it was expected, or the name is taken."""

    kind = "conflict"


class StoreIOError(Error, OSError):
    """The system refused a read, write or sync."""

    kind = "io"


class FullError(StoreIOError):
    """No space, a quota, or a size limit of the file system."""

    kind = "full"


class UnsupportedError(Error):
    """Well-formed, but not ours to handle."""

    kind = "unsupported"


class UntrustedError(UnsupportedError):
    """A snapshot names classes that are not loaded unless they are allowed. ``names`` lists them."""

    names: "list[str]"


class LimitError(Error):
    """Larger, deeper or more than a stated limit."""

    kind = "limit"


class BusyError(Error, TimeoutError):
    """Somebody else holds what is needed."""

    kind = "busy"


class TooNewError(UnsupportedError):
    """Written by a later format."""

    kind = "too_new"


_classes = {c.kind: c for c in (NotFoundError, NoStoreError, InvalidArgumentError, CorruptError, ConflictError,
                                StoreIOError, FullError, UnsupportedError, LimitError, BusyError, TooNewError)}


def _from_facts(kind, message, what, file, offset, got, wanted, hint):
    """The exception for an error of the library."""
    return _classes.get(kind, Error)(message, what=what, file=file or None, offset=offset, got=got or None,
                                     wanted=wanted or None, hint=hint or None)
