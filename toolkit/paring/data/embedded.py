"""`embedded`: the 2,000 Fashion-MNIST test images that come with paring."""

from __future__ import annotations

from pathlib import Path

from paring_runtimes.errors import SourceError

from . import npz
from ._images import ImageData, labelled

HELP = "2,000 held-out images of Fashion-MNIST, 28x28 grey, for the embedded model"
FILE = Path(__file__).parents[1] / "assets" / "fashion_test_2000.npz"
LICENCE = "MIT, Zalando SE (https://github.com/zalandoresearch/fashion-mnist)"
CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def load(target: str, limit: int | None, size: tuple[int, int] | None) -> ImageData:
    """Read the packaged images. `target` may be empty or "fashion-mnist"."""
    if target not in ("", "fashion-mnist"):
        raise SourceError(f"data 'embedded:{target}': only 'embedded' (fashion-mnist) is packaged")
    arrays = npz.read(FILE)
    return labelled(
        arrays["images"],
        arrays["labels"],
        where=str(FILE),
        limit=limit,
        class_names=CLASSES,
        licence=LICENCE,
    )
