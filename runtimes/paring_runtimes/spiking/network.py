"""A NIR graph made ready to run: weights and neurons laid out, what feeds what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.errors import EngineError
from paring_runtimes.nir import NirRefused, Node, flatten, read
from paring_runtimes.nir.nodes import (
    Affine,
    AvgPool2d,
    Conv1d,
    Conv2d,
    Delay,
    Flatten,
    Linear,
    Scale,
    SumPool2d,
)
from paring_runtimes.spiking.connections import Connection, Convolution, matrix
from paring_runtimes.spiking.graph import WEIGHTS, Plan, Task, is_neuron, plan_of
from paring_runtimes.spiking.layout import Layout, layout_of
from paring_runtimes.spiking.neurons import Neurons, neurons_of
from paring_runtimes.spiking.time_step import step_of
from paring_runtimes.spiking.windows import Tables, Window, convolution_window, pool_window

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Pool:
    """A pool: every event goes to its windows, times `scale`."""

    window: Window
    tables: Tables
    scale: float


@dataclass(frozen=True)
class Network:
    """What the executor works through.

    Attributes:
        plan: tasks in order.
        neurons: by neuron node.
        connections: by weight node.
        biases: by weight node, float32 [C]; only where one is not zero.
        absorbed: weight nodes whose targets are neurons alone: computed with these, never by themselves.
        pools: by pooling node.
        delays: by Delay node, int64 flat, steps.
        metadata: of the graph.
    """

    plan: Plan
    neurons: dict[str, Neurons]
    connections: dict[str, Connection]
    biases: dict[str, NDArray[np.float32]]
    absorbed: frozenset[str]
    pools: dict[str, Pool]
    delays: dict[str, NDArray[np.int64]]
    metadata: Mapping[str, Any]

    def bytes_written_out(self) -> int:
        """Return the most that one step of one sample writes out of currents and real values, bytes.

        Neurons that one weight node feeds keep their currents in the cache; the others' are written.
        """
        sizes = [0]
        for name, task in self.plan.tasks.items():
            lone = len(task.sources) == 1 and task.sources[0][0] in self.absorbed
            if name in self.connections and name not in self.absorbed:
                sizes.append(self.connections[name].layout.size)
            elif name in self.neurons and not (lone and self.neurons[name].spiking):
                sizes.append(self.neurons[name].layout.size)
        return 4 * max(sizes)

    def neurons_behind(self, weight: str) -> str | None:
        """Return the neuron node that a weight node's connections end at; None where there is none."""
        consumers = self.plan.consumers()
        name, size = weight, int(np.prod(self.plan.tasks[weight].shape))
        while True:
            targets = [target for target, _ in consumers[name]]
            if len(targets) != 1 or int(np.prod(self.plan.tasks[targets[0]].shape)) != size:
                return None
            (name,) = targets
            if name in self.neurons:
                return name
            if not isinstance(self.plan.tasks[name].node, (Flatten, Scale)):
                return None


def open_network(path: Path, dt: float | None, fuse: bool) -> Network:
    """Read a NIR file and lay it out.

    Args:
        path: the file.
        dt: length of a step in the file's unit of time; None finds it, see `step_of`.
        fuse: recognise soft resets, see `graph.plan_of`.

    Raises:
        EngineError: the file is damaged or holds what cannot be run.
        MissingExtraError: h5py is not installed.
    """
    try:
        graph = read(path)
    except NirRefused as error:
        raise EngineError(str(error)) from None
    step = step_of(path, flatten(graph), graph.metadata, dt)
    plan = plan_of(path, graph, step, fuse)
    consumers = plan.consumers()
    absorbed = frozenset(
        name
        for name, task in plan.tasks.items()
        if isinstance(task.node, WEIGHTS)
        and all(is_neuron(plan.tasks[target]) and not late for target, late in consumers[name])
    )
    layouts = _layouts(plan)
    neurons: dict[str, Neurons] = {}
    connections: dict[str, Connection] = {}
    biases: dict[str, NDArray[np.float32]] = {}
    pools: dict[str, Pool] = {}
    delays: dict[str, NDArray[np.int64]] = {}
    for name, task in plan.tasks.items():
        node = task.node
        if is_neuron(task):
            neurons[name] = neurons_of(task, layouts[name], step)
        elif isinstance(node, WEIGHTS):
            connections[name] = _connection(task, layouts[name])
            if not isinstance(node, Linear) and node.bias.any():
                biases[name] = node.bias.astype(np.float32)
        elif isinstance(node, (SumPool2d, AvgPool2d)):
            window = pool_window(node, task.given, task.shape)
            area = window.kernel[0] * window.kernel[1] if isinstance(node, AvgPool2d) else 1
            pools[name] = Pool(window, window.tables(), 1 / area)
        elif isinstance(node, Delay):
            delays[name] = _delay(path, task, node, step)
    return Network(plan, neurons, connections, biases, absorbed, pools, delays, graph.metadata)


def _layouts(plan: Plan) -> dict[str, Layout]:
    """Return layouts of neuron and weight nodes: of what comes together in a neuron, one and the same."""
    consumers = plan.consumers()
    found: dict[str, Layout] = {}
    for name, task in plan.tasks.items():
        if is_neuron(task):
            feeding = [plan.tasks[source].node for source, _ in task.sources]
            found[name] = layout_of(task.shape, any(_groups(node) > 1 for node in feeding))
    for name, task in plan.tasks.items():
        if isinstance(task.node, WEIGHTS):
            behind = [found[target] for target, _ in consumers[name] if target in found]
            one_block = _groups(task.node) > 1
            found[name] = behind[0] if behind else layout_of(task.shape, one_block)
            if any(other != found[name] for other in behind):
                raise EngineError(
                    f"{plan.path}: node {name!r} feeds neurons with and without grouped convolutions beside"
                )
    return found


def _groups(node: Node) -> int:
    return node.groups if isinstance(node, (Conv1d, Conv2d)) else 1


def _connection(task: Task, layout: Layout) -> Connection:
    node = task.node
    if isinstance(node, (Affine, Linear)):
        return matrix(node.weight, layout)
    assert isinstance(node, (Conv1d, Conv2d))
    window = convolution_window(node, task.given, task.shape)
    weight = node.weight[:, :, None, :] if isinstance(node, Conv1d) else node.weight
    return Convolution(weight, window, node.groups, layout)


def _delay(path: Path, task: Task, node: Delay, step: float) -> NDArray[np.int64]:
    told = np.asarray(node.delay, np.float64)
    steps = np.broadcast_to(told.reshape(()) if told.size == 1 else told, task.shape) / step
    whole = np.round(steps)
    if (whole < 0).any() or (np.abs(steps - whole) > 1e-6 * np.maximum(1, whole)).any():
        raise EngineError(f"{path}: node {task.name}: a delay is no whole number of steps of dt = {step:g}")
    return whole.astype(np.int64).reshape(-1)
