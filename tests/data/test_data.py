"""Labelled images: real files of each kind, and what is said of wrong ones."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paring.data import Preprocess, kinds, load_data
from paring.data.embedded import FILE as EMBEDDED
from paring_runtimes.errors import SourceError

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (6, 5, 4), np.uint8)
LABELS = np.array([0, 0, 1, 1, 2, 2], np.uint8)
TOOLS = Path(__file__).parents[2] / "tools" / "assets"


def write_npz(folder: Path, **arrays: object) -> str:
    file = folder / "data.npz"
    np.savez(file, **{"images": IMAGES, "labels": LABELS, **arrays})
    return f"npz:{file}"


def idx(array: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def test_npz(tmp_path: Path) -> None:
    data = load_data(write_npz(tmp_path, class_names=["a", "b", "c"], licence="MIT"))
    assert data.images.shape == (6, 5, 4, 1)
    assert data.labels.dtype == np.int64
    assert data.class_names == ("a", "b", "c")
    assert data.licence == "MIT"
    np.testing.assert_array_equal(data.images[..., 0], IMAGES)


def test_limit_is_spread_over_the_classes_and_changes_the_digest(tmp_path: Path) -> None:
    spec = write_npz(tmp_path)
    three, every = load_data(spec, limit=3), load_data(spec, limit=60)
    assert three.labels.tolist() == [0, 1, 2]
    assert len(every.labels) == 6
    assert three.digest != every.digest
    assert every.digest == load_data(spec).digest
    assert every.licence == "not stated"


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"labels": LABELS[:4]}, "6 images, but 4 labels"),
        ({"labels": LABELS.astype(float)}, "labels are float64"),
        ({"labels": LABELS.astype(int) - 1}, "label -1 is below 0"),
        ({"class_names": ["a"]}, "label 2, but only 1 class names"),
        ({"images": IMAGES / 255}, "images are float64; uint8"),
        ({"images": IMAGES[0]}, r"images have shape \[5, 4\]"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "holds no images"),
        ({"images": np.array([{"a": 1}])}, "no readable .npz archive of plain arrays"),
    ],
)
def test_wrong_arrays(tmp_path: Path, arrays: dict[str, object], expected: str) -> None:
    spec = write_npz(tmp_path, **arrays)
    with pytest.raises(SourceError, match=expected):
        load_data(spec)


def test_wrong_npz_files(tmp_path: Path) -> None:
    file = tmp_path / "x.npz"
    with pytest.raises(SourceError, match="no such file"):
        load_data(f"npz:{file}")
    for content in (b"", b"PK\x03\x04 torn", b"nothing"):
        file.write_bytes(content)
        with pytest.raises(SourceError, match="no readable"):
            load_data(f"npz:{file}")
    np.savez(file, pictures=IMAGES)
    with pytest.raises(SourceError, match=r"lacks images and labels; it holds \['pictures'\]"):
        load_data(f"npz:{file}")


def test_idx_prefers_the_test_split(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(IMAGES[:2]))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS[:2]))
    assert len(load_data(f"idx:{tmp_path}").images) == 2
    images, labels = tmp_path / "t10k-images-idx3-ubyte.gz", tmp_path / "t10k-labels-idx1-ubyte.gz"
    images.write_bytes(gzip.compress(idx(IMAGES)))
    labels.write_bytes(gzip.compress(idx(LABELS)))
    data = load_data(f"idx:{tmp_path}")
    np.testing.assert_array_equal(data.images[..., 0], IMAGES)
    assert load_data(f"idx:{images},{labels}").digest == data.digest


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (gzip.compress(idx(IMAGES))[:-9], "damaged gzip"),
        (idx(IMAGES)[:-1], "119 bytes of values where its header says"),
        (idx(LABELS), "no idx file of uint8 with 3 dimensions"),
        (b"", "no idx file"),
        (idx(IMAGES)[:9], "ends within its header"),
    ],
)
def test_damaged_idx(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "images").write_bytes(content)
    (tmp_path / "labels").write_bytes(idx(LABELS))
    with pytest.raises(SourceError, match=expected):
        load_data(f"idx:{tmp_path / 'images'},{tmp_path / 'labels'}")


def write_folder(folder: Path, sizes: list[tuple[int, int]], mode: str = "L") -> str:
    for index, (height, width) in enumerate(sizes):
        place = folder / f"class{index % 2}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = RANDOM.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).convert(mode).save(place / f"{index}.png")
    return f"folder:{folder}"


def test_folder(tmp_path: Path) -> None:
    data = load_data(write_folder(tmp_path, [(5, 4)] * 4))
    assert data.images.shape == (4, 5, 4, 1)
    assert data.labels.tolist() == [0, 0, 1, 1]
    assert data.class_names == ("class0", "class1")
    assert load_data(f"folder:{tmp_path}", limit=2).labels.tolist() == [0, 1]


def test_folder_of_differing_sizes_and_modes(tmp_path: Path) -> None:
    spec = write_folder(tmp_path, [(5, 4), (7, 9)], "RGB")
    with pytest.raises(SourceError, match=r"sizes differ .*\(5, 4\) to \(7, 9\)"):
        load_data(spec)
    write_folder(tmp_path / "class0", [(3, 3)])
    assert load_data(spec, size=(6, 8)).images.shape == (2, 6, 8, 3)


def test_wrong_folders(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such folder"):
        load_data(f"folder:{tmp_path / 'none'}")
    with pytest.raises(SourceError, match="no images"):
        load_data(f"folder:{tmp_path}")
    spec = write_folder(tmp_path, [(50, 40)] * 2)
    whole = (tmp_path / "class0" / "0.png").read_bytes()
    (tmp_path / "class0" / "0.png").write_bytes(whole[:-500])
    with pytest.raises(SourceError, match=r"0\.png: damaged image"):
        load_data(spec)
    (tmp_path / "class0" / "0.png").write_bytes(b"text")
    with pytest.raises(SourceError, match="no readable image"):
        load_data(spec)
    Image.fromarray(np.zeros((50, 40), np.uint16)).save(tmp_path / "class0" / "0.png")
    with pytest.raises(SourceError, match="8 bits a channel"):
        load_data(spec)


def test_unknown_kind_and_limit() -> None:
    with pytest.raises(SourceError, match=r"unknown kind 'foldr' \(did you mean 'folder'\?\)"):
        load_data("foldr:x")
    with pytest.raises(SourceError, match="limit 0 must be at least 1"):
        load_data("embedded", limit=0)
    assert set(kinds()) == {"embedded", "folder", "idx", "npz", "text", "vqa"}
    assert all(kind.HELP for kind in kinds().values())


@pytest.mark.skipif(not EMBEDDED.exists(), reason="the packaged images have not been made")
def test_embedded() -> None:
    data = load_data("embedded")
    assert data.images.shape == (2000, 28, 28, 1)
    assert len(data.class_names) == 10
    assert set(data.labels.tolist()) == set(range(10))
    assert "MIT" in data.licence


@pytest.mark.parametrize("tool", ["train_fashion_vit", "finetune_vit_s14"])
def test_preprocess_matches_the_training_tools(tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    monkeypatch.syspath_prepend(str(TOOLS))
    images = RANDOM.integers(0, 256, (3, 28, 28), np.uint8)
    settings = {
        "train_fashion_vit": Preprocess(channels=1, padding=1, mean=(0.2860,), std=(0.3530,)),
        "finetune_vit_s14": Preprocess(
            size=(112, 112), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
        ),
    }
    theirs = __import__(tool).preprocess(torch.from_numpy(images)).numpy()
    ours = settings[tool].apply(images)
    assert ours.dtype == np.float32
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_preprocess_shrinks_as_torch_does() -> None:
    torch = pytest.importorskip("torch")
    images = RANDOM.integers(0, 256, (2, 40, 31, 3), np.uint8)
    ours = Preprocess(size=(16, 12)).apply(images)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    theirs = torch.nn.functional.interpolate(x, (16, 12), mode="bilinear", antialias=True)
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


def test_preprocess_makes_colour_grey() -> None:
    image = np.zeros((1, 2, 2, 3), np.uint8)
    image[0, 0, 0] = (255, 0, 0)
    assert Preprocess(channels=1).apply(image)[0, 0, 0, 0] == pytest.approx(0.299)


@pytest.mark.parametrize(
    "fields",
    [{"channels": 2}, {"padding": -1}, {"size": (0, 3)}, {"std": (0.0,)}, {"mean": (0.1, 0.2)}],
)
def test_wrong_preprocess(fields: dict[str, object]) -> None:
    with pytest.raises(SourceError, match="preprocess"):
        Preprocess(**fields)  # type: ignore[arg-type]


def test_overridden_replaces_what_is_given() -> None:
    base = Preprocess(size=(8, 8), padding=1, mean=(0.5,))
    assert base.overridden() == base
    assert base.overridden(padding=0, std=[0.5]) == Preprocess((8, 8), 3, 0, (0.5,), (0.5,))
