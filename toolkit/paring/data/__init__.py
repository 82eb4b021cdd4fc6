"""Labelled images, text, or questions on images, for the quality gate: NumPy and Pillow only.

One file a kind, found by its name: a module with `HELP` and
`load(target, limit, size) -> ImageData | TextData | QuestionData`; its file name is the prefix of its spec:
`npz:FILE`, `idx:FOLDER`, `folder:DIR`, `embedded`, `text:FILE`, `vqa:DIR`.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, Protocol

from paring_runtimes.errors import SourceError
from paring_runtimes.suggest import near_miss

from ._images import ImageData
from ._preprocess import Preprocess
from .text import TextData
from .vqa import Question, QuestionData

__all__ = ["ImageData", "Kind", "Preprocess", "Question", "QuestionData", "TextData", "kinds", "load_data"]

AnyData = ImageData | TextData | QuestionData


class Kind(Protocol):
    """What a kind's module offers."""

    HELP: str

    def load(self, target: str, limit: int | None, size: tuple[int, int] | None) -> AnyData:
        """Read what follows the prefix."""


def kinds() -> dict[str, Kind]:
    """Every kind of data by its prefix."""
    names = [info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_")]
    found: dict[str, Any] = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return found


def load_data(spec: str, *, limit: int | None = None, size: tuple[int, int] | None = None) -> AnyData:
    """Read labelled images, a text, or questions on images.

    Args:
        spec: `embedded`, `npz:FILE`, `idx:FOLDER`, `idx:FOLDER,train`, `idx:IMAGES,LABELS`, `folder:DIR`,
            `text:FILE`, `vqa:DIR` or `vqa:DIR,train`.
        limit: at most so many images, chunks of a text, or questions, evenly spaced over the data: the same
            ones every time, and from every class where the data is sorted by class.
        size: (height, width) in pixels that images of differing sizes are brought to.

    Raises:
        SourceError: the data cannot be read, or is not what its kind asks for.
    """
    known = kinds()
    prefix, _, target = spec.partition(":")
    if prefix not in known:
        forms = ", ".join(f"{name}:..." if name != "embedded" else name for name in known)
        raise SourceError(f"data {spec!r}: unknown kind {prefix!r}{near_miss(prefix, known)}; known: {forms}")
    if limit is not None and limit < 1:
        raise SourceError(f"data {spec!r}: limit {limit} must be at least 1")
    return known[prefix].load(target, limit, size)
