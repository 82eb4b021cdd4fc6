"""Turn an exporter's exception into what was wrong, where, and what would be right."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path

import torch

DATA_DEPENDENT = ("data-dependent", "GuardOnDataDependentSymNode", "unbacked", "nonzero")
TORCH = str(Path(torch.__file__).parent)


def explain(error: BaseException, dynamic: tuple[str, ...]) -> str:
    """One paragraph on `error`, which `torch.onnx.export` raised."""
    chain = list(_causes(error))
    place = next((found for cause in reversed(chain) if (found := _place(cause))), "the model")
    text = " ".join(str(cause) for cause in chain)
    if any(word in text for word in DATA_DEPENDENT):
        return (
            f"{place}: the shape of a tensor depends on the values of another (a boolean mask, nonzero,"
            " or .item()), which a static graph cannot hold. Keep a fixed count instead: topk or sort,"
            " then a gather of the first k."
        )
    last = str(chain[-1]).strip().splitlines()
    why = f"{type(chain[-1]).__name__}: {last[0] if last else 'no message'}"
    if "image_size" in dynamic and ("Constraints violated" in text or "specialized" in text):
        return (
            f"{place}: the model fixes its image size, so that it cannot stay dynamic ({why})."
            " Remove image_size from export.dynamic"
        )
    return f"{place}: torch could not export this ({why})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _place(error: BaseException) -> str | None:
    """The deepest frame outside torch and this package."""
    own = str(Path(__file__).parent)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((TORCH, own, "<")):
            return f"{frame.filename}:{frame.lineno} in {frame.name} (`{frame.line}`)"
    return None
