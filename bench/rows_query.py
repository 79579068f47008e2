"""P10 and P11: SQL beside SQLite and duckdb, statistics beside numpy, torch and a reading of the bytes."""

import csv
import sqlite3
import statistics
import subprocess
import sys

from harness import MIB, median, numpy, show_seconds, timed, torch

try:
    import duckdb
except ImportError:
    duckdb = None

# --- P11: statistics ---


def numpy_statistics(array):
    """What Tenon says in one reading, as numpy says it."""
    wide = "float32" if array.dtype == "float16" else None
    return (int(numpy.isnan(array).sum()), int(numpy.isinf(array).sum()), int((array == 0).sum()), array.min(),
            array.max(), array.mean(dtype=wide), array.std(dtype=wide), numpy.abs(array).sum(dtype=wide))


def torch_statistics(tensor):
    return (int(tensor.isnan().sum()), int(tensor.isinf().sum()), int((tensor == 0).sum()), tensor.min(), tensor.max(),
            tensor.mean(dtype=torch.float32), tensor.std(correction=0), tensor.abs().sum(dtype=torch.float32))


def measure_summary(bench):
    sizes, store = bench.sizes, bench.path("summary.tenon")
    bench.run("summary", "make", store, sizes.summary_bytes)
    for dtype in ("float32", "float16", "bfloat16"):
        rounds = bench.run("summary", "measure", store, dtype, sizes.rounds)
        if torch:
            tensor = torch.randn(sizes.summary_bytes // 4).to(getattr(torch, dtype)).repeat(4 // getattr(torch, dtype).itemsize)
            rounds[-1]["torch"], _ = timed(lambda: torch_statistics(tensor))
            if dtype != "bfloat16":
                rounds[-1]["numpy"], _ = timed(lambda: numpy_statistics(tensor.numpy()))
        figure = {name: median(rounds, name) for name in
                  ("read", "statistics", "all", "l1", "quantiles", "histogram", "again", "numpy", "torch")}
        what = f"statistics of {sizes.summary_bytes // MIB} MiB of {dtype}, first time"
        bench.add_ratio("P11", f"{what}: a reading of the bytes", 0.8, figure["statistics"], figure["read"], "read")
        bench.add_ratio("P11", "same and 1-norm: a reading of the bytes", 0.8, figure["all"], figure["read"], "read")
        bench.add_ratio("P11", "same: torch (for comparison)", None, figure["all"], figure["torch"], "torch")
        if figure["numpy"]:
            bench.add_ratio("P11", "same: numpy (for comparison)", None, figure["all"], figure["numpy"], "numpy")
        bench.add("P11", "1-norm, 3 quantiles, 64 bins alone", "", l1=figure["l1"], quantiles=figure["quantiles"],
                  histogram=figure["histogram"])
        bench.add("P11", "same, cached", "<= 2 us", show_seconds(figure["again"]), figure["again"] <= 2e-6)
    bench.discard("summary.tenon")


# --- P10: SQL ---


QUERY_COLUMNS = "snapshot_id, step, name, layer, dtype, numel, nbytes, storage_id, nan_count, norm"
QUERY_SCAN = "SELECT layer % 10, count(*), sum(nbytes), avg(norm) FROM tensors WHERE norm > 2.9 GROUP BY 1 ORDER BY 1"
QUERY_PATH = "SELECT step, nbytes, storage_id FROM tensors WHERE name = 'layers.7.weight'"
QUERY_POINT = "SELECT nbytes, norm FROM tensors WHERE snapshot_id = ? AND name = 'layers.7.weight'"


def load_query_peers(bench, store):
    """The very rows, in a table of SQLite with the indexes that its lookups need, and in one of duckdb."""
    rows = bench.path("rows.csv")
    command = [bench.programs.parent / "tools" / "tenon", "--store", store, "sql", "--csv",
               f"SELECT {QUERY_COLUMNS} FROM tensors"]
    with open(rows, "wb") as out:
        subprocess.run(command, check=True, stdout=out)
    database = sqlite3.connect(bench.path("rows.db"))
    database.execute(f"CREATE TABLE tensors({QUERY_COLUMNS})")
    with open(rows, newline="") as lines:
        reader = csv.reader(lines)
        next(reader)
        numbers = (1, 3, 5, 6, 8)
        def convert(row):
            for i in numbers:
                row[i] = int(row[i])
            row[9] = float(row[9])
            return row
        database.executemany(f"INSERT INTO tensors VALUES ({', '.join('?' * 10)})", map(convert, reader))
    database.execute("CREATE INDEX by_name ON tensors(name, snapshot_id)")
    database.commit()
    peers = {"SQLite": database}
    if duckdb:
        peers["duckdb"] = duckdb.connect()
        peers["duckdb"].execute("SET threads = 1")
        peers["duckdb"].execute(f"CREATE TABLE tensors AS SELECT * FROM read_csv('{rows}')")
    bench.discard("rows.csv")
    return peers


def measure_query(bench):
    sizes, store = bench.sizes, bench.path("query.tenon")
    bench.run("query", "make", store, sizes.query_snapshots, sizes.query_tensors)
    peers = load_query_peers(bench, store)
    newest = peers["SQLite"].execute("SELECT snapshot_id FROM tensors ORDER BY step DESC LIMIT 1").fetchone()
    rounds = []
    for _ in range(sizes.rounds):
        first, *warm = bench.run("query", "measure", store, 5)
        if any(figures["rows"] != sizes.query_snapshots for figures in warm):
            sys.exit("P10: not every snapshot had its row")
        figures = first | {name: median(warm, name) for name in ("scan", "path", "statistics", "point")}
        for name, peer in peers.items():
            for what, sql, given in (("scan", QUERY_SCAN, ()), ("path", QUERY_PATH, ()), ("point", QUERY_POINT, newest)):
                figures[f"{what} {name}"] = statistics.median(
                    timed(lambda: peer.execute(sql, given).fetchall())[0] for _ in range(5))
        rounds.append(figures)
    rows = f"{sizes.query_snapshots * sizes.query_tensors:,} rows"
    ours = {name: median(rounds, name) for name in rounds[0]}
    for name in peers:
        wanted = 1 if name == "SQLite" else None
        bench.add_ratio("P10", f"filter and aggregate {rows}: {name}, the same rows in a table", wanted, ours["scan"],
                        ours[f"scan {name}"], name)
    bench.add("P10", f"one path over {sizes.query_snapshots:,} snapshots", "<= 1 ms", show_seconds(ours["path"]),
              ours["path"] <= 1e-3, first_time=ours["first_path"], with_statistics=ours["statistics"],
              **{name: ours[f"path {name}"] for name in peers})
    bench.add("P10", "point lookup", "<= 50 us", show_seconds(ours["point"]), ours["point"] <= 50e-6,
              **{name: ours[f"point {name}"] for name in peers})
    for peer in peers.values():
        peer.close()
    bench.discard("query.tenon", "rows.db")
