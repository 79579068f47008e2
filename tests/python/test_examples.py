"""The programs in examples/ do what they say."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

np = pytest.importorskip("numpy")

import tenon
from conftest import REPOSITORY, child_environment

READER = pathlib.Path(os.environ.get("TENON_EXAMPLES") or REPOSITORY / "build" / "examples") / "read_tensors"


def run(*command):
    done = subprocess.run(list(map(str, command)), env=child_environment(), capture_output=True, text=True, timeout=300,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_workers_share_weights_and_take_the_next_version(tmp_path):
    out = run(sys.executable, REPOSITORY / "examples" / "shared_workers.py", tmp_path, 2, 8)
    assert "version 1: 1 MiB written, 7 MiB known already" in out
    assert len(re.findall(r"worker \d: version 0, sum 9175040", out)) == 2
    assert len(re.findall(r"worker \d: version 1, sum 9437184", out)) == 2


def test_a_run_keeps_its_history_and_goes_on(tmp_path):
    pytest.importorskip("torch", minversion="2.1")
    out = run(sys.executable, REPOSITORY / "examples" / "training_history.py", tmp_path, 220)
    assert "goes on at step 101" in out
    kept = [int(step) for step in re.findall(r"step (\d+), loss", out)]
    assert set(kept) >= {210, 200, 100, 0} and len(kept) <= 5
    norms = re.search(r"has norm ([\d.]+), as the store knew without reading it: ([\d.]+)", out)
    assert norms[1] == norms[2]
    assert "optim/state/0/exp_avg, optim/state/0/exp_avg_sq, optim/state/0/step" in out


@pytest.mark.skipif(not READER.exists(), reason="examples/read_tensors is not built")
def test_cpp_reads_by_name_through_strides(tmp_path):
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    tenon.save({"m": {"w": matrix, "turned": matrix.T}, "n": np.ones(2, np.int8)}, tmp_path / "s.tenon")
    listing = run(READER, tmp_path / "s.tenon").splitlines()
    assert "m/w  float32  2 x 3" in listing and "n  int8  2" in listing
    assert run(READER, tmp_path / "s.tenon", "main", "m/turned") == "0 3\n1 4\n2 5\n"
