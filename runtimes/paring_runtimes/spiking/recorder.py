"""Counts spikes, synaptic operations and updates while a run goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from paring_runtimes.errors import InputError
from paring_runtimes.nir.nodes import Threshold
from paring_runtimes.spiking.connections import CoreRows
from paring_runtimes.spiking.counts import Counts, Placement
from paring_runtimes.spiking.events import Events
from paring_runtimes.spiking.graph import WEIGHTS
from paring_runtimes.spiking.layers import Fired
from paring_runtimes.spiking.network import Network
from paring_runtimes.suggest import near_miss

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Recorder:
    """Counts of one run of T steps. The executor tells it what happened in each chunk.

    Attributes:
        first: the step at which the current chunk begins.
        trace: names of nodes whose events are kept, in `kept`.
    """

    def __init__(
        self, network: Network, steps: int, placement: Placement | None, trace: tuple[str, ...]
    ) -> None:
        """Raises InputError for a placement or a trace that does not fit the network."""
        self._network, self._placement, self._total = network, placement, steps
        self.first = 0
        self.kept: dict[str, list[Events]] = {name: [] for name in trace}
        self._check_trace(trace)
        self._rows: dict[str, CoreRows] = {}
        if placement is not None:
            _check_placement(network, placement)
        weights = [name for name, task in network.plan.tasks.items() if isinstance(task.node, WEIGHTS)]
        spiking = [t.spikes_as for t in network.plan.tasks.values() if self._sends(t.name)]

        def series(names: list[str]) -> dict[str, NDArray[np.int64]]:
            return {name: np.zeros(steps, np.int64) for name in names}

        def cores() -> NDArray[np.int64] | None:
            return None if placement is None else np.zeros((steps, placement.cores), np.int64)

        self.counts = Counts(
            spikes=series(spiking),
            synops=series(weights),
            macs=series(weights),
            neuron_updates=series(list(network.neurons)),
            core_synops=cores(),
            core_spikes=cores(),
            core_updates=cores(),
        )

    def _sends(self, name: str) -> bool:
        """Whether a node sends spikes of its own."""
        neurons = self._network.neurons.get(name)
        return (neurons is not None and neurons.spiking) or isinstance(
            self._network.plan.tasks[name].node, Threshold
        )

    def _check_trace(self, trace: tuple[str, ...]) -> None:
        known = {t.spikes_as for t in self._network.plan.tasks.values() if self._sends(t.name)}
        for name in trace:
            if name not in known:
                raise InputError(
                    f"trace: no spiking node {name!r}{near_miss(name, known)}; known: {sorted(known)}"
                )

    def spikes(self, name: str, events: Events, neurons: str | None = None) -> None:
        """A node sent events; `neurons` is the node whose placement they have."""
        counts = self.counts
        per_step = np.diff(events.start).reshape(events.steps, events.batch).sum(1)
        counts.spikes.setdefault(name, np.zeros(self._total, np.int64))[self._chunk(events.steps)] += per_step
        each = np.bincount(events.index, minlength=events.size)
        if name in counts.spikes_per_neuron:
            counts.spikes_per_neuron[name] += each
        else:
            counts.spikes_per_neuron[name] = each.astype(np.int64)
        if name in self.kept:
            self.kept[name].append(events)
        core = None if self._placement is None or neurons is None else self._placement.core.get(neurons)
        if core is not None and counts.core_spikes is not None:
            steps = np.repeat(np.arange(events.steps), np.diff(events.start[:: events.batch]))
            np.add.at(counts.core_spikes, (self.first + steps, core[events.index]), 1)

    def operations(self, weight: str, events: Events) -> None:
        """A weight node was fed events."""
        from paring_runtimes.spiking.kernels.sparse import sum_by_core, sum_by_row

        connection = self._network.connections[weight]
        sums = sum_by_row(events.start, events.index, connection.fan_out)
        chunk = self._chunk(events.steps)
        self.counts.synops[weight][chunk] += sums.reshape(events.steps, events.batch).sum(1)
        placement = self._placement
        target = None if placement is None else self._network.neurons_behind(weight)
        if placement is None or target is None or self.counts.core_synops is None:
            return
        if target not in placement.core:
            return
        if weight not in self._rows:
            self._rows[weight] = connection.by_core(placement.core[target])
        rows = self._rows[weight]
        out = self.counts.core_synops[chunk]
        sum_by_core(events.start, events.index, events.batch, rows.begin, rows.core, rows.count, out)

    def multiplications(self, weight: str, steps: int, batch: int) -> None:
        """A weight node was fed real values for so many steps."""
        each = int(self._network.connections[weight].fan_out.sum()) * batch
        self.counts.macs[weight][self._chunk(steps)] += each

    def updates(self, name: str, fired: Fired | None, steps: int, batch: int) -> None:
        """Neurons were updated: those seen, or all."""
        from paring_runtimes.spiking.kernels.sparse import seen_by_core

        layout = self._network.neurons[name].layout
        chunk = self._chunk(steps)
        core = None if self._placement is None else self._placement.core.get(name)
        by_core = self.counts.core_updates
        if fired is None or fired.seen is None:
            self.counts.neuron_updates[name][chunk] += layout.channels * layout.positions * batch
            if core is not None and by_core is not None:
                by_core[chunk] += np.bincount(core, minlength=by_core.shape[1]) * batch
            return
        blocks, positions, lanes = layout.blocks, layout.positions, layout.lanes
        channels = np.minimum(lanes, layout.channels - lanes * np.arange(blocks))
        seen = fired.seen.reshape(steps, batch, blocks, positions).sum((1, 3), dtype=np.int64)
        self.counts.neuron_updates[name][chunk] += seen @ channels
        if core is not None and by_core is not None:
            seen_by_core(fired.seen, batch, blocks, positions, lanes, layout.channels, core, by_core[chunk])

    def _chunk(self, steps: int) -> slice:
        return slice(self.first, self.first + steps)


def _check_placement(network: Network, placement: Placement) -> None:
    for name, core in placement.core.items():
        if name not in network.neurons:
            raise InputError(
                f"placement: no neuron node {name!r}{near_miss(name, network.neurons)}; "
                f"known: {', '.join(network.neurons)}"
            )
        layout = network.neurons[name].layout
        count = layout.channels * layout.positions
        if core.shape != (count,) or core.dtype != np.int32:
            raise InputError(
                f"placement: {name!r} needs int32 [{count}], given {core.dtype} {list(core.shape)}"
            )
        if core.min() < 0 or core.max() >= placement.cores:
            raise InputError(
                f"placement: {name!r} names cores {core.min()} to {core.max()} of {placement.cores}"
            )
