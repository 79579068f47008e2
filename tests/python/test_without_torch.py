"""Without torch tensors are numpy arrays; without numpy, too, everything else still works.

Runs in processes of their own in which the packages cannot be imported, whether they are installed or not.
"""

import subprocess
import sys
import textwrap

import pytest

from conftest import child_environment

np = pytest.importorskip("numpy")


def run_without(missing, code, folder):
    prelude = f"import sys\nfor name in {missing!r}: sys.modules[name] = None\nimport tenon\n"
    done = subprocess.run([sys.executable, "-c", prelude + textwrap.dedent(code)], cwd=folder, env=child_environment(),
                          capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_arrays_are_saved_and_loaded(tmp_path):
    run_without(["torch"], """
        import numpy as np
        base = np.arange(6.0).reshape(2, 3)
        tenon.save({"w": base, "column": base[:, 1], "n": {"b": np.ones(3, np.int8)}, "k": 1}, "s.tenon", step=3)
        loaded = tenon.load("s.tenon")
        assert np.array_equal(loaded["w"], base) and loaded["k"] == 1 and loaded["n"]["b"].dtype == np.int8
        loaded["w"][0, 1] = 9
        assert loaded["column"][0] == 9 and tenon.load("s.tenon")["column"][0] == 1
        shared = tenon.load("s.tenon", mode="shared")["w"]
        assert not shared.flags.writeable and np.array_equal(shared, base)
        handle = tenon.open("s.tenon")["main:w"]
        assert np.array_equal(np.from_dlpack(handle), base) and handle[1].tolist() == [3, 4, 5]
        assert np.array_equal(tenon.load("s.tenon", mode="copy")["w"], base)
        assert tenon.open("s.tenon").log()[0].step == 3
        try:
            handle.torch()
        except ImportError:
            pass
        else:
            raise AssertionError("there is no torch")
    """, tmp_path)


def test_what_torch_saved_is_read(tmp_path):
    torch = pytest.importorskip("torch")
    import tenon
    state = torch.nn.BatchNorm1d(3).state_dict()
    tenon.save({"model": state, "half": torch.ones(2, dtype=torch.bfloat16), "p": torch.nn.Parameter(torch.ones(2))},
               tmp_path / "s.tenon")
    run_without(["torch"], """
        loaded = tenon.load("s.tenon")
        assert loaded["model"]["weight"].tolist() == [1, 1, 1] and loaded["model"]["num_batches_tracked"] == 0
        assert loaded["p"].tolist() == [1, 1]
        assert loaded["half"].dtype == "bfloat16" and len(memoryview(loaded["half"].memory())) == 4
    """, tmp_path)


def test_without_numpy_scalars_containers_and_bytes_work(tmp_path):
    run_without(["torch", "numpy"], """
        obj = {"a": [1, 2.5, "x", b"y", None, (True,)]}
        tenon.save(obj, "s.tenon")
        assert tenon.load("s.tenon") == obj
        tenon.open("s.tenon").tag("v1")
    """, tmp_path)
