"""Run a freshly loaded model once, so that what does not fit is said here and in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paring_runtimes.errors import SourceError

from ._loaded import LoadedModel

if TYPE_CHECKING:
    from torch import nn


def outputs_at(loaded: LoadedModel, image_size: tuple[int, int] | None = None) -> Any:
    """What the model returns for one image.

    Raises:
        SourceError: the model fails on images of that size.
    """
    import torch

    assert loaded.model is not None
    (images,) = loaded.example(1, image_size).values()
    try:
        with torch.inference_mode():
            return loaded.model(images)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        shape = list(images.shape)
        raise SourceError(f"{loaded.spec}: fails on images {shape} ({reason})") from error


def check_sizes(loaded: LoadedModel, native: tuple[int, int], any_image_size: bool) -> None:
    """Try image sizes other than the native one, if they are wanted.

    Raises:
        SourceError: the model does not take them, or would ignore pixels at the edge.
    """
    assert loaded.model is not None
    size = (loaded.input_shape[1], loaded.input_shape[2])
    if size != native:
        _check_patches(loaded.model, size, loaded.spec)
        outputs_at(loaded)
    if any_image_size:
        outputs_at(loaded, (2 * size[0], 2 * size[1]))


def _check_patches(model: nn.Module, size: tuple[int, int], spec: str) -> None:
    """A patch embedding is a convolution as wide as its stride; a remainder it would not see."""
    from torch import nn

    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if first is None or first.stride != first.kernel_size:
        return
    height, width = first.kernel_size
    if size[0] % height or size[1] % width:
        raise SourceError(
            f"{spec}: image size {size[0]}x{size[1]} is not divided by the patch, {height}x{width} pixels"
        )
