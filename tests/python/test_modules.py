"""load_into, training in mapped weights, devices."""

import io

import pytest

torch = pytest.importorskip("torch")

import classes
import tenon

has_assign = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 1)
needs_assign = pytest.mark.skipif(not has_assign, reason="load_state_dict(assign=True) came with torch 2.1")


@pytest.fixture
def saved(store):
    torch.manual_seed(3)
    model = classes.Tied()
    model.norm.running_mean.uniform_()
    store.save(model=model)
    return store, model


@needs_assign
def test_ties_stay_tied_and_nothing_is_copied(saved):
    store, model = saved
    fresh = classes.Tied()
    result = store.load_into(fresh, "main:model")
    assert result.missing_keys == [] and result.unexpected_keys == []
    assert fresh.head.weight is fresh.embed.weight and isinstance(fresh.head.weight, torch.nn.Parameter)
    assert torch.equal(fresh.embed.weight, model.embed.weight) and fresh.embed.weight.requires_grad
    assert torch.equal(fresh.norm.running_mean, model.norm.running_mean)
    with open("/proc/self/maps") as maps:
        ranges = [line.split()[0].split("-") for line in maps if ".seg" in line]
    assert any(int(a, 16) <= fresh.embed.weight.data_ptr() < int(b, 16) for a, b in ranges)
    untied = classes.Tied()
    untied.load_state_dict(store.load("main:model"), assign=True)
    assert untied.head.weight is not untied.embed.weight, "what torch alone does"


@needs_assign
def test_a_model_on_the_meta_device_becomes_real(saved):
    store, model = saved
    with torch.device("meta"):
        fresh = classes.Tied()
    store.load_into(fresh, "main:model")
    assert not any(tensor.is_meta for tensor in fresh.state_dict().values())
    assert fresh.head.weight is fresh.embed.weight
    fresh.eval(), model.eval()
    assert torch.equal(fresh(torch.arange(5)), model(torch.arange(5)))


def test_missing_and_unexpected_names_are_reported_as_torch_does(store):
    store.save({"model": {"weight": torch.ones(2, 3), "extra": torch.ones(1)}})
    module = torch.nn.Linear(3, 2)
    with pytest.raises(RuntimeError) as ours:
        store.load_into(module, "main:model")
    with pytest.raises(RuntimeError) as theirs:
        module.load_state_dict(store.load("main:model"))
    assert str(ours.value) == str(theirs.value)
    result = store.load_into(module, "main:model", strict=False)
    assert result.missing_keys == ["bias"] and result.unexpected_keys == ["extra"]


def test_other_shapes_are_reported_as_torch_does(store):
    store.save({"weight": torch.ones(2, 4), "bias": torch.ones(2)})
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        store.load_into(torch.nn.Linear(3, 2), "main", strict=False)


def test_what_is_no_state_dict_is_refused(store):
    store.save([torch.ones(1)])
    with pytest.raises(tenon.InvalidArgumentError, match="state dict"):
        store.load_into(torch.nn.Linear(1, 1))


@needs_assign
def test_training_in_mapped_weights_is_bit_equal(store):
    """Models loaded by torch.load and by Tenon, optimizers stepping in place, commits on the way."""
    torch.manual_seed(0)
    start = classes.Tied(16)
    buffer = io.BytesIO()
    torch.save(start.state_dict(), buffer)
    buffer.seek(0)
    store.save(start.state_dict(), ref="start")
    ours, theirs = classes.Tied(16), classes.Tied(16)
    store.load_into(ours, "start")
    theirs.load_state_dict(torch.load(buffer))
    optimizers = [torch.optim.AdamW(model.parameters(), 1e-2) for model in (ours, theirs)]
    for step in range(20):
        tokens = torch.randint(0, 16, (32,))
        for model, optimizer in zip((ours, theirs), optimizers):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(tokens), tokens.roll(1)).backward()
            optimizer.step()
        if step % 5 == 4:
            store.save(model=ours, optimizer=optimizers[0], step=step)
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
        assert torch.equal(store.load("main:model")[name], value), name
    assert torch.equal(store.load("start")["embed.weight"], start.embed.weight), "the start did not change"
    resumed = classes.Tied(16)
    store.load_into(resumed, "main:model")
    optimizer = torch.optim.AdamW(resumed.parameters(), 1e-2)
    optimizer.load_state_dict(store.load("main:optim"))
    assert store.log()[0].step == 19 and len(store.log()) == 4


def resident_segment_bytes():
    """Of the store's files, what this process has in its page tables: what it looked at."""
    total = 0
    is_segment = False
    with open("/proc/self/smaps") as maps:
        for line in maps:
            word = line.split()
            if not word[0].endswith(":"):
                is_segment = line.rstrip().endswith(".seg")
            elif is_segment and word[0] == "Rss:":
                total += int(word[1]) * 1024
    return total


def test_a_commit_looks_only_at_what_was_touched(store):
    """32 MiB are loaded and 4 KiB are written to: the next commit neither reads nor digests the rest. (Statistics of a tensor
    that changed would need all of it.)"""
    store.save({"a": torch.arange(4 << 20, dtype=torch.int32), "b": torch.ones(4 << 20)})
    loaded = store.load()
    loaded["a"][5000:6000] += 1
    result = store.save(loaded, statistics=False)
    assert result.written_bytes < 1 << 20
    assert resident_segment_bytes() < 8 << 20
    again = store.load()
    assert torch.equal(again["a"], loaded["a"]) and torch.equal(again["b"], torch.ones(4 << 20))


# --- devices


def test_map_location_takes_what_torch_takes(store):
    store.save({"w": torch.arange(3.0)})
    seen = []

    def remember(storage, location):
        seen.append((storage.nbytes(), location))
        return storage

    for place in ("cpu", torch.device("cpu"), {"cuda:0": "cpu"}, remember, lambda storage, location: None):
        assert torch.equal(store.load(map_location=place)["w"], torch.arange(3.0))
    assert seen == [(12, "cpu")]
    for options in ({"map_location": "meta"}, {"device": "meta"}, {"device": torch.device("meta")},
                    {"map_location": {"cpu": "meta"}}):
        loaded = store.load(**options)["w"]
        assert loaded.is_meta and loaded.shape == (3,)
    with pytest.raises(TypeError):
        store.load(map_location="cpu", device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is such a device here")
def test_a_device_that_is_missing_is_named(store):
    store.save({"w": torch.ones(1)})
    with pytest.raises(RuntimeError, match="CUDA"):
        store.load(map_location="cuda:0")


def test_the_ring_brings_all_bytes_both_ways():
    """The code that CUDA uses, with plain buffers and a size that does not divide."""
    from tenon._devices import Ring
    ring = Ring(pinned=False, buffer_bytes=1000)
    source = torch.randint(0, 256, (12_345,), dtype=torch.uint8)
    there, back = torch.zeros_like(source), torch.zeros_like(source)
    ring.upload(source, there)
    ring.download(there, back)
    assert torch.equal(source, there) and torch.equal(source, back)


def test_a_device_reader_reads_ranges():
    from tenon._devices import DeviceReader
    tensor = torch.arange(100, dtype=torch.uint8)
    reader = DeviceReader(classes.storage_of(tensor))
    out = bytearray(10)
    reader.read_into(20, memoryview(out))
    assert list(out) == list(range(20, 30)) and reader.location == "cpu"
