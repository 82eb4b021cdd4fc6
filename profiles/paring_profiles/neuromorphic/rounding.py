"""Rounds a network's weights, thresholds and biases to a chip's bits, as whole numbers of one unit a layer.

In a layer every weight is a whole number of at most `weight_bits`, sign included, of the layer's unit; biases
and thresholds are whole numbers of the same unit. The unit is a real number, or a power of two where the chip
shifts, and the one with the least squared error of the weights. The rounded graph is in units, so that a run
of it computes what the chip's integers do, and thresholds are compared exactly.

Saturation of membranes is not simulated: `Rounded.needs_bits` says how wide one step could make them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, log2
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paring_runtimes.nir import Graph
from paring_runtimes.nir import nodes as nir

from .chip import Chip
from .network import Layer, Network, Path
from .refusal import ChipRefused

INPUT_BITS = 8  # of real-valued inputs, sign included
LARGEST_INPUT = 2 ** (INPUT_BITS - 1) - 1
SHRINKS = tuple(0.97**k for k in range(60))  # of the largest weight, which the largest level may stand for


@dataclass(frozen=True)
class RoundedLayer:
    """What rounding did to a layer.

    Attributes:
        unit: of its weights and membranes.
        error: root mean square of the weights' rounding, over that of the weights.
        needs_bits: of a signed membrane, if every sender spiked at once.
    """

    unit: float
    error: float
    needs_bits: int


@dataclass(frozen=True)
class Rounded:
    """A network in whole numbers.

    Attributes:
        graph: the rounded graph, to be fed with inputs divided by `input_units`.
        layers: by name.
        input_units: by input.
        output_units: by output node: a run's outputs times it are in the network's own unit.
    """

    graph: Graph
    layers: dict[str, RoundedLayer]
    input_units: dict[str, float]
    output_units: dict[str, float]


def input_unit(values: NDArray[Any]) -> float:
    """The unit of an input: its only size if it has one (spikes), otherwise of 8 bits.

    Args:
        values: examples, of any shape.
    """
    sizes = np.abs(values)
    largest = float(sizes.max(initial=0.0))
    if largest == 0.0:
        return 1.0
    if bool(((sizes == 0) | (sizes == largest)).all()):
        return largest
    return float(largest / LARGEST_INPUT)


def rounded(
    network: Network, chip: Chip, input_units: dict[str, float], metadata: dict[str, Any] | None = None
) -> Rounded:
    """Round a network for a chip.

    Args:
        network: the real-valued one.
        chip: for its bits and scales.
        input_units: by input, see `input_unit`.
        metadata: of the graph, to be kept; time is counted in steps from here on.

    Raises:
        ChipRefused: a scale or a resistance that differs from neuron to neuron, or weights with two targets.
    """
    _check_targets(network, chip)
    nodes: dict[str, Any] = dict(network.flat.nodes)
    edges = list(network.flat.edges)
    worker = _Worker(network, chip, input_units, nodes, edges)
    layers = {name: worker.layer(layer) for name, layer in network.layers.items()}
    outputs = {}
    for name in network.flat.outputs:
        reading = [one for one in network.layers.values() if name in (one.name, *_after(network, one.sends))]
        outputs[name] = 1.0 if not reading or reading[0].spiking else layers[reading[0].name].unit
    return Rounded(
        Graph(nodes, tuple(edges), {**(metadata or {}), "dt": 1.0}), layers, dict(input_units), outputs
    )


def _after(network: Network, name: str) -> list[str]:
    return [target for source, target in network.flat.edges if source == name]


def _check_targets(network: Network, chip: Chip) -> None:
    seen: dict[str, str] = {}
    for layer in network.layers.values():
        for path in layer.paths:
            if path.weight and seen.setdefault(path.weight, layer.name) != layer.name:
                told = (
                    f"{path.weight}: leads to {seen[path.weight]} and {layer.name}, which may need two units"
                )
                raise ChipRefused(chip.title, [told])


class _Worker:
    """Rounds layer by layer, in place of `nodes` and `edges`."""

    def __init__(
        self,
        network: Network,
        chip: Chip,
        input_units: dict[str, float],
        nodes: dict[str, Any],
        edges: list[tuple[str, str]],
    ) -> None:
        self.network, self.chip, self.input_units = network, chip, input_units
        self.nodes, self.edges = nodes, edges
        self.most = 2 ** (chip.limits.weight_bits.value - 1) - 1

    def layer(self, layer: Layer) -> RoundedLayer:
        """Round what leads to a layer, and its thresholds."""
        gains = [self.gain(path, layer) for path in layer.paths]
        weights = [self.weight(path) * gain for path, gain in zip(layer.paths, gains, strict=True)]
        unit = best_unit(weights, self.most, self.chip.scale == "power_of_two")
        whole = [np.clip(np.round(one / unit), -self.most, self.most) for one in weights]
        drive = 0.0
        for path, levels in zip(layer.paths, whole, strict=True):
            self.write(path, layer, levels, unit)
            drive += self.largest_drive(path, levels)
        threshold = self.neurons(layer, unit)
        square = sum(float(((a - b * unit) ** 2).sum()) for a, b in zip(weights, whole, strict=True))
        power = sum(float((one**2).sum()) for one in weights)
        reach = max(1.0, drive + threshold)
        return RoundedLayer(unit, (square / power) ** 0.5 if power else 0.0, ceil(log2(reach + 1)) + 1)

    def weight(self, path: Path) -> NDArray[np.float64]:
        """A path's weights; a path without any is one of 1."""
        if not path.weight:
            return np.ones(1)
        return np.asarray(self.network.flat.nodes[path.weight].weight, np.float64)  # type: ignore[union-attr]

    def gain(self, path: Path, layer: Layer) -> float:
        """What a weight is multiplied with on its way to the membrane, the input's unit included."""
        total = self.input_units.get(path.source, 1.0)
        for name in path.nodes:
            total *= self.pooled(name) * self.uniform(name, "scale", 1.0)
        return total * self.resistance(layer)

    def pooled(self, name: str) -> float:
        """The factor of a mean over windows."""
        node = self.network.flat.nodes[name]
        return 1 / float(np.prod(node.kernel_size)) if isinstance(node, nir.AvgPool2d) else 1.0

    def uniform(self, name: str, field: str, default: float) -> float:
        """A field's one value. Raises ChipRefused when it has several."""
        held = getattr(self.network.flat.nodes.get(name), field, None)
        if held is None:
            return default
        values = np.unique(np.asarray(held, np.float64))
        if len(values) != 1:
            span = f"from {values[0]:g} to {values[-1]:g}"
            told = f"{name}: {field} has {len(values)} values, {span}; one is needed"
            raise ChipRefused(self.chip.title, [told])
        return float(values[0])

    def write(self, path: Path, layer: Layer, levels: NDArray[np.float64], unit: float) -> None:
        """Put whole numbers into the graph; scales on the way become 1, pools stay."""
        factor = 1.0  # that pooling will take off again
        for name in path.nodes:
            factor /= self.pooled(name)
            node = self.nodes[name]
            if isinstance(node, nir.Scale):
                self.nodes[name] = replace(node, scale=np.ones_like(np.asarray(node.scale, np.float32)))
        if path.weight:
            node = self.nodes[path.weight]
            fields: dict[str, Any] = {"weight": (levels * factor).astype(np.float32)}
            if getattr(node, "bias", None) is not None:
                # A bias comes after the input: neither the input's unit nor pooling before it apply.
                behind = path.nodes[path.nodes.index(path.weight) + 1 :]
                gain, later = self.resistance(layer), 1.0
                for name in behind:
                    gain *= self.pooled(name) * self.uniform(name, "scale", 1.0)
                    later /= self.pooled(name)
                bias = np.round(np.asarray(node.bias, np.float64) * gain / unit) * later
                fields["bias"] = bias.astype(np.float32)
            self.nodes[path.weight] = replace(node, **fields)
            return
        last = path.nodes[-1] if path.nodes else self.sender(path.source)
        added = f"{last}_to_{layer.name}"
        shape = self.network.shapes[layer.name][0]
        self.nodes[added] = nir.Scale(np.full(shape, levels[0] * factor, np.float32))
        self.edges[self.edges.index((last, layer.name))] = (last, added)
        self.edges.append((added, layer.name))

    def sender(self, source: str) -> str:
        """The node that a layer's or input's values leave from."""
        return self.network.layers[source].sends if source in self.network.layers else source

    def largest_drive(self, path: Path, levels: NDArray[np.float64]) -> float:
        """The most that one step can add to a membrane, in units, if every sender spiked."""
        largest = LARGEST_INPUT if path.source in self.network.inputs else 1
        by_target = np.abs(levels).reshape(levels.shape[0], -1).sum(axis=1).max(initial=0.0)
        windows = 1.0
        for name in path.nodes:
            windows /= self.pooled(name)
        return float(by_target) * largest * windows

    def neurons(self, layer: Layer, unit: float) -> float:
        """Round a layer's thresholds and resets; gives the largest threshold in units."""
        node = self.nodes[layer.name]
        fields: dict[str, Any]
        if layer.soft:
            return self.soft_reset(layer, unit)
        fields = {}
        for name in ("v_reset", "v_leak"):
            held = getattr(node, name, None)
            if held is not None:
                fields[name] = _whole(held, unit)
        for name in ("tau", "tau_mem", "tau_syn"):
            if getattr(node, name, None) is not None:
                fields[name] = np.asarray(getattr(node, name), np.float64) / self.network.step
        level = getattr(node, "v_threshold", None)
        if level is not None:
            fields["v_threshold"] = (
                _fires_at(level, unit) if isinstance(node, nir.IF) else _whole(level, unit)
            )
        if getattr(node, "r", None) is not None:
            fields["r"] = np.ones_like(np.asarray(node.r, np.float32))
        if fields:
            self.nodes[layer.name] = replace(node, **fields)
        return float(np.max(fields.get("v_threshold", 0.0)))

    def soft_reset(self, layer: Layer, unit: float) -> float:
        """Round a threshold and what a spike takes off: two, where a membrane is counted from its start.

        Gives what a spike takes off.
        """
        node, name = self.nodes[layer.name], layer.sends
        back = next(b for a, b in self.edges if a == name and (b, layer.name) in self.edges)
        r = self.resistance(layer)
        taken = np.maximum(_whole(-np.asarray(self.nodes[back].scale, np.float64) * r, unit), 1)
        self.nodes[back] = replace(self.nodes[back], scale=-taken)
        self.nodes[name] = replace(self.nodes[name], threshold=_fires_at(self.nodes[name].threshold, unit))
        self.nodes[layer.name] = replace(node, r=np.ones_like(np.asarray(node.r, np.float32)))
        return float(taken.max(initial=0))

    def resistance(self, layer: Layer) -> float:
        """What a current is multiplied with: r, over one step where nothing leaks."""
        leaks = not isinstance(self.network.flat.nodes[layer.name], (nir.I, nir.IF))
        return self.uniform(layer.name, "r", 1.0) * (1.0 if leaks else self.network.step)


def _fires_at(level: Any, unit: float) -> NDArray[np.float32]:
    """A threshold in units: neurons fire strictly above half below the whole number at which they shall."""
    return _whole(level, unit) - np.float32(0.5)


def _whole(values: Any, unit: float) -> NDArray[np.float32]:
    """Whole numbers of a unit."""
    return np.round(np.asarray(values, np.float64) / unit).astype(np.float32)


def best_unit(weights: list[NDArray[np.float64]], most: int, power_of_two: bool) -> float:
    """The unit that leaves the least squared error when whole numbers up to `most` stand for the weights.

    Args:
        weights: of everything that comes together in one layer.
        most: the largest whole number.
        power_of_two: only units that are powers of two.
    """
    flat = np.concatenate([one.reshape(-1) for one in weights]) if weights else np.zeros(0)
    largest = float(np.abs(flat).max(initial=0.0))
    if largest == 0:
        return 1.0
    if power_of_two:
        top = ceil(log2(largest / most))
        units = [2.0 ** (top - k) for k in range(4)]
    else:
        units = [largest / most * shrink for shrink in SHRINKS]
    errors = [float(((np.clip(np.round(flat / u), -most, most) * u - flat) ** 2).sum()) for u in units]
    return units[int(np.argmin(errors))]
