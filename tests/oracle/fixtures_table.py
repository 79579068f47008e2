#!/usr/bin/env python3
"""What becomes of every sample file in INDEX.tsv, as a table: imported and equal, or refused as it should be.

    build/venv/bin/python tests/oracle/fixtures_table.py            # all of them
    build/venv/bin/python tests/oracle/fixtures_table.py alex.pth   # some

A file that is to be imported is exported again, and a judge for its kind compares what comes out with the file. A format
joins by a line in JUDGES.
"""

import dataclasses
import json
import pathlib
import sys
import tempfile
import warnings
import zipfile

import numpy
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from conftest import REPOSITORY, Tenon, fixtures_folder, indexed_fixtures
from equal import assert_equal
from measure_call import call
from stubs import pickle_module

# ---- judges: each is given the tenon command, the store, the file, and a folder to write into


def judge_torch(tenon, store, file, folder):
    out = tenon.export(store, "main", folder / "out.pt")
    wanted, got = (
        torch.load(path, weights_only=False, map_location="cpu", pickle_module=pickle_module) for path in (file, out)
    )
    assert_equal(got, wanted)
    return "equal under torch 2.13"


def judge_safetensors(tenon, store, file, folder):
    out = tenon.export(store, "main", folder / "out.safetensors")
    assert_equal(*(dict(sorted(load_file(path).items())) for path in (out, file)))
    with safe_open(file, "pt") as wanted, safe_open(out, "pt") as got:
        assert got.metadata() == wanted.metadata()
    return "equal under safetensors"


def judge_numpy(tenon, store, file, folder):
    wanted, got = (numpy.load(path) for path in (file, tenon.export(store, "main", folder / f"out{file.suffix}")))
    for name in [()] if isinstance(wanted, numpy.ndarray) else list(wanted):
        numpy.testing.assert_array_equal(got[name], wanted[name], strict=True)
    return "equal under numpy"


def judge_torchscript(tenon, store, file, folder):
    """Code, parameters and buffers; that it runs alike is test_torchscript.py's to say."""
    out = tenon.export(store, "main", folder / "out.pt")
    wanted, got = (torch.jit.load(path, map_location="cpu") for path in (file, out))
    assert_equal(dict(got.state_dict()), dict(wanted.state_dict()))
    assert getattr(got, "code", "") == getattr(wanted, "code", "")
    return "loads alike under torch 2.13"


def judge_torchscript_v1(tenon, store, file, folder):
    """No torch reads it any more: tensors and modules of model.json are counted, and torch reads what comes out."""
    with zipfile.ZipFile(file) as archive:
        said = json.loads(archive.read(next(name for name in archive.namelist() if name.endswith("/model.json"))))
    main = said["mainModule"]
    got = torch.load(tenon.export(store, "main", folder / "out.pt"), weights_only=True)
    own = [one["name"] for key in ("parameters", "attributes") for one in main.get(key, [])]
    assert [name for name in got if "." not in name] == own, got
    assert len(tenon.json("ls", "main", store=store)) >= len(said.get("tensors", []))
    return "names as in model.json"


JUDGES = {
    "torch.save-zip": judge_torch,
    "legacy-1001": judge_torch,
    "tar:sys_info,pickle,tensors,storages": judge_torch,
    "safetensors": judge_safetensors,
    "npy": judge_numpy,
    "zip-other:x.npy,x_plus_one.npy": judge_numpy,
    "zip-other:mel_80.npy,mel_128.npy": judge_numpy,
    "torchscript": judge_torchscript,
    "mobile-bytecode+torchscript": judge_torchscript,
    "torchscript-v1(model.json)": judge_torchscript_v1,
}


# ---- outcomes


@dataclasses.dataclass
class Outcome:
    row: dict
    is_right: bool
    says: str
    cpu_seconds: float = 0
    peak_bytes: int = 0


def outcome_of(tenon, row, folder):
    """Imports one file into a store of its own below `folder`, and judges."""
    file = fixtures_folder() / row["file"]
    store = tenon.make_store(folder / "run.tenon")
    took = call(tenon, "--json", "import", file, store=store)
    try:
        took.require_little(file.stat().st_size)
        assert took.exit_code in (0, 1), f"exit code {took.exit_code}"
        if row["expect"] != "import":
            require_refusal(row, took)
            says = judge_refusal(tenon, row, file, took)
        else:
            assert took.exit_code == 0, took.err
            says = JUDGES[row["kind"]](tenon, store, file, folder)
    except Exception as flaw:  # whatever a loader throws is this file's outcome
        return Outcome(row, False, f"{type(flaw).__name__}: {flaw}", took.cpu_seconds, took.peak_bytes)
    return Outcome(row, True, says, took.cpu_seconds, took.peak_bytes)


def require_refusal(row, took):
    assert took.exit_code == 1 and took.out == "", took.out
    assert row["file"] in json.loads(took.err)["file"], took.err


def judge_refusal(tenon, row, file, took):
    """As the column `expect` has it."""
    error, expect = json.loads(took.err), row["expect"]
    if "globals can be listed" in expect:
        assert error["kind"] in ("corrupt", "unsupported"), error
        return f"refused: {error['kind']}; {judge_globals(tenon, file)}"
    wanted = expect.removeprefix("refuse: ").split()[0].rstrip(",")
    assert error["kind"] == wanted, error
    for word in ("flatbuffer", "torch.package", ".pth"):
        assert word not in expect or word in json.dumps(error), error
    return f"refused: {error['kind']}"


def judge_globals(tenon, file):
    """All of what pickletools sees, and for a file named malicious, something dangerous."""
    listed = call(tenon, "--json", "globals", file)
    found = [json.loads(line) for line in listed.out.splitlines()]
    dangerous = [f"{one['module']}.{one['name']}" for one in found if one["safety"] == "dangerous"]
    assert listed.exit_code == (4 if dangerous else 0), listed.err
    assert bool(dangerous) == (not file.name.startswith("benign")), found
    return f"{', '.join(dangerous)} dangerous" if dangerous else "nothing dangerous"


# ---- the table


def print_table(outcomes):
    for one in outcomes:
        mark = "ok" if one.is_right else "WRONG"
        print(
            f"{mark:5}  {one.row['file'][:48]:48}  {one.row['kind'][:22]:22}  {one.cpu_seconds:5.2f} s  "
            f"{one.peak_bytes / 2**20:5.1f} MiB  {one.says.splitlines()[0][:110]}"
        )
    right = sum(one.is_right for one in outcomes)
    print(f"{right} as expected, {len(outcomes) - right} wrong")


def main(names):
    warnings.simplefilter("ignore")  # what torch has to say of old files
    tenon = Tenon(REPOSITORY / "build" / "tools" / "tenon")
    rows = [row for row in indexed_fixtures() if not names or row["file"] in names]
    if not rows:
        sys.exit(f"no sample files: {fixtures_folder()} has no INDEX.tsv, or none of these names")
    outcomes = []
    for row in rows:
        with tempfile.TemporaryDirectory() as folder:
            outcomes.append(outcome_of(tenon, row, pathlib.Path(folder)))
    print_table(outcomes)
    return 0 if all(one.is_right for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
