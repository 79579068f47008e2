"""Store.sql: rows, errors, functions, and Arrow streams that other libraries read."""

import threading

import pytest

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")

import tenon


@pytest.fixture
def filled(store):
    for step in (1, 2, 3):
        store.save({"model": {"w": torch.full((2, 3), float(step)), "b": torch.zeros(3, dtype=torch.bfloat16)}}, step=step)
    return store


QUESTION = "SELECT name, norm, numel, is_contiguous, layer FROM tensors('main') ORDER BY name"
ANSWER = [("model/b", 0.0, 3, 1, None), ("model/w", 54 ** 0.5, 6, 1, None)]


def close(rows):
    return [tuple(pytest.approx(v) if isinstance(v, float) else v for v in row) for row in rows]


def test_rows_are_tuples_of_plain_values(filled):
    result = filled.sql(QUESTION)
    assert result.columns == ["name", "norm", "numel", "is_contiguous", "layer"]
    assert result.rows == close(ANSWER)
    assert result.rows == []  # read once


def test_iterating_reads_as_it_goes(filled):
    endless = filled.sql("WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM t) SELECT i FROM t")
    assert [row for row, _ in zip(endless, range(3000))][-1] == (3000,)


def test_history_is_asked_in_one_statement(filled):
    rows = filled.sql("SELECT step, max FROM history('main', 'model/w') ORDER BY step").rows
    assert rows == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_pyarrow_reads_the_stream(filled):
    pyarrow = pytest.importorskip("pyarrow")
    table = filled.sql(QUESTION).arrow()
    assert table.schema.field("norm").type == pyarrow.float64()
    assert table.schema.field("is_contiguous").type == pyarrow.bool_()
    assert [tuple(row.values()) for row in table.to_pylist()] == close(
        [(name, norm, numel, bool(flag), layer) for name, norm, numel, flag, layer in ANSWER])


def test_a_long_stream_comes_in_batches(filled):
    pyarrow = pytest.importorskip("pyarrow")
    result = filled.sql("WITH RECURSIVE t(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM t LIMIT 200000) SELECT i, i % 2 = 0 AS e, 't' || i AS t FROM t")
    reader = pyarrow.RecordBatchReader.from_stream(result)
    batches = list(reader)
    assert len(batches) == 4 and sum(batch.num_rows for batch in batches) == 200_000
    assert batches[-1].column(2)[-1].as_py() == "t200000"


def test_duckdb_reads_the_stream(filled):
    duckdb = pytest.importorskip("duckdb")
    pytest.importorskip("pyarrow")
    rows = filled.sql("SELECT step, norm FROM history('main', 'model/w')")
    assert duckdb.sql("SELECT count(*), max(step), round(max(norm), 4) FROM rows").fetchall() == [(3, 3, 7.3485)]


def test_polars_reads_the_stream(filled):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(filled.sql(QUESTION))
    assert frame.columns == ["name", "norm", "numel", "is_contiguous", "layer"]
    assert frame["numel"].sum() == 9 and frame["layer"].null_count() == 2


def test_pandas_gets_a_frame(filled):
    pytest.importorskip("pandas")
    frame = filled.sql(QUESTION).df()
    assert list(frame["name"]) == ["model/b", "model/w"] and frame["numel"].sum() == 9


def test_a_stream_that_nobody_takes_is_let_go(filled):
    capsule = filled.sql(QUESTION).__arrow_c_stream__()
    del capsule


def test_a_stream_is_had_again_until_somebody_reads_it(filled):
    pyarrow = pytest.importorskip("pyarrow")
    result = filled.sql(QUESTION)
    result.__arrow_c_stream__()
    first, second = (pyarrow.RecordBatchReader.from_stream(result) for _ in range(2))
    assert first.schema == second.schema
    assert first.read_all().num_rows == len(ANSWER)
    with pytest.raises(Exception, match="read already"):
        second.read_all()
    with pytest.raises(tenon.InvalidArgumentError, match="read already"):
        result.__arrow_c_stream__()
    with pytest.raises(tenon.InvalidArgumentError, match="read already"):
        result.rows


def test_an_error_says_where_in_the_statement(filled):
    with pytest.raises(tenon.InvalidArgumentError) as caught:
        filled.sql("SELECT nrom FROM tensors('main')")
    assert caught.value.offset == 7 and "norm" in caught.value.hint


def test_a_timeout_ends_a_statement(filled):
    endless = "WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM t) SELECT count(*) FROM t"
    with pytest.raises(tenon.LimitError):
        filled.sql(endless, timeout=0.2).rows


def test_a_python_function_is_one_of_sql(filled):
    filled.register_function("shout", lambda text: text.upper() + "!", 1)
    assert filled.sql("SELECT shout(name) FROM tensors('main') ORDER BY name").rows == [("MODEL/B!",), ("MODEL/W!",)]


def test_what_a_python_function_raises_comes_out(filled):
    def fail(*_):
        raise KeyError("mine")

    filled.register_function("fail", fail)
    with pytest.raises(KeyError, match="mine"):
        filled.sql("SELECT fail(1)").rows


def test_nothing_can_be_written(filled):
    with pytest.raises(tenon.Error):
        filled.sql("DELETE FROM tensors").rows


def test_threads_ask_side_by_side(filled):
    answers = []

    def ask():
        answers.append(filled.sql("SELECT count(*) FROM tensors").rows)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [[(6,)]] * 4


def test_param_is_what_the_optimizer_trained(tmp_path):
    """Both layers are alike, and only the second is trained: numbers and shapes alone would say the first."""
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False))
    optimizer = torch.optim.Adam(model[1].parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    store = tenon.open(tmp_path / "run.tenon", create=True)
    store.save(model=model, optimizer=optimizer)
    rows = store.sql("SELECT name, param FROM tensors('main') WHERE name GLOB '*exp_avg'").rows
    assert rows == [("optim/state/0/exp_avg", "model/1.weight")]
