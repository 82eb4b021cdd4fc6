"""How much each layer alone bears: the outputs' signal-to-noise ratio when it is the only one that shifts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from .choice import kind
from .layer import Form, shifted
from .surgery import replaced

ADVICE = ("shift", "two_term", "exclude")


@dataclass(frozen=True)
class LayerSensitivity:
    """One layer shifted alone, in one term and in two.

    Attributes:
        path, kind, weights: which layer, and how many weights it has.
        snr_db, two_term_snr_db: of the outputs, against those of the model as it was; inf where equal.
        drop, two_term_drop: of top-1 accuracy, a share; None without labels.
        advice: "shift", "two_term" or "exclude".
    """

    path: str
    kind: str
    weights: int
    snr_db: float
    two_term_snr_db: float
    drop: float | None = None
    two_term_drop: float | None = None
    advice: str = "shift"


def snr_db(expected: torch.Tensor, actual: torch.Tensor) -> float:
    """10 log10 of the power of `expected` over that of the difference, in dB."""
    noise = (actual.double() - expected.double()).square().sum().item()
    power = expected.double().square().sum().item()
    return 10 * math.log10(power / noise) if noise and power else math.inf if not noise else -math.inf


@torch.inference_mode()
def sensitivity(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    form: Form,
    inputs: Sequence[torch.Tensor],
    labels: torch.Tensor | None = None,
    progress: Callable[[str], None] = lambda path: None,
) -> Iterator[LayerSensitivity]:
    """Shift each of `layers` alone and compare the outputs. `model` is as it was after each.

    Args:
        model: in eval mode, with outputs [B, classes], or a tuple whose first they are.
        layers: modules of it by path.
        form: of the single term; its `terms` is not read.
        inputs: batches.
        labels: [all samples] int64, for the drop of accuracy.
        progress: told each path.
    """
    plain = _outputs(model, inputs)

    def drop(outputs: torch.Tensor) -> float | None:
        if labels is None:
            return None
        right = [(one.argmax(-1) == labels).double().mean() for one in (plain, outputs)]
        return (right[0] - right[1]).item()

    for path, layer in layers.items():
        progress(path)
        found = [_alone(model, layer, replace(form, terms=terms), inputs) for terms in (1, 2)]
        one, two = found
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        yield LayerSensitivity(
            path,
            kind(path),
            weight.numel(),
            snr_db(plain, one),
            snr_db(plain, two),
            drop(one),
            drop(two),
        )


def advised(
    found: Sequence[LayerSensitivity], min_snr_db: float, max_drop: float | None = None
) -> list[LayerSensitivity]:
    """The most sensitive first, each with what it takes to bear the limits alone.

    A layer takes two terms when one is not enough, and stays as it is when two are not.
    """

    def fits(ratio: float, drop: float | None) -> bool:
        return ratio >= min_snr_db and (max_drop is None or drop is None or drop <= max_drop)

    def advice(one: LayerSensitivity) -> str:
        if fits(one.snr_db, one.drop):
            return "shift"
        return "two_term" if fits(one.two_term_snr_db, one.two_term_drop) else "exclude"

    ranked = sorted(found, key=lambda one: one.snr_db)
    return [replace(one, advice=advice(one)) for one in ranked]


def _alone(model: nn.Module, layer: nn.Module, form: Form, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """The outputs with one layer shifted, which is put back afterwards."""
    changed = shifted(layer, form)
    replaced(model, lambda path, module: module is layer, lambda path, module: changed)
    try:
        return _outputs(model, inputs)
    finally:
        replaced(model, lambda path, module: module is changed, lambda path, module: layer)


def _outputs(model: nn.Module, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    found = [model(batch) for batch in inputs]
    return torch.cat([one if isinstance(one, torch.Tensor) else one[0] for one in found])
