"""Before a conversion: what of a network would spike, what stays in numbers, and what does not convert.

Each operation gets a verdict:

- *spiking*: neurons; and weights that read spikes, straight or by way of an average: additions a spike.
- *exact float*: what stays with real numbers in it: weights that read the image, or currents that no neurons
  stand before (behind another layer of weights or a residual sum), the averages and sums themselves.
- *unsupported*: with the reason, and the nearest that converts.

The spiking fraction is that of the multiplications and additions (MACs) of one pass: those of weights that
read spikes over all, products of two activations (attention) among them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from .lifting import Traced, traced
from .operations import Operation

VERDICTS = ("spiking", "exact float", "unsupported")
UNCOUNTED = ("identity", "affine", "pad")  # no operation of their own in the spiking network


@dataclass(frozen=True)
class Row:
    """One operation.

    Attributes:
        path: of the module that runs it, or of the one whose code calls the function.
        operation: as PyTorch calls it.
        verdict: one of VERDICTS.
        macs: multiplications and additions for one input.
        why: what makes it so; for unsupported ones the nearest that converts.
    """

    path: str
    operation: str
    verdict: str
    macs: int
    why: str


@dataclass(frozen=True)
class Coverage:
    """All operations of a network, in the order in which they run."""

    rows: tuple[Row, ...]

    @property
    def macs(self) -> int:
        """Of one input."""
        return sum(row.macs for row in self.rows)

    @property
    def spiking_fraction(self) -> float:
        """The share of the MACs whose input is spikes, 0 to 1."""
        return sum(row.macs for row in self.rows if row.verdict == "spiking") / max(1, self.macs)

    @property
    def convertible(self) -> bool:
        """Whether nothing is unsupported."""
        return all(row.verdict != "unsupported" for row in self.rows)


def coverage(model: nn.Module, shape: tuple[int, ...], coding: str = "constant") -> Coverage:
    """The verdicts on every operation of a network. The model is left as it is.

    Args:
        model: to be looked at.
        shape: of one input, without the batch.
        coding: of the input; with "rate" and "latency" it is spikes.

    Raises:
        NotTraced: the model does not run as a graph on such inputs.
    """
    found = traced(model, shape)
    carried = {found.start: "real" if coding == "constant" else "spikes"}
    return Coverage(tuple(_rows(found, carried)))


def _rows(found: Traced, carried: dict[torch.fx.Node, str]) -> list[Row]:
    """`carried`: what each value is, "spikes" (averaged or not) or "real"."""
    rows = []
    for one in found.operations:
        given = {carried[node] for node in one.inputs if node in carried}
        carried[one.node] = _result(one, given)
        if one.kind not in UNCOUNTED:
            verdict, why = _verdict(one, given)
            rows.append(Row(one.place, one.name, verdict, one.macs, why))
    return rows


def _result(one: Operation, given: set[str]) -> str:
    if one.kind in ("rectifier", "max_pool"):  # a maximum ends in neurons of its own
        return "spikes"
    return "spikes" if given == {"spikes"} and one.kind in ("identity", "pool", "shape", "pad") else "real"


def _verdict(one: Operation, given: set[str]) -> tuple[str, str]:
    if one.reason:
        return "unsupported", one.reason
    if one.kind == "rectifier":
        return "spiking", "integrate-and-fire neurons"
    if one.kind == "max_pool":
        return "spiking", "neurons on rectified differences"
    if one.kind == "weights":
        if given == {"spikes"}:
            return "spiking", "reads spikes"
        return "exact float", "reads real numbers: multiplications at each step"
    return "exact float", "linear, no neurons of its own"
