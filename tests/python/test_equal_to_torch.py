"""The objects of the oracle tests, saved from Python and imported from files: what tenon.load gives is, to a program, what
torch.load gives. Compared by tests/oracle/equal.py, which lets nothing differ."""

import os
import pathlib
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
if torch.__version__ < "2.5":
    pytest.skip("the oracle's objects need a current torch", allow_module_level=True)

import tenon
from conftest import REPOSITORY

sys.path.append(str(REPOSITORY / "tests" / "oracle"))

from equal import assert_equal
from named_objects import NAMED
from objects import ObjectMaker

SEEDS = range(60)
COMMAND = pathlib.Path(os.environ.get("TENON_BINARY") or REPOSITORY / "build" / "tools" / "tenon")


def check(store, value, folder):
    path = folder / "wanted.pt"
    torch.save(value, path)
    store.save(value)
    for mode in ("private", "copy"):
        assert_equal(store.load(mode=mode, trusted=True), torch.load(path, weights_only=False))
    done = subprocess.run([COMMAND, "--store", store.path, "import", "--ref", "imported", path], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_equal(store.load("imported", trusted=True), torch.load(path, weights_only=False))


@pytest.mark.parametrize("name", NAMED)
def test_named_objects(store, tmp_path, name):
    torch.manual_seed(0)
    check(store, NAMED[name](), tmp_path)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_objects(store, tmp_path, seed):
    check(store, ObjectMaker(seed, has_opaque=seed % 5 == 0).make(), tmp_path)


def sample_files():
    folder = pathlib.Path(os.environ.get("TENON_FIXTURES") or REPOSITORY.parent / "shared" / "fixtures")
    index = folder / "INDEX.tsv"
    if not index.is_file():
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"no sample files: {folder} has no INDEX.tsv"))]
    rows = [line.split("\t") for line in index.read_text().splitlines()[1:]]
    return [folder / row[0] for row in rows if row[-1] == "import" and row[2] in ("torch.save-zip", "legacy-1001")]


@pytest.mark.parametrize("path", sample_files(), ids=lambda path: path.name if path else "none")
def test_sample_files(store, path):
    try:
        wanted = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as refusal:  # noqa: BLE001  (a class that is not allowed, or not there)
        pytest.skip(f"torch itself does not load it safely: {str(refusal)[:60]}")
    done = subprocess.run([COMMAND, "--store", store.path, "import", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_equal(store.load(map_location="cpu"), wanted)
