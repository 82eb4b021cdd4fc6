"""A NIR graph made ready to run: weights and neurons laid out, what feeds what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.errors import EngineError
from paring_runtimes.spiking.connections import Connection, Convolution, Window, matrix
from paring_runtimes.spiking.graph import WEIGHTS, Plan, Task, is_neuron, plan_of
from paring_runtimes.spiking.layout import Layout, layout_of
from paring_runtimes.spiking.neurons import Neurons, neurons_of
from paring_runtimes.spiking.nir_file import NirNode, read_nir
from paring_runtimes.spiking.shapes import convolution_window, pool_window

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Pool:
    """A pool: every event goes to its windows, times `scale`."""

    window: Window
    tables: tuple[NDArray[np.int64], ...]
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
            if self.plan.tasks[name].node.kind not in ("Flatten", "Scale"):
                return None


def open_network(path: Path, threads: int, dt: float | None, fuse: bool) -> Network:
    """Read a NIR file and lay it out.

    Args:
        path: the file.
        threads: for how many threads convolutions are cut.
        dt: length of a step in the file's unit of time; None takes the file's own ("dt" in the graph's
            metadata), else 1.
        fuse: recognise soft resets, see `graph.plan_of`.

    Raises:
        EngineError: the file is damaged or holds what cannot be run.
        MissingExtraError: h5py is not installed.
    """
    file = read_nir(path)
    step = _step(path, file.metadata.get("dt", 1.0) if dt is None else dt)
    plan = plan_of(file, fuse)
    consumers = plan.consumers()
    absorbed = frozenset(
        name
        for name, task in plan.tasks.items()
        if task.node.kind in WEIGHTS
        and all(is_neuron(plan.tasks[target]) and not late for target, late in consumers[name])
    )
    layouts = _layouts(plan, threads)
    neurons: dict[str, Neurons] = {}
    connections: dict[str, Connection] = {}
    biases: dict[str, NDArray[np.float32]] = {}
    pools: dict[str, Pool] = {}
    delays: dict[str, NDArray[np.int64]] = {}
    for name, task in plan.tasks.items():
        if is_neuron(task):
            neurons[name] = neurons_of(path, name, task.node, layouts[name], step, task.soft)
        elif task.node.kind in WEIGHTS:
            connections[name] = _connection(path, task, layouts[name])
            bias = np.asarray(task.node.fields.get("bias", 0.0), np.float32)
            if bias.any():
                biases[name] = bias
        elif task.node.kind in ("SumPool2d", "AvgPool2d"):
            window = pool_window(path, name, task.node, task.given)
            area = window.kernel[0] * window.kernel[1] if task.node.kind == "AvgPool2d" else 1
            pools[name] = Pool(window, window.tables(), 1 / area)
        elif task.node.kind == "Delay":
            delays[name] = _delay(path, task, step)
    return Network(plan, neurons, connections, biases, absorbed, pools, delays, file.metadata)


def _step(path: Path, dt: Any) -> float:
    value = np.asarray(dt)
    if value.size != 1 or value.dtype.kind not in "iuf" or not np.isfinite(value).all() or value.min() <= 0:
        raise EngineError(f"{path}: dt is {dt!r}; expected a number above 0")
    return float(value.reshape(()))


def _layouts(plan: Plan, threads: int) -> dict[str, Layout]:
    """Return layouts of neuron and weight nodes: of what comes together in a neuron, one and the same."""
    consumers = plan.consumers()
    found: dict[str, Layout] = {}
    for name, task in plan.tasks.items():
        if is_neuron(task):
            feeding = [plan.tasks[source].node for source, _ in task.sources]
            found[name] = layout_of(task.shape, threads, any(_groups(node) > 1 for node in feeding))
    for name, task in plan.tasks.items():
        if task.node.kind in WEIGHTS:
            behind = [found[target] for target, _ in consumers[name] if target in found]
            one_block = _groups(task.node) > 1
            found[name] = behind[0] if behind else layout_of(task.shape, threads, one_block)
            if any(other != found[name] for other in behind):
                raise EngineError(
                    f"{plan.path}: node {name!r} feeds neurons with and without grouped convolutions beside it"
                )
    return found


def _groups(node: NirNode) -> int:
    return int(np.asarray(node.fields.get("groups", 1)).reshape(-1)[0])


def _connection(path: Path, task: Task, layout: Layout) -> Connection:
    weight = task.node.fields["weight"]
    if task.node.kind in ("Affine", "Linear"):
        return matrix(weight, layout)
    window = convolution_window(path, task.name, task.node, task.given)
    if task.node.kind == "Conv1d":
        weight = weight[:, :, None, :]
    return Convolution(weight, window, _groups(task.node), layout)


def _delay(path: Path, task: Task, step: float) -> NDArray[np.int64]:
    steps = np.broadcast_to(np.asarray(task.node.fields["delay"], np.float64) / step, task.shape)
    whole = np.round(steps)
    if (whole < 0).any() or (np.abs(steps - whole) > 1e-6 * np.maximum(1, whole)).any():
        raise EngineError(f"{path}: node {task.name!r}: a delay is no whole number of steps of dt={step:g}")
    return whole.astype(np.int64).reshape(-1)
