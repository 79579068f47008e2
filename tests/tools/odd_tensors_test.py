"""Tensors and names that files seldom hold: nothing is lost, counted wrongly, or waited for."""

import pytest

torch = pytest.importorskip("torch")


def imported(folder, value):
    torch.save(value, folder.path / "odd.pt")
    folder.run("import", "odd.pt")


def labels_of(node):
    return [node["label"], *(label for below in node.get("children", []) for label in labels_of(below))]


def test_tree_has_a_tensor_whose_name_is_the_branch_of_another(empty_store):
    imported(empty_store, {"a.": torch.zeros(1), "a.b": torch.zeros(2), "a.c": torch.zeros(3), "x": {"y/": torch.zeros(4)}})
    root = empty_store.record("tree", "--unfolded")
    assert root["tensors"] == 4
    shapes = []

    def walk(node):
        shapes.extend([node["shape"]] if "shape" in node else [])
        for below in node.get("children", []):
            walk(below)

    walk(root)
    assert sorted(shapes) == [[1], [2], [3], [4]]


def test_a_tensor_of_uncountable_bytes_spoils_no_listing(empty_store):
    imported(empty_store, {"e": torch.zeros(1).expand(1 << 31, 1 << 31), "w": torch.ones(3)})
    for target in ("main", "odd.pt"):
        assert "over 16 EiB" in empty_store.out("ls", target)
        assert "over 16 EiB" in empty_store.out("tree", target)
        rows = {row["name"]: row for row in empty_store.records("ls", target)}
        assert rows["e"]["nbytes"] is None and rows["e"]["numel"] == 1 << 62
        assert rows["w"]["nbytes"] == 12
        assert empty_store.record("tree", target)["nbytes"] is None
        assert empty_store.record("show", f"{target}:e")["zero_count"] == 1 << 62


def test_expanded_dimensions_are_counted_and_not_walked(empty_store):
    imported(empty_store, {"e": torch.tensor([[1.0], [3.0]]).expand(2, 1 << 40)})
    for target in ("main:e", "odd.pt:e"):
        shown = empty_store.record("show", target)
        assert (shown["mean"], shown["std"], shown["min"], shown["max"]) == (2, 1, 1, 3)


def test_windows_over_few_bytes_are_not_walked_for_ever(empty_store):
    imported(empty_store, {"w": torch.as_strided(torch.ones(1 << 20), (1 << 19, 1 << 19), (1, 1))})
    for target in ("main:w", "odd.pt:w"):
        assert "not computed" in empty_store.out("show", target)
        assert "mean" not in empty_store.record("show", target)


def test_values_far_from_zero_have_their_spread(empty_store):
    numpy = pytest.importorskip("numpy")
    random = numpy.random.default_rng(5)
    tensors = {
        "four": torch.tensor([1e9, 1e9 + 1, 1e9 + 2, 1e9 + 3], dtype=torch.float64),
        "times": torch.from_numpy(1_764_000_000_000_000 + random.integers(0, 1000, 70_000)),
        "counter": torch.from_numpy(1e12 + random.random(70_001)),
        "drift": torch.from_numpy(1e9 + numpy.arange(100_000) * 1e-3),
        "noise": torch.from_numpy(random.standard_normal(50_000).astype(numpy.float32)),
        "ones": torch.ones(10_000),
    }
    imported(empty_store, tensors)
    for name, tensor in tensors.items():
        wanted = tensor.numpy().astype(numpy.float64)
        for target in ("main", "odd.pt"):
            shown = empty_store.record("show", f"{target}:{name}")
            # Differences from the first are exact here, which numpy.std of the values themselves is not.
            assert shown["std"] == pytest.approx((wanted - wanted[0]).std(), rel=1e-11, abs=0), (target, name)
            assert shown["mean"] == pytest.approx(wanted.mean(), rel=1e-14, abs=1e-15)
            assert shown["norm"] == pytest.approx(numpy.linalg.norm(wanted), rel=1e-12)
