"""What is going on when the fault strikes: a store to begin with, one command, and the states before and after."""

import dataclasses
import shutil

from checkpoint import Checkpoint

KIB = 1024
# One storage of each kind of placement: packed, page-aligned, and large enough to be stitched from pieces.
SIZES = {"bias": 64, "norm": 6 * KIB, "embedding": 200 * KIB, "weight": 1280 * KIB}

FIRST = Checkpoint.make(1, SIZES, ties={"tied": "embedding"})
SECOND = FIRST.changed("weight", 300 * KIB, Checkpoint.make(2, {"x": 70 * KIB}).tensors["x"])
NAMES = ["best", "good", "main", "next", "side"]
KNOWN = {"first": FIRST, "second": SECOND, "after": Checkpoint.make(3, {"bias": 64, "other": 9 * KIB})}


@dataclasses.dataclass
class Scenario:
    name: str
    command: list          # with {store}, {out} and the names of files below in braces
    before: object         # the state (see Oracle); None: no store
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


def on_store(*words):
    return ["--store", "{store}", *words, "--json"]


INIT = ["init", "{store}"]
IMPORT_FIRST = on_store("import", "{first}", "--ref", "main")
ONE_SNAPSHOT = [INIT, IMPORT_FIRST]
TWO_SNAPSHOTS = [*ONE_SNAPSHOT, on_store("import", "{second}", "--ref", "main")]


THREE_SNAPSHOTS = [*TWO_SNAPSHOTS, on_store("import", "{first}", "--ref", "main")]
MORE_TO_FORGET = [on_store("import", "{second}", "--prefix", "other"), on_store("import", "{second}"),
                  on_store("forget", "main~1", "main~2")]


def _without_catalog(store):
    shutil.rmtree(store / "catalog")


def all_scenarios():
    one = {"main": ["first"]}
    two = {"main": ["second", "first"]}
    best = {**two, "best": ["first"]}
    three = {"main": ["first", "second", "first"]}
    alone = {"main": ["second"]}
    return [
        Scenario("init", [*INIT, "--json"], None, {}),
        Scenario("import, first", IMPORT_FIRST, {}, one, [INIT]),
        Scenario("import, some changed", on_store("import", "{second}"), one, two, ONE_SNAPSHOT),
        Scenario("import, all known", on_store("import", "{first}"), one, {"main": ["first", "first"]}, ONE_SNAPSHOT),
        Scenario("import, other ref", on_store("import", "{second}", "--ref", "side"), one, {**one, "side": ["second"]},
                 ONE_SNAPSHOT),
        Scenario("tag", on_store("tag", "set", "good", "main"), two, {**two, "good": ["second", "first"]},
                 TWO_SNAPSHOTS),
        Scenario("ref, made", on_store("ref", "set", "best", "main~1"), two, best, TWO_SNAPSHOTS),
        Scenario("ref, moved", on_store("ref", "set", "main", "main~1"), two, one, TWO_SNAPSHOTS),
        Scenario("ref, deleted", on_store("ref", "delete", "best"), best, two,
                 [*TWO_SNAPSHOTS, on_store("ref", "set", "best", "main~1")]),
        Scenario("repair, no catalog", on_store("repair"), two, two, TWO_SNAPSHOTS, damage=_without_catalog,
                 rerun=True),
        Scenario("repair, all well", on_store("repair"), two, two, TWO_SNAPSHOTS, rerun=True),
        Scenario("forget", on_store("forget", "main~1"), three, {"main": ["first", "first"]}, THREE_SNAPSHOTS),
        # One segment goes whole; of the first one, of which the tip has a part, the rest.
        Scenario("gc", on_store("gc"), alone, alone, [*ONE_SNAPSHOT, *MORE_TO_FORGET]),
        Scenario("undo, of a commit", on_store("undo"), two, one, TWO_SNAPSHOTS),
        Scenario("undo, of forgetting", on_store("undo"), alone, two, [*TWO_SNAPSHOTS, on_store("forget", "main~1")]),
        Scenario("clone", ["clone", "{store}", "{out}", "--json"], two, two, TWO_SNAPSHOTS, out="copy.tenon",
                 check_out=lambda oracle, path: oracle.check_state(path, [two])),
        Scenario("bundle", on_store("bundle", "main", "{out}"), two, two, TWO_SNAPSHOTS, out="one.tenon",
                 check_out=lambda oracle, path: oracle.check_bundle(path, "second")),
        Scenario("export", on_store("export", "main", "{out}"), two, two, TWO_SNAPSHOTS, out="out.pt",
                 check_out=lambda oracle, path: oracle.check_export(path, "second")),
    ]
