"""SQL over random stores: duckdb, given the rows that a plain scan yields, must answer every statement alike, whatever
the tables make of its conditions; and numpy judges the figures in those rows."""

import json
import math
import random

import duckdb
import numpy as np
import pytest
import torch

TABLES = {
    "tensors": "snapshot_id VARCHAR, step BIGINT, name VARCHAR, param VARCHAR, layer BIGINT, dtype VARCHAR, shape VARCHAR, "
               "ndim BIGINT, numel BIGINT, nbytes BIGINT, slot_id BIGINT, storage_id VARCHAR, is_view BIGINT, nan_count BIGINT, "
               "inf_count BIGINT, zero_count BIGINT, min DOUBLE, max DOUBLE, mean DOUBLE, std DOUBLE, norm DOUBLE",
    "snapshots": "snapshot_id VARCHAR, step BIGINT, message VARCHAR, parent_id VARCHAR, tensor_count BIGINT, nbytes BIGINT",
    "refs": "name VARCHAR, snapshot_id VARCHAR, is_tag BIGINT",
    "slots": "snapshot_id VARCHAR, step BIGINT, slot_id BIGINT, nbytes BIGINT, storage_id VARCHAR, tensor_count BIGINT",
    "storages": "storage_id VARCHAR, nbytes BIGINT, snapshot_count BIGINT, slot_count BIGINT",
}
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool]


def random_tensor(rng):
    dtype = rng.choice(DTYPES)
    shape = [rng.randint(0 if rng.random() < 0.1 else 1, 5) for _ in range(rng.randint(0, 3))]
    values = torch.tensor([rng.uniform(-4, 4) for _ in range(math.prod(shape))], dtype=torch.float64).reshape(shape)
    if dtype.is_floating_point and values.numel() and rng.random() < 0.3:
        values.view(-1)[0] = rng.choice([math.nan, math.inf, -math.inf])
    return (values > 0) if dtype == torch.bool else values.abs().to(dtype) if dtype == torch.uint8 else values.to(dtype)


def random_state(rng, before):
    """As before, some tensors changed, gone or new, one a view of another, two tied."""
    state = {name: tensor for name, tensor in before.items() if rng.random() < 0.9}
    for _ in range(rng.randint(3, 12)):
        state[f"layers.{rng.randint(0, 11)}.{rng.choice(['weight', 'bias', 'q_proj'])}"] = random_tensor(rng)
    base = torch.tensor([rng.uniform(-1, 1) for _ in range(12)]).reshape(3, 4)
    return state | {"base": base, "turned": base.t(), "part": base[1:, ::2], "tied": base}


class World:
    def __init__(self, tenon, folder, seed):
        self.tenon, self.store, self.states = tenon, tenon.make_store(folder / "run.tenon"), {}
        rng, state = random.Random(seed), {}
        for step in range(rng.randint(4, 8)):
            state = random_state(rng, state)
            torch.save(state, folder / "state.pt")
            tenon.ok("import", folder / "state.pt", "--step", step, "-m", f"step {step}", store=self.store)
            self.states[step] = state
            if rng.random() < 0.3:
                tenon.ok("tag", "set", f"tag{step}", "main", store=self.store)
        self.peer = duckdb.connect()
        for table, columns in TABLES.items():
            names = ", ".join(column.split()[0] for column in columns.split(", "))
            rows = self.ask(f"SELECT {names} FROM {table}")
            self.peer.execute(f"CREATE TABLE {table}({columns})")
            self.peer.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns.split(', ')))})", rows)

    def ask(self, sql):
        out = self.tenon.ok("--json", "sql", sql, store=self.store).stdout
        assert json.loads(out)["schema"] == "sql/1"
        return [[math.inf if v == "inf" else -math.inf if v == "-inf" else v for v in row] for row in json.loads(out)["rows"]]

    def check(self, sql):
        ours, theirs = self.ask(sql), [list(row) for row in self.peer.execute(sql).fetchall()]
        if "ORDER BY" not in sql:
            ours, theirs = sorted(ours, key=repr_of), sorted(theirs, key=repr_of)
        assert len(ours) == len(theirs), sql
        for mine, other in zip(ours, theirs):
            assert all(is_same(a, b) for a, b in zip(mine, other)), f"{sql}\n{mine}\n{other}"


def repr_of(row):
    return [(value is None, f"{value:.9g}" if isinstance(value, (int, float)) else str(value)) for value in row]


def is_same(a, b):
    if isinstance(b, float) and math.isnan(b):
        return a is None  # as of inf and -inf together: SQLite knows no NaN
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) or a == b
    return a == b


@pytest.fixture(scope="module", params=range(3))
def world(request, tenon, tmp_path_factory):
    return World(tenon, tmp_path_factory.mktemp("query"), request.param)


STATEMENTS = [
    "SELECT count(*), count(DISTINCT snapshot_id), count(DISTINCT name) FROM tensors",
    "SELECT name, step, norm FROM tensors WHERE name = 'base' ORDER BY step",
    "SELECT name, step FROM tensors WHERE name IN ('base', 'tied', 'layers.1.weight', 'none') ORDER BY name, step",
    "SELECT name, count(*) FROM tensors WHERE name GLOB 'layers.1*' GROUP BY name ORDER BY name",
    "SELECT name, count(*) FROM tensors WHERE name GLOB '*.[bw]*' AND name GLOB 'layers.?.*' GROUP BY name ORDER BY name",
    "SELECT count(*) FROM tensors WHERE name LIKE 'layers.1%bias'",
    "SELECT layer, dtype, sum(nbytes), count(*) FROM tensors GROUP BY layer, dtype",
    "SELECT dtype, count(*), avg(mean), max(norm) FROM tensors WHERE nan_count = 0 GROUP BY dtype",
    "SELECT step, sum(nan_count), sum(inf_count), sum(zero_count) FROM tensors GROUP BY step ORDER BY step",
    "SELECT a.step, a.name, b.name FROM tensors a JOIN tensors b ON a.snapshot_id = b.snapshot_id AND a.slot_id = b.slot_id "
    "AND a.name < b.name",
    "SELECT s.step, count(*) FROM snapshots s JOIN tensors t USING (snapshot_id) GROUP BY s.step ORDER BY s.step",
    "SELECT r.name, count(*) FROM refs r JOIN tensors t ON t.snapshot_id = r.snapshot_id WHERE t.name GLOB 'layers.*' GROUP BY r.name",
    "SELECT storage_id, snapshot_count, slot_count FROM storages WHERE storage_id IN (SELECT storage_id FROM tensors WHERE name = 'base')",
    "SELECT t.name, s.snapshot_count FROM tensors t JOIN storages s USING (storage_id) WHERE t.step = 1 AND s.snapshot_count > 1",
    "SELECT storage_id, count(*), count(DISTINCT snapshot_id) FROM slots GROUP BY storage_id",
    "SELECT t.name FROM tensors t WHERE t.storage_id = (SELECT min(storage_id) FROM slots) ORDER BY t.name, t.step",
    "SELECT step, norm - lag(norm) OVER (ORDER BY step) FROM tensors WHERE name = 'base' ORDER BY step",
    "SELECT name FROM tensors WHERE step = (SELECT max(step) FROM snapshots) ORDER BY name DESC LIMIT 5",
    "SELECT name FROM tensors WHERE norm > 3 OR nan_count > 0 ORDER BY name, step LIMIT 7 OFFSET 2",
    "SELECT p.step, c.step FROM snapshots p JOIN snapshots c ON c.parent_id = p.snapshot_id ORDER BY 1",
    "SELECT count(*) FROM tensors WHERE snapshot_id = 'none' OR storage_id = 'none' OR name = 'none'",
    "SELECT is_view, count(*) FROM tensors WHERE name <> 'base' GROUP BY is_view",
    "SELECT step, min(name), max(name) FROM tensors WHERE ndim BETWEEN 1 AND 2 AND numel > 0 GROUP BY step HAVING count(*) > 1",
    "SELECT DISTINCT dtype FROM tensors WHERE name NOT LIKE 'layers%'",
]


@pytest.mark.parametrize("sql", STATEMENTS)
def test_duckdb_answers_alike(world, sql):
    world.check(sql)


def random_condition(rng, world):
    name = rng.choice([row[0] for row in world.peer.execute("SELECT DISTINCT name FROM tensors ORDER BY name").fetchall()])
    newest = world.peer.execute("SELECT snapshot_id FROM snapshots ORDER BY step DESC LIMIT 1").fetchone()[0]
    storage = world.peer.execute(f"SELECT storage_id FROM tensors WHERE name = '{name}' LIMIT 1").fetchone()[0]
    return rng.choice([
        f"name = '{name}'", f"name <> '{name}'", f"name < '{name}'", f"name IN ('{name}', 'base', 'x')",
        f"name GLOB '{name[:rng.randint(0, len(name))]}*'", f"name GLOB '*{name[-3:]}'",
        f"name LIKE '{name[:rng.randint(1, len(name))]}%'",
        f"snapshot_id = '{newest}'", f"snapshot_id <> '{newest}'", f"storage_id = '{storage}'",
        f"step >= {rng.randint(0, 6)}", f"layer = {rng.randint(0, 11)}", "layer IS NULL", f"norm < {rng.uniform(0, 6)}",
        "nan_count > 0", f"numel = {rng.randint(0, 12)}", "dtype = 'float32'",
    ])


@pytest.mark.parametrize("seed", range(8))
def test_random_conditions_select_what_duckdb_selects(world, seed):
    rng = random.Random(seed)
    for _ in range(5):
        conditions = [random_condition(rng, world) for _ in range(rng.randint(1, 3))]
        where = rng.choice([" AND ", " OR "]).join(f"({one})" for one in conditions)
        order = rng.choice(["", " ORDER BY name, step", " ORDER BY step, name DESC", " ORDER BY name DESC, step LIMIT 4"])
        world.check(f"SELECT step, name, storage_id, nbytes FROM tensors WHERE {where}{order}")


def test_the_figures_are_those_of_numpy(world):
    rows = world.ask("SELECT step, name, dtype, shape, nan_count, inf_count, zero_count, min, max, mean, std, norm FROM tensors")
    assert len(rows) == sum(len(state) for state in world.states.values())
    for step, name, dtype, shape, nans, infs, zeros, least, most, mean, std, norm in rows:
        tensor = world.states[step][name]
        values = tensor.to(torch.float64).numpy()
        known = values[~np.isnan(values)]
        assert (f"torch.{dtype}", json.loads(shape)) == (str(tensor.dtype), list(tensor.shape))
        assert (nans, infs, zeros) == (values.size - known.size, np.isinf(known).sum(), (known == 0).sum())
        assert (least, most) == ((known.min(), known.max()) if known.size else (None, None))
        with np.errstate(invalid="ignore"):
            wanted = [known.mean(), known.std(), np.linalg.norm(known)] if known.size else [math.nan] * 3
        for got, right in zip((mean, std, norm), wanted):
            assert got is None if math.isnan(right) else math.isclose(got, right, rel_tol=1e-6, abs_tol=1e-9), (name, got, right)


def test_history_has_the_rows_of_a_join(world):
    ours = world.ask("SELECT step, name, norm FROM history('main', 'layers.*') ORDER BY name, step")
    joined = world.ask("SELECT l.step, t.name, t.norm FROM log('main') l JOIN tensors t USING (snapshot_id) "
                       "WHERE t.name GLOB 'layers.*' ORDER BY t.name, l.step")
    assert ours == joined and ours


def test_delta_norm_is_the_norm_of_the_difference(world):
    for step, name, delta in world.ask("SELECT step, name, delta_norm FROM history('main')"):
        before, now = world.states.get(step - 1, {}).get(name), world.states[step][name]
        if before is None or before.shape != now.shape:
            assert delta is None, (step, name)
            continue
        difference = now.double().numpy() - before.double().numpy()
        known = difference[~np.isnan(difference)]
        if np.isinf(known).any() or np.isnan(difference).any():
            continue  # what pairs of infinities come to is the business of the kernels' own tests
        assert math.isclose(delta, np.linalg.norm(known), rel_tol=1e-6, abs_tol=1e-9), (step, name)


def test_elements_are_those_of_torch(world):
    step, state = max(world.states.items())
    for name, tensor in state.items():
        rows = world.ask(f"SELECT at, value, is_nan FROM elements('main', '{name}')")
        assert [row[0] for row in rows] == [json.dumps(list(index)) for index in np.ndindex(*tensor.shape)]
        for (_, value, is_nan), right in zip(rows, tensor.reshape(-1).tolist()):
            assert (value is None and is_nan) if isinstance(right, float) and math.isnan(right) else value == right


def test_diff_tells_what_changed(world):
    steps = sorted(world.states)
    for older, newer in zip(steps, steps[1:]):
        rows = world.ask(f"SELECT name, change, changed_count FROM diff('main@step:{older}', 'main@step:{newer}')")
        before, now = world.states[older], world.states[newer]
        for name, change, count in rows:
            if change in ("same", "changed"):
                same = torch.equal(raw_bytes(before[name]), raw_bytes(now[name]))
                assert (change == "same") == same, name
                assert (count == 0) == same, name
            elif change == "added":
                assert name not in before
            elif change == "removed":
                assert name not in now


def raw_bytes(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8) if tensor.numel() else torch.empty(0, dtype=torch.uint8)
