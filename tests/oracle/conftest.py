"""What the oracle tests share: the command under test, run as a person runs it, and files to try it on.

TENON_BINARY     the command; else build/tools/tenon of this tree
TENON_FIXTURES   a folder of files found in the wild with an INDEX.tsv; else ../shared/fixtures beside this tree
"""

import csv
import hashlib
import json
import os
import pathlib
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(pathlib.Path(__file__).parent))


class Tenon:
    """The command. Every call is a process of its own, with no terminal and no settings of the person who runs it."""

    def __init__(self, binary):
        self.binary = str(binary)

    def environment(self):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("TENON_") and k not in ("COLUMNS", "PAGER")}
        return kept | {"LC_ALL": "C.UTF-8"}

    def run(self, *arguments, store=None, cwd=None, text=True, env=()):
        command = [self.binary, *(["--store", str(store)] if store else []), *map(str, arguments)]
        return subprocess.run(
            command,
            capture_output=True,
            text=text,
            cwd=cwd,
            timeout=120,
            stdin=subprocess.DEVNULL,
            env=self.environment() | dict(env),
            check=False,
        )

    def ok(self, *arguments, **options):
        result = self.run(*arguments, **options)
        assert result.returncode == 0, f"{arguments}: exit code {result.returncode}\n{result.stderr}"
        return result

    def json(self, *arguments, **options):
        """The objects that a verb prints with --json, one a line."""
        return [json.loads(line) for line in self.ok("--json", *arguments, **options).stdout.splitlines()]

    def make_store(self, path):
        self.ok("init", path)
        return path

    def import_files(self, store, files, *options):
        """All in one process; returns what is said of each."""
        return self.json("import", *options, *files, store=store)

    def export(self, store, rev, out):
        self.ok("export", rev, out, store=store)
        return out


def measure(tenon, folder, *arguments):
    """Runs the command; what measure.py says of it."""
    report = pathlib.Path(folder) / "report.json"
    command = [sys.executable, "-I", "-S", REPOSITORY / "tests" / "oracle" / "measure.py", report, tenon.binary]
    subprocess.run(
        list(map(str, [*command, *arguments])),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=120,
        env=tenon.environment(),
        check=True,
    )
    return json.loads(report.read_text())


@pytest.fixture(scope="session")
def tenon():
    binary = pathlib.Path(os.environ.get("TENON_BINARY") or REPOSITORY / "build" / "tools" / "tenon")
    if not os.access(binary, os.X_OK):
        pytest.fail(f"no tenon command at {binary}: build it, or set TENON_BINARY")
    return Tenon(binary.resolve())


@pytest.fixture
def store(tenon, tmp_path):
    return tenon.make_store(tmp_path / "run.tenon")


def fixtures_folder():
    return pathlib.Path(os.environ.get("TENON_FIXTURES") or REPOSITORY.parent / "shared" / "fixtures")


def indexed_fixtures():
    """Rows of INDEX.tsv; none if there is no such folder."""
    index = fixtures_folder() / "INDEX.tsv"
    if not index.is_file():
        return []
    with index.open(newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def fixture_parameters(is_wanted):
    """One parameter per wanted file, or a single one that skips and says why."""
    files = [row["file"] for row in indexed_fixtures() if is_wanted(row)]
    if files:
        return files
    reason = f"no sample files: {fixtures_folder()} has no INDEX.tsv (set TENON_FIXTURES)"
    return [pytest.param("none", marks=pytest.mark.skip(reason=reason))]


def digests(folder):
    """Every file below `folder`, by its content."""
    files = sorted(path for path in pathlib.Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
