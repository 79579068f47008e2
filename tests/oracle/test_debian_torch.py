"""The past as Debian's torch 1.13 has it: its files come in, and it reads what goes out.

Skipped where there is no such torch: `apt-get install python3-torch` brings it, and tools/check does that.
"""

import json
import pathlib
import subprocess

import pytest
import torch

from debian_torch import outputs, plain, shares

PYTHON = "/usr/bin/python3"
SCRIPT = pathlib.Path(__file__).with_name("debian_torch.py")
ERAS = ("zip", "legacy")
SAMPLES = (
    *("views", "dtypes", "csr", "coo", "quantized", "module", "parameter", "aliases", "empty", "devices", "scheduler"),
    *("meta", "zip in a payload"),
)
SCRIPTS = ("branches", "branches, traced", "nested", "convolution, traced", "many types", "lstm")


def debian(*arguments):
    done = subprocess.run([PYTHON, "-W", "ignore", SCRIPT, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    probe = subprocess.run([PYTHON, "-c", "import torch"], capture_output=True)
    if probe.returncode != 0:
        pytest.skip(f"{PYTHON} has no torch: apt-get install python3-torch")
    folder = tmp_path_factory.mktemp("debian")
    return folder, debian("write", folder)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_of_torch_1_comes_back_under_both_torches(tenon, store, samples, tmp_path, name, era):
    folder, said = samples
    file = f"{name}.{era}.pt"
    tenon.import_files(store, [folder / file])
    out = tenon.export(store, "main", tmp_path / "out.pt")
    # torch 2 has no 1.13 spelling of CSR any more, so it cannot read the original; it reads what comes out.
    value = torch.load(out, weights_only=True)
    assert json.loads(json.dumps([plain(value), shares(value)])) == said[file]
    if name != "csr":  # for the same reason the other way round
        assert debian("read", out) == said[file]


def test_torch_1_reads_what_torch_2_wrote(tenon, store, samples, tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    value = {"model": model.state_dict(), "step": 3, "tied": [model[0].weight.data] * 2}
    torch.save(value, tmp_path / "model.pt")
    tenon.import_files(store, [tmp_path / "model.pt"])
    out = tenon.export(store, "main", tmp_path / "out.pt")
    assert debian("read", out) == json.loads(json.dumps([plain(value), shares(value)]))


@pytest.fixture(scope="module")
def scripts(samples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("debian_script")
    return folder, debian("script", folder)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_of_torch_1_runs_again_under_both_torches(tenon, store, scripts, tmp_path, name):
    folder, said = scripts
    tenon.import_files(store, [folder / f"{name}.pt"])
    out = tenon.export(store, "main", tmp_path / "out.pt")
    assert debian("run", out) == said[f"{name}.pt"]
    # Kernels round differently in eight years of torch: the states are equal, the outputs nearly.
    numbers, state = json.loads(json.dumps(outputs(torch.jit.load(out))))
    assert state == said[f"{name}.pt"][1]
    require_close(numbers, said[f"{name}.pt"][0])


def require_close(got, wanted):
    if isinstance(wanted, list):
        assert len(got) == len(wanted)
        for one, other in zip(got, wanted, strict=True):
            require_close(one, other)
        return
    assert (got["shape"], got["dtype"]) == (wanted["shape"], wanted["dtype"])
    assert list(map(float, got["values"])) == pytest.approx(list(map(float, wanted["values"])), abs=1e-5)
