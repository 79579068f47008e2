"""Every sample file does what INDEX.tsv expects, at little cost; fixtures_table.py prints the same as a table."""

import pytest

from conftest import fixture_parameters, indexed_fixtures
from fixtures_table import JUDGES, outcome_of


@pytest.mark.parametrize("file", fixture_parameters(lambda _row: True))
def test_sample_file_does_what_is_expected(tenon, tmp_path, file):
    (row,) = (row for row in indexed_fixtures() if row["file"] == file)
    outcome = outcome_of(tenon, row, tmp_path)
    assert outcome.is_right, outcome.says


def test_every_kind_that_is_to_be_imported_has_a_judge():
    assert {row["kind"] for row in indexed_fixtures() if row["expect"] == "import"} <= JUDGES.keys()
