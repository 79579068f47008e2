"""PyTorch's note on serialization semantics, cell by cell, with Tenon where torch.save and torch.load stood.

Each test names the section of the note that it follows; the expectation is what torch itself does in the same lines.
"""

import io

import pytest

torch = pytest.importorskip("torch")

import classes
import tenon


# torch 1.13's restricted reader knows few types.
ANY_CLASS = {"weights_only": False}
needs_torch_2 = pytest.mark.skipif(torch.__version__.startswith("1."), reason="__tensor_flatten__ came with torch 2")


def through_torch(obj, **options):
    buffer = io.BytesIO()
    torch.save(obj, buffer)
    buffer.seek(0)
    return torch.load(buffer, **options)


# --- Saving and loading tensors


def test_a_tensor_is_saved_and_loaded(round_trip):
    tensor = torch.tensor([1.0, 2.0])
    assert torch.equal(round_trip(tensor), tensor)


def test_a_dict_of_tensors_is_saved_and_loaded(round_trip):
    loaded = round_trip({"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0, 4.0])})
    assert list(loaded) == ["a", "b"]
    assert loaded["a"].tolist() == [1, 2] and loaded["b"].tolist() == [3, 4]


def test_tuples_lists_dicts_and_what_pickle_takes_come_back_as_they_were(round_trip):
    obj = (1, 2.5, "text", None, True, [b"bytes", {2: torch.ones(2), "k": (3,)}], {1, 2}, frozenset("a"), 1 << 70, -5)
    loaded = round_trip(obj)
    assert loaded[:5] == obj[:5] and loaded[6:] == obj[6:]
    assert loaded[5][0] == b"bytes" and torch.equal(loaded[5][1][2], torch.ones(2)) and loaded[5][1]["k"] == (3,)
    assert type(loaded) is tuple and type(loaded[5]) is list


# --- Saving and loading tensors preserves views


def test_views_share_one_storage_after_loading(round_trip):
    numbers = torch.arange(1, 10)
    evens = numbers[1::2]
    loaded_numbers, loaded_evens = round_trip([numbers, evens])
    loaded_evens *= 2
    assert loaded_numbers.tolist() == [1, 4, 3, 8, 5, 12, 7, 16, 9]
    assert classes.storage_of(loaded_numbers).data_ptr() == classes.storage_of(loaded_evens).data_ptr()


def test_a_small_slice_keeps_the_whole_storage(round_trip):
    large = torch.arange(1, 1000)
    small = large[0:5]
    loaded = round_trip(small)
    assert loaded.tolist() == small.tolist()
    assert classes.storage_of(loaded).nbytes() == classes.storage_of(large).nbytes()
    assert loaded.storage().size() == 999 == through_torch(small).storage().size()


def test_a_clone_has_a_small_storage(round_trip):
    small = torch.arange(1, 1000)[0:5].clone()
    assert round_trip(small).storage().size() == 5


def test_compacting_a_small_slice_keeps_five_elements(tmp_path):
    large = torch.arange(1, 1000)
    tenon.save([large[0:5], large[3:5], large[100:102]], tmp_path / "s.tenon", compact=True)
    first, inside, apart = tenon.load(tmp_path / "s.tenon")
    assert first.storage().size() == 5 and first.tolist() == [1, 2, 3, 4, 5]
    assert apart.storage().size() == 2 and apart.tolist() == [101, 102]
    inside.zero_()
    assert first.tolist() == [1, 2, 3, 0, 0], "what overlapped still does"


# --- Saving and loading torch.nn.Modules


def test_batch_norm_state_dict_has_parameters_and_buffers(round_trip):
    module = torch.nn.BatchNorm1d(3, track_running_stats=True)
    loaded = round_trip(module.state_dict())
    assert list(loaded) == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert type(loaded) is type(module.state_dict())
    assert loaded._metadata == module.state_dict()._metadata
    fresh = torch.nn.BatchNorm1d(3, track_running_stats=True)
    assert str(fresh.load_state_dict(loaded)) == "<All keys matched successfully>"


def test_a_module_of_submodules_is_loaded_by_its_state_dict(round_trip):
    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.l0 = torch.nn.Linear(4, 2)
            self.l1 = torch.nn.Linear(2, 1)

        def forward(self, x):
            return self.l1(torch.relu(self.l0(x)))

    saved, fresh = Module(), Module()
    state = round_trip(saved.state_dict())
    assert list(state) == ["l0.weight", "l0.bias", "l1.weight", "l1.bias"]
    fresh.load_state_dict(state)
    x = torch.randn(5, 4)
    assert torch.equal(saved(x), fresh(x))


def test_extra_state_of_a_module_is_kept(round_trip):
    module = classes.WithExtraState()
    module.count = 7
    fresh = classes.WithExtraState()
    fresh.load_state_dict(round_trip(module.state_dict()))
    assert fresh.count == 7


def test_a_whole_module_needs_trust(round_trip):
    module = classes.Tied()
    with pytest.raises(tenon.UntrustedError, match="classes.Tied"):
        round_trip(module)
    loaded = round_trip(module, trusted=True)
    assert torch.equal(loaded.embed.weight, module.embed.weight)
    assert loaded.head.weight is loaded.embed.weight


# --- Serialized file format; what torch.load does with types


def test_each_storage_is_there_once_however_many_tensors_share_it(tmp_path):
    base = torch.arange(100.0)
    result = tenon.save({"a": base, "b": base.view(10, 10), "c": base[5:]}, tmp_path / "s.tenon")
    assert result.written_storages == 1 and result.written_bytes == 400


# --- torch.load with weights_only=True


def test_classes_that_are_not_allowed_are_named_all_at_once(round_trip):
    with pytest.raises(tenon.UntrustedError) as caught:
        round_trip({"a": classes.Config(0.5, []), "b": classes.Point(1, 2)})
    assert caught.value.names == ["classes.Config", "classes.Point"]
    assert caught.value.kind == "unsupported" and "add_safe_globals" in str(caught.value)


@pytest.mark.skipif(not hasattr(torch.serialization, "safe_globals"), reason="torch before 2.5")
def test_safe_globals_are_honoured(round_trip):
    with torch.serialization.safe_globals([classes.Config]):
        loaded = round_trip(classes.Config(0.5, [torch.ones(3)]))
    assert loaded.rate == 0.5 and loaded.myself is loaded and torch.equal(loaded.tensors[0], torch.ones(3))


def test_the_arguments_of_torch_load_can_stay(round_trip):
    config = round_trip(classes.Config(1.5, []), weights_only=False)
    assert config.rate == 1.5
    assert torch.equal(round_trip(torch.ones(3), map_location="cpu", weights_only=True, mmap=True), torch.ones(3))


# --- Serializing torch.nn.Modules and loading them in C++; scripted and traced modules


def test_state_dicts_of_scripted_and_traced_modules_are_loaded(round_trip):
    plain = torch.nn.Linear(3, 2)
    x = torch.randn(4, 3)
    for compiled in (torch.jit.script(plain), torch.jit.trace(plain, x)):
        fresh = torch.jit.script(torch.nn.Linear(3, 2))
        fresh.load_state_dict(round_trip(compiled.state_dict()))
        assert torch.equal(fresh(x), compiled(x))


def test_tensors_saved_for_cpp_are_read_by_name(store):
    """The note uses a module as a container; a store's tensors have names that C++ reads."""
    store.save({"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3])})
    assert store.snapshot().keys() == ["a", "b"]
    assert store["main:a"].shape == (2,) and store["main:b"].dtype == "int64"


# --- Saving and loading tensors: kinds of tensors

DTYPES = [name for name in (
    "uint8 int8 int16 int32 int64 float16 float32 float64 complex32 complex64 complex128 bool bfloat16 uint16 uint32 "
    "uint64 float8_e5m2 float8_e4m3fn float8_e5m2fnuz float8_e4m3fnuz float8_e8m0fnu").split() if hasattr(torch, name)]


@pytest.mark.parametrize("name", DTYPES)
def test_every_element_type_comes_back_bit_by_bit(round_trip, name):
    dtype = getattr(torch, name)
    count = 24
    raw = torch.randint(0, 2 if name == "bool" else 256, (count * torch.empty(0, dtype=dtype).element_size(),),
                        dtype=torch.uint8)
    tensor = torch.empty(0, dtype=dtype).set_(classes.storage_of(raw), 0, (4, 6), (6, 1))
    whole, part = round_trip([tensor, tensor[1:, ::2]])
    alone = round_trip(tensor)
    for loaded in (whole, alone):
        assert loaded.dtype == dtype and loaded.shape == (4, 6)
        assert classes.storage_of(loaded).tolist() == raw.tolist()
    assert part.stride() == (6, 2) and part.storage_offset() == 6
    assert classes.storage_of(part).data_ptr() == classes.storage_of(whole).data_ptr()


def test_conj_and_neg_bits_are_kept(round_trip):
    x = torch.randn(3, dtype=torch.complex64)
    conj, neg, plain = round_trip([x.conj(), x.conj().imag, x])
    assert conj.is_conj() and torch.equal(conj.resolve_conj(), x.conj().resolve_conj())
    assert neg.is_neg() and torch.equal(neg.resolve_neg(), x.conj().imag.resolve_neg())
    assert torch.equal(plain, x)


def test_requires_grad_parameters_and_buffers_are_kept(round_trip):
    parameter = torch.nn.Parameter(torch.ones(2))
    frozen = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    leaf = torch.ones(3, requires_grad=True)
    loaded = round_trip([parameter, frozen, leaf, leaf * 2, parameter])
    assert [type(t) for t in loaded] == [torch.nn.Parameter] * 2 + [torch.Tensor] * 2 + [torch.nn.Parameter]
    assert [t.requires_grad for t in loaded] == [True, False, True, True, True]
    assert loaded[0] is loaded[4]
    loaded[0].sum().backward()
    assert loaded[0].grad.tolist() == [1, 1]


@pytest.mark.skipif(torch.__version__ < "2", reason="torch 1.13 drops attributes when it pickles")
def test_attributes_are_kept(round_trip):
    tensor, parameter = torch.ones(3), torch.nn.Parameter(torch.ones(2))
    tensor.label, parameter.label = "x", ["y"]
    loaded, loaded_parameter = round_trip([tensor, parameter])
    assert loaded.label == "x" and torch.equal(loaded, torch.ones(3))
    assert loaded_parameter.label == ["y"] and isinstance(loaded_parameter, torch.nn.Parameter)


def test_subclasses_are_kept(round_trip):
    tagged = torch.ones(2).as_subclass(classes.Tagged)
    with pytest.raises(tenon.UntrustedError, match="classes.Tagged"):
        round_trip(tagged)
    assert type(round_trip(tagged, trusted=True)) is classes.Tagged


def make_scaled():
    return classes.Scaled(torch.arange(6, dtype=torch.int8).reshape(2, 3), torch.tensor(0.5))


@needs_torch_2
def test_parts_of_a_wrapper_subclass_are_rows(store):
    whole = make_scaled()
    store.save({"w": whole, "parts": [whole.data_part], "again": whole})
    shapes = [handle.shape for handle in store.snapshot().select()]
    assert sorted(shapes) == [(), (2, 3), (2, 3), (2, 3)] or sorted(shapes) == [(), (), (2, 3), (2, 3), (2, 3)]
    with pytest.raises(tenon.UntrustedError, match="classes.Scaled"):
        store.load()
    loaded = store.load(trusted=True)
    assert type(loaded["w"]) is classes.Scaled and loaded["again"] is loaded["w"]
    assert torch.equal(loaded["w"].plain(), whole.plain()) and loaded["w"].data_part is loaded["parts"][0]


@needs_torch_2
def test_wrapper_subclasses_that_are_allowed_load_and_nothing_else_gets_attributes(store, round_trip):
    if not hasattr(torch.serialization, "safe_globals"):
        pytest.skip("add_safe_globals came with torch 2.4")
    parameter = torch.nn.Parameter(make_scaled(), requires_grad=False)
    with torch.serialization.safe_globals([classes.Scaled]):
        loaded = round_trip({"p": parameter, "w": make_scaled()})
        assert type(loaded["w"]) is classes.Scaled and isinstance(loaded["p"], torch.nn.Parameter)
        assert torch.equal(loaded["p"].plain(), parameter.plain()) and not loaded["p"].requires_grad
        with pytest.raises(tenon.UntrustedError, match="getattr"):
            round_trip(Reads(classes.Scaled, "__init__"))
        with pytest.raises(tenon.UntrustedError, match="getattr"):
            round_trip(Reads(dict, "__tensor_unflatten__"))


class Reads:
    """A pickle that calls getattr."""

    def __init__(self, *args):
        self.args = args

    def __reduce__(self):
        return getattr, self.args


def test_distributed_tensors_are_taken_apart(store, tmp_path):
    tensors = pytest.importorskip("torch.distributed.tensor")
    if not torch.distributed.is_available() or torch.distributed.is_initialized():
        pytest.skip("needs a process group of its own")
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
        whole = tensors.distribute_tensor(torch.arange(6.0), mesh, [tensors.Shard(0)])
        store.save({"w": whole})
        loaded = store.load(trusted=True)["w"]
        assert isinstance(loaded, tensors.DTensor) and torch.equal(loaded.to_local(), torch.arange(6.0))
        assert loaded.placements == whole.placements
        assert (6,) in [handle.shape for handle in store.snapshot().select("w")], "its local part is a row"
    finally:
        torch.distributed.destroy_process_group()


def test_sparse_tensors_are_kept(round_trip):
    coo = torch.sparse_coo_tensor([[0, 1], [1, 2]], [1.0, 2.0], (3, 3))
    csr = torch.eye(3).to_sparse_csr()
    loaded_coo, loaded_csr, coalesced = round_trip([coo, csr, coo.coalesce()])
    assert coalesced.is_coalesced() == through_torch(coo.coalesce(), **ANY_CLASS).is_coalesced()
    assert not loaded_coo.is_coalesced()
    assert torch.equal(loaded_coo.to_dense(), coo.to_dense()) and loaded_coo.layout == torch.sparse_coo
    assert torch.equal(loaded_csr.to_dense(), csr.to_dense()) and loaded_csr.layout == torch.sparse_csr


def test_quantized_tensors_are_kept(round_trip):
    x = torch.randn(4, 6)
    per_tensor = torch.quantize_per_tensor(x, 0.1, 3, torch.quint8)
    per_channel = torch.quantize_per_channel(x, torch.rand(4, dtype=torch.float64), torch.zeros(4).long(), 0, torch.qint32)
    for saved, loaded in zip((per_tensor, per_channel), round_trip([per_tensor, per_channel])):
        assert loaded.dtype == saved.dtype and torch.equal(loaded.int_repr(), saved.int_repr())
        assert torch.equal(loaded.dequantize(), saved.dequantize()) and loaded.qscheme() == saved.qscheme()


def test_meta_tensors_keep_shape_and_stride(round_trip):
    loaded = round_trip(torch.empty_strided((2, 3), (1, 2), dtype=torch.float16, device="meta"))
    assert loaded.is_meta and loaded.stride() == (1, 2) and loaded.dtype == torch.float16


def test_tensors_without_elements_and_scalars(round_trip):
    for tensor in (torch.tensor(3.5), torch.empty(0), torch.empty(2, 0, 3), torch.ones(4)[4:], torch.ones(3).expand(5, 3)):
        loaded = round_trip(tensor)
        assert loaded.shape == tensor.shape and loaded.stride() == tensor.stride() and torch.equal(loaded, tensor)


def test_bare_storages_are_as_torch_loads_them(round_trip):
    tensor = torch.arange(4.0)
    for saved in (tensor.storage(), classes.storage_of(tensor)):
        loaded, alias = round_trip([saved, tensor])
        expected = through_torch(saved, weights_only=False)
        assert type(loaded) is type(expected) and loaded.tolist() == expected.tolist()
        alias.zero_()
        assert not any(loaded.tolist()), "storage and tensor share memory"


def test_identity_survives(round_trip):
    tensor, text = torch.ones(2), ["shared"]
    loaded = round_trip({"a": tensor, "b": tensor, "c": text, "d": text})
    assert loaded["a"] is loaded["b"] and loaded["c"] is loaded["d"]
    loop = []
    loop.append(loop)
    loaded = round_trip(loop)
    assert loaded[0] is loaded


def test_equal_content_does_not_alias(round_trip):
    loaded = round_trip({"a": torch.zeros(1000), "b": torch.zeros(1000)})
    loaded["a"].fill_(1)
    assert not loaded["b"].any()
    large = round_trip([torch.zeros(100_000), torch.zeros(100_000)])
    large[1].fill_(1)
    assert not large[0].any()


def test_a_fake_tensor_is_refused_by_name(store):
    fake = pytest.importorskip("torch._subclasses.fake_tensor")
    with fake.FakeTensorMode():
        tensor = torch.ones(2)
    with pytest.raises(tenon.UnsupportedError, match="FakeTensor"):
        store.save({"x": tensor})
    assert store.refs() == []


def test_torch_saves_only_the_slot_of_a_loaded_tensor(store):
    store.save({"small": torch.ones(4), "large": torch.ones(100_000)})
    buffer = io.BytesIO()
    torch.save(store.load()["small"], buffer)
    assert len(buffer.getvalue()) < 3000


def test_rng_states_schedulers_and_optimizers_are_kept(round_trip):
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    saved = {"optim": optimizer.state_dict(), "schedule": scheduler.state_dict(), "rng": torch.get_rng_state()}
    loaded = round_trip(saved)
    assert torch.equal(loaded["rng"], saved["rng"]) and loaded["schedule"] == saved["schedule"]
    assert loaded["optim"]["param_groups"] == saved["optim"]["param_groups"]
    for number, state in saved["optim"]["state"].items():
        assert all(torch.equal(loaded["optim"]["state"][number][key], value) for key, value in state.items())
