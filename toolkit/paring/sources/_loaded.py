"""What a source is asked for, and what it hands back. Importing this does not import PyTorch."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paring.data import Preprocess
from paring_runtimes.errors import MissingExtraError, SourceError

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Request:
    """See `load_model`, which checks it. `target` is the spec without its prefix."""

    spec: str
    target: str
    weights: Path | None = None
    allow: frozenset[str] = frozenset()
    image_size: tuple[int, int] | None = None
    any_image_size: bool = False
    seed: int = 0


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model and how to call it: one input of images [B, C, H, W], float32.

    Attributes:
        model: in eval mode, in fp32 on the CPU; returns a tensor, or a tuple in the order of
            `output_names`.
        name: short, fit for a file name.
        spec: what was asked for.
        input_name: its name in an artifact; the model itself is called by position.
        input_shape: (C, H, W).
        output_names: the outputs' names.
        preprocess: how images become inputs, as far as the model says; None when it says nothing.
        hf_config: transformers' config of the model, from which optimum loads an export; or None.
        random_weights: the weights are known to be random: good for speed, worthless for accuracy.
        source_files: every file that was read.
    """

    model: nn.Module | None
    name: str
    spec: str
    input_name: str
    input_shape: tuple[int, int, int]
    output_names: tuple[str, ...]
    preprocess: Preprocess | None = None
    hf_config: Any = None
    random_weights: bool = False
    source_files: tuple[Path, ...] = ()

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of all inputs: there is one."""
        return (self.input_name,)

    def example(
        self,
        batch: int = 1,
        image_size: int | tuple[int, int] | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, torch.Tensor]:
        """Normally distributed images [batch, C, H, W] by input name.

        Args:
            batch: how many.
            image_size: pixels, or (height, width); None is that of `input_shape`.
            generator: what draws them; None starts from seed 0.

        Raises:
            SourceError: `input_shape` leaves a dimension open that is not given.
        """
        import torch

        size = (image_size, image_size) if isinstance(image_size, int) else image_size
        shape = (self.input_shape[0], *(size or self.input_shape[1:]))
        if 0 in shape:
            raise SourceError(f"{self.spec}: input [B, C, H, W] = {shape} is open; give the image size")
        generator = generator or torch.Generator().manual_seed(0)
        return {self.input_name: torch.randn(batch, *shape, generator=generator)}


def missing_extra(*packages: str) -> str | None:
    """Which of the packages is not installed, in words; None when all are."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed: pip install 'paring[torch]'"
    return None


def require(what: str, *packages: str) -> None:
    """Raise MissingExtraError when one of the packages is not installed."""
    if missing_extra(*packages) is not None:
        raise MissingExtraError(what, "torch")


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw weights from `seed`, and leave the caller's random state as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def fill_zeros(model: nn.Module, seed: int) -> None:
    """Give parameters that start as zeros small random values.

    Graph clean-up removes an addition of zeros, so that a freshly built model would be faster than a
    trained one of the same shape.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.02, generator=generator)
