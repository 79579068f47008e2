"""There and back in one step, for tests that look at one object or file each."""

import pytest
import torch

from equal import assert_equal


class Trip:
    """A store of its own for one test, and files through it."""

    def __init__(self, tenon, store, folder):
        self.tenon, self.store, self.folder, self._made = tenon, store, folder, 0

    def new_path(self, ending=".pt"):
        self._made += 1
        return self.folder / f"{self._made}{ending}"

    def save(self, value, **options):
        path = self.new_path()
        torch.save(value, path, **options)
        return path

    def write(self, data):
        path = self.new_path()
        path.write_bytes(bytes(data))
        return path

    def through(self, path, *options):
        """What is exported after the file was imported."""
        self.tenon.import_files(self.store, [path], *options)
        return self.tenon.export(self.store, "main", self.new_path())

    def rows(self, target="main"):
        return {row["name"]: row for row in self.tenon.json("ls", "--long", target, store=self.store)}

    def check(self, path, weights_only=True):
        """That what comes out loads as what went in; returns both files' objects."""
        out = self.through(path)
        wanted, got = (torch.load(one, weights_only=weights_only) for one in (path, out))
        assert_equal(got, wanted)
        return got, wanted

    def check_both_eras(self, value, weights_only=True):
        for zipped in (True, False):
            self.check(self.save(value, _use_new_zipfile_serialization=zipped), weights_only)

    def refused(self, path, *options):
        """The error, when the file is not imported."""
        result = self.tenon.run("import", path, *options, store=self.store)
        assert result.returncode == 1 and result.stdout == "", result.stderr
        return result.stderr


@pytest.fixture
def trip(tenon, store, tmp_path):
    return Trip(tenon, store, tmp_path)
