"""How a string names a snapshot, and a part of it."""

from __future__ import annotations

import os
import re
from typing import NamedTuple, Tuple

# A rev ends at the first colon after its '@' value, which itself may be `step:100` or `min:val_loss`.
_TARGET = re.compile(r"(?P<rev>[^:@]*(?:@(?:(?:step|min|max):)?[^:]*)?)(?::(?P<path>.*))?", re.DOTALL)

# What `run.tenon@...` takes to be said of main: the rest are revs of their own.
_OF_MAIN = re.compile(r"(step|min|max):|\d{4}-\d{2}-\d{2}")


class Target(NamedTuple):
    rev: str
    path: str


def split_target(text: str) -> Target:
    """``"main@step:1200:model/fc.weight"`` is the rev ``main@step:1200`` and the path ``model/fc.weight``."""
    match = _TARGET.fullmatch(text)
    assert match is not None
    return Target(match["rev"] or "main", match["path"] or "")


def split_location(location: "str | os.PathLike[str]") -> Tuple[str, Target]:
    """``"run.tenon@step:100:model"``: a store, and what of it. Where a path exists, all of it is the path."""
    text = os.fspath(location)
    if not isinstance(text, str) or os.path.exists(text) or not isinstance(location, str):
        return os.fsdecode(text), Target("main", "")
    for place in sorted((i for i, c in enumerate(text) if c in "@:"), reverse=True):
        if os.path.exists(text[:place]):
            rest = text[place:]
            if rest[0] == ":":
                return text[:place], Target("main", rest[1:])
            return text[:place], split_target("main" + rest if _OF_MAIN.match(rest[1:]) else rest[1:])
    return text, Target("main", "")
