"""Runs the command in a process of its own and says what it took: for tests that hold it to time and memory."""

import json
import subprocess
import sys
import tempfile

from conftest import REPOSITORY

MEMORY = 64 * 1024 * 1024
PROCESSOR_SECONDS = 1.0


class Took:
    """What one call took and said."""

    def __init__(self, report, done):
        self.exit_code, self.cpu_seconds, self.peak_bytes = (
            report[key] for key in ("exit_code", "cpu_seconds", "peak_bytes")
        )
        self.out, self.err = done.stdout, done.stderr

    def require_little(self, file_bytes):
        assert self.cpu_seconds < PROCESSOR_SECONDS, f"{self.cpu_seconds} s"
        assert self.peak_bytes < file_bytes + MEMORY, f"{self.peak_bytes} bytes in memory"


def call(tenon, *arguments, store=None):
    command = [tenon.binary, *(["--store", str(store)] if store else []), *map(str, arguments)]
    with tempfile.NamedTemporaryFile("r", suffix=".json") as report:
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(REPOSITORY / "tests" / "oracle" / "measure.py"), report.name, *command],
            capture_output=True,
            text=True,
            timeout=120,
            env=tenon.environment(),
            stdin=subprocess.DEVNULL,
            check=True,
        )
        return Took(json.load(report), done)
