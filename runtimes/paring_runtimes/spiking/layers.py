"""Layers as they are run: a neuron node with the weight nodes that feed it, its state, and its kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from paring_runtimes.spiking.connections import Connection, Convolution, Full
from paring_runtimes.spiking.events import Events, no_events
from paring_runtimes.spiking.neurons import Neurons
from paring_runtimes.spiking.windows import Tables, Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paring_runtimes.spiking.workers import Workers

# A source that fires this often in a chunk is looked up once for all its rows, instead of row by row.
_WORTH_TURNING = 1.5
# So many events for each place of an image are gathered at the positions that they reach, not scattered.
_WORTH_SORTING = 0.25


@dataclass
class NeuronState:
    """What neurons keep from step to step, float32 [B, layout.size] each, and who is at threshold."""

    membrane: NDArray[np.float32]
    synapse: NDArray[np.float32]
    hot: NDArray[np.uint8]

    def add(self, neurons: Neurons, currents: NDArray[np.float32]) -> None:
        """Let currents [B, size] flow in for a step, by themselves: no leak, and nobody fires yet."""
        gain = np.broadcast_to(neurons.field("gain"), _blocks(neurons))
        self.membrane += (gain * currents.reshape(-1, *gain.shape)).reshape(self.membrane.shape)


@dataclass(frozen=True)
class Fired:
    """What a layer did in a chunk: its spikes, and which neurons were looked at (None: all)."""

    events: Events
    seen: NDArray[np.uint8] | None


def _blocks(neurons: Neurons) -> tuple[int, int, int]:
    return (neurons.layout.blocks, neurons.layout.positions, neurons.layout.lanes)


def fresh_state(neurons: Neurons, batch: int) -> NeuronState:
    """Return membranes at 0."""
    membrane = np.zeros((batch, neurons.layout.size), np.float32)
    size = neurons.layout.size if neurons.leaky else 0
    return NeuronState(membrane, np.zeros((batch, size), np.float32), neurons.at_threshold(membrane))


@dataclass(frozen=True)
class Current:
    """A current that is the same at every step of a run, blocked.

    Attributes:
        array: flat [1 or B, blocks, positions (or 1), lanes].
        batch: how many samples it has; 1 stands for all.
        stride: lanes where positions differ, else 0.
        silent: it is zero everywhere.
    """

    array: NDArray[np.float32]
    batch: int
    stride: int
    silent: bool


def current_of(neurons: Neurons, terms: Sequence[NDArray[np.float32]]) -> Current:
    """Sum constant terms: [C] for a bias, or [B, N]."""
    layout = neurons.layout
    flat = np.zeros((1, layout.channels, 1), np.float32)
    for term in terms:
        shaped = term.reshape(1, -1, 1) if term.ndim == 1 else term.reshape(len(term), layout.channels, -1)
        flat = flat + shaped
    batch, stride = len(flat), layout.lanes if flat.shape[2] > 1 else 0
    padded = np.zeros((batch, layout.blocks * layout.lanes, flat.shape[2]), np.float32)
    padded[:, : layout.channels] = flat
    split = padded.reshape(batch, layout.blocks, layout.lanes, -1)
    array = np.ascontiguousarray(np.swapaxes(split, -1, -2)).reshape(-1)
    return Current(array, batch, stride, not bool(flat.any()))


def run_fused(
    connection: Full | Convolution, events: Events, current: Current, neurons: Neurons, state: NeuronState,
    workers: Workers,
) -> Fired:  # fmt: skip
    """One weight node, fed by events, and the neurons behind it: currents never leave the cache."""
    layout = neurons.layout
    rows = len(events.start) - 1
    always = not (neurons.idle and current.silent)
    feature = layout.shape
    if not always and events.count == 0 and not state.hot.any():
        return Fired(
            no_events((events.steps, events.batch, *feature)),
            np.zeros(rows * layout.blocks * layout.positions, np.uint8),
        )
    bits = np.zeros(rows * layout.size // 16, np.uint16)
    seen = np.zeros(rows * layout.blocks * layout.positions, np.uint8)
    state_arguments = (
        state.membrane.reshape(-1),
        state.synapse.reshape(-1),
        neurons.leaky,
        always,
        neurons.table,
    )
    hot = state.hot.reshape(-1)
    if isinstance(connection, Full):
        from paring_runtimes.spiking.kernels.full import by_source, full_neurons

        turned = (np.zeros(0, np.int64), np.zeros(1, np.int64), np.zeros(0, np.int32))
        if events.value is None and rows > 1:
            found = by_source(events.start, events.index, connection.sources)
            if events.count > _WORTH_TURNING * len(found[0]):
                turned = found
        work = (events.count + rows) * layout.size // 16
        workers.run(
            full_neurons, layout.blocks, work, events.batch, events.start, events.index, events.value,
            *turned, connection.weight, connection.sources, current.array, current.batch,
            *state_arguments, bits, hot, seen, layout.blocks,
        )  # fmt: skip
    else:
        from paring_runtimes.spiking.kernels.convolution import convolution_neurons

        updates = rows * layout.size // 16 if always else 0
        bands = connection.bands(events, workers)
        workers.run(
            convolution_neurons, events.batch * layout.blocks * bands, connection.work(events) + updates,
            events.batch, events.start, events.index, events.value, connection.shape, *connection.tables,
            *connection.tables_back, *_by_place(connection, events, workers), connection.weight,
            *connection.window.out, layout.lanes, layout.blocks, bands, current.array,
            current.batch, current.stride, *state_arguments, neurons.stride, bits, hot, seen,
        )  # fmt: skip
    return Fired(_events(bits, neurons, events.steps, events.batch, workers), None if always else seen)


def _by_place(connection: Convolution, events: Events, workers: Workers) -> tuple[object, object, object]:
    """Sort events by place (begin, channel, size); give empty ones where they are better scattered."""
    from paring_runtimes.spiking.kernels.convolution import sort_by_place

    area, rows = connection.window.size[0] * connection.window.size[1], len(events.start) - 1
    sizes = None if events.value is None else np.empty(events.count, np.float32)
    if connection.groups > 1 or events.count < _WORTH_SORTING * area * rows:
        return np.zeros(0, np.int64), np.zeros(0, np.int32), sizes
    begin, channel = np.empty(rows * area + 1, np.int64), np.empty(events.count, np.int32)
    begin[-1] = events.count
    workers.run(
        sort_by_place, rows, 8 * events.count + area * rows,
        events.start, events.index, events.value, area, begin, channel, sizes,
    )  # fmt: skip
    return begin, channel, sizes


def run_dense(
    total: NDArray[np.float32], neurons: Neurons, state: NeuronState, workers: Workers
) -> Fired | NDArray[np.float32]:
    """Neurons whose currents [T, B, size] are summed already; of silent ones, their membranes flat."""
    from paring_runtimes.spiking.kernels.update import dense_neurons

    layout = neurons.layout
    steps, batch = total.shape[:2]
    bits = np.zeros(steps * batch * layout.size // 16, np.uint16)
    workers.run(
        dense_neurons, batch * layout.blocks, steps * batch * layout.size // 16,
        steps, batch, total.reshape(-1), layout.positions, layout.lanes, layout.blocks,
        state.membrane.reshape(-1), state.synapse.reshape(-1), neurons.leaky, neurons.table, neurons.stride,
        bits, state.hot.reshape(-1), not neurons.spiking,
    )  # fmt: skip
    if not neurons.spiking:
        return layout.flat(total).reshape(steps, batch, *layout.shape)
    return Fired(_events(bits, neurons, steps, batch, workers), None)


def add_all(
    connections: Sequence[tuple[Connection, Events]], total: NDArray[np.float32], workers: Workers
) -> None:
    """Add what events bring through weights to `total` [T, B, size]."""
    for connection, events in connections:
        if events.count:
            connection.add(events, total, workers)


def _events(bits: NDArray[np.uint16], neurons: Neurons, steps: int, batch: int, workers: Workers) -> Events:
    from paring_runtimes.spiking.kernels.sparse import count_bits, list_bits

    layout = neurons.layout
    rows = steps * batch
    counts = np.zeros(rows, np.int64)
    workers.run(count_bits, rows, bits.size, bits, layout.size // 16, counts)
    start = np.zeros(rows + 1, np.int64)
    np.cumsum(counts, out=start[1:])
    index = np.empty(start[-1], np.int32)
    workers.run(
        list_bits, rows, bits.size + 8 * len(index),
        bits, layout.blocks, layout.positions, layout.lanes, start, index,
    )  # fmt: skip
    return Events((steps, batch, *layout.shape), start, index)


def pooled(
    events: Events, window: Window, tables: Tables, shape: tuple[int, ...], workers: Workers
) -> Events:
    """Return events at the places of their pooling windows, of samples of this shape."""
    from paring_runtimes.spiking.kernels.sparse import count_pooled, pool_events

    rows, value = len(events.start) - 1, events.value
    counts, y_begin, x_begin = np.zeros(rows, np.int64), tables[0], tables[2]
    workers.run(
        count_pooled, rows, 2 * events.count,
        events.start, events.index, *window.size, y_begin, x_begin, counts,
    )  # fmt: skip
    start = np.zeros(rows + 1, np.int64)
    np.cumsum(counts, out=start[1:])
    index, sizes = np.empty(start[-1], np.int32), None if value is None else np.empty(start[-1], np.float32)
    workers.run(
        pool_events, rows, 4 * events.count, events.start, events.index, value, *window.size, *tables,
        *window.out, start, index, sizes,
    )  # fmt: skip
    return Events((*events.shape[:2], *shape), start, index, sizes)
