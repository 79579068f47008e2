"""Files made to hurt are refused by name, or held as data; nothing in them is run, and they cost little.

Refused means: exit code 1, the file named on stderr (with an offset where there is one), nothing on stdout, every byte
of the store as it was, less than a second of processor time, and memory below the file's size and 64 MiB.
"""

import json
import re
import subprocess
import threading

import pytest
import torch

from conftest import digests
from hostile import archive, program
from hostile_files import CODE, CONTAINED, REFUSED, code
from hostile_flat import FLAT_ACCEPTED, FLAT_REFUSED
from measure_call import call


class Measured:
    """The command, held to what a hostile file may cost. What was let in is mapped when it is looked at, and counts."""

    def __init__(self, tenon):
        self._tenon = tenon

    def run(self, *arguments, store, file, mapped_bytes=0):
        took = call(self._tenon, *arguments, store=store)
        took.require_little(max(file.stat().st_size, mapped_bytes))
        return took.exit_code, took.out, took.err


@pytest.fixture
def measured(tenon):
    return Measured(tenon)


@pytest.fixture(scope="module")
def filled_store(tenon, tmp_path_factory):
    """One for all that is refused, which must leave it as it is."""
    folder = tmp_path_factory.mktemp("refused")
    store = tenon.make_store(folder / "run.tenon")
    torch.save({"w": torch.rand(1000)}, folder / "model.pt")
    tenon.import_files(store, [folder / "model.pt"])
    return store


def given(tmp_path, data):
    path = tmp_path / "hostile file.pt"
    path.write_bytes(bytes(data))
    return path


def require_refusal(code, out, err, file):
    assert code == 1, (code, err)
    assert out == ""
    assert err.startswith("tenon: ") and file.name in err, err


def test_there_are_as_many_as_promised():
    assert len(REFUSED) + len(CONTAINED) + len(CODE) >= 300
    assert len(FLAT_REFUSED) + len(FLAT_ACCEPTED) >= 250


def test_the_archive_that_is_varied_is_itself_sound(tenon, store, tmp_path):
    file = given(tmp_path, archive())
    tenon.import_files(store, [file])
    assert (
        torch.load(tenon.export(store, "main", tmp_path / "out.pt")).tolist()
        == torch.load(file).tolist()
        == [1, 2, 3, 4]
    )


@pytest.mark.parametrize("what", REFUSED)
def test_is_refused(measured, filled_store, tmp_path, what):
    data, has_offset = REFUSED[what]
    file = given(tmp_path, data)
    before = digests(filled_store)
    code, out, err = measured.run("import", file, store=filled_store, file=file)
    require_refusal(code, out, err, file)
    assert not has_offset or re.search(r"at offset \d+", err), err
    assert digests(filled_store) == before


@pytest.mark.parametrize("what", FLAT_REFUSED)
def test_flat_file_is_refused_for_what_it_is(measured, filled_store, tmp_path, what):
    data, kind = FLAT_REFUSED[what]
    file = given(tmp_path, data)
    before = digests(filled_store)
    code, out, err = measured.run("--json", "import", file, store=filled_store, file=file)
    error = json.loads(err)
    assert (code, out, error["kind"]) == (1, "", kind), err
    assert str(tmp_path) in error["file"] and not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", err), err
    assert digests(filled_store) == before


@pytest.mark.parametrize("what", FLAT_ACCEPTED)
def test_odd_flat_file_is_held_as_data(measured, store, tmp_path, what):
    file = given(tmp_path, FLAT_ACCEPTED[what])
    code, _, err = measured.run("import", file, store=store, file=file)
    assert code == 0, err
    for verb in (["ls", "main"], ["tree", "main"], ["show", "--structure", "main"], ["ls", file]):
        code, out, err = measured.run(*verb, store=store, file=file)
        assert code == 0 and not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", out + err), (verb, err)
    for ending in ("pt", "safetensors"):
        code, _, err = measured.run("export", "main", tmp_path / f"out.{ending}", store=store, file=file)
        assert code == 0, err


@pytest.mark.parametrize("what", CONTAINED)
def test_is_refused_or_held_as_data(measured, tenon, store, tmp_path, what):
    file = given(tmp_path, CONTAINED[what])
    before = digests(store)
    code, out, err = measured.run("import", file, store=store, file=file)
    if code != 0:
        require_refusal(code, out, err, file)
        assert digests(store) == before
        return
    names = [row["name"] for row in tenon.json("ls", "main", store=store)]
    mapped_bytes = sum(part.stat().st_size for part in (store / "segments").iterdir())
    looking = [["show", f"main:{name}"] for name in {name for name in names[:3] + names[-3:] if "\0" not in name}]
    for verb in (
        ["ls", "main"],
        ["tree", "main"],
        ["show", "--structure", "main"],
        *looking,
        ["export", "main", tmp_path / "out.pt"],
        ["verify", "--read-data"],
    ):
        code, out, err = measured.run(*verb, store=store, file=largest_segment(store))
        assert code == 0, (verb, code, err)
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", out + err), verb
    for verb in looking:
        require_begin_of_cat(tenon, store, verb[1])


def largest_segment(store):
    """What the verbs read is the store: pages of it that they map count as theirs."""
    return max((store / "segments").iterdir(), key=lambda segment: segment.stat().st_size)


def require_begin_of_cat(tenon, store, target):
    """Of the values, whose number a file may claim to be anything, the first come soon; or none are there."""
    command = [tenon.binary, "--store", str(store), "cat", target]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=tenon.environment())
    watch = threading.Timer(20, process.kill)
    watch.start()
    process.stdout.read(4096)
    process.stdout.close()
    error = process.stderr.read()
    code = process.wait()
    watch.cancel()
    assert code == 0 or (code == 1 and b"data" in error), (target, code, error)


@pytest.mark.parametrize("what", CODE)
def test_code_is_never_run(tenon, store, tmp_path, what):
    mark, out = tmp_path / "was-here", tmp_path / "out.pt"
    file = given(tmp_path, archive(program(code(str(mark))[what])))
    imported = tenon.run("import", file, store=store).returncode == 0
    verbs = [["ls", file], ["tree", file], ["show", "--structure", file]]
    if imported:
        verbs += [["ls", "main"], ["tree", "main"], ["show", "--structure", "main"], ["export", "main", out]]
    for verb in verbs:
        assert tenon.run(*verb, store=store).returncode in (0, 1), verb
    # What comes out is as dangerous as what went in, no more: torch's own guard refuses both.
    for path in [file, out] if imported else [file]:
        with pytest.raises(Exception):  # noqa: B017 - whatever its unpickler makes of it
            torch.load(path, weights_only=True)
    assert not mark.exists()


def test_a_folder_and_a_missing_file_are_refused(tenon, store, tmp_path):
    before = digests(store)
    for path in (tmp_path, tmp_path / "missing.pt"):
        result = tenon.run("import", path, store=store)
        assert result.returncode == 1 and path.name in result.stderr
    assert digests(store) == before
