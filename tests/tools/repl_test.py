"""The REPL as a person meets it: in a terminal, which tmux plays, and fed from a file.

    build/venv/bin/python -m pytest tests/tools/repl_test.py
"""

import os
import pathlib
import shutil
import subprocess
import time
import uuid

import pytest
import torch

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TENON = pathlib.Path(os.environ.get("TENON_BINARY", REPOSITORY / "build/tools/tenon"))
PATIENCE_S = 60  # a busy machine is no failure
ENDLESS = "WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM t) SELECT count(*) FROM t;"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two snapshots of three tensors on main; `scale` steps from 1 to 2. On odd, a name with a quote in it."""
    folder = tmp_path_factory.mktemp("repl")
    path = folder / "run.tenon"
    subprocess.run([TENON, "init", path, "--relaxed"], check=True, capture_output=True)
    for step in (1, 2):
        torch.manual_seed(1)
        torch.save({"layers.0.weight": torch.randn(40, 50), "layers.0.bias": torch.zeros(50), "scale": torch.tensor(float(step))},
                   folder / "m.pt")
        subprocess.run([TENON, "--store", path, "import", folder / "m.pt", "--step", str(step)], check=True,
                       capture_output=True)
    torch.save({"it's": torch.ones(3), "other": torch.ones(2)}, folder / "odd.pt")
    subprocess.run([TENON, "--store", path, "import", folder / "odd.pt", "--ref", "odd"], check=True, capture_output=True)
    return path


def environment(state, **more):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TENON_") and k not in ("COLUMNS", "PAGER", "EDITRC")}
    return kept | {"LC_ALL": "C.UTF-8", "XDG_STATE_HOME": str(state), "HOME": str(state), "NO_COLOR": "1"} | more


class Terminal:
    """100 columns by 30 lines, with the command in it."""

    def __init__(self, command, **settings):
        self.tmux = ["tmux", "-L", f"tenon-{uuid.uuid4().hex}", "-f", "/dev/null"]
        self.run("new-session", "-d", "-x", "100", "-y", "30", *map(str, command), **settings)

    def run(self, *arguments, **settings):
        return subprocess.run([*self.tmux, *arguments], check=True, capture_output=True, text=True, **settings).stdout

    def keys(self, *names):
        self.run("send-keys", *names)

    def type(self, text):
        # A semicolon at the end is tmux's own, unless it is escaped.
        self.run("send-keys", "-l", text[:-1] + "\\;" if text.endswith(";") else text)

    def enter(self, text):
        self.type(text)
        self.keys("Enter")

    def screen(self):
        return self.run("capture-pane", "-p")

    def wait(self, *texts):
        """Until all of them are on the screen."""
        end = time.monotonic() + PATIENCE_S
        while True:
            screen = self.screen()
            if all(text in screen for text in texts):
                return screen
            assert time.monotonic() < end, f"no {texts} on the screen:\n{screen}"
            time.sleep(0.05)

    def wait_for_prompt(self):
        """Until the last line is an empty prompt."""
        end = time.monotonic() + PATIENCE_S
        while not self.screen().rstrip().endswith("tenon>"):
            assert time.monotonic() < end, self.screen()
            time.sleep(0.05)

    def clear(self):
        self.keys("C-l")
        end = time.monotonic() + PATIENCE_S
        while self.screen().count("\n\n") < 1 or not self.screen().startswith("tenon>"):
            assert time.monotonic() < end, self.screen()
            time.sleep(0.05)

    def close(self):
        subprocess.run([*self.tmux, "kill-server"], capture_output=True, check=False)


@pytest.fixture
def start(store, tmp_path):
    if not shutil.which("tmux"):
        pytest.skip("tmux is not installed")
    terminals = []

    def begin(verb="repl", state=tmp_path, **more):
        verbs = [verb] if verb else []
        terminal = Terminal([TENON, "--store", store, *verbs], env=environment(state, **more))
        terminals.append(terminal)
        terminal.wait("tenon>")
        return terminal

    yield begin
    for terminal in terminals:
        terminal.close()


def test_bare_tenon_at_a_terminal_is_the_repl(start):
    terminal = start(verb=None)
    terminal.enter("SELECT 40 + 2 AS answer;")
    terminal.wait("answer", "42")


def test_tab_completes_sql_revs_and_tensor_names(start):
    terminal = start()
    terminal.type("sele")
    terminal.keys("Tab")
    terminal.wait("tenon> SELECT")
    terminal.type(" name AS n FROM tens")
    terminal.keys("Tab")
    terminal.wait("FROM tensors")
    terminal.type("('ma")
    terminal.keys("Tab")
    terminal.wait("tensors('main")
    terminal.type("') WHERE name = 'layers.0.w")
    terminal.keys("Tab")
    terminal.wait("'layers.0.weight")
    terminal.enter("';")
    terminal.wait("│ n", "│ layers.0.weight │")


def test_tab_lists_what_it_could_be(start):
    terminal = start()
    terminal.type("SELECT * FROM tensors('main') WHERE name = 'layers.0.")
    terminal.keys("Tab")
    terminal.wait("layers.0.bias", "layers.0.weight")


def test_tab_knows_the_rev_that_a_statement_names_and_doubles_quotes(start):
    terminal = start()
    terminal.type("SELECT numel FROM tensors('odd') WHERE name = 'it")
    terminal.keys("Tab")
    terminal.wait("'it''s")
    terminal.keys("Tab")  # what is typed counts as it stands in quotes
    terminal.enter("';")
    terminal.wait("numel", "3")


def test_tab_completes_commands_and_their_arguments(start):
    terminal = start()
    terminal.type(".hi")
    terminal.keys("Tab")
    terminal.wait("tenon> .hist")
    terminal.type(" main:layers.0.w")
    terminal.keys("Tab", "Enter")
    terminal.wait("█", "tallest")


def test_a_statement_goes_on_until_its_semicolon(start):
    terminal = start()
    terminal.enter("SELECT 'a;b' AS x,")
    terminal.wait("   ...>")
    terminal.type("1 + 3 AS y")
    terminal.keys("Home")
    terminal.type("10 * ")  # before what was typed
    terminal.keys("End")
    terminal.enter(";")
    terminal.wait("a;b", "13")


def test_history_outlives_the_session_and_has_statements_whole(start, tmp_path):
    terminal = start()
    terminal.enter("SELECT 7 *")
    terminal.wait("   ...>")
    terminal.enter("6 AS product;")
    terminal.wait("42")
    terminal.keys("C-d")
    again = start()
    again.keys("Up")
    again.wait("tenon> SELECT 7 * 6 AS product;")
    again.keys("Enter")
    again.wait("42")
    assert (tmp_path / "tenon/history").exists()


def test_ctrl_c_gives_up_the_line_and_not_the_program(start):
    terminal = start()
    terminal.enter("SELECT 1")
    terminal.wait("   ...>")
    terminal.type("no such thing")
    terminal.keys("C-c")
    terminal.wait("^C")
    terminal.enter("SELECT 5 AS five;")
    terminal.wait("five")


def test_ctrl_c_ends_a_long_scan_and_nothing_else(start):
    terminal = start()
    for _ in range(2):
        terminal.enter(ENDLESS)
        terminal.wait("working, Ctrl-C ends it")
        terminal.keys("C-c")
        terminal.wait("interrupted")
        terminal.wait_for_prompt()
        terminal.clear()
    terminal.enter("SELECT 5 AS five;")
    terminal.wait("five")


def test_a_long_result_goes_to_the_pager_and_a_short_one_does_not(start):
    terminal = start(PAGER="head -n 5; echo paged; cat > /dev/null")
    terminal.enter("SELECT 'short' AS s;")
    assert "paged" not in terminal.wait("short", "┘")
    terminal.enter("WITH RECURSIVE t(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM t LIMIT 500) SELECT i AS row FROM t;")
    terminal.wait("paged")
    terminal.wait_for_prompt()
    assert "500" not in terminal.screen().replace("LIMIT 500", "")


def test_a_pager_that_is_quit_early_ends_the_result(start):
    terminal = start(PAGER="head -n 3")
    terminal.enter("WITH RECURSIVE t(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM t LIMIT 100000) SELECT i FROM t;")
    terminal.wait("┌")
    terminal.wait_for_prompt()
    terminal.enter("SELECT 5 AS five;")
    terminal.wait("five")


def test_a_scan_without_rows_ends_when_its_pager_is_quit(start):
    terminal = start(PAGER="head -n 3")
    terminal.enter(".mode csv")
    terminal.enter("WITH RECURSIVE t(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM t) SELECT i AS n FROM t WHERE i < 100;")
    terminal.wait_for_prompt()
    terminal.enter("SELECT 5 AS five;")
    terminal.wait("five")


def test_help_needs_no_dot(start):
    terminal = start(PAGER="cat")
    terminal.enter("help")
    terminal.wait("sparkline")


def test_an_error_points_at_its_token_and_suggests_a_name(start):
    terminal = start()
    terminal.enter("SELECT name, nrom FROM tensors('main');")
    screen = terminal.wait("^", "norm")
    lines = screen.splitlines()
    caret = next(i for i, line in enumerate(lines) if line.strip() == "^")
    assert lines[caret - 1][lines[caret].index("^"):].startswith("nrom")


def test_plot_log_diff_and_tree_show_pictures_and_history(start):
    terminal = start()
    terminal.enter(".plot SELECT step, norm FROM history('main', 'scale')")
    terminal.wait("norm", "█", "┤")
    terminal.clear()
    terminal.enter(".diff main~1 main")
    terminal.wait("scale")
    terminal.clear()
    terminal.enter(".tree")
    terminal.wait("layers")
    terminal.clear()
    terminal.enter(".log")
    terminal.wait("main")


def test_the_timer_tells_how_long_a_statement_took(start):
    terminal = start()
    terminal.enter(".timer on")
    terminal.enter("SELECT 1 AS one;")
    terminal.wait("one", " s\n")


# --- Fed from a file ---


def feed(store, text, *options, **more):
    return subprocess.run([TENON, "--store", store, *options, "repl"], input=text, capture_output=True, text=True,
                          env=environment("/nonexistent", **more), timeout=PATIENCE_S, check=False)


@pytest.mark.parametrize(("mode", "wanted"), [
    ("csv", "a,b\n1,x\n"),
    ("json", '{"schema":"sql/1","columns":["a","b"],"rows":[[1,"x"]]}\n'),
    ("jsonl", '{"a":1,"b":"x"}\n'),
    ("list", "1|x\n"),
    ("line", "a = 1\nb = x\n"),
    ("markdown", "| a | b |\n|--:|---|\n| 1 | x |\n"),
    ("box", "┌───┬───┐\n│ a │ b │\n├───┼───┤\n│ 1 │ x │\n└───┴───┘\n"),
])
def test_every_mode_prints_its_form(store, mode, wanted):
    done = feed(store, f".mode {mode}\nSELECT 1 AS a, 'x' AS b;\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, wanted, "")


def test_an_error_in_a_file_is_told_and_the_rest_runs(store):
    done = feed(store, ".mode list\nSELECT 1;\nSELECT nothing;\n.bogus\nSELECT 2;\n")
    assert done.returncode == 1
    assert done.stdout == "1\n2\n"
    assert "nothing" in done.stderr and "no command '.bogus'" in done.stderr


def test_an_error_of_a_command_points_into_its_statement(store):
    done = feed(store, ".plot  SELECT step, nrom FROM history('main', 'scale');\n")
    assert done.stderr == ("no such column: nrom\n"
                           "  SELECT step, nrom FROM history('main', 'scale')\n"
                           "               ^\n"
                           "hint: did you mean 'norm', 'ndim'?\n")


def test_errors_are_json_when_results_are(store):
    assert '"kind":"invalid_argument"' in feed(store, "SELECT nothing;\n", "--json").stderr


def test_a_reader_that_goes_away_ends_an_endless_result(store):
    endless = "WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM t) SELECT i FROM t"
    for command in (f"echo '.mode list\n{endless};' | {TENON} repl", f"{TENON} sql --mode list '{endless}'"):
        done = subprocess.run(f"{command} | head -1", shell=True, capture_output=True, text=True,
                              env=environment("/nonexistent", TENON_STORE=str(store)), timeout=PATIENCE_S, check=False)
        assert (done.stdout, done.stderr) == ("1\n", "")


def test_a_folder_is_no_script(store, tmp_path):
    assert "cannot read the statements" in feed(store, f".read {tmp_path}\n").stderr


def test_once_and_output_send_results_to_files(store, tmp_path):
    done = feed(store, f".mode list\n.once {tmp_path}/one\nSELECT 1;\nSELECT 2;\n.output {tmp_path}/rest\nSELECT 3;\n"
                       f"SELECT 4;\n.output\nSELECT 5;\n")
    assert done.stdout == "2\n5\n"
    assert (tmp_path / "one").read_text() == "1\n"
    assert (tmp_path / "rest").read_text() == "3\n4\n"


def test_read_takes_statements_from_a_file_that_may_not_read_itself(store, tmp_path):
    script = tmp_path / "a.sql"
    script.write_text(f".mode list\nSELECT\n 6;\n.read {script}\n")
    done = feed(store, f".read {script}\n")
    assert done.stdout.startswith("6\n6\n")
    assert "files read each other" in done.stderr


def test_help_knows_every_command_table_column_and_function(store):
    everything = feed(store, ".help\n").stdout
    assert all(name in everything for name in (".plot", "tensors", "history", "quantile"))
    assert "norm" in feed(store, ".help norm\n").stdout
    assert "quantile(" in feed(store, ".help quantile\n").stdout
    assert "did you mean" in feed(store, ".help quantil\n").stderr
    assert feed(store, ".help .hist\n").stdout.startswith(".hist")


def test_use_decides_what_commands_show(store):
    done = feed(store, ".use main~1\n.use\n.log\n.use nonsense\n")
    assert done.stdout.startswith("main~1\n")
    assert done.returncode == 1 and "nonsense" in done.stderr


def test_without_a_store_sql_still_answers(lone_folder, tmp_path):
    done = subprocess.run([TENON, "repl"], input=".mode list\nSELECT 1 + 1;\n.log\n", capture_output=True, text=True,
                          cwd=lone_folder.path, env=environment(tmp_path), check=False)
    assert done.stdout == "2\n"
    assert done.returncode == 1
