import functools
import os
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset

from sklgm._running import _scratch
from sklgm.datasets import list_image_folder
from sklgm.features import extract


class Counting(nn.Module):
    """Counts the rows that pass."""

    def __init__(self, dim=3):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.LazyLinear(dim), nn.BatchNorm1d(dim), nn.Dropout(0.5)
        )
        self.n_passed = [0]

    def forward(self, X):
        self.n_passed[0] += len(X)
        return self.layers(X)


@pytest.fixture
def network():
    torch.manual_seed(0)
    made = Counting()
    made(torch.zeros(2, 3, 6, 5))
    made.n_passed[0] = 0
    return made


@pytest.fixture
def rows():
    return np.random.RandomState(0).rand(20, 3, 6, 5).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    """Two classes of five images of 6 x 5 pixels, one of them grayscale."""
    rng = np.random.RandomState(1)
    for i in range(10):
        path = tmp_path / "images" / f"class {i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.randint(0, 256, (6, 5) if i == 3 else (6, 5, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path / "images"


def expected(network, X):
    with torch.no_grad():
        return network.eval().layers(torch.as_tensor(X)).numpy()


def in_tenths(image):
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 10


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_features_of_an_array_are_those_of_the_module(network, rows, batch_size):
    features = extract(network, rows, batch_size=batch_size)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected(network, rows), rtol=1e-5, atol=1e-6)


def test_the_module_and_the_random_generator_are_left_as_they_were(network, rows):
    network.train()
    network.layers[2].eval()
    modes = [part.training for part in network.modules()]
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    features = extract(network, rows)
    assert torch.equal(torch.get_rng_state(), state)
    assert [part.training for part in network.modules()] == modes
    assert all(torch.equal(weights[k], v) for k, v in network.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    np.testing.assert_array_equal(features, extract(network, rows))  # no dropout


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_rows_are_cast_to_the_type_of_the_weights(network, rows, dtype):
    features = extract(network.to(dtype), rows)
    assert features.dtype == (np.float64 if dtype == torch.float64 else np.float32)


def test_bytes_are_cast_and_not_divided(network):
    X = np.random.RandomState(0).randint(0, 256, (4, 3, 6, 5)).astype(np.uint8)
    features = extract(network, X)
    np.testing.assert_allclose(
        features, expected(network, X.astype(np.float32)), rtol=1e-5
    )


def test_numbers_of_tokens_stay_integers():
    bag = nn.EmbeddingBag(10, 4)
    tokens = np.array([[1, 2, 3], [4, 5, 6]])
    assert extract(bag, tokens).shape == (2, 4)


def test_image_files_are_decoded_in_colour(network, folder):
    files, y = list_image_folder(folder)
    assert y.tolist() == ["class 0"] * 5 + ["class 1"] * 5
    assert files[0] == "class 0/0.png"
    X = np.stack(
        [
            np.asarray(Image.open(folder / name).convert("RGB")).transpose(2, 0, 1)
            for name in files
        ]
    )
    features = extract(network, files)
    reference = expected(network, X.astype(np.float32) / 255)
    np.testing.assert_allclose(features, reference, rtol=1e-5, atol=1e-6)
    paths = [folder / name for name in files]
    np.testing.assert_array_equal(features, extract(network, paths))
    tenths = extract(network, files, transform=in_tenths)
    np.testing.assert_allclose(
        tenths, expected(network, X.astype(np.float32) / 10), rtol=1e-5, atol=1e-5
    )


def test_archives_are_read_in_place(network, folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder))
    files, _ = list_image_folder(folder)
    zipped, _ = list_image_folder(tmp_path / "images.zip")
    assert list(zipped) == list(files)
    np.testing.assert_array_equal(extract(network, zipped), extract(network, files))
    cache = tmp_path / "cache"
    network.n_passed[0] = 0
    first = extract(network, zipped, cache=cache)
    np.testing.assert_array_equal(extract(network, zipped, cache=cache), first)
    assert network.n_passed == [10]  # of the pass before


@pytest.mark.parametrize("source", ["files", "archive", "dataset"])
def test_workers_change_nothing(network, rows, folder, tmp_path, source):
    files, _ = list_image_folder(folder)
    if source == "archive":
        with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
            for name in files:
                archive.write(folder / name, name)
        files, _ = list_image_folder(tmp_path / "images.zip")
        extract(network, files)  # opens it in this process, too
    given = TensorDataset(torch.from_numpy(rows)) if source == "dataset" else files
    alone = extract(network, given, batch_size=3)
    np.testing.assert_array_equal(
        extract(network, given, batch_size=3, n_jobs=2), alone
    )


@pytest.mark.parametrize("has_labels", [False, True])
def test_items_of_data_sets(network, rows, has_labels):
    tensors = [torch.from_numpy(rows)] + [torch.arange(20)] * has_labels
    features = extract(network, TensorDataset(*tensors))
    np.testing.assert_array_equal(features, extract(network, rows))


def test_callables_get_texts_as_a_list():
    seen = []

    def lengths(texts):
        seen.append(texts)
        return [[len(text), text.count("a")] for text in texts]

    features = extract(lengths, np.array(["a cat", "no"]), batch_size=1)
    assert seen == [["a cat"], ["no"]]
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, [[5, 2], [2, 0]])


def test_texts_are_known_to_a_cache_by_what_they_say(tmp_path):
    cached = tmp_path / "cache"
    texts = np.array(["a cat", "no", "a cat"])
    features = extract(_letters, texts, cache=cached)
    np.testing.assert_array_equal(features, [[5.0], [2.0], [5.0]])
    again = extract(_letters, texts[::-1], cache=cached, batch_size=1)
    np.testing.assert_array_equal(again, features[::-1])


def _letters(texts):
    return np.array([[float(len(text))] for text in texts])


def test_all_cores_may_be_asked_for(network, rows):
    features = extract(network, rows, n_jobs=-1)
    np.testing.assert_array_equal(features, extract(network, rows))


def test_a_module_may_take_texts():
    class Letters(nn.Module):
        def forward(self, texts):
            return torch.tensor([[float(len(text))] for text in texts])

    features = extract(Letters(), np.array(["a cat", "no"]))
    np.testing.assert_array_equal(features, [[5.0], [2.0]])


def test_large_features_are_memory_mapped(network, rows, monkeypatch):
    in_memory = extract(network, rows)
    monkeypatch.setattr(_scratch, "_LARGE", 0)
    mapped = extract(network, rows)
    assert isinstance(mapped, np.memmap)
    path = mapped.filename
    np.testing.assert_array_equal(mapped, in_memory)
    del mapped
    assert not os.path.exists(path)


def test_progress_is_silent_unless_asked_for(network, rows, capsys, monkeypatch):
    steps = []
    extract(network, rows, batch_size=8, progress=lambda *step: steps.append(step))
    assert steps == [("extract features", n, 20) for n in (8, 16, 20)]
    extract(network, rows)
    assert capsys.readouterr() == ("", "")
    extract(network, rows, progress=True)
    assert capsys.readouterr() == ("", "extract features\n")  # as in a log
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal
    extract(network, rows, progress=True)
    assert "20/20" in capsys.readouterr().err


# Cache


def kept(network, source, tmp_path, **settings):
    network.n_passed[0] = 0
    features = extract(network, source, cache=tmp_path / "cache", **settings)
    return features, network.n_passed[0]


@pytest.mark.parametrize("kind", ["array", "files", "dataset"])
def test_cached_rows_do_not_pass_again(network, rows, folder, tmp_path, kind):
    source = {
        "array": rows,
        "files": list_image_folder(folder)[0],
        "dataset": TensorDataset(torch.from_numpy(rows)),
    }[kind]
    plain = extract(network, source)
    first, n_first = kept(network, source, tmp_path)
    again, n_again = kept(network, source, tmp_path)
    assert (n_first, n_again) == (len(source), 0)
    np.testing.assert_array_equal(first, plain)
    np.testing.assert_array_equal(again, plain)


def test_only_rows_that_are_new_or_changed_pass(network, folder, tmp_path):
    files, _ = list_image_folder(folder)
    kept(network, files[:6], tmp_path)
    features, n_passed = kept(network, files, tmp_path)
    assert n_passed == 4
    np.testing.assert_array_equal(features, extract(network, files))
    Image.fromarray(np.zeros((6, 5, 3), np.uint8)).save(folder / files[2])
    features, n_passed = kept(network, files, tmp_path)
    assert n_passed == 1
    np.testing.assert_array_equal(features, extract(network, files))
    features, n_passed = kept(network, files[::-1], tmp_path)
    assert n_passed == 0
    np.testing.assert_array_equal(features, extract(network, files)[::-1])


def test_equal_rows_have_equal_features(network, rows, tmp_path):
    doubled = np.concatenate([rows, rows])
    kept(network, doubled, tmp_path)
    features, n_passed = kept(network, doubled, tmp_path)
    assert n_passed == 0
    np.testing.assert_array_equal(features[:20], features[20:])


def scaled(image, factor):
    return in_tenths(image) * factor


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.layers[1].weight.data.add_(1e-3),
        lambda net: net.layers[2].running_mean.add_(1e-3),
        lambda net: setattr(net.layers[2], "eps", 0.1),
        lambda net: net.layers.append(nn.ReLU()),
        lambda net: setattr(net, "__class__", Doubling),
    ],
    ids=["weight", "buffer", "attribute", "layer", "code"],
)
def test_another_network_has_another_cache(network, rows, tmp_path, change):
    kept(network, rows, tmp_path)
    change(network)
    features, n_passed = kept(network, rows, tmp_path)
    assert n_passed == 20
    np.testing.assert_array_equal(features, extract(network, rows))


class Doubling(Counting):
    def forward(self, X):
        return 2 * super().forward(X)


def test_another_transform_has_another_cache(network, folder, tmp_path):
    files, _ = list_image_folder(folder)
    half, other = 0.5, lambda image: in_tenths(image) + half
    transforms = [
        None,
        in_tenths,
        functools.partial(scaled, factor=2.0),
        functools.partial(scaled, factor=3.0),
        lambda image: in_tenths(image) + 1.0,
        lambda image: in_tenths(image) + 2.0,
        other,
    ]
    for transform in transforms:
        features, n_passed = kept(network, files, tmp_path, transform=transform)
        assert n_passed == 10
        again, n_passed = kept(network, files, tmp_path, transform=transform)
        assert n_passed == 0
        np.testing.assert_array_equal(features, again)
    half = 0.25
    assert kept(network, files, tmp_path, transform=other)[1] == 10


def test_functions_are_known_by_the_networks_that_they_call(network, rows, tmp_path):
    def pooled(batch):
        return network(batch) + 1.0

    network.eval()
    cache = tmp_path / "cache"
    first = extract(pooled, rows, cache=cache)
    network.n_passed[0] = 0
    np.testing.assert_array_equal(extract(pooled, rows, cache=cache), first)
    assert network.n_passed == [0]
    network.layers[1].bias.data.add_(1.0)
    assert np.abs(extract(pooled, rows, cache=cache) - first).max() > 0.1


def test_an_interrupted_extraction_goes_on(network, rows, tmp_path):
    def interrupt(stage, n_done, n_steps):
        if n_done == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept(network, rows, tmp_path, batch_size=4, progress=interrupt)
    _, n_passed = kept(network, rows, tmp_path, batch_size=4)
    assert n_passed <= 12
    assert {path.suffix for path in tmp_path.rglob("*.*")} == {".safetensors"}


def test_a_damaged_cache_is_named_and_its_rows_are_computed_again(
    network, rows, tmp_path
):
    first, _ = kept(network, rows, tmp_path)
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.warns(UserWarning, match=f"cache: .*{path.name} is damaged"):
        again, n_passed = kept(network, rows, tmp_path)
    assert n_passed == len(rows)
    np.testing.assert_array_equal(again, first)


def test_a_cache_that_cannot_be_written_to_costs_a_warning(network, rows, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.warns(UserWarning, match="cache: .*file.* cannot be written to"):
        features = extract(network, rows, cache=tmp_path / "file")
    np.testing.assert_array_equal(features, extract(network, rows))


class Stateful(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, X):
        self.generator = torch.Generator()  # the cache has no word for it
        self.factor += 1
        return X.flatten(1) * (self.factor - 1)


def test_what_one_extractor_became_is_not_another(rows, tmp_path):
    first = extract(Stateful(1), rows, cache=tmp_path)
    second = extract(Stateful(2), rows, cache=tmp_path)
    np.testing.assert_allclose(second, 2 * first)


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def encode(self, X):
        return self.dropout(X.flatten(1))


NOISY = Noisy()


def by_global_name(X):
    return NOISY.encode(X)


def test_modules_behind_a_function_are_in_evaluation_mode(rows):
    module = Noisy()
    for extractor in (
        module.encode,
        lambda X: module.encode(X),
        functools.partial(Noisy.encode, module),
        by_global_name,
    ):
        features = extract(extractor, rows)
        np.testing.assert_array_equal(features, rows.reshape(len(rows), -1))
    assert module.training
    assert module.dropout.training
    assert NOISY.training


def test_cache_true_is_in_the_users_cache(network, rows, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    extract(network, rows, cache=True)
    assert len(list((tmp_path / "sklgm" / "features").rglob("*.safetensors"))) == 1


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("cached", [False, True])
def test_images_that_cannot_be_read_are_skipped(
    network, folder, tmp_path, n_jobs, cached
):
    files, _ = list_image_folder(folder)
    expected = extract(network, files)
    (folder / files[3]).write_bytes(b"no image")
    (folder / files[7]).unlink()
    (folder / files[7]).symlink_to(tmp_path / "elsewhere.png")
    Image.new("RGB", (5, 6)).save(tmp_path / "elsewhere.png")
    settings = {"n_jobs": n_jobs, "batch_size": 4}
    settings["cache"] = tmp_path / "cache" if cached else None
    for _ in range(2):
        with pytest.warns(UserWarning, match="2 of 10 images .* leads out of"):
            found = extract(network, files, on_error="skip", **settings)
        assert np.isnan(found).all(axis=1).nonzero()[0].tolist() == [3, 7]
        kept = np.delete(np.arange(10), [3, 7])
        np.testing.assert_allclose(found[kept], expected[kept], rtol=1e-5)
    with pytest.raises(ValueError, match="cannot be read"):
        extract(network, files, **settings)
    with pytest.raises(ValueError, match="no row of source can be read"):
        extract(network, files[3:4], on_error="skip")


# Errors


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"extractor": "resnet18"}, TypeError, "extractor must be an nn.Module"),
        ({"transform": "resize"}, TypeError, "transform must be callable"),
        ({"batch_size": 0}, ValueError, "batch_size must be an int of at least 1"),
        ({"n_jobs": 0}, ValueError, "n_jobs, .* must be an int of at least 1, got 0"),
        ({"device": "gpu9"}, ValueError, "device='gpu9'"),
        ({"cache": 3}, TypeError, "cache must be a folder"),
        ({"progress": "yes"}, TypeError, "progress must be a bool or callable"),
        ({"on_error": "banana"}, ValueError, "on_error must be 'skip' or 'stop'"),
        ({"source": np.empty((0, 3))}, ValueError, "source holds 0 rows"),
        ({"source": "photos"}, TypeError, "source='photos' is one path"),
        ({"source": 3}, TypeError, "source must be an array of rows"),
        (
            {"source": ["no.png"]},
            FileNotFoundError,
            r"source\[0\]='no.png' is not a file",
        ),
        (
            {"extractor": nn.Flatten(2), "source": np.zeros((2, 3, 4, 4))},
            ValueError,
            r"features of shape \(n_rows, feature_dim\).*Pool or flatten",
        ),
        (
            {"extractor": lambda X: {"pooled": X}},
            TypeError,
            "extractor must return a tensor or an array, got dict",
        ),
        (
            {"extractor": lambda X: np.full((len(X), 1), "a")},
            TypeError,
            "extractor must return numbers, got <U1",
        ),
        (
            {"extractor": lambda X: X.flatten(1)[:, : len(X)], "batch_size": 12},
            ValueError,
            "as many features of each row: 12 before, 8 of row 12",
        ),
        (
            {"extractor": lambda X: torch.log(X.flatten(1) - 1.0)},
            ValueError,
            "row 0 of source has features that are not finite",
        ),
        (
            {"extractor": (row for row in [1]).send, "cache": "c"},
            ValueError,
            "cache cannot tell",
        ),
        (
            {"source": np.array([{"a": 1}]), "cache": "c", "extractor": len},
            ValueError,
            "cache knows rows that are numbers or texts",
        ),
    ],
)
def test_errors_name_the_parameter(network, rows, settings, error, message):
    settings = {"extractor": network, "source": rows, **settings}
    with pytest.raises(error, match=message):
        extract(settings.pop("extractor"), settings.pop("source"), **settings)


def test_images_of_several_sizes_ask_for_a_transform(network, folder):
    Image.new("RGB", (9, 9)).save(folder / "class 0" / "0.png")
    files, _ = list_image_folder(folder)
    with pytest.raises(ValueError, match="several shapes.*give a transform"):
        extract(network, files)


def test_a_damaged_image_is_named(network, folder):
    (folder / "class 1" / "5.png").write_bytes(b"no image")
    files, _ = list_image_folder(folder)
    with pytest.raises(ValueError, match=r"class 1/5\.png in .* cannot be read"):
        extract(network, files)
