"""Rows of a statement."""

from __future__ import annotations

from typing import Any, Callable, Iterator, List, Tuple

from . import _core
from .errors import UnsupportedError

_BATCH = 1024


class Result:
    """The rows of one statement, read once: by iterating, with ``rows``, ``arrow()`` or ``df()``, or by any library that
    takes an object with ``__arrow_c_stream__`` (pyarrow, polars, duckdb, pandas 2.2 and later).

    Values are None, int, float, str or bytes. Rows come as they are asked for: nothing is held in between.
    """

    def __init__(self, rows: Any):
        self._rows = rows
        self._columns = rows.columns()

    @property
    def columns(self) -> List[str]:
        return [name for name, _ in self._columns]

    @property
    def types(self) -> List[str]:
        """As declared: INTEGER, REAL, TEXT, BOOLEAN, JSON, TIMESTAMP; empty for an expression."""
        return [kind for _, kind in self._columns]

    def __iter__(self) -> Iterator[Tuple[Any, ...]]:
        while batch := self._rows.fetch(_BATCH):
            yield from batch

    @property
    def rows(self) -> List[Tuple[Any, ...]]:
        """All that were not read yet."""
        return list(self)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """A capsule with an Arrow C stream of what was not read yet; another may be had until one of them is read, so that
        a library can look at the schema first. ``requested_schema`` may be ignored, and is."""
        return self._rows.arrow_stream()

    def arrow(self) -> Any:
        """A ``pyarrow.Table``. Raises tenon.UnsupportedError without pyarrow 14 or later."""
        try:
            import pyarrow
        except ImportError as missing:
            raise UnsupportedError("arrow() needs pyarrow") from missing
        return pyarrow.RecordBatchReader.from_stream(self).read_all()

    def df(self) -> Any:
        """A ``pandas.DataFrame``. Raises tenon.UnsupportedError without pandas."""
        try:
            import pandas
        except ImportError as missing:
            raise UnsupportedError("df() needs pandas") from missing
        return pandas.DataFrame.from_records(self.rows, columns=self.columns)

    def __repr__(self) -> str:
        return f"<tenon rows of {', '.join(self.columns)}>"


Function = Callable[..., Any]


def query(store: Any, statement: str, timeout: float, functions: Any) -> Result:
    """A session of its own for each statement, so that results may be read in any thread."""
    session = _core.Session(store, timeout)
    for name, (count, function) in functions.items():
        session.register_function(name, count, function)
    return Result(session.query(statement))
