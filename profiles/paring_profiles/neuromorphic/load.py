"""What a network did on a chip's cores, for one inference: the quantities that prices multiply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paring_runtimes.spiking import Counts

from .mapper import Placed


@dataclass(frozen=True)
class Load:
    """Of one inference, the mean over the samples; by name of the node.

    Attributes:
        steps: T.
        samples: how many inferences the means are over.
        synops: synaptic operations, by weight node.
        macs: multiply-accumulates of real-valued inputs, by weight node.
        spikes: by layer that sends, and by input that was fed with events.
        active, inactive: neurons that a step looked at, or passed over, by layer.
        chip_synops, chip_macs, chip_active, chip_inactive: the same in all, as the chip does it: neurons
            that are held several times, or take several compartments, count as often.
        messages: spikes times the other cores that each goes to.
        hops_x, hops_y: steps between routers.
        core_synops, core_active, core_inactive: [samples timed, T, cores], of single inferences.
        idle_cores: mean share of the cores in use that do nothing in a step.
    """

    steps: int
    samples: int
    synops: dict[str, float]
    macs: dict[str, float]
    spikes: dict[str, float]
    active: dict[str, float]
    inactive: dict[str, float]
    chip_synops: float
    chip_macs: float
    chip_active: float
    chip_inactive: float
    messages: float
    hops_x: float
    hops_y: float
    core_synops: NDArray[np.float64]
    core_active: NDArray[np.float64]
    core_inactive: NDArray[np.float64]
    idle_cores: float

    @property
    def total_synops(self) -> float:
        """Synaptic operations of an inference."""
        return sum(self.synops.values())

    @property
    def total_macs(self) -> float:
        """Multiply-accumulates of an inference."""
        return sum(self.macs.values())


def load_of(placed: Placed, counts: Sequence[Counts], samples: int, timed: Sequence[Counts]) -> Load:
    """Bring counts onto the chip.

    Args:
        placed: the network on its cores.
        counts: of runs over `samples` inferences together.
        samples: how many those were.
        timed: counts by core, each of one inference.
    """
    network = placed.network
    steps = len(next(iter(counts[0].neuron_updates.values()), np.zeros(1)))
    copies = _copies(placed)
    synops = {name: _mean(counts, "synops", name, samples) for name in counts[0].synops}
    macs = {name: _mean(counts, "macs", name, samples) for name in counts[0].macs}
    active, inactive = {}, {}
    for name, layer in network.layers.items():
        if name in counts[0].neuron_updates:
            active[name] = _mean(counts, "neuron_updates", name, samples)
        else:
            active[name] = float(layer.size * steps)  # what is read out takes part in every step
        inactive[name] = layer.size * steps - active[name]
    taken = {name: placed.copies[name] * _compartments(placed, name) for name in network.layers}
    sent = {
        name: sum(one.spikes_per_neuron.get(layer.sends, np.zeros(layer.size, np.int64)) for one in counts)
        for name, layer in network.layers.items()
        if layer.spiking
    }
    spikes = {name: float(np.sum(each)) / samples for name, each in sent.items()}
    spikes |= {
        name: _mean(counts, "spikes", name, samples) for name in network.inputs if name in counts[0].spikes
    }
    routes = {name: placed.routes[name] for name in sent if name in placed.routes}
    by_core = [_by_core(placed, one, steps) for one in timed]
    core_synops, core_active, core_inactive = (np.stack(parts) for parts in zip(*by_core, strict=True))
    return Load(
        steps=steps,
        samples=samples,
        synops=synops,
        macs=macs,
        spikes=spikes,
        active=active,
        inactive=inactive,
        chip_synops=sum(value * copies.get(name, 1) for name, value in synops.items()),
        chip_macs=sum(value * copies.get(name, 1) for name, value in macs.items()),
        chip_active=sum(value * taken[name] for name, value in active.items()),
        chip_inactive=sum(value * taken[name] for name, value in inactive.items()),
        messages=sum(float(sent[name] @ r.messages) for name, r in routes.items()) / samples,
        hops_x=sum(float(sent[name] @ r.hops_x) for name, r in routes.items()) / samples,
        hops_y=sum(float(sent[name] @ r.hops_y) for name, r in routes.items()) / samples,
        core_synops=core_synops,
        core_active=core_active,
        core_inactive=core_inactive,
        idle_cores=float(((core_synops + core_active) == 0).mean()),
    )


def _mean(counts: Sequence[Counts], field: str, name: str, samples: int) -> float:
    return float(sum(int(getattr(one, field)[name].sum()) for one in counts)) / samples


def _copies(placed: Placed) -> dict[str, int]:
    """By weight node, how often its target's neurons are held."""
    return {
        path.weight: placed.copies[name]
        for name, layer in placed.network.layers.items()
        for path in layer.paths
        if path.weight
    }


def _compartments(placed: Placed, name: str) -> int:
    soft = placed.network.layers[name].soft
    return placed.chip.limits.of("compartments_for_soft_reset", 1) if soft else 1


def _by_core(
    placed: Placed, counts: Counts, steps: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Synaptic operations, active and inactive updates of one inference, [T, cores] each."""
    assert counts.core_synops is not None
    assert counts.core_updates is not None
    cores = len(placed.cores)
    synops = counts.core_synops.astype(np.float64)
    held = np.zeros(cores)
    active = np.zeros((steps, cores))
    ratio = np.ones(cores)  # compartments a neuron, of the cores' own layers
    for name, layer in placed.network.layers.items():
        where = np.bincount(placed.core_of[name], minlength=cores).astype(np.float64)
        each = placed.copies[name] * _compartments(placed, name)
        held += where * each
        ratio[where > 0] = np.maximum(ratio[where > 0], each)
        if name not in counts.neuron_updates:  # read out: on no core of the session's placement
            active += where * each
            for path in layer.paths:
                if path.weight in counts.synops:
                    synops += counts.synops[path.weight][:, None] * where / layer.size
    active += counts.core_updates * ratio
    return synops, active, np.maximum(held - active, 0.0)
