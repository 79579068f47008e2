"""Standard streams that are closed, full or left without a reader: nothing is lost, and nothing is told wrongly."""

import os
import subprocess

import pytest

from conftest import TENON

VERBS = {
    "init": ["init", "new.tenon"],
    "import": ["import", "b.pt", "--ref", "other"],
    "ls": ["ls"],
    "tree": ["tree"],
    "show": ["show", "main:probe/unembed"],
    "structure": ["show", "--structure", "main"],
    "cat": ["cat", "main:probe/unembed"],
    "log": ["log"],
    "ref": ["ref"],
    "ref set": ["ref", "set", "r", "main"],
    "ref delete": ["ref", "delete", "spare"],
    "tag": ["tag"],
    "tag set": ["tag", "set", "v2", "main"],
    "tag delete": ["tag", "delete", "v1"],
    "export": ["export", "main", "out.pt"],
    "bundle": ["bundle", "main", "out.tenon"],
    "verify": ["verify", "--read-data"],
    "repair": ["repair"],
    "help": ["help"],
    "no such ref": ["ls", "nothing"],
}


def run_with(store, words, prepare=None, **streams):
    return subprocess.run([TENON, *words], cwd=store.path, env=store.environment, timeout=60, preexec_fn=prepare,
                          **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams))


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (1, 2), (0, 1, 2)], ids=str)
def test_what_is_printed_into_a_closed_stream_reaches_no_file(store, closed):
    for words in (["tag", "set", "v1", "main"], ["ref", "set", "spare", "main"]):
        store.run("--store", "s.tenon", *words)
    for name, words in VERBS.items():
        done = run_with(store, ["--store", "s.tenon", *words], lambda: [os.close(number) for number in closed])
        # Data that cannot be printed is a failure; words about it are not.
        allowed = {1} if name == "no such ref" else {0, 1} if 1 in closed else {0}
        assert done.returncode in allowed, (name, done)
        report = store.record("--store", "s.tenon", "verify", "--read-data")
        assert report["is_clean"], name
    assert {row["name"] for row in store.records("--store", "s.tenon", "ref")} == {"main", "other", "r"}
    for out in ("out.pt", "out.tenon"):
        store.run("ls", out)


def test_data_that_a_closed_standard_output_loses_is_a_failure(store):
    done = run_with(store, ["ls"], lambda: os.close(1))
    assert done.returncode == 1 and b"standard output" in done.stderr
    assert run_with(store, ["ref", "set", "r", "main"], lambda: os.close(1)).returncode == 0


def test_standard_error_that_cannot_be_written_changes_no_exit_code(store):
    with open("/dev/full", "wb") as full:
        assert run_with(store, ["ls", "nothing"], stderr=full).returncode == 1
        assert run_with(store, ["ls", "--nothing"], stderr=full).returncode == 2
        assert run_with(store, ["ls", "--json", "nothing"], stderr=full).returncode == 1
        assert run_with(store, ["tag", "set", "v1", "main"], stderr=full).returncode == 0
    reader, writer = os.pipe()
    os.close(reader)
    assert run_with(store, ["ls", "nothing"], stderr=writer).returncode == 1
    assert run_with(store, ["ref", "set", "r", "main"], stderr=writer).returncode == 0
    os.close(writer)
