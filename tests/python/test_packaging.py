"""The package as people install it: by pip from the sources, and as a wheel that needs nothing else.

Takes minutes, and the network for what builds it: runs where TENON_TEST_PACKAGING is set, as tools/check does.
"""

import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

from conftest import REPOSITORY

pytestmark = pytest.mark.skipif(not os.environ.get("TENON_TEST_PACKAGING"),
                                reason="takes minutes: set TENON_TEST_PACKAGING=1")

TRY_IT = """
import pathlib, tenon
assert "site-packages" in tenon.__file__
assert pathlib.Path(tenon.__file__).with_name("py.typed").exists()
tenon.save({"a": [1, "x"]}, "s.tenon")
assert tenon.load("s.tenon") == {"a": [1, "x"]}
"""


def run(*command, cwd):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHONPATH", "TENON_"))}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def bare_python(folder):
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    return folder / "venv" / "bin" / "python"


def test_pip_installs_it_from_the_sources(tmp_path):
    python = bare_python(tmp_path)
    run(python, "-m", "pip", "install", "--quiet", REPOSITORY, cwd=tmp_path)
    run(python, "-c", TRY_IT, cwd=tmp_path)


def test_the_wheel_installs_into_a_bare_environment(tmp_path):
    run(REPOSITORY / "tools" / "wheel", tmp_path / "wheels", cwd=tmp_path)
    wheel, = (tmp_path / "wheels").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert any(pathlib.PurePath(name).name.startswith("liblmdb") for name in names), "libraries are inside"
    assert not any(name.endswith((".h", ".cc", "bin/tenon")) for name in names)
    python = bare_python(tmp_path)
    run(python, "-m", "pip", "install", "--quiet", "--no-index", wheel, cwd=tmp_path)
    run(python, "-c", TRY_IT, cwd=tmp_path)
