"""tenon sql: modes, several statements, scripts, errors with their place, exit codes, limits, Ctrl-C."""

import csv
import io
import json
import signal
import subprocess
import time

import pytest

from conftest import TENON

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
ALL_KINDS = "SELECT NULL AS n, 7 AS i, 0.1 AS r, 'a|b' AS t, x'00ff' AS b, 9e999 AS inf"


def test_a_box_is_the_default(store):
    assert store.out("sql", "SELECT step, iif(depth, 'older', 'newest') AS age FROM log('main')") == (
        "┌──────┬────────┐\n"
        "│ step │ age    │\n"
        "├──────┼────────┤\n"
        "│    2 │ newest │\n"
        "│    1 │ older  │\n"
        "└──────┴────────┘\n")


def test_json_is_one_object(store):
    record = store.record("sql", ALL_KINDS)
    assert record == {"schema": "sql/1", "columns": ["n", "i", "r", "t", "b", "inf"],
                      "rows": [[None, 7, 0.1, "a|b", "00ff", "inf"]]}


@pytest.mark.parametrize("mode, wanted", [
    ("csv", 'n,i,r,t,b,inf\n,7,0.1,a|b,00ff,inf\n'),
    ("list", "|7|0.1|a|b|00ff|inf\n"),
    ("jsonl", '{"n":null,"i":7,"r":0.1,"t":"a|b","b":"00ff","inf":"inf"}\n'),
    ("markdown", "|    n | i |   r | t    | b       | inf |\n|-----:|--:|----:|------|---------|----:|\n"
                 "| NULL | 7 | 0.1 | a\\|b | x'00ff' | inf |\n"),
    ("line", "  n = NULL\n  i = 7\n  r = 0.1\n  t = a|b\n  b = x'00ff'\ninf = inf\n"),
])
def test_modes(folder, mode, wanted):
    assert folder.out("sql", "--mode", mode, ALL_KINDS) == wanted


def test_csv_is_read_back_as_it_was(folder):
    text = folder.out("sql", "--csv", "SELECT 'a,b' AS x, 'say \"hi\"' AS y, 'two' || char(10) || 'lines' AS z, '' AS e")
    assert list(csv.reader(io.StringIO(text))) == [["x", "y", "z", "e"], ["a,b", 'say "hi"', "two\nlines", ""]]


def test_control_characters_are_escaped_for_people(folder):
    sql = "SELECT 'red' || char(27) || '[31m' AS x"
    for mode in ("box", "line", "list", "markdown"):
        out = folder.out("sql", "--mode", mode, sql)
        assert "\x1b" not in out and "\\x1b" in out


def test_no_such_mode_is_a_usage_error(folder):
    assert "jsonl" in folder.err("sql", "--mode", "xml", "SELECT 1", code=2)


def test_several_statements_print_one_after_the_other(folder):
    assert folder.out("sql", "--mode", "list", "SELECT 1; SELECT 2;") == "1\n2\n"
    lines = folder.out("--json", "sql", "SELECT 1 AS a; SELECT 2 AS b").splitlines()
    assert [json.loads(line)["columns"] for line in lines] == [["a"], ["b"]]


def test_a_script_from_a_file_or_standard_input(folder):
    (folder.path / "report.sql").write_text("-- two\nSELECT 1;\n\nSELECT 2;\n")
    assert folder.out("sql", "-f", "report.sql", "--mode", "list") == "1\n2\n"
    assert folder.out("sql", "-f", "-", "--mode", "list", input=b"SELECT 3") == "3\n"
    assert "no-such.sql" in folder.err("sql", "-f", "no-such.sql", code=1)
    assert "no statement" in folder.err("sql", code=2)
    assert "twice" in folder.err("sql", "SELECT 1", "-f", "report.sql", code=2)


def test_an_error_points_at_the_word(store):
    assert store.err("sql", "SELECT name,\n  nrom FROM tensors('main')", code=2) == (
        "tenon: no such column: nrom\n"
        "    nrom FROM tensors('main')\n"
        "    ^\n"
        "hint: did you mean 'norm', 'ndim'?\n")


def test_an_error_of_a_later_statement_counts_from_the_beginning(folder):
    (folder.path / "report.sql").write_text("SELECT 1;\nSELECT foo(1);\n")
    done = folder.run("sql", "-f", "report.sql", "--mode", "list", code=2)
    assert done.stdout == b"1\n"
    assert b"  SELECT foo(1);\n         ^\n" in done.stderr
    error = json.loads(folder.run("--json", "sql", "-f", "report.sql", code=2).stderr)
    assert (error["schema"], error["kind"], error["file"], error["offset"], error["exit_code"]) == (
        "error/1", "invalid_argument", "report.sql", 17, 2)


def test_what_is_not_there_is_exit_1_with_near_names(store):
    assert "main" in store.err("sql", "SELECT * FROM log('mian')", code=1)


def test_without_a_store_files_are_answered(lone_folder):
    lone_folder.checkpoint("a.pt")
    count = lone_folder.record("sql", "SELECT count(*) FROM read_pt('a.pt')")["rows"][0][0]
    assert count == len(lone_folder.records("ls", "a.pt"))
    assert "no store" in lone_folder.err("sql", "SELECT * FROM refs", code=10)


def test_it_only_reads(store):
    before = store.out("log")
    for sql in ("CREATE TABLE t(x)", "DELETE FROM refs", "ATTACH 'x.db' AS x", "PRAGMA journal_mode=WAL"):
        assert "only reads" in store.err("sql", sql, code=2)
    assert store.out("log") == before
    assert not (store.path / "x.db").exists()


def test_a_timeout_is_exit_1(folder):
    assert "longer" in folder.err("sql", "--timeout", "0.05", ENDLESS, code=1)


def test_a_memory_limit_is_exit_1(folder):
    sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000000) SELECT median(i) FROM n"
    assert "memory" in folder.err("sql", "--max-memory", "4M", sql, code=1)


def test_ctrl_c_ends_a_statement_with_130(folder):
    process = subprocess.Popen([TENON, "sql", "SELECT 'begun'; " + ENDLESS, "--mode", "list"], cwd=folder.path,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=folder.environment)
    time.sleep(0.5)  # within the endless statement, or before it: the signal is heeded in both
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130


def test_a_reader_that_goes_away_is_no_failure(folder):
    sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT i FROM n"
    done = subprocess.run(f"{TENON} sql --mode list '{sql}' | head -2", shell=True, capture_output=True, text=True,
                          cwd=folder.path, env=folder.environment, timeout=60)
    assert (done.stdout, done.stderr) == ("1\n2\n", "")


def test_explain_is_readable(store):
    out = store.out("sql", "--mode", "list", "EXPLAIN SELECT name FROM tensors('main') WHERE name GLOB 'model/*' ORDER BY name")
    assert out == "scan tensors: rev=?, name GLOB ?, in order\n"
