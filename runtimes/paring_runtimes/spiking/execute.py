"""Work through a network for a chunk of steps: each layer over all of them, cycles step by step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from paring_runtimes.nir.nodes import IF, Delay, Flatten, I, Scale, Threshold
from paring_runtimes.spiking.connections import Connection, Convolution, Full
from paring_runtimes.spiking.events import Events, from_dense, no_events
from paring_runtimes.spiking.graph import WEIGHTS, Task
from paring_runtimes.spiking.layers import (
    Current,
    Fired,
    NeuronState,
    add_all,
    current_of,
    fresh_state,
    pooled,
    run_dense,
    run_fused,
)
from paring_runtimes.spiking.network import Network
from paring_runtimes.spiking.recorder import Recorder
from paring_runtimes.spiking.signals import (
    Constant,
    Dense,
    Signal,
    as_dense,
    as_events,
    in_time,
    one_step,
    total,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paring_runtimes.spiking.workers import Workers

Values = Mapping[str, Signal]


@dataclass
class _Terms:
    """What flows into a node through its edges, by how it is added."""

    weighted: list[tuple[str, Connection, Events]] = field(default_factory=list)
    constant: list[tuple[str, Connection, Constant]] = field(default_factory=list)
    biases: list[NDArray[np.float32]] = field(default_factory=list)
    direct: list[Signal] = field(default_factory=list)


class Executor:
    """A network with its state for one batch. Not for several threads at once.

    Attributes:
        states: by neuron node.
        late: by node, what it sent at the step before; only of nodes whose edges close cycles.
        past: by Delay node, float32 [longest delay, B, N], what it took in before.
    """

    def __init__(self, network: Network, workers: Workers, batch: int) -> None:
        self.network, self.workers, self.batch = network, workers, batch
        self.states: dict[str, NeuronState] = {
            name: fresh_state(neurons, batch) for name, neurons in network.neurons.items()
        }
        self.late: dict[str, Signal] = {}
        self.past = {
            name: np.zeros((int(delay.max(initial=0)), batch, len(delay)), np.float32)
            for name, delay in network.delays.items()
        }
        self._sends_late = {s for t in network.plan.tasks.values() for s, late in t.sources if late}
        self._same: dict[str, Constant] = {}  # results of this run that do not change
        self._currents: dict[str, Current] = {}  # of this run, where a constant input is part of them
        self._biases: dict[str, Current] = {}  # of every run
        self._recorder: Recorder | None = None

    def begin(self) -> None:
        """Forget what followed from constant inputs: the next chunk has new ones."""
        self._same.clear()
        self._currents.clear()

    def chunk(self, inputs: Values, steps: int, recorder: Recorder | None) -> dict[str, NDArray[np.float32]]:
        """Compute some steps; return every output node's values [T, B, ...]."""
        self._recorder = recorder
        plan = self.network.plan
        values: dict[str, Signal] = dict(inputs)
        if recorder is not None:
            for name, signal in inputs.items():
                if isinstance(signal, Events):
                    recorder.spikes(name, signal)
        for group in plan.groups:
            if plan.cyclic(group):
                self._cycle(group, values, steps)
            elif group[0] not in values and group[0] not in self.network.absorbed:
                values[group[0]] = self._compute(plan.tasks[group[0]], values, steps)
        return {name: as_dense(values[name], steps) for name in plan.outputs}

    def _cycle(self, group: tuple[str, ...], values: dict[str, Signal], steps: int) -> None:
        """Compute a cycle's nodes, all of them at one step before any at the next."""
        tasks = [self.network.plan.tasks[name] for name in group if name not in self.network.absorbed]
        outside = self._needed(group) & set(values)
        parts: dict[str, list[Signal]] = {task.name: [] for task in tasks}
        for step in range(steps):
            now = {name: one_step(values[name], step) for name in outside}
            for task in tasks:
                reads = task.name in self.network.plan.reading
                now[task.name] = self._read(task) if reads else self._compute(task, now, 1)
                parts[task.name].append(now[task.name])
            for task in tasks:
                if task.name in self.network.plan.reading:
                    self._compute(task, now, 1)  # it takes in what it gives later
            self.late |= {name: now[name] for name in group if name in self._sends_late}
            if self._recorder is not None:
                self._recorder.first += 1
        if self._recorder is not None:
            self._recorder.first -= steps
        values |= {name: in_time(found) for name, found in parts.items()}

    def _needed(self, group: tuple[str, ...]) -> set[str]:
        """Return the nodes whose values the group's nodes and their absorbed weight nodes take."""
        tasks = self.network.plan.tasks
        found = {source for name in group for source, _ in tasks[name].sources}
        return found | {s for name in found & self.network.absorbed for s, _ in tasks[name].sources}

    def _compute(self, task: Task, values: Values, steps: int) -> Signal:
        if task.name in self._same:
            return self._same[task.name]
        if task.name in self.network.neurons:
            return self._neurons(task, values, steps)
        if isinstance(task.node, WEIGHTS):
            return self._weights(task, values, steps)
        given = [
            signal for source, late in task.sources if (signal := self._of(source, late, values)) is not None
        ]
        if not given:
            return no_events((steps, self.batch, *task.shape))
        signal = total(given, steps)
        found = self._stateless(task, signal, steps)
        if isinstance(found, Constant):
            self._same[task.name] = found
        return found

    def _of(self, source: str, late: bool, values: Values) -> Signal | None:
        return self.late.get(source) if late else values[source]

    def _stateless(self, task: Task, signal: Signal, steps: int) -> Signal:
        """Nodes without weights and membranes: Flatten, Scale, pools, Threshold, Delay, Output."""
        node, name = task.node, task.name
        if isinstance(node, Flatten):
            return _each(
                signal, lambda array, lead: array.reshape(*array.shape[:lead], *task.shape), task.shape
            )
        if isinstance(node, Scale):
            by = np.asarray(node.scale, np.float32)
            if isinstance(signal, Events):
                flat = by.reshape(()) if by.size == 1 else np.broadcast_to(by, task.shape).reshape(-1)
                return signal.scaled(flat)
            return _each(signal, lambda array, _: array * by, task.shape)
        if name in self.network.pools:
            return self._pool(task, signal)
        if isinstance(node, Threshold):
            level = np.asarray(node.threshold, np.float32)
            fired = from_dense(as_dense(signal, steps) > level)
            if self._recorder is not None:
                self._recorder.spikes(task.spikes_as, fired)
            return fired
        if isinstance(node, Delay):
            return self._delayed(task, signal, steps)
        return signal

    def _pool(self, task: Task, signal: Signal) -> Signal:
        pool = self.network.pools[task.name]
        if isinstance(signal, Constant):
            alone = self._pool(task, Dense(signal.array[None]))
            return Constant(as_dense(alone, 1)[0])
        found = pooled(as_events(signal), pool.window, pool.tables, task.shape, self.workers)
        if pool.scale != 1:
            found = found.scaled(pool.scale)
        return found if isinstance(signal, Events) else Dense(found.dense())

    def _delayed(self, task: Task, signal: Signal, steps: int) -> Signal:
        delay = self.network.delays[task.name]
        array = as_dense(signal, steps).reshape(steps, self.batch, -1)
        whole = np.concatenate([self.past[task.name], array])
        longest = len(self.past[task.name])
        out = np.empty_like(array)
        for d in np.unique(delay):
            out[:, :, delay == d] = whole[longest - d : longest - d + steps, :, delay == d]
        self.past[task.name] = whole[len(whole) - longest :]
        shaped = out.reshape(steps, self.batch, *task.shape)
        return from_dense(shaped) if isinstance(signal, Events) else Dense(shaped)

    def _read(self, task: Task) -> Signal:
        """Return what a delay of a step or more gives at the next step: it is in there already."""
        delay, past = self.network.delays[task.name], self.past[task.name]
        shaped = past[len(past) - delay, :, np.arange(len(delay))].T.reshape(1, self.batch, *task.shape)
        return from_dense(shaped) if self._takes_events(task) else Dense(np.ascontiguousarray(shaped))

    def _takes_events(self, task: Task) -> bool:
        """Whether all that feeds a node are events."""
        sources = [self.network.plan.tasks[source] for source, _ in task.sources]
        return all(
            isinstance(one.node, Threshold)
            or (one.name in self.states and self.network.neurons[one.name].spiking)
            for one in sources
        )

    def _terms(self, task: Task, values: Values, late: bool) -> _Terms:
        """Collect what comes through a node's edges, of this step or of the one before."""
        found = _Terms()
        for source, is_late in task.sources:
            if is_late != late:
                continue
            if task.name in self.network.neurons and source in self.network.absorbed:
                self._weight_terms(self.network.plan.tasks[source], values, found)
                continue
            signal = self._of(source, is_late, values)
            if signal is not None:
                found.direct.append(signal)
        return found

    def _weight_terms(self, weight: Task, values: Values, found: _Terms) -> None:
        connection = self.network.connections[weight.name]
        if weight.name in self.network.biases:
            found.biases.append(self.network.biases[weight.name])
        for source, late in weight.sources:
            signal = self._of(source, late, values)
            if isinstance(signal, Constant):
                found.constant.append((weight.name, connection, signal))
            elif isinstance(signal, Events):
                found.weighted.append((weight.name, connection, signal))
                if self._recorder is not None:
                    self._recorder.operations(weight.name, signal)
            elif signal is not None:
                found.weighted.append((weight.name, connection, as_events(signal)))
                if self._recorder is not None:
                    self._recorder.multiplications(weight.name, *signal.array.shape[:2])

    def _constants(self, found: _Terms) -> list[NDArray[np.float32]]:
        """Return the constant terms flat: biases [C], products of constant inputs [B, N]."""
        terms = list(found.biases)
        for name, connection, signal in found.constant:
            layout = connection.layout
            sums = np.zeros((1, self.batch, layout.size), np.float32)
            add_all([(connection, from_dense(signal.array[None]))], sums, self.workers)
            terms.append(layout.flat(sums)[0])
            if self._recorder is not None:
                self._recorder.multiplications(name, 1, self.batch)
        terms += [one.array.reshape(self.batch, -1) for one in found.direct if isinstance(one, Constant)]
        return terms

    def _weights(self, task: Task, values: Values, steps: int) -> Signal:
        """A weight node by itself, whose values go elsewhere than into neurons."""
        found = _Terms()
        self._weight_terms(task, values, found)
        layout = self.network.connections[task.name].layout
        feature = (self.batch, *task.shape)
        constant = np.zeros((1, layout.channels, 1), np.float32)
        for term in self._constants(found):
            shaped = (
                term.reshape(1, -1, 1) if term.ndim == 1 else term.reshape(self.batch, layout.channels, -1)
            )
            constant = constant + shaped
        whole = np.broadcast_to(constant, (self.batch, layout.channels, layout.positions)).reshape(feature)
        if not found.weighted and found.constant:
            self._same[task.name] = Constant(np.ascontiguousarray(whole))
            return self._same[task.name]
        sums = np.zeros((steps, self.batch, layout.size), np.float32)
        add_all([(connection, events) for _, connection, events in found.weighted], sums, self.workers)
        return Dense(layout.flat(sums).reshape(steps, *feature) + whole)

    def _current(self, task: Task, found: _Terms) -> Current:
        """Return the neurons' constant current, worked out once."""
        changes = found.constant or any(isinstance(signal, Constant) for signal in found.direct)
        known = self._currents if changes else self._biases
        if task.name not in known:
            known[task.name] = current_of(self.network.neurons[task.name], self._constants(found))
        return known[task.name]

    def _neurons(self, task: Task, values: Values, steps: int) -> Signal:
        neurons, state = self.network.neurons[task.name], self.states[task.name]
        found, before = self._terms(task, values, False), self._terms(task, values, True)
        current = self._current(task, found)
        direct: list[Signal] = [signal for signal in found.direct if not isinstance(signal, Constant)]
        lone = _lone(found, (steps, self.batch)) if not direct and not before.direct else None
        if lone is not None and neurons.spiking:
            fired: Fired | NDArray[np.float32] = run_fused(*lone, current, neurons, state, self.workers)
        else:
            if before.direct and isinstance(task.node, (I, IF)):
                # The feedback first, by itself: v - threshold, then + x, as a neuron with soft reset does.
                state.add(neurons, self._summed(task, [], before.direct, 1)[0])
            else:
                direct = direct + before.direct
            sums = self._summed(task, found.weighted, direct, steps)
            sums += _spread(current, neurons.layout.blocks, neurons.layout.positions, neurons.layout.lanes)
            fired = run_dense(sums, neurons, state, self.workers)
        if self._recorder is not None:
            told = fired if isinstance(fired, Fired) else None
            self._recorder.updates(task.name, told, steps, self.batch)
        if not isinstance(fired, Fired):
            return Dense(fired)
        if self._recorder is not None:
            self._recorder.spikes(task.spikes_as, fired.events, task.name)
        return fired.events

    def _summed(
        self, task: Task, weighted: list[tuple[str, Connection, Events]], direct: list[Signal], steps: int
    ) -> NDArray[np.float32]:
        """Return the sum of what changes from step to step, [T, B, size]."""
        layout = self.network.neurons[task.name].layout
        sums = np.zeros((steps, self.batch, layout.size), np.float32)
        for signal in direct:
            sums += layout.blocked(as_dense(signal, steps).reshape(steps, self.batch, -1))
        add_all([(connection, events) for _, connection, events in weighted], sums, self.workers)
        return sums


def _lone(found: _Terms, rows: tuple[int, int]) -> tuple[Full | Convolution, Events] | None:
    """Return the one weight node that feeds the neurons with events, or one with none of them."""
    weighted = [(connection, events) for _, connection, events in found.weighted]
    if not weighted and found.constant:
        _, connection, signal = found.constant[0]
        weighted = [(connection, no_events((*rows, *signal.array.shape[1:])))]
    if len(weighted) != 1:
        return None
    connection, events = weighted[0]
    return (connection, events) if isinstance(connection, (Full, Convolution)) else None


def _spread(current: Current, blocks: int, positions: int, lanes: int) -> NDArray[np.float32]:
    """Return a constant current as [1, 1 or B, size]."""
    array = current.array.reshape(current.batch, blocks, -1, lanes)
    whole = np.broadcast_to(array, (current.batch, blocks, positions, lanes))
    return whole.reshape(1, current.batch, -1)


def _each(signal: Signal, change, shape: tuple[int, ...]) -> Signal:  # type: ignore[no-untyped-def]
    """Change a signal's array; `change` takes it and how many dimensions stand before a sample's own."""
    if isinstance(signal, Events):
        return signal.reshaped(shape)
    if isinstance(signal, Dense):
        return Dense(change(signal.array, 2))
    return Constant(change(signal.array, 1))
