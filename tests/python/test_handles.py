"""Lazy handles, DLPack, buffers."""

import pickle

import pytest

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")

import tenon


@pytest.fixture
def saved(store):
    store.save({"model": {"fc.weight": torch.arange(12.0).view(3, 4), "half": torch.ones(4, dtype=torch.bfloat16),
                          "turned": torch.arange(6).view(2, 3).T}})
    return store


def test_a_handle_tells_without_loading(saved):
    handle = saved["main:model/fc.weight"]
    assert (handle.name, handle.dtype, handle.shape, handle.stride) == ("model/fc.weight", "float32", (3, 4), (4, 1))
    assert (handle.numel, handle.nbytes, handle.ndim, len(handle)) == (12, 48, 2, 3)
    stats = handle.stats()
    assert (stats["min"], stats["max"], stats["mean"], stats["zero_count"]) == (0, 11, 5.5, 1)


def test_a_handle_gives_arrays_tensors_and_slices(saved):
    handle = saved["main:model/fc.weight"]
    assert not handle.numpy().flags.writeable and handle.numpy()[2, 3] == 11
    assert handle[0:2, 1].tolist() == [1, 5] and isinstance(handle[0:2], np.ndarray)
    assert np.asarray(handle).shape == (3, 4)
    tensor = handle.torch()
    tensor.zero_()
    assert handle.torch()[2, 3] == 11 and handle.numpy()[2, 3] == 11, "each call is a load of its own"
    half = saved["main:model/half"]
    assert half[1:].dtype == torch.bfloat16
    with pytest.raises(tenon.UnsupportedError, match="bfloat16"):
        half.numpy()


def test_a_handle_pickles_as_a_reference(saved):
    handle = saved["main:model/fc.weight"]
    pickled = pickle.dumps(handle)
    saved.save({"model": {"fc.weight": torch.zeros(1)}})
    again = pickle.loads(pickled)
    assert len(pickled) < 500 and again.snapshot_id == handle.snapshot_id and again.numpy()[2, 3] == 11


def test_numpy_takes_it_read_only_by_dlpack(saved):
    array = np.from_dlpack(saved["main:model/turned"])
    assert array.tolist() == [[0, 3], [1, 4], [2, 5]] and not array.flags.writeable


def test_torch_takes_it_by_dlpack_and_may_write(saved):
    handle = saved["main:model/fc.weight"]
    tensor = torch.from_dlpack(handle)
    tensor.fill_(5)  # private pages: neither a crash nor a change to the store
    assert handle.numpy()[2, 3] == 11
    assert torch.from_dlpack(saved["main:model/half"]).dtype == torch.bfloat16


def test_capsules_say_what_they_are(saved):
    handle = saved["main:model/fc.weight"]
    assert handle.__dlpack_device__() == (1, 0)
    assert '"dltensor_versioned"' in repr(handle.__dlpack__(max_version=(1, 0)))
    assert '"dltensor"' in repr(handle.__dlpack__())
    with pytest.raises(BufferError):
        handle.__dlpack__(dl_device=(2, 0))


def test_the_bytes_are_a_buffer(saved):
    view = memoryview(saved["main:model/fc.weight"].memory())
    assert view.nbytes == 48 and view.readonly and bytes(view[4:8]) == np.float32(1).tobytes()
    with pytest.raises(tenon.InvalidArgumentError):
        saved["main:model/turned"].memory()


def test_a_snapshot_is_a_mapping_of_names(saved):
    snapshot = saved.snapshot()
    assert list(snapshot) == ["model/fc.weight", "model/half", "model/turned"] and len(snapshot) == 3
    assert "model/half" in snapshot and "model" not in snapshot
    assert [handle.name for handle in snapshot.select("model")] == sorted(snapshot)
    assert torch.equal(snapshot.load("model")["half"], torch.ones(4, dtype=torch.bfloat16))


def test_a_handle_can_be_saved_and_is_a_tensor_then(saved):
    saved.save({"w": saved["main:model/fc.weight"]}, ref="copy")
    assert torch.equal(saved.load("copy")["w"], torch.arange(12.0).view(3, 4))


def test_a_handle_of_a_quantized_tensor_gives_one(store):
    quantized = torch.quantize_per_tensor(torch.arange(4.0), 0.5, 1, torch.quint8)
    store.save({"q": quantized})
    assert torch.equal(store["main:q"].torch().int_repr(), quantized.int_repr())
