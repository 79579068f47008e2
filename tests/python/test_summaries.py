"""Statistics that are asked for, beside numpy's in double precision."""

import json

import pytest

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")

import tenon


def known(*names):
    """Those that this release of torch has."""
    return [getattr(torch, name) for name in names if hasattr(torch, name)]


FLOATS = known("float64", "float32", "float16", "bfloat16", "float8_e5m2", "float8_e4m3fn", "float8_e5m2fnuz",
               "float8_e4m3fnuz")
INTEGERS = known("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool")
COMPLEX = [torch.complex64, torch.complex128]
COUNT = 30_011  # fills no vector and no block


def make(dtype, seed):
    generator = np.random.default_rng(seed)
    if dtype in INTEGERS:
        return torch.from_numpy(generator.integers(0, 100, COUNT)).to(dtype)
    if dtype in COMPLEX:
        return torch.from_numpy(generator.normal(size=COUNT) + 1j * generator.normal(size=COUNT)).to(dtype)
    return torch.from_numpy(generator.normal(0.5, 3, COUNT)).to(dtype)


def values(tensor):
    """What counts: doubles; of complex numbers, magnitudes."""
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    return np.abs(tensor.to(torch.complex128).numpy()) if tensor.is_complex() else tensor.to(torch.float64).numpy()


def check(store, name, array):
    figures = "l1, nan_count, zero_count, min, max, mean, std, norm, quantile(tensor, 0.1), quantile(tensor, 0.5), histogram(tensor, 16)"
    found = store.sql(f"SELECT {figures} FROM tensors('main') WHERE name = '{name}'").rows[0]
    kept = array[~np.isnan(array)]
    wanted = (np.abs(kept).sum(), array.size - kept.size, (array == 0).sum(), kept.min(), kept.max(), kept.mean(), kept.std(),
              np.sqrt((kept * kept).sum()), np.quantile(kept, 0.1), np.quantile(kept, 0.5))
    assert found[:10] == pytest.approx(wanted, rel=1e-12, abs=1e-12)
    counts, edges = np.histogram(kept, bins=16)
    histogram = json.loads(found[10])
    assert histogram["counts"] == counts.tolist()
    assert (histogram["low"], histogram["high"]) == pytest.approx((edges[0], edges[-1]), rel=1e-15)


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS + COMPLEX, ids=str)
def test_statistics_are_those_of_numpy(store, dtype):
    tensor = make(dtype, 1)
    store.save({"t": tensor})
    check(store, "t", values(tensor).ravel())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int16], ids=str)
def test_statistics_of_views_are_those_of_numpy(store, dtype):
    whole = make(dtype, 2)[:30_000].reshape(100, 300)
    views = {"turned": whole.t(), "stepped": whole[::3, 1::2], "expanded": whole[:, :1].expand(100, 7)}
    store.save(views)
    for name, view in views.items():
        check(store, name, values(view).ravel())


def test_nan_is_counted_and_left_out(store):
    tensor = make(torch.float32, 3)
    tensor[::7] = float("nan")
    store.save({"t": tensor})
    check(store, "t", values(tensor))


@pytest.mark.parametrize("is_per_channel", [False, True])
def test_quantized_tensors_count_by_value(store, is_per_channel):
    plain = make(torch.float32, 4)[:30_000].reshape(60, 500)
    tensor = (torch.quantize_per_channel(plain, torch.linspace(0.05, 0.2, 60).double(), torch.arange(60), 0, torch.qint8)
              if is_per_channel else torch.quantize_per_tensor(plain, 0.125, 3, torch.quint8))
    store.save({"q": tensor})
    found = store.sql("SELECT l1, quantile(tensor, 0.5) FROM tensors('main') WHERE name = 'q'").rows[0]
    array = values(tensor)
    assert found == pytest.approx((np.abs(array).sum(), np.quantile(array, 0.5)), rel=1e-6)  # torch's values are floats


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS, ids=str)
def test_pairs_are_those_of_numpy(store, dtype):
    a, b = make(dtype, 5), make(dtype, 6)
    store.save({"a": a, "b": b})
    x, y = values(a), values(b)
    found = store.sql("SELECT dot('main:a', 'main:b'), cosine('main:a', 'main:b'), distance('main:a', 'main:b'), "
                      "max_abs_diff('main:a', 'main:b'), changed_share('main:a', 'main:b')").rows[0]
    kept = ~(np.isnan(x) | np.isnan(y))
    difference = y[kept] - x[kept]
    wanted = (x[kept] @ y[kept], x[kept] @ y[kept] / np.linalg.norm(x[kept]) / np.linalg.norm(y[kept]), np.linalg.norm(difference),
              np.abs(difference).max(), (a.view(torch.uint8).reshape(COUNT, -1) != b.view(torch.uint8).reshape(COUNT, -1))
              .any(dim=1).double().mean().item())
    scale = float(np.linalg.norm(x[kept]) * np.linalg.norm(y[kept]))
    assert found[0] == pytest.approx(wanted[0], abs=1e-12 * scale)
    assert found[1:] == pytest.approx(wanted[1:], rel=1e-11)
