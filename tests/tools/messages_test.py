"""What is told of mistakes: the right thing is named, a way on is shown, and nothing is done by half."""

import json
import os
import pty
import signal
import subprocess
import time

import pytest

from conftest import TENON

torch = pytest.importorskip("torch")


def saved(folder, name, value):
    torch.save(value, folder.path / name)
    return name


def test_a_missing_file_is_called_a_file(store, lone_folder):
    for name in ("missing.pt", "no/such.pth", "gone.tenon"):
        assert "no such file" in store.err("--store", "s.tenon", "ls", name, code=1)
    assert "no such file, nor such a ref" in store.err("--store", "s.tenon", "ls", "no/thing", code=1)
    assert "no ref" in store.err("--store", "s.tenon", "ls", "nothing", code=1)


def test_a_missing_file_needs_no_store(lone_folder):
    assert "no such file" in lone_folder.err("ls", "missing.pt", code=1)
    lone_folder.run("ls", "main", code=10)


def test_a_file_given_as_the_store_is_no_damage(store):
    for words in (["ls"], ["log"], ["ref", "set", "r", "main"]):
        message = store.err("--store", "a.pt", *words, code=10)
        assert "not a store" in message and "`tenon ls a.pt`" in message
    (store.path / "short").write_bytes(b"x")
    store.run("--store", "short", "ls", code=10)


def test_hints_lead_to_names_that_are_there(empty_store):
    saved(empty_store, "odd.pt", {"3": torch.zeros(1), "model": {"fc.weight": torch.zeros(2)}})
    empty_store.run("import", "odd.pt")
    assert "'\"3\"', quoted" in empty_store.err("show", "main:3", code=1).replace("?", "")
    for label in ("main:model/", "main:model/fc."):
        assert "fc.weight" in empty_store.out("ls", label)
    assert "did you mean 'model/fc.weight'" in empty_store.err("export", "main:model/fc.wieght", "x.pt", code=1)
    assert not (empty_store.path / "x.pt").exists()


def test_a_prefix_that_no_structure_can_hold_is_refused(empty_store):
    saved(empty_store, "w.pt", {"w": torch.zeros(1)})
    done = subprocess.run([TENON.encode(), b"import", b"w.pt", b"--prefix", b"p\xff"], cwd=empty_store.path,
                          env=empty_store.environment, capture_output=True, timeout=60)
    assert done.returncode == 2 and b"UTF-8" in done.stderr
    assert empty_store.records("ref") == []


def test_metadata_is_kept_as_it_was_given(empty_store):
    saved(empty_store, "w.pt", {"w": torch.zeros(1)})
    empty_store.run("import", "w.pt", "--meta", "c=12345678901234567890123", "--meta", "loss=2.50")
    assert empty_store.record("log")["meta"] == {"c": "12345678901234567890123", "loss": 2.5}
    empty_store.run("import", "w.pt", "--step", "99999999999999999999", code=2)
    empty_store.run("log", "-n", "-1", code=2)
    empty_store.run("tree", "--depth", "-1", code=2)


def test_json_is_on_every_verb(folder):
    assert folder.record("help")["schema"] == "help/1"
    assert "REV" in folder.record("help", "ls")["text"]
    assert folder.record("--version")["version"][0].isdigit()
    assert "complete" in folder.record("completion", "bash")["script"]


def test_a_name_that_is_no_utf8_is_given_as_bytes_too(empty_store):
    saved(empty_store, "s.pt", {"a\udc80": torch.zeros(1), "b": torch.zeros(2)})
    empty_store.run("import", "s.pt")
    rows = empty_store.records("ls")
    assert "name_bytes" not in rows[1]
    name = bytes.fromhex(rows[0]["name_bytes"])
    shown = subprocess.run([TENON.encode(), b"show", b"main:" + name, b"--json"], cwd=empty_store.path,
                           env=empty_store.environment, capture_output=True, timeout=60)
    assert shown.returncode == 0 and json.loads(shown.stdout)["shape"] == [1]


def test_characters_that_turn_or_hide_text_are_escaped(empty_store):
    hidden = "\u202e\u2066\u2028\u200b\ufeff\U000e0041"
    saved(empty_store, "h.pt", {f"x{hidden}y": torch.zeros(1)})
    empty_store.run("import", "h.pt")
    for words in (["ls"], ["tree"], ["show", "--structure", "main"], ["ls", "--names"]):
        assert not set(hidden) & set(empty_store.out(*words)), words
    # JSON is for programs: the name is whole.
    assert empty_store.record("ls")["name"] == f"x{hidden}y"


def on_a_terminal(store, words, term, seconds=60):
    """What the command draws on standard error when that is a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([TENON, *words], cwd=store.path, env=store.environment | {"TERM": term},
                               stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    drawn = b""
    try:
        while piece := os.read(ours, 4096):
            drawn += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait(seconds) == 0
    return drawn


def test_a_dumb_terminal_gets_no_control_sequences(store):
    store.checkpoint("big.pt", "--layers", "16", "--width", "1024")
    drawn = on_a_terminal(store, ["import", "big.pt", "--ref", "dumb"], "dumb")
    assert b"big.pt" in drawn and b"\x1b" not in drawn


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda stop: stop.name)
@pytest.mark.parametrize("verb", ["import", "export", "bundle"])
def test_a_signal_leaves_no_litter(store, verb, stop):
    words = {"import": ["import", "big.pt", "--ref", "r"], "export": ["export", "main", "out.pt"],
             "bundle": ["bundle", "main", "out.tenon"]}[verb]
    store.checkpoint("big.pt", "--layers", "12", "--width", "1024")
    store.run("import", "big.pt")
    store.checkpoint("big.pt", "--layers", "12", "--width", "1024", "--step", "9")
    before = set(os.listdir(store.path))
    stopped = 0
    for delay in (0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.015, 0.03, 0.06, 0.12, 0.2, 0.005, 0.025, 0.05, 0.1):
        # Under nohup the signal would be ignored, as it should be.
        process = subprocess.Popen([TENON, "--store", "s.tenon", *words], cwd=store.path, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(stop, signal.SIG_DFL))
        time.sleep(delay)
        process.send_signal(stop)
        process.communicate(timeout=60)
        assert process.returncode in (0, 128 + stop, -stop)  # before its handlers stand, it ends as any other
        stopped += process.returncode == 128 + stop
        assert not [name for name in os.listdir(store.path / "s.tenon/segments") if name.endswith(".tmp")]
        for name in set(os.listdir(store.path)) - before:
            assert name in ("out.pt", "out.tenon") and process.returncode == 0, name
            os.unlink(store.path / name)
    assert stopped > 0, f"{verb} was always over, or not yet begun, when the signal came"
    assert store.record("--store", "s.tenon", "verify", "--read-data")["is_clean"]
