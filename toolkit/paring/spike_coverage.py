"""What of a recipe's model would spike, before any conversion."""

from __future__ import annotations

from dataclasses import dataclass

from paring_runtimes.errors import RecipeError, TransformRefused

from .recipe import Recipe
from .sources import LoadedModel
from .transforms._spikes.coverage import Coverage, Row, coverage
from .transforms._spikes.lifting import NotTraced


@dataclass(frozen=True)
class SpikeCoverage:
    """The verdicts, and their sum.

    Attributes:
        model: what was looked at.
        input_shape: of one input, without the batch.
        coding: of the input.
        macs: of one input.
        spiking_fraction: of the MACs, 0 to 1.
        convertible: whether spike_convert would take the model.
        operations: one for each, in the order in which they run.
    """

    model: str
    input_shape: tuple[int, ...]
    coding: str
    macs: int
    spiking_fraction: float
    convertible: bool
    operations: tuple[Row, ...]


def spike_coverage(recipe: Recipe, source: LoadedModel, coding: str = "constant") -> SpikeCoverage:
    """Look at every operation of a model of images.

    Raises:
        RecipeError: the source is for profiling only.
        TransformRefused: the model does not run as a graph.
    """
    if source.model is None:
        raise RecipeError(f"{source.spec} is for profiling only: a PyTorch model is needed")
    try:
        found: Coverage = coverage(source.model, source.input_shape, coding)
    except NotTraced as error:
        raise TransformRefused(f"{source.spec}: {error}") from error
    return SpikeCoverage(
        source.spec,
        tuple(source.input_shape),
        coding,
        found.macs,
        found.spiking_fraction,
        found.convertible,
        found.rows,
    )
