"""Cuts a layer into blocks of neurons, each small enough for one core of a chip.

The cut with the fewest blocks is taken; of those with as many, the one whose blocks hear the fewest senders.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from .chip import Chip
from .network import Layer
from .reach import Box, Reach, size
from .refusal import Reason


@dataclass(frozen=True)
class Demand:
    """What a block of neurons takes of a core, in the limits' units."""

    neurons: int
    synapse_bits: int
    sources: int


@dataclass(frozen=True)
class Tile:
    """A block of a layer's neurons."""

    layer: str
    box: Box
    demand: Demand


WORDS = {  # of the limit, of a core and of a single neuron
    "neurons": ("neurons a core", "copies of one neuron on a core"),
    "synapse_bits": ("bits of synaptic memory a core", "bits of synaptic memory for one neuron"),
    "sources": ("input lines of a core", "input lines for one neuron"),
}


def demand(chip: Chip, layer: Layer, found: Sequence[Reach], box: Box, copies: int = 1) -> Demand:
    """What a block takes.

    Args:
        chip: whose formats count.
        layer: of the block.
        found: the reach of each of the layer's paths.
        box: the block.
        copies: how often each neuron is held, because it may send to few cores only.
    """
    limits, shared = chip.limits, chip.shared_convolution
    bits = limits.weight_bits.value
    memory = senders = 0
    for one in found:
        listed = one.kernel and not shared
        each = bits + (limits.of("index_bits", 0) if listed else 0)
        memory += one.stored(box, shared) * each
        senders += size(one.senders(box))
    soft = limits.of("compartments_for_soft_reset", 1) if layer.soft else 1
    return Demand(size(box) * soft * copies, memory * copies, senders * limits.of("axons_for_source", 1))


def broken(chip: Chip, node: str, need: Demand, single: bool = False) -> list[Reason]:
    """The limits of a core that a block, or a single neuron, breaks."""
    found = []
    for name, words in WORDS.items():
        limit, needed = getattr(chip.limits, name), getattr(need, name)
        if limit is not None and needed > limit.value:
            found.append(Reason(node, words[single], needed, limit.value, limit.where))
    return found


def cut(
    chip: Chip, layer: Layer, found: Sequence[Reach], most: int | None = None, copies: int = 1
) -> list[Tile] | list[Reason]:
    """The blocks of a layer, or why even single neurons do not fit.

    Args:
        chip, layer, found, copies: as in `demand`.
        most: neurons a block, below what the chip allows.
    """
    middle = tuple((n // 2, n // 2 + 1) for n in layer.shape)  # at the border some connections are missing
    alone = demand(chip, layer, found, middle, copies)
    reasons = broken(chip, layer.name, alone, single=True) + _of_a_neuron(chip, layer, found)
    if reasons:
        return reasons
    choices = sorted(_cuts(layer.shape), key=lambda steps: _order(layer, found, steps))
    for steps in choices:
        tiles = []
        for box in _boxes(layer.shape, steps):
            need = demand(chip, layer, found, box, copies)
            if broken(chip, layer.name, need) or (most is not None and size(box) > most):
                break
            tiles.append(Tile(layer.name, box, need))
        else:
            return tiles
    raise AssertionError("single neurons fit, so that the finest cut does")


def _of_a_neuron(chip: Chip, layer: Layer, found: Sequence[Reach]) -> list[Reason]:
    limit, needed = chip.limits.fan_in, sum(one.fan_in() for one in found)
    if limit is None or needed <= limit.value:
        return []
    return [Reason(layer.name, "connections into one neuron", needed, limit.value)]


def _cuts(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Sizes of blocks along each axis."""
    return product(*(sorted({-(-n // parts) for parts in range(1, n + 1)}, reverse=True) for n in shape))


def _order(layer: Layer, found: Sequence[Reach], steps: tuple[int, ...]) -> tuple[int, int]:
    blocks = 1
    for n, step in zip(layer.shape, steps, strict=True):
        blocks *= -(-n // step)
    middle = tuple(((n - s) // 2, (n - s) // 2 + s) for n, s in zip(layer.shape, steps, strict=True))
    return blocks, sum(size(one.senders(middle)) for one in found)


def _boxes(shape: tuple[int, ...], steps: tuple[int, ...]) -> Iterator[Box]:
    axes = [
        [(first, min(first + step, n)) for first in range(0, n, step)]
        for n, step in zip(shape, steps, strict=True)
    ]
    return product(*axes)
