"""docs/questions.md: every statement prints what stands below it.

With TENON_UPDATE_QUESTIONS=1 the outputs are written anew: read what changed.
"""

import os
import re
import subprocess

import pytest

import training_run
from conftest import ROOT, TENON

DOCUMENT = ROOT / "docs/questions.md"
QUESTION = re.compile(r"```sql\n(.*?)```\n\n```\n(.*?)```\n", re.S)
WANTED = ["first NaN", "changed most", "Update size", "Dead rows", "shared by two", "Size by layer", "Best steps",
          "Learning rate", "moment beside", "Two runs", "Tied", "forgetting"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("questions")
    training_run.make(TENON, folder)
    return folder / "run.tenon"


def ask(run, sql):
    environment = {k: v for k, v in os.environ.items() if k != "COLUMNS"}
    done = subprocess.run([TENON, "--store", run, "sql", sql], capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, f"{sql}\n{done.stderr}"
    return done.stdout


def test_every_statement_prints_what_is_written(run):
    text = DOCUMENT.read_text()
    questions = QUESTION.findall(text)
    assert len(questions) >= len(WANTED)
    if os.environ.get("TENON_UPDATE_QUESTIONS"):
        DOCUMENT.write_text(QUESTION.sub(lambda m: f"```sql\n{m[1]}```\n\n```\n{ask(run, m[1])}```\n", text))
        return
    for sql, wanted in questions:
        assert ask(run, sql) == wanted, sql


def test_no_question_is_missing():
    headings = re.findall(r"^## (.*)$", DOCUMENT.read_text(), re.M)
    for words in WANTED:
        assert any(words.lower() in heading.lower() for heading in headings), words
