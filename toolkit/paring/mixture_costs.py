"""What each expert of a mixture costs on this machine: the alpha of the latency-aware loss, measured.

ShiftAddViT's code has constants in its place (https://arxiv.org/abs/2306.06446). Here every expert of every
layer shape is exported as the artifact would be, and the exports of a shape are timed in turn, over all
tokens of one sample, by the profiler that times artifacts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn

import paring_runtimes
from paring_exporters import exporters
from paring_exporters.request import DEFAULT_OPSET, Request
from paring_profiles import latency, machine
from paring_profiles.result import Latency, Settings
from paring_runtimes.errors import RecipeError, TransformRefused

from .recipe import Recipe
from .sources import LoadedModel
from .transforming import transform
from .transforms import _mixture, primitive_mixture
from .transforms._mixture.choice import relative

NAME = "primitive_mixture"
FEW = Settings(min_runs=60, min_seconds=0.3, max_seconds=20.0)


@dataclass(frozen=True)
class ShapeCost:
    """The experts of one layer shape.

    Attributes:
        shape: "96x384", inputs x outputs.
        layers: of the model, that have it.
        tokens: over which an expert ran.
        latency: of each expert, in order.
        alpha: their medians, relative to the sum.
    """

    shape: str
    layers: int
    tokens: int
    latency: tuple[Latency, ...]
    alpha: tuple[float, ...]


@dataclass(frozen=True)
class MixtureCosts:
    """All shapes of one model's mixtures.

    Attributes:
        measured_on: device and method, in words.
        config: primitive_mixture's, with the latencies in it.
    """

    model: str
    experts: tuple[str, ...]
    shapes: tuple[ShapeCost, ...]
    measured_on: str
    config: primitive_mixture.Config
    provenance: str = "measured"


def mixture_costs(
    recipe: Recipe,
    source: LoadedModel,
    settings: Settings = FEW,
    progress: Callable[[str], None] = lambda stage: None,
) -> MixtureCosts:
    """Time the experts of the recipe's primitive_mixture. The model is consumed.

    Args:
        recipe: with that step once; `latency_ms` and `measured_on` of it are not read. Its `export` says
            in which format and precision experts are written.
        source: an image model.
        settings: `threads` and how long to measure; batch sizes are not read.
        progress: told which shape is timed.

    Raises:
        RecipeError: there is no such step, or several.
        TransformRefused: a step does not fit the model.
        ExportError, EngineError: an expert cannot be written or run.
    """
    names = [step.name for step in recipe.transforms]
    if names.count(NAME) != 1:
        raise RecipeError(f"transforms: expected {NAME} once, given {', '.join(names) or 'none'}")
    if source.model is None:
        raise RecipeError(f"{source.spec} is a finished graph: its layers cannot be replaced")
    place = names.index(NAME)
    step, steps = recipe.transforms[place], list(recipe.transforms)
    unmeasured = replace(step.config, latency_ms={}, measured_on=None)
    steps[place] = step.model_copy(update={"config": unmeasured})
    model = transform(source.model, recipe.model_copy(update={"transforms": tuple(steps)}))
    example = source.example(1, None, torch.Generator().manual_seed(0))[source.input_name]
    groups = _by_shape(model, example)
    if not groups:
        raise TransformRefused(f"{NAME}: a later step left no mixture in {source.spec}")
    found = []
    for number, ((shape, tokens), layers) in enumerate(groups.items(), 1):
        progress(f"timing experts: {shape} at {tokens} tokens, {number} of {len(groups)}")
        timed = _time(layers[0], tokens, recipe, settings)
        alpha = relative([one.p50_ms for one in timed])
        found.append(ShapeCost(shape, len(layers), tokens, timed, alpha))
    costs = {one.shape: tuple(round(each.p50_ms, 6) for each in one.latency) for one in found}
    method = found[0].latency[0].method.partition(", intervals")[0]
    measured_on = f"{machine.describe().cpu}; {method}"
    config = replace(step.config, latency_ms=costs, measured_on=measured_on)
    return MixtureCosts(source.spec, config.experts, tuple(found), measured_on, config)


def _by_shape(model: nn.Module, example: torch.Tensor) -> dict[tuple[str, int], list[_mixture.MixtureLinear]]:
    """Mixtures by shape, with the most tokens that one of them gets: other steps may drop some on the way."""
    with _mixture.routing(model) as routed, torch.inference_mode():
        model.eval()(example)
    found: dict[str, list[_mixture.MixtureLinear]] = {}
    most: dict[str, int] = {}
    for path, layer in _mixture.mixtures(model).items():
        shape = layer.plan.shape
        found.setdefault(shape, []).append(layer)
        most[shape] = max(most.get(shape, 0), routed[path].tokens)
    return {(shape, most[shape]): layers for shape, layers in found.items()}


def _time(
    layer: _mixture.MixtureLinear, tokens: int, recipe: Recipe, settings: Settings
) -> tuple[Latency, ...]:
    """Each expert of one layer, in turn."""
    x = torch.randn(1, tokens, layer.in_features, generator=torch.Generator().manual_seed(settings.seed))
    feed = {"x": x.numpy()}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        sessions = [
            stack.enter_context(paring_runtimes.load(entry, threads=settings.threads))
            for entry in _exported(list(layer.experts.values()), x, recipe, folder)
        ]
        calls = [partial(session.run, feed) for session in sessions]
        warmups = [latency.warm_up(call, settings.max_seconds / 4) for call in calls]
        turns = latency.interleave(calls, settings, max(one.linger_s for one in warmups))
        method = (
            f"{sessions[0].engine}, {'+'.join(sessions[0].providers)}, {settings.threads} threads,"
            f" {recipe.export.precision}, medians over {tokens} tokens in turn"
        )
    return tuple(
        latency.summarise(np.asarray(turn.rounds_ms), 1, warmup.runs, settings.seed, method)
        for turn, warmup in zip(turns, warmups, strict=True)
    )


def _exported(experts: Sequence[nn.Module], x: torch.Tensor, recipe: Recipe, folder: Path) -> list[Path]:
    wanted, written = recipe.export, []
    for index, expert in enumerate(experts):
        beside = folder / str(index)
        beside.mkdir()
        request = Request(
            x,
            "x",
            ("y",),
            wanted.opset or DEFAULT_OPSET,
            wanted.precision,
            (),
            optimizer=wanted.optimizer,
            shift=wanted.shift,
            target=wanted.target,
            threads=wanted.threads,
        )
        written.append(exporters()[wanted.format].export(expert, request, beside).entry)
    return written
