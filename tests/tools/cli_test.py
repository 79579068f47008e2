"""The `tenon` command as people and scripts meet it: exit codes, streams, JSON, and bytes that are right.

Runs the binary that TENON_BINARY names, else build/tools/tenon. Needs pytest; what compares with torch needs that, too.
"""

import collections
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import struct
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TENON = os.environ.get("TENON_BINARY", str(ROOT / "build/tools/tenon"))
HEX_ID = re.compile(r"[0-9a-f]{32}\n")


def test_import_makes_a_store_named_after_the_file(lone_folder):
    lone_folder.checkpoint("model.pt")
    done = lone_folder.run("import", "model.pt")
    assert HEX_ID.fullmatch(done.stdout.decode())
    assert (lone_folder.path / "model.tenon" / "TENON").exists()
    assert b"model.tenon" in done.stderr


def test_a_file_that_cannot_be_read_leaves_no_store(lone_folder):
    (lone_folder.path / "broken.pt").write_bytes(b"PK\3\4 but no zip")
    lone_folder.run("import", "broken.pt", code=1)
    lone_folder.run("import", "missing.pt", code=1)
    assert os.listdir(lone_folder.path) == ["broken.pt"]


def test_the_second_version_costs_what_changed(store):
    store.checkpoint("c.pt", "--step", "3")
    record = store.record("import", "c.pt")
    assert 0 < record["written_bytes"] < record["reused_bytes"]
    assert store.record("import", "c.pt")["written_bytes"] == 0


def test_of_several_files_what_stands_before_a_failure_is_imported(store):
    (store.path / "broken.pt").write_bytes(b"not a checkpoint")
    before = len(store.records("log"))
    done = store.run("import", "a.pt", "broken.pt", "b.pt", code=3)
    assert len(done.stdout.splitlines()) == 1
    assert b"broken.pt" in done.stderr
    assert len(store.records("log")) == before + 1


def test_log_tells_step_message_and_metadata(store):
    newest, oldest = store.records("log")
    assert newest["parents"] == [oldest["snapshot_id"]]
    assert (oldest["step"], oldest["message"]) == (1, "first")
    assert oldest["meta"] == {"val_loss": 2.5, "host": "gpu12"}
    assert newest["message"] == "import b.pt"
    assert len(store.records("log", "-n", "1")) == 1
    assert store.records("log", "main~1") == [oldest]


def test_ls_lists_in_the_order_of_the_checkpoint(store):
    names = [row["name"] for row in store.records("ls")]
    assert names[0] == "model/embed.weight"
    assert names.index("model/layers.0.norm.weight") < names.index("model/layers.1.norm.weight")
    assert store.out("ls", "--names").split() == names


def test_ls_of_a_prefix_takes_whole_components(store):
    rows = store.records("ls", "main:model/layers.1")
    assert len(rows) == 5 and all(row["name"].startswith("model/layers.1.") for row in rows)
    assert store.records("ls", "main:model/layers.1.") == rows
    assert store.records("ls", "main:model/layers/") == store.records("ls", "main:model/layers")
    for part in ("main:model/layer", "main:model/layers.1.n", "main:model/layers..", "main:."):
        store.run("ls", part, code=1)


def test_ls_knows_ties_and_views(store):
    rows = {row["name"]: row for row in store.records("ls")}
    assert rows["model/lm_head.weight"]["slot_id"] == rows["model/embed.weight"]["slot_id"]
    assert rows["probe/unembed"]["is_view"] and not rows["probe/unembed"]["is_contiguous"]
    assert not rows["model/embed.weight"]["is_view"]
    table = store.out("ls")
    assert re.search(r"^model/lm_head\.weight .* = model/embed\.weight$", table, re.M)


def test_files_are_looked_into_without_a_store(folder):
    folder.checkpoint("a.pt")
    assert folder.record("show", "a.pt:model/embed.weight")["nan_count"] == 0
    assert folder.records("ls", "a.pt:model/layers.0")[0]["name"] == "model/layers.0.attn.qkv.weight"
    assert "layers.[0-1]." in folder.out("tree", "a.pt")
    assert not list(folder.path.glob("*.tenon"))


def test_tree_adds_up(store):
    root = store.record("tree", "main", "--unfolded")
    rows = store.records("ls")
    assert root["tensors"] == len(rows)
    assert root["nbytes"] == sum(row["nbytes"] for row in rows)


def test_show_tells_what_shares_the_storage(store):
    shares = {share["name"]: share["relation"] for share in store.record("show", "main:model/embed.weight")["shares_with"]}
    assert shares == {"model/lm_head.weight": "same elements", "probe/first_tokens": "overlaps",
                      "probe/unembed": "overlaps"}


def test_show_draws_a_histogram_that_fits(store):
    store.environment["COLUMNS"] = "40"
    text = store.out("show", "main:model/embed.weight")
    bars = [line for line in text.splitlines() if "█" in line]
    assert bars and all(len(line) <= 40 for line in bars)
    assert "\x1b" not in text


def test_show_needs_a_name_unless_there_is_one_tensor(store):
    assert "main:NAME" in store.err("show", "main", code=2)


def test_structure_is_shown_without_importing_anything(store):
    text = store.out("show", "main", "--structure")
    assert "'config'" in text and "float32 [512, 32]" in text


def test_structure_of_a_file_is_that_of_its_snapshot(store):
    assert store.out("show", "--structure", "a.pt") == store.out("show", "--structure", "main~1")


def test_globals_of_files_and_snapshots(store):
    for target in ("a.pt", "main"):
        found = {(one["module"], one["name"]): one["safety"] for one in store.records("globals", target)}
        assert found["torch._utils", "_rebuild_tensor_v2"] == "safe"
        assert set(found.values()) == {"safe"}
    assert "safe       torch.FloatStorage\n" in store.out("globals")


def test_dangerous_globals_are_exit_code_4(folder):
    (folder.path / "bad.pkl").write_bytes(b"\x80\x02cmy\nNet\ncos\nsystem\n\x86.")
    (folder.path / "cut.pkl").write_bytes(b"\x80\x02cmy\nNet\n")
    (folder.path / "none.pkl").write_bytes(b"\x80\x02N.")
    assert folder.out("globals", "bad.pkl", code=4) == "dangerous  os.system\nunknown    my.Net\n"
    assert folder.out("globals", "cut.pkl", code=1) == "unknown    my.Net\n"
    assert "there may be more" in folder.err("globals", "cut.pkl", code=1)
    assert folder.out("globals", "none.pkl") == ""
    assert json.loads(folder.err("--json", "globals", "cut.pkl", code=1))["kind"] == "corrupt"


def test_import_begins_at_an_offset(lone_folder):
    lone_folder.checkpoint("a.pt")
    data = (lone_folder.path / "a.pt").read_bytes()
    (lone_folder.path / "b.bin").write_bytes(b"12345" + data)
    lone_folder.run("import", "b.bin", code=1)
    lone_folder.run("import", "b.bin", "--offset", "5")
    lone_folder.run("import", "b.bin", "--offset", len(data) + 6, code=2)
    assert lone_folder.records("ls")[0]["name"].startswith("model/")


def test_cat_of_slices_and_raw_bytes_agree(store):
    values = store.record("cat", "main:model/embed.weight", "--slice", "1:3,::8")
    assert values["shape"] == [2, 4]
    raw = store.run("cat", "main:model/embed.weight", "--slice", "1:3,::8", "--raw").stdout
    assert [x for row in values["values"] for x in row] == pytest.approx(struct.unpack("<8f", raw), rel=1e-6)
    transposed = store.record("cat", "main:probe/unembed", "--slice", "::8,1:3")["values"]
    assert [list(column) for column in zip(*transposed)] == values["values"]


def test_export_and_import_again_is_the_same_snapshot_content(store):
    store.run("export", "main", "out.pt")
    assert store.record("import", "out.pt", "--ref", "again")["written_bytes"] == 0
    strip = lambda rows: [{k: v for k, v in row.items() if k != "snapshot_id"} for row in rows]
    assert strip(store.records("ls", "again")) == strip(store.records("ls", "main"))


def test_export_of_a_subtree_takes_the_prefix_off(store):
    store.run("export", "main:model", "out.pt")
    assert store.records("ls", "out.pt")[0]["name"] == "embed.weight"


def test_export_to_an_unknown_ending_says_what_is_known(store):
    assert ".pt" in store.err("export", "main", "out.xyz", code=1)
    assert not (store.path / "out.xyz").exists()


def test_a_prefix_nests_tensors_and_structure(store):
    store.run("import", "a.pt", "--ref", "nested", "--prefix", "outer/3")
    assert store.records("ls", "nested")[0]["name"] == "outer/3/model/embed.weight"
    store.run("export", "nested:outer/3", "out.pt")
    assert store.out("ls", "out.pt", "--names") == store.out("ls", "a.pt", "--names")


def test_a_bundle_is_a_store_in_one_file(store):
    store.run("bundle", "main~1", "best.tenon")
    assert store.records("ls", "best.tenon") == store.records("ls", "main~1")
    store.run("--store", "best.tenon", "verify", "--read-data")
    store.run("bundle", "main", "best.tenon", code=1)
    store.run("--store", "best.tenon", "import", "a.pt", code=1)


def test_refs_and_tags(store):
    newest, oldest = [record["snapshot_id"] for record in store.records("log")]
    store.run("tag", "set", "v1", "main~1")
    assert store.record("tag")["snapshot_id"] == oldest
    store.run("tag", "set", "v1", "main", code=14)
    store.run("ref", "set", "best", "v1", "--expect", "none")
    store.run("ref", "set", "best", "main", "--expect", "main", code=14)
    store.run("ref", "set", "best", "main", "--expect", oldest[:8])
    assert {ref["name"]: ref["snapshot_id"] for ref in store.records("ref")} == {"best": newest, "main": newest}
    assert store.out("ref", "list", "--names") == "best\nmain\n"
    store.run("tag", "delete", "best", code=1)
    store.run("ref", "delete", "best")
    store.run("tag", "delete", "v1")
    assert store.records("tag") == []


def test_verify_finds_a_flipped_byte_and_says_where(store):
    assert store.record("verify", "--read-data")["is_clean"]
    segment = sorted((store.path / "s.tenon/segments").glob("*.seg"))[0]
    segment.chmod(0o644)
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    done = store.run("verify", "--read-data", "--json", code=4)
    report = json.loads(done.stdout)
    assert not report["is_clean"] and segment.name in report["damage"][0]["file"]


def test_repair_brings_back_what_was_in_the_catalog(store):
    before = store.records("log"), store.records("ref")
    for file in (store.path / "s.tenon/catalog").iterdir():
        file.unlink()
    store.run("repair")
    assert (store.records("log"), store.records("ref")) == before


@pytest.mark.parametrize("words, code", [
    (["frobnicate"], 2), (["ls", "--frobnicate"], 2), (["export", "main"], 2), ([], 2),
    (["ls", "nosuchref"], 1), (["ls", "main:nosuch"], 1), (["--store", "nosuch", "ls"], 10), (["cat", "main"], 2),
    (["cat", "main:tokens_seen", "--slice", "5"], 2), (["import", "a.pt", "--meta", "novalue"], 2)])
def test_errors_are_one_object_on_standard_error_with_json(store, words, code):
    done = store.run(*words, "--json", code=code)
    assert done.stdout == b""
    error = json.loads(done.stderr)
    assert error["schema"] == "error/1" and error["exit_code"] == code and error["what"]
    plain = store.run(*words, code=code)
    assert plain.stderr.startswith(b"tenon: ")


def test_without_a_store_there_is_nothing_to_look_at(lone_folder):
    assert "hint:" in lone_folder.err("ls", code=10)
    assert list(lone_folder.path.iterdir()) == []


def test_a_reader_that_goes_away_is_no_failure(store):
    for words in (["ls"], ["cat", "main:model/embed.weight"], ["cat", "main:model/embed.weight", "--raw"]):
        process = subprocess.Popen([TENON, *words], cwd=store.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.read(1)
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == b""


def test_a_full_disk_behind_standard_output_is_told(store):
    with open("/dev/full", "wb") as full:
        process = subprocess.run([TENON, "ls"], cwd=store.path, stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert process.returncode == 1 and b"standard output" in process.stderr


def test_a_file_size_limit_is_an_error_and_not_a_signal(store):
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    store.run("export", "main", "out.pt", code=1, preexec_fn=limit)
    assert not (store.path / "out.pt").exists()
    store.run("verify")


def interrupt(store, words, delay):
    process = subprocess.Popen([TENON, *words], cwd=store.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    return process.returncode


def test_an_interrupt_leaves_the_old_state(store):
    before = sorted(os.listdir(store.path)), store.records("log")
    store.checkpoint("big.pt", "--layers", "16", "--width", "512")
    store.run("import", "big.pt", "--ref", "big")
    for words in (["import", "big.pt", "--ref", "r"], ["export", "big", "out.pt"]):
        codes = [interrupt(store, words, 0.003 * step) for step in range(40)]
        # Before its handlers stand, a process ends as any other does.
        assert set(codes) <= {0, 130, -signal.SIGINT} and 130 in codes, (words, codes)
    store.run("verify", "--read-data")
    assert store.records("log") == before[1]
    store.run("import", "big.pt", "--ref", "after")


def test_control_characters_in_names_do_not_reach_the_terminal(empty_store):
    torch = pytest.importorskip("torch")
    torch.save({"evil\x1b[2J\n": torch.zeros(2)}, empty_store.path / "evil.pt")
    empty_store.run("import", "evil.pt")
    for words in (["ls"], ["tree"], ["show", "main:evil\x1b[2J\n"], ["show", "main", "--structure"], ["ls", "--names"]):
        assert "\x1b" not in empty_store.out(*words), words
    assert "\x1b" not in empty_store.err("show", "main:evil\x1b[2J", code=1)


def every_kind_of_tensor(torch):
    floats = torch.tensor([[0.1, -2.5, float("inf")], [float("nan"), 0.0, 65504.0]])
    tensors = {str(dtype).removeprefix("torch."): floats.to(dtype) for dtype in
               (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2, torch.float8_e4m3fn,
                torch.float8_e5m2fnuz, torch.float8_e4m3fnuz)}
    numbers = torch.tensor([[1, 2, 3], [100, 0, 7]])
    tensors |= {str(dtype).removeprefix("torch."): numbers.to(dtype) for dtype in
                (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32,
                 torch.uint64, torch.bool)}
    pairs = torch.complex(floats.nan_to_num(posinf=1.0), -floats.nan_to_num(posinf=2.0))
    tensors |= {"complex64": pairs, "complex128": pairs.to(torch.complex128), "conj": pairs.conj(),
                "neg": pairs.clone().conj().imag, "transposed": floats.t(), "expanded": floats[0].expand(3, 3),
                "scalar": torch.tensor(3), "empty": torch.zeros(0, 4), "strided": torch.arange(24)[3:20:5]}
    return tensors


def plain(value):
    """A nested list of what JSON can say: complex numbers as pairs, nan and infinities as strings."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, complex):
        return [plain(value.real), plain(value.imag)]
    if isinstance(value, float) and (value != value or value in (float("inf"), -float("inf"))):
        return str(value)
    return value


def close(a, b):
    if isinstance(a, list):
        return len(a) == len(b) and all(map(close, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return a == pytest.approx(b, rel=1e-6)
    return a == b and type(a) is type(b)


def test_values_are_torchs_values_for_every_type(empty_store):
    torch = pytest.importorskip("torch")
    tensors = every_kind_of_tensor(torch)
    torch.save(tensors, empty_store.path / "all.pt")
    empty_store.run("import", "all.pt")
    for name, tensor in tensors.items():
        wide = tensor.to(torch.float64) if tensor.is_floating_point() else tensor
        record = empty_store.record("cat", f"main:{name}")
        assert record["shape"] == list(tensor.shape)
        assert close(plain(wide.tolist()), record["values"]), (name, wide, record["values"])
        raw = empty_store.run("cat", f"main:{name}", "--raw").stdout
        contiguous = tensor.resolve_conj().resolve_neg().contiguous()
        assert raw == bytes(contiguous.flatten().view(torch.uint8).tolist() if contiguous.numel() else []), name


def test_statistics_are_torchs(empty_store):
    torch = pytest.importorskip("torch")
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values[3] = float("nan")
    torch.save({"w": values}, empty_store.path / "w.pt")
    empty_store.run("import", "w.pt")
    kept = values[~values.isnan()]
    for target in ("main:w", "w.pt:w"):
        shown = empty_store.record("show", target)
        assert shown["nan_count"] == 1
        assert shown["mean"] == pytest.approx(kept.mean().item())
        assert shown["std"] == pytest.approx(kept.std(correction=0).item())
        assert shown["norm"] == pytest.approx(kept.norm().item())
        assert (shown["min"], shown["max"]) == (kept.min().item(), kept.max().item())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_valid(folder, shell):
    script = folder.out("completion", shell)
    assert "import" in script and "--message" in script or shell == "fish"
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script.encode(), check=True)


def test_bash_completes_verbs_options_and_refs(store):
    store.run("tag", "set", "candidate", "main")
    script = store.out("completion", "bash") + """
complete_line() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _tenon; printf '%s\\n' "${COMPREPLY[@]}"; }
complete_line tenon imp; complete_line tenon import --mes; complete_line tenon ls cand
"""
    environment = store.environment | {"PATH": f"{pathlib.Path(TENON).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], cwd=store.path, env=environment, capture_output=True, check=True)
    assert done.stdout.decode().split() == ["import", "--message", "candidate"]


def test_diff_shows_what_changed_and_by_how_much(store):
    rows = {row["name"]: row for row in store.records("diff", "main~1", "main")}
    assert rows and all(row["change"] == "changed" for row in rows.values())
    assert "model/embed.weight" not in rows
    row = rows["model/layers.0.attn.out.weight"]
    torch = pytest.importorskip("torch")
    older, newer = (torch.load(store.path / name)["model"]["layers.0.attn.out.weight"].double() for name in ("a.pt", "b.pt"))
    assert row["l2_diff"] == pytest.approx((newer - older).norm().item(), rel=1e-9)
    assert row["max_abs_diff"] == (newer - older).abs().max().item()
    assert row["rel_change"] == pytest.approx(((newer - older).norm() / older.norm()).item(), rel=1e-9)
    assert row["changed_numel"] == (newer != older).sum().item()


def test_diff_exit_code_and_stat(store):
    assert store.run("diff", "main~1", "main", "--stat", "--exit-code", code=1).stdout.endswith(b"same\n")
    store.run("diff", "main", "main", "--exit-code")
    assert store.out("diff", "main", "main", "--stat").split()[1] == "same"
    (stat,) = store.records("diff", "main~1", "--stat")
    assert stat["schema"] == "diff_stat/1" and stat["changed"] > 0 and stat["added"] == 0
    store.run("diff", "main:model", "main~1:optim", code=2)
    store.run("diff", "main", "--by", "shape", code=2)


def test_diff_by_param_sees_through_wrappers(empty_store):
    torch = pytest.importorskip("torch")
    torch.save({"fc.weight": torch.ones(3)}, empty_store.path / "eager.pt")
    torch.save({"_orig_mod.fc.weight": torch.ones(3) * 2}, empty_store.path / "compiled.pt")
    empty_store.run("import", "eager.pt", "compiled.pt")
    assert {row["change"] for row in empty_store.records("diff", "main~1")} == {"added", "removed"}
    (row,) = empty_store.records("diff", "main~1", "--by", "param")
    assert (row["change"], row["old_name"], row["rel_change"]) == ("changed", "fc.weight", 1.0)


def test_revs_select_by_step_metric_and_date(store):
    newest, oldest = (row["snapshot_id"] for row in store.records("log"))
    for rev in ("main@step:1", "main@min:val_loss", "main@2999-01-01~1", "main@step:2~1"):
        assert store.records("log", rev)[0]["snapshot_id"] == oldest, rev
    assert store.records("log", "main@2999-01-01")[0]["snapshot_id"] == newest
    assert store.record("show", "main@step:1:model/embed.weight")["name"] == "model/embed.weight"
    assert b"step:1 and step:2" not in store.run("log", "main@step:7", code=1).stderr
    assert b"the nearest: step:2" in store.run("log", "main@step:7", code=1).stderr
    assert b"did you mean 'val_loss'" in store.run("log", "main@min:valloss", code=1).stderr
    store.run("log", "main@tuesday", code=2)


def test_forget_gc_undo_and_du_agree(store):
    store.run("import", "a.pt", "--step", "3")
    store.run("forget", code=2)
    rows = store.records("forget", "--keep-last", "1", "--keep-best", "min:val_loss", "--dry-run")
    assert [row["is_kept"] for row in rows] == [True, False, True]
    assert rows[2]["reasons"] == ["best min:val_loss"]
    assert len(store.records("log")) == 3
    store.run("forget", "--keep-last", "1", "--keep-best", "min:val_loss")
    assert [row["step"] for row in store.records("log")] == [3, 1]
    total = store.records("du")[0]
    assert total["reclaimable_bytes"] == store.record("gc", "--dry-run")["freed_bytes"] > 0
    store.run("undo")
    assert len(store.records("log")) == 3
    usage = {row["step"]: row["freed_bytes"] for row in store.records("du")[1:]}
    store.run("forget", "main~1")
    assert store.record("gc")["freed_bytes"] == usage[2] > 0
    store.run("undo", code=1)
    store.run("verify", "--read-data")
    assert [row["step"] for row in store.records("log")] == [3, 1]


def test_reflog_tells_what_happened(store):
    store.run("tag", "set", "good", "main~1")
    store.run("undo")
    newest, tag, second, first = store.records("reflog")
    assert (newest["action"], newest["ref"], newest["undoes"]) == ("delete", "good", tag["sequence"])
    assert (second["previous_id"], second["ref"]) == (first["snapshot_id"], "main")
    assert len(store.records("reflog", "main", "-n", "1")) == 1


def test_compact_keeps_what_tensors_use(store):
    torch = pytest.importorskip("torch")
    base = torch.arange(100_000, dtype=torch.float32)
    torch.save({"a": base[10:20], "b": base[15:30], "c": base[90_000:90_005]}, store.path / "views.pt")
    store.run("import", "views.pt", "--ref", "views")
    before = store.record("log", "views")
    compacted = store.record("compact", "views")
    assert (compacted["old_nbytes"], compacted["nbytes"]) == (400_000, 4 * 25)
    assert store.record("log", "views", "-n", "1")["snapshot_id"] == compacted["snapshot_id"]
    store.run("export", "views", "slim.pt")
    slim = torch.load(store.path / "slim.pt", weights_only=True)
    assert torch.equal(slim["a"], base[10:20]) and torch.equal(slim["c"], base[90_000:90_005])
    slim["a"][5] = -1
    assert slim["b"][0] == -1  # still one storage
    assert b"compact already" in store.run("compact", "views").stderr
    store.run("compact", before["snapshot_id"][:12], "--ref", "other")
    assert store.record("log", "other", "-n", "1")["nbytes"] == 100


def test_rewrite_drops_and_renames_in_all_of_a_history(folder):
    torch = pytest.importorskip("torch")
    folder.run("init", "s.tenon")
    for step in range(4):
        tied = torch.full((400_000,), float(step))
        torch.save({"model": collections.OrderedDict(head=torch.ones(3), secret=tied, body=torch.arange(300_000.) + step),
                    "tied": tied, "steps": [1, step]}, folder.path / "c.pt")
        folder.run("import", "c.pt", "--step", str(step))
    before = folder.records("log")
    disk = folder.records("du")[0]["segment_bytes"]
    done = folder.record("rewrite", "main", "--drop", "model/secret", "--rename", "model/head", "model/top")
    assert (done["snapshots"], done["changed"]) == (4, 4)
    after = folder.records("log")
    assert [row["step"] for row in after] == [3, 2, 1, 0]
    assert [row["created_at"] for row in after] == [row["created_at"] for row in before]
    assert folder.records("du")[0]["segment_bytes"] - disk < 4 * 16384  # no bytes of tensors were written again
    for back in range(4):
        folder.run("export", f"main~{back}", f"{back}.pt")
        loaded = torch.load(folder.path / f"{back}.pt", weights_only=True)
        assert list(loaded["model"]) == ["top", "body"]
        assert isinstance(loaded["model"], collections.OrderedDict)
        assert torch.equal(loaded["model"]["body"], torch.arange(300_000.) + 3 - back)
        assert torch.equal(loaded["tied"], torch.full((400_000,), 3. - back)) and loaded["steps"] == [1, 3 - back]
    folder.run("verify", "--read-data")
    folder.run("rewrite", "main", "--drop", "nothing", code=1)
    folder.run("rewrite", "main", code=2)
    folder.run("rewrite", "main", "--rename", "model/top", "elsewhere", code=1)
    assert [ref["name"] for ref in folder.records("ref")] == ["main"]


def test_reflog_goes_on_at_a_damaged_segment_and_says_so(store):
    segment = store.path / "s.tenon/segments/0000000000000001.seg"
    segment.chmod(0o644)
    with open(segment, "r+b") as file:
        file.seek(-200, 2)  # the footer
        file.write(b"damaged")
    second, first = store.records("reflog")
    assert second["action"] == "commit" and second["error"] is None
    assert (first["action"], first["sequence"], first["at"]) == ("unreadable", 1, None)
    assert segment.name in first["error"]
    assert b"unreadable" in store.run("reflog").stdout


def test_a_clone_is_a_store_of_its_own(store):
    store.run("clone", "s.tenon", "copy.tenon")
    store.run("--store", "copy.tenon", "verify", "--read-data")
    assert store.records("--store", "copy.tenon", "log") == store.records("--store", "s.tenon", "log")
    store.run("clone", "s.tenon", "copy.tenon", code=1)


def test_repair_takes_damaged_storages_from_a_clone(store):
    store.run("clone", "s.tenon", "copy.tenon")
    segment = store.path / "s.tenon/segments/0000000000000001.seg"
    segment.chmod(0o644)
    with open(segment, "r+b") as file:
        file.seek(20000)
        byte = file.read(1)
        file.seek(20000)
        file.write(bytes([byte[0] ^ 1]))
    store.run("--store", "s.tenon", "verify", "--read-data", code=4)
    assert b"mended" in store.run("--store", "s.tenon", "repair", "--from", "copy.tenon").stdout
    store.run("--store", "s.tenon", "verify", "--read-data")


def test_parts_of_the_data_are_verified_one_by_one(store):
    whole = store.record("verify", "--read-data")["read_bytes"]
    assert sum(store.record("verify", f"--read-data={i}/3")["read_bytes"] for i in (1, 2, 3)) == whole
    for wrong in ("3", "0/3", "4/3", "x/3", "1/0"):
        store.run("verify", f"--read-data={wrong}", code=2)
