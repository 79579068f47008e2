"""Refs that somebody else moved between two saves."""

from __future__ import annotations

import warnings
from typing import Any, Callable, Dict, Optional

from .errors import ConflictError, InvalidArgumentError

POLICIES = ("rebase", "fork", "raise")
_NAMES_TRIED = 1000

Commit = Callable[[str, Any], Dict[str, Any]]  # (ref, expected) -> facts of the commit


class Tips:
    """Where the refs are that one store object saved to, as far as it knows."""

    def __init__(self) -> None:
        self._known: Dict[str, str] = {}
        self._forks: Dict[str, str] = {}

    def commit(self, core: Any, ref: str, expected: Any, policy: Optional[str], commit: Commit) -> "tuple[str, dict]":
        """Commits by ``commit`` to ``ref``, or to a fork of it. Returns the ref and the facts."""
        if policy is None:
            policy = "rebase" if expected is ... else "raise"
        if policy not in POLICIES:
            raise InvalidArgumentError(f"on_moved is one of {', '.join(POLICIES)}, not {policy!r}")
        target = self._forks.get(ref, ref) if policy == "fork" else ref
        if expected is ... and policy != "rebase":
            expected = self._known.get(target, ...)
        try:
            facts = commit(target, ... if policy == "rebase" else expected)
        except ConflictError:
            if policy != "fork" or expected is ...:
                raise
            target, facts = self._fork(core, ref, expected, commit)
        self._known[target] = facts["id"]
        return target, facts

    def _fork(self, core: Any, ref: str, base: Optional[str], commit: Commit) -> "tuple[str, dict]":
        for number in range(2, _NAMES_TRIED):
            name = f"{ref}-{number}"
            try:
                if base is not None:
                    core.set_ref(name, base, None)
                facts = commit(name, base)
            except ConflictError:  # the name is taken
                continue
            warnings.warn(f"ref {ref!r} was moved by somebody else: saves go to {name!r} from here on", RuntimeWarning,
                          stacklevel=5)
            self._forks[ref] = name
            return name, facts
        raise ConflictError(f"ref {ref!r} was moved, and so many forks of it exist that no name was found for another",
                            hint="delete refs that are not needed")
