"""What is going on when the fault strikes: a store to begin with, one command, and the states before and after."""

import dataclasses
import pathlib
import shutil

from checkpoint import Checkpoint
from oracle import Violation

KIB = 1024
# One storage of each kind of placement: packed, page-aligned, and large enough to be stitched from pieces.
SIZES = {"bias": 64, "norm": 6 * KIB, "embedding": 200 * KIB, "weight": 1280 * KIB}

FIRST = Checkpoint.make(1, SIZES, ties={"tied": "embedding"})
SECOND = FIRST.changed("weight", 300 * KIB, Checkpoint.make(2, {"x": 70 * KIB}).tensors["x"])
AFTER = Checkpoint.make(3, {"bias": 64, "other": 9 * KIB})


@dataclasses.dataclass
class Scenario:
    name: str
    command: list          # with {store}, {out} and the names of files below in braces
    before: object         # state, None: no store
    after: object
    begin: list = dataclasses.field(default_factory=list)  # commands that make the store it begins with
    damage: object = None  # what is done to that store besides, by hand
    out: str = ""          # a file that the command makes, beside the store
    check_out: object = None
    rerun: bool = False    # the command must be run again before anything is promised (repair)

    def prepare(self, tenon, folder):
        """Makes the folder that every run of the scenario gets a copy of."""
        folder.mkdir(parents=True)
        FIRST.write(folder / "first.pt")
        SECOND.write(folder / "second.pt")
        for command in self.begin:
            tenon.must(*self.expand(command, folder), cwd=folder)
        if self.damage:
            self.damage(folder / "run.tenon")

    def expand(self, command, folder):
        names = {"store": folder / "run.tenon", "out": folder / self.out}
        names.update({name: folder / f"{name}.pt" for name in ("first", "second")})
        return [word.format(**names) for word in command]

    def run(self, tenon, folder, **options):
        return tenon.run(*self.expand(self.command, folder), cwd=folder, **options)


def _on_store(*words):
    return ["--store", "{store}", *words, "--json"]


INIT = ["init", "{store}"]
IMPORT_FIRST = _on_store("import", "{first}", "--ref", "main")
ONE_SNAPSHOT = [INIT, IMPORT_FIRST]
TWO_SNAPSHOTS = [*ONE_SNAPSHOT, _on_store("import", "{second}", "--ref", "main")]


def _without_catalog(store):
    shutil.rmtree(store / "catalog")


def _check_export(oracle, path):
    try:
        if Checkpoint.read(path) != SECOND:
            raise Violation("the exported file holds something else")
    except (ValueError, OSError, KeyError) as error:
        raise Violation(f"the exported file is not whole: {error}") from None


def _check_bundle(oracle, path):
    oracle.verify(path)
    if oracle.export(path, "main") != SECOND:
        raise Violation("the bundle holds something else")


def all_scenarios():
    one = {"main": [FIRST]}
    two = {"main": [SECOND, FIRST]}
    return [
        Scenario("init", [*INIT, "--json"], None, {}),
        Scenario("import, first", IMPORT_FIRST, {}, one, [INIT]),
        Scenario("import, some changed", _on_store("import", "{second}"), one, two, ONE_SNAPSHOT),
        Scenario("import, all known", _on_store("import", "{first}"), one, {"main": [FIRST, FIRST]}, ONE_SNAPSHOT),
        Scenario("import, other ref", _on_store("import", "{second}", "--ref", "side"), one,
                 {"main": [FIRST], "side": [SECOND]}, ONE_SNAPSHOT),
        Scenario("tag", _on_store("tag", "set", "good", "main"), two, {**two, "good": [SECOND, FIRST]}, TWO_SNAPSHOTS),
        Scenario("ref, made", _on_store("ref", "set", "best", "main~1"), two, {**two, "best": [FIRST]}, TWO_SNAPSHOTS),
        Scenario("ref, moved", _on_store("ref", "set", "main", "main~1"), two, one, TWO_SNAPSHOTS),
        Scenario("ref, deleted", _on_store("ref", "delete", "best"), {**two, "best": [FIRST]}, two,
                 [*TWO_SNAPSHOTS, _on_store("ref", "set", "best", "main~1")]),
        Scenario("repair", _on_store("repair"), two, two, TWO_SNAPSHOTS, damage=_without_catalog, rerun=True),
        Scenario("bundle", _on_store("bundle", "main", "{out}"), two, two, TWO_SNAPSHOTS, out="one.tenon",
                 check_out=_check_bundle),
        Scenario("export", _on_store("export", "main", "{out}"), two, two, TWO_SNAPSHOTS, out="out.pt",
                 check_out=_check_export),
    ]
