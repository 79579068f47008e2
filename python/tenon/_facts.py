"""What a store tells of itself, as plain records."""

from __future__ import annotations

import dataclasses
import datetime
import json
from typing import Any, Dict, List, Optional, Tuple


@dataclasses.dataclass(frozen=True)
class SnapshotInfo:
    """What is known of a snapshot without its tensors."""

    id: str  # 32 hex digits
    parents: Tuple[str, ...]  # first parent first
    created_at: datetime.datetime  # UTC
    step: Optional[int]
    message: str
    meta: Dict[str, Any]
    tensor_count: int
    slot_count: int
    nbytes: int  # of all slots


@dataclasses.dataclass(frozen=True)
class CommitResult:
    """What a save did."""

    id: str  # of the snapshot, 32 hex digits
    ref: str  # where it went: see Store.save about refs that were moved
    sequence: int
    written_bytes: int  # of storages, as new data
    reused_bytes: int  # of storages that the store already had
    written_storages: int
    reused_storages: int


@dataclasses.dataclass(frozen=True)
class Ref:
    name: str
    id: str
    is_tag: bool


@dataclasses.dataclass(frozen=True)
class Change:
    """One tensor in a diff. The numbers are None where they were not asked for or there are none."""

    change: str  # same, changed, added, removed, renamed, retyped, reshaped
    name: str  # in the newer snapshot; of a removed tensor, in the older one
    old_name: Optional[str]
    numel: Optional[int]
    changed_numel: Optional[int]  # elements whose bits differ
    l2_diff: Optional[float]  # 2-norm of newer - older
    max_abs_diff: Optional[float]
    rel_change: Optional[float]  # l2_diff over the 2-norm of the older one


@dataclasses.dataclass(frozen=True)
class ReflogEntry:
    """One mutation of a store."""

    sequence: int
    at: datetime.datetime  # UTC
    action: str  # commit, set ref, create tag, delete, forget, restore
    ref: Optional[str]
    id: Optional[str]  # where the ref leads since
    previous_id: Optional[str]
    undoes: Optional[int]  # the mutation that this one takes back
    snapshots: List[str]  # that were forgotten or restored


@dataclasses.dataclass(frozen=True)
class Retention:
    """What becomes of one snapshot by rules, and why."""

    info: SnapshotInfo
    ref: str  # in whose history it is; empty: in none
    is_kept: bool
    reasons: List[str]  # "last 1", "best min:val_loss", "tip of main"


@dataclasses.dataclass(frozen=True)
class GcReport:
    snapshots: int  # forgotten ones that were taken
    segments_removed: int  # whole
    segments_thinned: int  # in part
    freed_bytes: int  # of disk
    strays_removed: int
    skipped: List[str]  # what could not be given back


@dataclasses.dataclass(frozen=True)
class DiskUsage:
    total_bytes: int
    segment_bytes: int
    reclaimable_bytes: int  # what gc would give back now
    forgotten: int  # snapshots that gc would take
    snapshots: Dict[str, int]  # id -> bytes that forgetting it alone would free


@dataclasses.dataclass(frozen=True)
class VerifyReport:
    """``damage`` is empty for a sound store; each entry has file, offset, what and snapshots."""

    damage: List[Dict[str, Any]]
    segments: int
    snapshots: int
    storages: int
    read_bytes: int

    @property
    def is_sound(self) -> bool:
        return not self.damage


def _time(ns: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(ns / 1e9, datetime.timezone.utc)


def snapshot_info(facts: Dict[str, Any]) -> SnapshotInfo:
    created = _time(facts.pop("created_at_ns"))
    facts["meta"] = json.loads(facts["meta"])
    return SnapshotInfo(created_at=created, **facts)


def reflog_entry(facts: Dict[str, Any]) -> ReflogEntry:
    return ReflogEntry(at=_time(facts.pop("at_ns")), **facts)


def retention(facts: Dict[str, Any]) -> Retention:
    return Retention(info=snapshot_info(facts.pop("info")), **facts)


def disk_usage(facts: Dict[str, Any]) -> DiskUsage:
    return DiskUsage(snapshots=dict(facts.pop("snapshots")), **facts)
