"""`idx:FOLDER`, `idx:FOLDER,train` or `idx:IMAGES,LABELS`: idx-ubyte files, as MNIST and Fashion-MNIST come.

An idx file is two zero bytes, the code of its dtype (8: uint8), its number of dimensions, each
dimension as a big-endian uint32, then the values.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from paring_runtimes.errors import SourceError

from ._images import ImageData, labelled

HELP = "idx-ubyte files, gzipped or not: FOLDER (t10k files, else train files), FOLDER,train or IMAGES,LABELS"
SPLITS = ("t10k", "train")
UINT8 = 8


def load(target: str, limit: int | None, size: tuple[int, int] | None) -> ImageData:
    """Read the pair of files. They share one size: `size` has nothing to do."""
    images, labels = _pair(target)
    return labelled(_read(images, 3), _read(labels, 1), where=str(images), limit=limit)


def _pair(target: str) -> tuple[Path, Path]:
    first, comma, second = target.partition(",")
    if comma and second not in SPLITS:
        return Path(first), Path(second)
    folder, splits = Path(first), (second,) if comma else SPLITS
    for split in splits:
        images = sorted(folder.glob(f"{split}-images*ubyte*"))
        labels = sorted(folder.glob(f"{split}-labels*ubyte*"))
        if images and labels:
            return images[0], labels[0]
    asked = " or ".join(f"{split}-images*-ubyte and {split}-labels*-ubyte" for split in splits)
    raise SourceError(f"{folder}: no {asked} files, gzipped or not")


def _read(file: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    if not file.is_file():
        raise SourceError(f"{file}: no such file")
    content = file.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise SourceError(f"{file}: damaged gzip file ({error})") from error
    if content[:4] != bytes((0, 0, UINT8, dimensions)):
        raise SourceError(
            f"{file}: no idx file of uint8 with {dimensions} dimensions (it opens with {content[:4].hex()})"
        )
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise SourceError(f"{file}: ends within its header")
    shape = [int(size) for size in np.frombuffer(content[4:start], ">u4")]
    values = len(content) - start
    if values != math.prod(shape):
        raise SourceError(f"{file}: {values} bytes of values where its header says {shape}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
