"""watch, ps, doctor, and the example of a server that swaps its weights under load."""

import pathlib
import re
import signal
import subprocess

import pytest

from conftest import TENON

EXAMPLES = pathlib.Path(TENON).parents[1] / "examples"


def start(folder, *words, **options):
    return subprocess.Popen([TENON, *map(str, words)], cwd=folder.path, env=folder.environment, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **options)


def test_watch_prints_the_current_id_and_then_each_new_one(store):
    first = store.record("--store", "s.tenon", "log", "-n", "1")["snapshot_id"]
    watch = start(store, "--store", "s.tenon", "watch", "main", "-n", "2")
    assert watch.stdout.readline() == first + "\n"
    store.checkpoint("next.pt", "--step", "9")
    second = store.out("--store", "s.tenon", "import", "next.pt").strip()
    out, err = watch.communicate(timeout=60)
    assert (out, err, watch.returncode) == (second + "\n", "", 0)


def test_watch_can_leave_out_what_is_there_and_end_after_a_time(store):
    assert store.out("--store", "s.tenon", "watch", "--new", "--timeout", "0.05") == ""


def test_watch_waits_for_a_ref_that_is_not_there_yet(store):
    watch = start(store, "--store", "s.tenon", "watch", "later", "-n", "1")
    store.run("--store", "s.tenon", "ref", "set", "later", "main")
    out, _ = watch.communicate(timeout=60)
    assert out.strip() == store.record("--store", "s.tenon", "log", "-n", "1")["snapshot_id"]


def test_watch_runs_a_command_with_the_snapshot_in_its_environment(store):
    newest = store.record("--store", "s.tenon", "log", "-n", "1")
    out = store.out("--store", "s.tenon", "watch", "main", "-n", "1", "--", "sh", "-c",
                    'echo "$TENON_SNAPSHOT_ID $TENON_REF $TENON_STEP $1"; tenon_store=$TENON_STORE; ls "$tenon_store"/TENON',
                    "name", "-n")
    lines = out.splitlines()
    step = "" if newest["step"] is None else str(newest["step"])
    assert lines[0].split() == f"{newest['snapshot_id']} main {step} -n".split()
    assert lines[1].endswith("s.tenon/TENON")


def test_watch_says_when_a_command_failed(store):
    done = store.run("--store", "s.tenon", "watch", "main", "-n", "1", "--", "sh", "-c", "exit 7", code=3)
    assert b"sh ended with 7" in done.stderr
    done = store.run("--store", "s.tenon", "watch", "main", "-n", "1", "--", "./no-such-command", code=2)
    assert b"cannot run the command: ./no-such-command" in done.stderr


def test_watch_as_json_names_the_snapshot(store):
    record = store.record("--store", "s.tenon", "watch", "main", "-n", "1")
    newest = store.record("--store", "s.tenon", "log", "-n", "1")
    assert record["schema"] == "watch/1"
    assert (record["ref"], record["snapshot_id"], record["step"]) == ("main", newest["snapshot_id"], newest["step"])


def test_watch_refuses_what_is_no_ref(store):
    assert "not a ref name" in store.err("--store", "s.tenon", "watch", "main~1", code=2)


def test_ps_of_a_store_that_nobody_uses(store):
    assert store.err("--store", "s.tenon", "ps") == "nobody uses the store\n"
    assert store.record("--store", "s.tenon", "ps")["processes"] == 0


def test_ps_shows_who_follows_a_ref(store):
    watch = start(store, "--store", "s.tenon", "watch", "main")
    newest = watch.stdout.readline().strip()
    try:
        process, total = store.records("--store", "s.tenon", "ps")
        assert process["schema"] == "ps/1" and total["schema"] == "ps_total/1"
        assert (process["pid"], process["name"], process["ref"]) == (watch.pid, "tenon", "main")
        assert process["snapshot_id"] == newest and process["private_bytes"] == 0
        assert total["copies_bytes"] == process["snapshot_bytes"] > 0
        table = store.out("--store", "s.tenon", "ps")
        assert re.search(rf"^ *{watch.pid} +tenon +main +{newest[:12]}", table, re.M)
        assert re.search(r"^1 process pays .* \(PSS\), 0 B of it copied on write; a copy would be ", table, re.M)
        shown = store.out("--store", "s.tenon", "ps", "--watch", "0.01", "-n", "3")
        assert shown.count("1 process pays ") == 3
    finally:
        watch.kill()
        watch.communicate()
    assert store.record("--store", "s.tenon", "ps")["processes"] == 0


def test_doctor_tells_about_the_store_and_about_a_folder(store):
    topics = {record["topic"]: record for record in store.records("--store", "s.tenon", "doctor")}
    assert topics["catalog lock"]["what"] == "free" and topics["live region"]["verdict"] == "good"
    topics = {record["topic"] for record in store.records("doctor", "/")}
    assert "file system" in topics and "catalog lock" not in topics
    assert "file system" in store.out("--store", "s.tenon", "doctor")
    store.run("doctor", "nothing-here", code=1)


@pytest.mark.skipif(not (EXAMPLES / "serve_weights").exists(), reason="the examples are not built")
def test_the_server_swaps_under_load(store):
    store.checkpoint("first.pt", "--step", "1")
    store.run("--store", "s.tenon", "import", "first.pt", "--step", "1", "--ref", "served")
    server = subprocess.Popen([EXAMPLES / "serve_weights", "s.tenon", "socket", "served"], cwd=store.path, text=True,
                              stdout=subprocess.PIPE)
    try:
        assert server.stdout.readline().startswith("serving ")
        load = subprocess.Popen([EXAMPLES / "load_weights", "socket", "model/embed.weight", "16", "3", "2"],
                                cwd=store.path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for step in (2, 3):
            store.checkpoint(f"{step}.pt", "--step", str(step))
            store.run("--store", "s.tenon", "import", f"{step}.pt", "--step", str(step), "--ref", "served")
            assert re.match(r"now [0-9a-f]{32}: \d+ tensors changed", server.stdout.readline())
        out, err = load.communicate(timeout=60)
        assert load.returncode == 0, err
        assert re.search(r"^\d+ requests, .* snapshots answered$", out, re.M)
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0
        server.stdout.close()
