"""`npz:FILE`: a NumPy archive with `images`, `labels`, perhaps `class_names` and `licence`."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from paring_runtimes.errors import SourceError

from ._images import LICENCE_UNKNOWN, ImageData, labelled

HELP = "a NumPy archive: images [N, H, W] or [N, H, W, C] uint8, labels [N], class_names, licence"


def load(target: str, limit: int | None, size: tuple[int, int] | None) -> ImageData:
    """Read FILE. The images of an archive share one size, so that `size` has nothing to do."""
    arrays = read(Path(target))
    return labelled(
        arrays["images"],
        arrays["labels"],
        where=target,
        limit=limit,
        class_names=tuple(str(name) for name in arrays.get("class_names", ())),
        licence=str(arrays.get("licence", LICENCE_UNKNOWN)),
    )


def read(file: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an archive; pickled ones are refused.

    Raises:
        SourceError: there is no such file, it is no archive, or it lacks images or labels.
    """
    if not file.is_file():
        raise SourceError(f"{file}: no such file")
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise SourceError(f"{file}: no readable .npz archive of plain arrays ({error})") from error
    missing = [name for name in ("images", "labels") if name not in arrays]
    if missing:
        raise SourceError(f"{file}: lacks {' and '.join(missing)}; it holds {sorted(arrays)}")
    return arrays
