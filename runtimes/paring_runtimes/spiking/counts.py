"""What a spiking run counted: spikes, synaptic operations, neuron updates, by node, step and core.

Counts are over the whole batch: divide by `SpikingResult.batch` for one sample. They are facts of the run,
not a price; what an operation costs on a chip is a model's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Placement:
    """Which core of a chip holds which neuron.

    Attributes:
        core: by name of the neuron node, each neuron's core, int32 [N], in the node's flat (C, H, W) order.
            Synaptic operations are counted where their target neuron lives; a node that is left out
            (an output without neurons, for example) is on no core.
        cores: how many cores there are; every number in `core` is below it.
    """

    core: Mapping[str, NDArray[np.int32]]
    cores: int


@dataclass(frozen=True)
class Counts:
    """What happened at each of T steps, summed over the batch.

    A synaptic operation is one nonzero event times one existing connection (a weight that is not zero).
    Pooling forwards every event by itself, so two spikes in one window are two operations behind it. Where
    a weight node's input is dense and real-valued, its connections count as multiply-accumulates instead; a
    constant input is multiplied once, and counted at the first step.

    Attributes:
        spikes: by spiking node, spikes it sent, int64 [T]; input nodes fed with events are here too.
        synops: by weight node, synaptic operations, int64 [T].
        macs: by weight node, multiply-accumulates of real-valued inputs, int64 [T].
        neuron_updates: by neuron node, neurons whose state had to be looked at, int64 [T]: all where there
            is a leak or a constant current, else those that an event reaches or that are still at threshold.
        spikes_per_neuron: by spiking node, int64 [N], over all steps and samples.
        core_synops: int64 [T, cores], by the target's core; None without a placement, as the next two.
        core_spikes: int64 [T, cores], by the sender's core.
        core_updates: int64 [T, cores].
    """

    spikes: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    synops: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    macs: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    neuron_updates: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    spikes_per_neuron: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    core_synops: NDArray[np.int64] | None = None
    core_spikes: NDArray[np.int64] | None = None
    core_updates: NDArray[np.int64] | None = None

    @property
    def total_synops(self) -> int:
        """Synaptic operations of all nodes and steps."""
        return sum(int(series.sum()) for series in self.synops.values())

    @property
    def total_macs(self) -> int:
        """Multiply-accumulates of all nodes and steps."""
        return sum(int(series.sum()) for series in self.macs.values())

    @property
    def total_spikes(self) -> int:
        """Spikes of all nodes and steps, input events included."""
        return sum(int(series.sum()) for series in self.spikes.values())


@dataclass(frozen=True)
class SpikingResult:
    """What `SpikingSession.run` gives.

    Attributes:
        outputs: by output node, what reached it at every step, float32 [T, B, ...].
        counts: what was counted.
        steps: T.
        batch: B.
        traces: events of the nodes asked for (`run(trace=...)`), by name: `Events`.
    """

    outputs: dict[str, NDArray[np.float32]]
    counts: Counts
    steps: int
    batch: int
    traces: dict[str, Any] = field(default_factory=dict)
