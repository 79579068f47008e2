"""The shape of the code: includes point left only, and each third-party library stands behind its own file.

    pytest tests/layers_test.py
"""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.M)

# What a file of a folder may include of the project; "tenon" are the public headers.
MAY_INCLUDE = {
    "include": {"tenon"},
    "mmap": {"tenon", "mmap"},
    "store": {"tenon", "mmap", "store"},
    "formats": {"tenon", "mmap", "store", "formats"},
    "query": {"tenon", "mmap", "store", "formats", "query"},
    "tools": {"tenon", "tools"},
    "bench": {"tenon", "bench"},
    "examples": {"tenon"},
    "python": {"tenon", "python"},
}
FOLDERS = {"tenon", *MAY_INCLUDE} - {"include"}

# The headers of a library, and the one file of a layer that includes them.
BEHIND_ONE_FILE = {
    "lmdb.h": "store/lmdb_environment.cc",
    "xxhash.h": "store/digest.cc",
    "hwy/": {"store/value_kernels.cc", "query/summary_kernels.cc"},
    "libdeflate.h": "formats/deflate.cc",
    "zlib.h": "formats/inflate_stream.cc",
    "histedit.h": "tools/line_editor.cc",
    "CLI/": "tools/command_line.cc",
    "nlohmann/": {"store/meta.cc", "formats/json_events.cc", "tools/json.cc"},
    "boost/": "mmap/mapping.cc",
    "sqlite3.h": "query/engine.cc",
    "re2/": "query/pattern.cc",
    "pybind11/": "python/binding.h",
}


def sources():
    for folder in MAY_INCLUDE:
        for pattern in ("*.h", "*.cc"):
            yield from sorted((ROOT / folder).rglob(pattern))


def includes(path):
    return INCLUDE.findall(path.read_text())


def test_there_is_something_to_look_at():
    folders = {path.relative_to(ROOT).parts[0] for path in sources()}
    assert {"include", "mmap", "store", "formats", "tools"} <= folders


@pytest.mark.parametrize("folder", MAY_INCLUDE)
def test_includes_point_left(folder):
    wrong = []
    for path in (path for path in sources() if path.relative_to(ROOT).parts[0] == folder):
        for included in includes(path):
            top = included.split("/")[0]
            is_local = (path.parent / included).exists() and "/" not in included
            if top in FOLDERS and top not in MAY_INCLUDE[folder] and not is_local:
                wrong.append(f"{path.relative_to(ROOT)} includes {included}")
    assert not wrong


@pytest.mark.parametrize("header", BEHIND_ONE_FILE)
def test_a_library_stands_behind_one_file(header):
    users = {str(path.relative_to(ROOT)) for path in sources()
             if any(included == header or (header.endswith("/") and included.startswith(header))
                    for included in includes(path))}
    allowed = BEHIND_ONE_FILE[header]
    assert users == (allowed if isinstance(allowed, set) else {allowed})


@pytest.mark.parametrize("folder", ["tools", "bench", "examples", "python"])
def test_clients_see_only_what_is_installed(folder):
    internal = {path.name for layer in ("mmap", "store", "formats", "query") for path in (ROOT / layer).glob("*.h")}
    wrong = [f"{path.relative_to(ROOT)} includes {included}" for path in sources()
             if path.relative_to(ROOT).parts[0] == folder for included in includes(path)
             if included in internal and not (path.parent / included).exists()]
    assert not wrong


def test_every_header_is_included_once_only():
    assert [str(path.relative_to(ROOT)) for path in sources()
            if path.suffix == ".h" and "#pragma once" not in path.read_text()] == []
