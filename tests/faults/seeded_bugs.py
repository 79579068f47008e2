#!/usr/bin/env python3
"""Switches on one bug after the other in a build configured with -Dseeded_bugs=true; each must be caught by the test that
is there for it. A test that finds nothing wrong passes everything.

In that build `seeded_bug("NAME")` (mmap/seeded_bug.h) is true while the environment says TENON_SEEDED_BUG=NAME.
"""

import argparse
import dataclasses
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]


@dataclasses.dataclass
class Unit:
    """Tests of a GoogleTest program, one of which must fail (or die)."""

    program: str
    tests: str

    def command(self, build):
        return [build / "tests" / self.program / f"{self.program}_test", f"--gtest_filter={self.tests}"]


@dataclasses.dataclass
class Sweep:
    """Faults in all calls of one scenario, of which one at least must break a promise."""

    scenario: str
    mode: str

    def command(self, build):
        return [HERE / "sweep.py", "--build", build, "--only", self.scenario, "--mode", self.mode]


@dataclasses.dataclass
class PowerCut:
    """Disks after a power cut, of which one at least must break a promise."""

    bug: str

    def command(self, build):
        return [HERE / "power_cut.py", "--build", build, "--seeded-bugs", "--bug", self.bug]


BUGS = {
    # durability
    "no_file_fsync": PowerCut("no_file_fsync"),
    "no_directory_fsync": PowerCut("no_directory_fsync"),
    "rename_before_fsync": PowerCut("rename_before_fsync"),
    "row_before_data": PowerCut("row_before_data"),
    "ack_before_commit": PowerCut("ack_before_commit"),
    "short_write_ignored": Sweep("import", "short"),
    "eintr_ignored": Sweep("import", "eintr"),
    "fsync_retried": Sweep("import", "failsync"),
    # what a killed predecessor left
    "loser_not_swept": Unit("store", "LeftoverTest.*"),
    "journal_not_swept": Unit("store", "LeftoverTest.*"),
    "head_not_mended": Unit("store", "LeftoverTest.*"),
    # dedupe and gc
    "dedupe_by_digest": Unit("store", "CollisionTest.*"),
    "dedupe_on_the_dead": Unit("store", "GcTest.*"),
    "gc_without_second_mark": Unit("store", "GcTest.*"),
    "gc_unlinks_first": Unit("store", "GcTest.*"),
    "holes_unchecked": Unit("store", "GcTest.*"),
    # checksums and digests
    "row_unchecked": Unit("store", "CatalogDamageTest.*"),
    "row_checksum_without_key": Unit("store", "CatalogDamageTest.*:CatalogTest.*"),
    "digest_unchecked": Unit("store", "*Stitched*:SnapshotTest.*:DamageTest.*"),
    "verify_skips_small": Unit("store", "RepairTest.*"),
    # bounds
    "size_check_off_by_one": Unit("store", "IsInsideTest.*"),
    "offset_unchecked": Unit("store", "IsInsideTest.*"),
    "product_unchecked": Unit("store", "IsInsideTest.*"),
    # processes, formats
    "fork_unchecked": Unit("store", "*Fork*"),
    "zip_local_not_compared": Unit("formats", "ZipTest.*"),
    "last_key_wins": Unit("formats", "*afetensors*"),
}


def names_in_sources():
    found = set()
    for folder in ("mmap", "store", "formats", "query", "tools"):
        for path in (ROOT / folder).glob("*.cc"):
            found.update(re.findall(r'seeded_bug\("(\w+)"\)', path.read_text()))
    return found


def is_caught(build, name, test):
    """The test fails with the bug, and for no other reason."""
    environment = os.environ | ({} if isinstance(test, PowerCut) else {"TENON_SEEDED_BUG": name})
    done = subprocess.run(test.command(build), capture_output=True, text=True, timeout=1200, env=environment)
    said = done.stdout + done.stderr
    if isinstance(test, PowerCut):
        return done.returncode == 0 and "1 of 1 seeded bugs caught" in said
    if isinstance(test, Sweep):
        return done.returncode != 0 and "VIOLATION" in said
    return done.returncode != 0 and (done.returncode < 0 or "FAILED TEST" in said)


def is_chosen(name, test, arguments):
    return (arguments.only in name and arguments.kind in (None, type(test).__name__)
            and arguments.program in (None, getattr(test, "program", None)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--only", default="", help="only bugs whose name contains this")
    parser.add_argument("--kind", choices=["Unit", "Sweep", "PowerCut"], help="only bugs that are found in this way")
    parser.add_argument("--program", choices=["store", "formats"], help="only bugs that this test program finds")
    arguments = parser.parse_args()
    unlisted = names_in_sources() ^ set(BUGS)
    if unlisted:
        print(f"in the sources or in the list here, and not in both: {sorted(unlisted)}", file=sys.stderr)
        return 1
    chosen = {name: test for name, test in BUGS.items() if is_chosen(name, test, arguments)}
    missed = []
    for name, test in chosen.items():
        caught = is_caught(arguments.build.resolve(), name, test)
        print(f"{name:28} {'caught' if caught else 'NOT CAUGHT'}  {test}", flush=True)
        if not caught:
            missed.append(name)
    print(f"{len(chosen) - len(missed)} of {len(chosen)} seeded bugs caught")
    return 1 if missed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
