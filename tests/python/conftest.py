"""What the tests of the Python package share.

TENON_PYTHON     the folder with the package; else build/python of this tree
"""

import os
import pathlib
import signal
import sys

import pytest

# In the background of a script it would be ignored, and by all that the tests start, too.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = pathlib.Path(os.environ.get("TENON_PYTHON") or REPOSITORY / "build" / "python").resolve()
sys.path.insert(0, str(PACKAGE))
sys.path.insert(0, str(pathlib.Path(__file__).parent))


def child_environment():
    """For processes of their own: the package under test, and nothing of the person who runs this."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TENON_")}
    return kept | {"PYTHONPATH": str(PACKAGE)}


@pytest.fixture
def store(tmp_path):
    import tenon
    return tenon.open(tmp_path / "run.tenon", create=True, durability="relaxed")


@pytest.fixture
def round_trip(tmp_path):
    """Saves with the one-liner and loads again: what stands in for torch.save and torch.load."""
    import tenon

    def run(obj, **options):
        tenon.save(obj, tmp_path / "object.tenon")
        return tenon.load(tmp_path / "object.tenon", **options)

    return run
