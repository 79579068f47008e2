"""What scripts rely on: exit codes, JSON, and which of stdout and stderr says what."""

import ctypes
import fcntl
import json
import pathlib
import re
import shutil
import struct
import subprocess
import tempfile

import pytest
import torch

ID = re.compile(r"[0-9a-f]{32}")


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.pt"
    weight = torch.arange(12.0).reshape(3, 4)
    torch.save(
        {"fc": {"weight": weight, "bias": torch.tensor([1.0, float("nan"), -0.0])}, "tied": weight, "step": 7}, path
    )
    return path


@pytest.fixture
def filled(tenon, store, model):
    tenon.import_files(store, [model])
    return store


@pytest.fixture
def lonely_folder(tmp_path):
    """An empty folder with no store in it nor above it, where the command would look for one."""
    for parent in (tmp_path, pathlib.Path("/var/tmp"), pathlib.Path("/dev/shm")):
        if any(entry.suffix == ".tenon" for above in (parent, *parent.parents) for entry in above.iterdir()):
            continue
        with tempfile.TemporaryDirectory(dir=parent) as folder:
            yield pathlib.Path(folder)
        return
    pytest.skip("every folder for temporary files lies below a store")


def json_lines(text):
    return [json.loads(line) for line in text.splitlines()]


def error_of(result):
    """The one JSON object on stderr."""
    (line,) = result.stderr.splitlines()
    error = json.loads(line)
    assert error["exit_code"] == result.returncode
    assert error["what"] and error["kind"]
    assert result.stdout == ""
    return error


# ---- exit codes


def test_success_is_0(tenon, filled):
    for arguments in (
        ["ls", "main"],
        ["tree", "main"],
        ["show", "main:tied"],
        ["cat", "main:tied"],
        ["log"],
        ["verify"],
        ["help"],
        ["--version"],
    ):
        assert tenon.run(*arguments, store=filled).returncode == 0, arguments


@pytest.mark.parametrize(
    "arguments",
    [["frobnicate"], ["ls", "--frobnicate", "main"], ["import"], ["export", "main"], ["ls", "main", "main", "main"]],
    ids=" ".join,
)
def test_a_line_that_makes_no_sense_is_2(tenon, filled, arguments):
    result = tenon.run(*arguments, store=filled)
    assert result.returncode == 2
    assert result.stdout == "" and result.stderr.startswith("tenon: ")


def test_close_words_are_suggested(tenon, filled):
    assert "import" in tenon.run("imprt", store=filled).stderr
    assert "fc/weight" in tenon.run("show", "main:fc/wieght", store=filled).stderr
    assert "main" in tenon.run("ls", "mian", store=filled).stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["ls", "nowhere"],
        ["show", "main:nothing"],
        ["import", "missing.pt"],
        ["export", "main", "no/such/folder/out.pt"],
    ],
    ids=" ".join,
)
def test_what_is_not_there_is_1(tenon, filled, tmp_path, arguments):
    result = tenon.run(*arguments, store=filled, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stdout == "" and result.stderr.startswith("tenon: ")


def test_some_of_several_files_is_3(tenon, store, model, tmp_path):
    (tmp_path / "broken.pt").write_bytes(b"PK\3\4 and nothing")
    result = tenon.run("import", model, tmp_path / "broken.pt", store=store)
    assert result.returncode == 3
    assert ID.fullmatch(result.stdout.strip())
    assert "broken.pt" in result.stderr
    assert len(tenon.json("log", store=store)) == 1


def test_damage_is_4(tenon, filled):
    assert tenon.run("verify", "--read-data", store=filled).returncode == 0
    (segment,) = (filled / "segments").iterdir()
    segment.chmod(0o644)
    data = bytearray(segment.read_bytes())
    at = data.index(torch.arange(12.0).numpy().tobytes())
    data[at + 5] ^= 1
    segment.write_bytes(data)
    result = tenon.run("verify", "--read-data", store=filled)
    assert result.returncode == 4
    assert segment.name in result.stdout
    assert tenon.run("cat", "main:tied", store=filled).returncode == 4
    assert tenon.run("export", "main", filled.parent / "out.pt", store=filled).returncode == 4
    assert not (filled.parent / "out.pt").exists()


def test_no_store_is_10_and_none_is_made(tenon, lonely_folder):
    for arguments in (["ls", "main"], ["log"], ["verify"], ["export", "main", "out.pt"], ["tag"]):
        assert tenon.run(*arguments, cwd=lonely_folder).returncode == 10, arguments
        assert tenon.run(*arguments, store=lonely_folder / "missing.tenon", cwd=lonely_folder).returncode == 10, (
            arguments
        )
    assert list(lonely_folder.iterdir()) == []


def xxh3_64(data):
    """The checksum of the format (docs/format.md, section 3)."""
    library = ctypes.CDLL("libxxhash.so.0")
    library.XXH3_64bits.restype = ctypes.c_uint64
    library.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return library.XXH3_64bits(bytes(data), len(data))


def with_field(superblock, layout, offset, value):
    """A superblock as a later release would have written it: the field changed, the checksum right."""
    changed = bytearray(superblock)
    struct.pack_into(layout, changed, offset, value)
    struct.pack_into("<Q", changed, 248, xxh3_64(changed[:248]))
    return changed


def test_a_later_format_is_13(tenon, filled):
    superblock = filled / "TENON"
    kept = superblock.read_bytes()
    superblock.chmod(0o644)
    assert with_field(kept, "<H", 8, 1) == kept  # the checksum is the format's
    for layout, offset, value in (("<H", 8, 2), ("<I", 20, 1)):  # major; a feature that is not known
        superblock.write_bytes(with_field(kept, layout, offset, value))
        for arguments in (["ls", "main"], ["log"], ["tag", "set", "v1", "main"]):
            result = tenon.run(*arguments, store=filled)
            assert result.returncode == 13 and "later" in result.stderr, (arguments, result.stderr)
        assert error_of(tenon.run("--json", "log", store=filled))["kind"] == "too_new"
    superblock.write_bytes(with_field(kept, "<H", 10, 7))  # a later minor version changes nothing for readers
    assert tenon.run("ls", "main", store=filled).returncode == 0


def test_a_superblock_that_is_none_is_neither_new_nor_empty(tenon, filled):
    superblock = filled / "TENON"
    size = len(superblock.read_bytes())
    superblock.chmod(0o644)
    for damaged in (bytes(size), b"", b"SQLite format 3\0" + bytes(240)):
        superblock.write_bytes(damaged)
        assert tenon.run("ls", "main", store=filled).returncode == 4


def test_a_lock_that_is_not_to_be_had_is_11(tenon, filled):
    """Waits for as long as the command does: a minute."""
    with (filled / "catalog" / "lock").open("r+b") as lock:
        whole_range = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 1, 0)
        fcntl.fcntl(lock, 37, whole_range)  # F_OFD_SETLK
        writer = [tenon.binary, "--store", filled, "tag", "set", "v1", "main"]
        reader = [tenon.binary, "--store", filled, "log"]
        waiting = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=tenon.environment())
            for command in (writer, reader)
        ]
        # Who only opens a ref needs no lock.
        assert tenon.run("ls", "main", store=filled).returncode == 0
        for process in waiting:
            out, err = process.communicate(timeout=110)
            assert process.returncode == 11 and out == b"" and b"lock" in err, err
    assert tenon.run("tag", "set", "v1", "main", store=filled).returncode == 0


def test_a_ref_that_moved_is_14(tenon, filled, model):
    first = tenon.json("log", store=filled)[0]["snapshot_id"]
    tenon.import_files(filled, [model])
    second = tenon.json("log", store=filled)[0]["snapshot_id"]
    moved = tenon.run("ref", "set", "main", first, "--expect", first, store=filled)
    assert moved.returncode == 14
    assert tenon.json("log", store=filled)[0]["snapshot_id"] == second
    assert tenon.run("ref", "set", "main", first, "--expect", second, store=filled).returncode == 0
    assert tenon.json("log", store=filled)[0]["snapshot_id"] == first


def test_a_closed_pipe_is_quiet(tenon, store, tmp_path):
    torch.save({f"layer.{i}": torch.zeros(1) for i in range(5000)}, tmp_path / "many.pt")
    tenon.import_files(store, [tmp_path / "many.pt"])
    command = f"'{tenon.binary}' --store '{store}' ls main | head -n 1"
    result = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=tenon.environment(), timeout=60)
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == ""


# ---- stdout and stderr


def test_import_prints_the_id_and_nothing_else(tenon, store, model):
    result = tenon.ok("import", model, model, store=store)
    ids = result.stdout.splitlines()
    assert len(ids) == 2 and all(ID.fullmatch(one) for one in ids)
    assert "model.pt" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [["export", "main", "out.pt"], ["tag", "set", "v1", "main"], ["bundle", "main", "out.tenon"]],
    ids=" ".join,
)
def test_verbs_without_data_print_nothing_on_stdout(tenon, filled, tmp_path, arguments):
    assert tenon.ok(*arguments, store=filled, cwd=tmp_path).stdout == ""


def test_no_color_and_no_progress_without_a_terminal(tenon, store, model):
    for arguments in (["import", model], ["ls", "main"], ["show", "main:tied"], ["log"]):
        result = tenon.ok(*arguments, store=store)
        assert "\x1b" not in result.stdout + result.stderr and "\r" not in result.stdout + result.stderr


def test_control_characters_in_names_are_escaped(tenon, store, tmp_path):
    torch.save({"\x1b[31mred\n\x07": torch.zeros(2)}, tmp_path / "evil\x1b[2J.pt")
    imported = tenon.ok("import", tmp_path / "evil\x1b[2J.pt", store=store)
    assert "\x1b" not in imported.stderr
    for verb in ("ls", "tree", "show"):
        result = tenon.ok(*([verb, "--structure", "main"] if verb == "show" else [verb, "main"]), store=store)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", result.stdout), verb


def test_raw_bytes_are_the_tensors_own(tenon, filled):
    raw = tenon.ok("cat", "--raw", "main:fc/weight", store=filled, text=False).stdout
    assert raw == torch.arange(12.0).numpy().tobytes()


# ---- JSON


def verbs_in_order(tmp_path):
    """Every verb once, so that each finds what it needs."""
    return {
        "init": ["init", tmp_path / "new.tenon"],
        "import": ["import", tmp_path / "model.pt"],
        "ls": ["ls", "main"],
        "tree": ["tree", "main"],
        "show": ["show", "main:tied"],
        "cat": ["cat", "main:tied"],
        "log": ["log"],
        "tag": ["tag", "set", "v1", "main"],
        "ref": ["ref"],
        "export": ["export", "main", tmp_path / "out.pt"],
        "bundle": ["bundle", "main", tmp_path / "out.tenon"],
        "verify": ["verify", "--read-data"],
        "repair": ["repair"],
    }


@pytest.mark.parametrize("verb", verbs_in_order(pathlib.Path()))
def test_json_of_every_verb_names_its_schema(tenon, filled, tmp_path, verb):
    result = tenon.ok("--json", *verbs_in_order(tmp_path)[verb], store=filled)
    objects = json_lines(result.stdout)
    assert objects and all(one["schema"] == f"{verb}/1" for one in objects)
    assert result.stderr == ""


def test_json_rows_hold_what_torch_says(tenon, filled):
    rows = {row["name"]: row for row in tenon.json("ls", "main", store=filled)}
    assert list(rows) == ["fc/weight", "fc/bias", "tied"]
    weight = rows["fc/weight"]
    assert (weight["dtype"], weight["shape"], weight["stride"]) == ("float32", [3, 4], [4, 1])
    assert (weight["numel"], weight["nbytes"], weight["ndim"]) == (12, 48, 2)
    assert rows["tied"]["slot_id"] == weight["slot_id"] != rows["fc/bias"]["slot_id"]
    (bias,) = tenon.json("show", "main:fc/bias", store=filled)
    assert (bias["nan_count"], bias["zero_count"], bias["max"]) == (1, 1, 1.0)
    selected = tenon.json("ls", "main:fc", store=filled)
    assert [row["name"] for row in selected] == ["fc/weight", "fc/bias"]


def test_json_of_a_log_has_metadata_in_it(tenon, filled, model):
    tenon.ok(
        "import", model, "--step", "12", "--meta", "val_loss=2.5", "--meta", "host=gpu1", "-m", "second", store=filled
    )
    newest, oldest = tenon.json("log", store=filled)
    assert (newest["step"], newest["message"], newest["meta"]) == (12, "second", {"val_loss": 2.5, "host": "gpu1"})
    assert newest["parents"] == [oldest["snapshot_id"]] and oldest["parents"] == []


def test_errors_are_json_too(tenon, filled, tmp_path):
    (tmp_path / "broken.pt").write_bytes(b"PK\3\4" + bytes(100))
    broken = error_of(tenon.run("--json", "import", tmp_path / "broken.pt", store=filled))
    assert broken["kind"] == "corrupt" and broken["file"].endswith("broken.pt") and "offset" in broken
    assert error_of(tenon.run("--json", "ls", "nowhere", store=filled))["kind"] == "not_found"
    assert error_of(tenon.run("--json", "ls", "main", store=tmp_path / "none"))["exit_code"] == 10
    assert error_of(tenon.run("--json", "frobnicate", store=filled))["exit_code"] == 2


# ---- finding the store, and looking at what is none


def test_the_store_is_found_by_option_environment_and_place(tenon, filled, tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert tenon.run("ls", "main", cwd=inner).returncode == 0
    assert tenon.run("ls", "main", cwd="/", env={"TENON_STORE": str(filled)}).returncode == 0
    other = tenon.make_store(tmp_path / "other.tenon")
    assert tenon.run("ls", "main", cwd="/", store=filled, env={"TENON_STORE": str(other)}).returncode == 0


def test_import_makes_a_store_named_for_the_file(tenon, model, lonely_folder):
    shutil.copy(model, lonely_folder / "best.pt")
    tenon.ok("import", "best.pt", cwd=lonely_folder)
    assert (lonely_folder / "best.tenon" / "TENON").is_file()
    tenon.ok("ls", "main", cwd=lonely_folder)


def test_files_and_bundles_are_looked_into(tenon, filled, model, tmp_path):
    bundle = tmp_path / "one.tenon"
    tenon.ok("bundle", "main", bundle, store=filled)
    for target in (model, bundle):
        assert "fc/weight" in tenon.ok("ls", target).stdout
        assert "weight" in tenon.ok("tree", target).stdout
        assert "float32" in tenon.ok("show", f"{target}:fc/weight").stdout
    assert tenon.ok("ls", "main", store=bundle).stdout == tenon.ok("ls", "main", store=filled).stdout
    refused = tenon.run("import", model, store=bundle)
    assert refused.returncode != 0 and refused.stdout == ""


def test_cat_slices_as_python_does(tenon, filled):
    assert json.loads(tenon.ok("cat", "main:fc/weight", "--slice", "0:2,1", store=filled).stdout) == [1.0, 5.0]
    assert json.loads(tenon.ok("cat", "main:fc/weight", "--slice", "-1", store=filled).stdout) == [8.0, 9.0, 10.0, 11.0]


def test_imports_under_a_prefix_are_exported_without_it(tenon, store, model, tmp_path):
    tenon.ok("import", model, "--prefix", "teacher", store=store)
    names = [row["name"] for row in tenon.json("ls", "main", store=store)]
    assert names == ["teacher/fc/weight", "teacher/fc/bias", "teacher/tied"]
    out = tenon.export(store, "main:teacher", tmp_path / "out.pt")
    assert torch.load(out, weights_only=True)["step"] == 7
    assert list(torch.load(tenon.export(store, "main", tmp_path / "all.pt"), weights_only=True)) == ["teacher"]


def test_compact_keeps_what_tensors_use(tenon, store, tmp_path):
    large = torch.arange(1000)
    torch.save({"small": large[10:15], "inside": large[12:14], "apart": large[500:501]}, tmp_path / "views.pt")
    (whole,) = tenon.import_files(store, [tmp_path / "views.pt"])
    (compact,) = tenon.import_files(store, [tmp_path / "views.pt"], "--compact", "--ref", "compact")
    assert whole["written_bytes"] == 8000 and compact["written_bytes"] + compact["reused_bytes"] == 48
    loaded = torch.load(tenon.export(store, "compact", tmp_path / "out.pt"), weights_only=True)
    assert loaded["small"].untyped_storage().nbytes() == 40
    loaded["small"].zero_()
    assert loaded["inside"].tolist() == [0, 0] and loaded["apart"].tolist() == [500]


def test_compact_still_checks_what_it_leaves_out(tenon, store, tmp_path):
    torch.save(torch.arange(1000)[:5], tmp_path / "damaged.pt")
    data = bytearray((tmp_path / "damaged.pt").read_bytes())
    place = data.index(torch.arange(900, 910).numpy().tobytes())
    data[place] ^= 1
    (tmp_path / "damaged.pt").write_bytes(data)
    refused = tenon.run("import", "--compact", tmp_path / "damaged.pt", store=store)
    assert refused.returncode == 1 and "CRC" in refused.stderr
