"""What the command's tests share: a working folder, and `tenon` run in it.

Runs the binary that TENON_BINARY names, else build/tools/tenon.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

# In the background of a script it would be ignored, and by all that the tests start, too.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = pathlib.Path(__file__).resolve().parents[2]
TENON = os.environ.get("TENON_BINARY", str(ROOT / "build/tools/tenon"))


class Folder:
    """A working folder, and the command run in it."""

    def __init__(self, path):
        self.path = path
        self.environment = {k: v for k, v in os.environ.items() if k not in ("TENON_STORE", "COLUMNS")}

    def run(self, *words, code=0, **options):
        done = subprocess.run([TENON, *map(str, words)], cwd=self.path, env=self.environment, capture_output=True,
                              timeout=60, **options)
        assert done.returncode == code, f"tenon {words}: {done.returncode}\n{done.stderr.decode()}"
        return done

    def out(self, *words, **options):
        return self.run(*words, **options).stdout.decode()

    def err(self, *words, **options):
        return self.run(*words, **options).stderr.decode()

    def records(self, *words):
        done = self.run(*words, "--json")
        assert done.stderr == b""
        return [json.loads(line) for line in done.stdout.splitlines()]

    def record(self, *words):
        (record,) = self.records(*words)
        return record

    def checkpoint(self, name, *options):
        subprocess.run([sys.executable, ROOT / "tools/make_checkpoint.py", self.path / name, "--layers", "2", "--width",
                        "32", *options], check=True)
        return name


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@pytest.fixture
def lone_folder(folder):
    """One where no store is to be found."""
    above = [str(store) for parent in folder.path.parents for store in parent.glob("*.tenon")]
    if above:
        pytest.skip(f"{above[0]} stands above the folder of the test; choose another with --basetemp")
    return folder


@pytest.fixture
def empty_store(folder):
    folder.run("init", "s.tenon")
    return folder


@pytest.fixture
def store(empty_store):
    """A store, s.tenon, with two versions of a checkpoint; a.pt and b.pt beside it."""
    folder = empty_store
    folder.checkpoint("a.pt", "--step", "1")
    folder.checkpoint("b.pt", "--step", "2")
    folder.run("import", "a.pt", "--step", "1", "-m", "first", "--meta", "val_loss=2.5", "--meta", "host=gpu12")
    folder.run("import", "b.pt", "--step", "2")
    return folder
