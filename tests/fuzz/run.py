#!/usr/bin/env python3
"""Builds the fuzz targets, runs every one of them for a bounded number of executions, and prints what was done.

    tests/fuzz/run.py                          # all targets, 300,000 executions each
    tests/fuzz/run.py --runs 20000 zip pickle  # some
    tests/fuzz/run.py --replay FILE zip        # one input, to see a finding again

Exits 1 if there is a finding; the input that shows it stays in BUILD/found/. A finding that was mended is kept as
tests/fuzz/corpus/TARGET/..., which every run replays. Samples found in the wild are looked for in TENON_FIXTURES.
"""

import argparse
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "fuzz"
COMPILERS = ["clang++-19", "clang++-18", "clang++-17", "clang++-16", "clang++"]
SYMBOLIZERS = ["llvm-symbolizer", *(f"llvm-symbolizer-{version}" for version in range(21, 13, -1))]

PICKLE = "pickle.dict"
JSON = "json.dict"


@dataclasses.dataclass
class Target:
    name: str
    max_bytes: int = 32 << 10
    dictionary: str | None = None


TARGETS = {target.name: target for target in [
    Target("pickle", 4 << 10, PICKLE),
    Target("zip"),
    Target("torch", dictionary=PICKLE),
    Target("legacy", dictionary=PICKLE),
    Target("torchscript", dictionary=PICKLE),
    Target("globals", dictionary=PICKLE),
    Target("safetensors", 8 << 10, JSON),
    Target("numpy", 8 << 10, "numpy.dict"),
    Target("json", 4 << 10, JSON),
    Target("sharded", 2 << 10, JSON),
    Target("structure", 4 << 10, PICKLE),
    Target("names", 256),
    Target("layout", 8 << 10),
    Target("segment"),
    Target("catalog", 4 << 10),
    Target("meta_pages", 8 << 10),
    Target("journal", 4 << 10),
    Target("head", 512),
    Target("superblock", 512),
    Target("sql", 512, "sql.dict"),
]}

# A file must be refused, or read, within a second, and within 64 MiB beside itself; the sanitizers multiply both.
LIMITS = ["-timeout=5", "-rss_limit_mb=1024", "-malloc_limit_mb=64"]


@dataclasses.dataclass
class Outcome:
    target: str
    replayed: int = 0
    executions: int = 0
    seconds: float = 0.0
    inputs: int = 0  # that the target keeps, as each reaches something that no other does
    finding: str = ""  # what was said
    reproducer: pathlib.Path | None = None


def build(folder, jobs):
    """Configures and builds; as often as one likes."""
    compiler = next((name for name in COMPILERS if shutil.which(name)), None)
    if compiler is None:
        sys.exit(f"no clang: install clang-19 and libclang-rt-19-dev (looked for {', '.join(COMPILERS)})")
    if not (folder / "build.ninja").exists():
        cache = ["ccache"] if shutil.which("ccache") else []
        call(["meson", "setup", folder, "-Dfuzz=enabled", "-Dtests=disabled", "-Dbench=disabled", "-Db_lundef=false",
              "--buildtype=debugoptimized"], env={**os.environ, "CXX": " ".join([*cache, compiler])})
    call(["ninja", "-C", folder, *([f"-j{jobs}"] if jobs else [])], env=os.environ)


def call(command, env):
    done = subprocess.run([str(part) for part in command], cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}\nfailed: {' '.join(map(str, command))}")


class Fuzzing:
    def __init__(self, folder, options):
        self.folder = folder
        self.options = options
        self.temporary = tempfile.mkdtemp(prefix="fuzz-run-")
        self.env = dict(os.environ, TMPDIR=self.temporary, UBSAN_OPTIONS="print_stacktrace=1",
                        ASAN_OPTIONS="allocator_may_return_null=0:detect_stack_use_after_return=0")
        symbolizer = next(filter(None, map(shutil.which, SYMBOLIZERS)), None)
        if symbolizer is None:
            symbolizer = next(map(str, sorted(pathlib.Path("/usr/lib").glob("llvm-*/bin/llvm-symbolizer"))), None)
        if symbolizer:
            self.env["ASAN_SYMBOLIZER_PATH"] = symbolizer

    def program(self, name):
        return self.folder / "tests" / "fuzz" / f"fuzz_{name}"

    def make_seeds(self):
        seeds = self.folder / "seeds"
        shutil.rmtree(seeds, ignore_errors=True)
        call([self.program("seeds"), seeds, *samples()], env=self.env)

    def execute(self, target, arguments):
        """The program's output and exit status."""
        done = subprocess.run([self.program(target.name), *LIMITS, f"-max_len={target.max_bytes}", *arguments],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env=self.env, cwd=self.folder)
        return done.stdout.decode(errors="replace"), done.returncode

    def replay(self, target, files):
        """What the first of them shows that shows anything: it, and what was said."""
        for file in files:
            said, status = self.execute(target, [str(file)])
            if status != 0:
                return file, said
        return None

    def run(self, target):
        outcome = Outcome(target.name)
        begin = time.monotonic()
        kept = sorted((HERE / "corpus" / target.name).glob("*"))
        outcome.replayed = len(kept)
        shown = self.replay(target, kept)
        if shown:
            outcome.reproducer, outcome.finding = shown[0], said_of(shown[1])
        else:
            self.fuzz(target, outcome)
        outcome.seconds = time.monotonic() - begin
        return outcome

    def fuzz(self, target, outcome):
        grown = self.folder / "grown" / target.name
        found = self.folder / "found" / target.name
        for folder in (grown, found):
            folder.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + self.options.seconds
        while outcome.executions < self.options.runs and time.monotonic() < deadline:
            seconds = max(1, round(deadline - time.monotonic()))
            arguments = [f"-runs={self.options.runs - outcome.executions}", f"-max_total_time={seconds}",
                         f"-artifact_prefix={found}/", "-print_final_stats=1", "-verbosity=1"]
            if self.options.seed:
                arguments.append(f"-seed={self.options.seed}")
            if target.dictionary:
                arguments.append(f"-dict={HERE / 'dictionaries' / target.dictionary}")
            said, status = self.execute(target, [*arguments, str(grown), str(self.folder / "seeds" / target.name)])
            count = re.search(r"number_of_executed_units: (\d+)", said)
            outcome.executions += int(count[1]) if count else 0
            outcome.inputs = sum(1 for _ in grown.iterdir())
            if status != 0 and not self.is_passing_timeout(target, said):
                written = re.search(r"written to (\S+)", said)
                outcome.reproducer = pathlib.Path(written[1]) if written else None
                outcome.finding = said_of(said)
                return
            if not count:
                break

    def is_passing_timeout(self, target, said):
        """Whether an input took long only because the machine was busy: alone it does not."""
        written = re.search(r"written to (\S+/timeout-\S+)", said)
        if not written or self.replay(target, [written[1]]):
            return False
        pathlib.Path(written[1]).unlink()
        return True


def said_of(text):
    """The lines that tell what it is, and where."""
    lines = [line.strip() for line in text.splitlines()]
    telling = [line for line in lines if re.search(r"FINDING|ERROR: |runtime error|SUMMARY: |Assertion|what\(\):", line)]
    frames = [line for line in lines if re.match(r"#\d+ ", line) and "tenon" in line]
    return "\n".join([*telling[:6], *frames[:8]]) or text[-2000:]


def samples():
    folder = pathlib.Path(os.environ.get("TENON_FIXTURES") or ROOT.parent / "shared" / "fixtures")
    if not (folder / "INDEX.tsv").exists():
        print(f"Without samples found in the wild: no {folder}/INDEX.tsv")
        return []
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "INDEX.tsv")


def print_row(outcome):
    rate = round(outcome.executions / outcome.seconds) if outcome.seconds else 0
    verdict = "FINDING" if outcome.finding else "-"
    print(f"{outcome.target:<12} {outcome.executions:>12,} {rate:>9,} {outcome.inputs:>8,} {outcome.replayed:>9,}  {verdict}",
          flush=True)


def print_findings(outcomes):
    for outcome in outcomes:
        if outcome.finding:
            print(f"\n{outcome.target}:\n{outcome.finding}")
            if outcome.reproducer:
                print(f"again: tests/fuzz/run.py --replay {outcome.reproducer} {outcome.target}")


def write_junit(path, outcomes):
    suite = xml.etree.ElementTree.Element("testsuite", name="fuzz")
    for outcome in outcomes:
        case = xml.etree.ElementTree.SubElement(suite, "testcase", classname="fuzz", name=outcome.target,
                                                time=f"{outcome.seconds:.1f}")
        if outcome.finding or not outcome.executions:
            what = outcome.finding or "nothing was executed"
            xml.etree.ElementTree.SubElement(case, "failure").text = re.sub(r"[^\x20-\x7e\n]", "?", what)
    xml.etree.ElementTree.ElementTree(suite).write(path)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "fuzz", help="folder (default build/fuzz)")
    parser.add_argument("--runs", type=int, default=300_000, help="executions of each target")
    parser.add_argument("--seconds", type=float, default=600, help="of each target, at most")
    parser.add_argument("--seed", type=int, default=0, help="of libFuzzer's choices; 0: another one each time")
    parser.add_argument("--smoke", action="store_true", help="a minute and a half in all, the same choices each time")
    parser.add_argument("--replay", type=pathlib.Path, metavar="FILE", help="only run this input")
    parser.add_argument("--junit", type=pathlib.Path, metavar="FILE", help="write a report there")
    parser.add_argument("--no-build", action="store_true", help="run what is built already")
    parser.add_argument("-j", dest="jobs", type=int, default=0, help="of ninja")
    options = parser.parse_args()
    unknown = set(options.targets) - set(TARGETS)
    if unknown or (options.replay and len(options.targets) != 1):
        parser.error(f"no such target: {', '.join(sorted(unknown))}" if unknown else "--replay takes one target")
    if options.smoke:
        options.runs, options.seconds, options.seed = 20_000, 8, options.seed or 1
    return options


def main():
    options = parse_arguments()
    folder = options.build.resolve()
    if not options.no_build:
        build(folder, options.jobs)
    fuzzing = Fuzzing(folder, options)
    targets = [TARGETS[name] for name in options.targets] or list(TARGETS.values())
    try:
        if options.replay:
            said, status = fuzzing.execute(targets[0], [str(options.replay.resolve())])
            print(said)
            return status
        fuzzing.make_seeds()
        print(f"{'target':<12} {'executions':>12} {'a second':>9} {'inputs':>8} {'replayed':>9}  finding", flush=True)
        outcomes = []
        for target in targets:
            outcomes.append(fuzzing.run(target))
            print_row(outcomes[-1])
    finally:
        shutil.rmtree(fuzzing.temporary, ignore_errors=True)
    findings = [outcome for outcome in outcomes if outcome.finding or not outcome.executions]
    print(f"{'all':<12} {sum(outcome.executions for outcome in outcomes):>12,} executions, {len(findings)} findings")
    print_findings(outcomes)
    if options.junit:
        write_junit(options.junit, outcomes)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
