"""What is computed in which order: cycles found, soft resets recognised.

The order within a step, and which edges carry what was there a step before: `paring_runtimes.nir.flat`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paring_runtimes.errors import EngineError
from paring_runtimes.nir import Flat, Graph, NirRefused, Node, flatten, node_shapes
from paring_runtimes.nir.flat import schedule
from paring_runtimes.nir.nodes import (
    IF,
    NEURONS,
    Affine,
    Conv1d,
    Conv2d,
    Delay,
    I,
    Input,
    Linear,
    Output,
    Scale,
    Shape,
    Threshold,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHTS = (Affine, Linear, Conv1d, Conv2d)
Edges = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Task:
    """One node to compute.

    Attributes:
        name: the node's.
        node: the node.
        given, shape: what comes in and what goes out, without the batch.
        sources: nodes whose values are summed, each with whether its value of the step before is meant.
        spikes_as: the name under which its spikes are counted: its own but for a recognised loop, whose
            spikes are those of the Threshold node.
        feedback: what a spike adds to the membrane behind it, in place of a reset; where a loop of three
            nodes was recognised.
    """

    name: str
    node: Node
    given: Shape
    shape: Shape
    sources: tuple[tuple[str, bool], ...]
    spikes_as: str
    feedback: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Plan:
    """Tasks in order. A group of several, or of one that feeds itself, is a cycle: computed step by step.

    Attributes:
        reading: Delay nodes of a step or more: in a cycle they give before they take.
    """

    path: Path
    tasks: dict[str, Task]
    groups: tuple[tuple[str, ...], ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    reading: frozenset[str]

    def cyclic(self, group: tuple[str, ...]) -> bool:
        """Whether the group is a cycle."""
        return len(group) > 1 or any(source == group[0] for source, _ in self.tasks[group[0]].sources)

    def consumers(self) -> dict[str, list[tuple[str, bool]]]:
        """Return, by node, who takes its value, each with whether it is that of the step before."""
        found: dict[str, list[tuple[str, bool]]] = {name: [] for name in self.tasks}
        for task in self.tasks.values():
            for source, late in task.sources:
                found[source].append((task.name, late))
        return found


@dataclass(frozen=True)
class _Loop:
    """A recognised soft reset: the Threshold's name, and what a spike adds."""

    threshold: str
    feedback: NDArray[np.float32]


def plan_of(path: Path, graph: Graph, step: float, fuse: bool) -> Plan:
    """Order a graph.

    Args:
        path: the file, for messages.
        graph: checked, see `paring_runtimes.nir.read`.
        step: dt.
        fuse: run each loop of integrator, threshold and feedback as one neuron.

    Raises:
        EngineError: shapes that do not fit.
    """
    flat = flatten(graph)
    nodes, edges = _without_inner_ends(flat)
    loops: dict[str, _Loop] = {}
    if fuse:
        nodes, edges, loops = _fuse_soft_resets(nodes, edges, step)
    flat = Flat(nodes, tuple(edges), flat.inputs, flat.outputs)
    reading = frozenset(
        name for name, node in nodes.items() if isinstance(node, Delay) and np.min(node.delay) >= step * 0.5
    )
    try:
        shapes, order = node_shapes(flat), schedule(flat, reading)
    except NirRefused as error:
        raise EngineError(f"{path}: {error}") from None
    tasks = {}
    for name in order.order:
        sources = tuple((source, (source, name) in order.delayed) for source in flat.into(name))
        loop = loops.get(name)
        tasks[name] = Task(
            name,
            nodes[name],
            *shapes[name],
            sources,
            loop.threshold if loop else name,
            loop.feedback if loop else None,
        )
    return Plan(path, tasks, _groups(order.order, edges), flat.inputs, flat.outputs, reading)


def _without_inner_ends(flat: Flat) -> tuple[dict[str, Node], list[tuple[str, str]]]:
    """Take out the Input and Output nodes of graphs that lay within others: their edges go on."""
    edges = list(flat.edges)
    ends = {*flat.inputs, *flat.outputs}
    inner = {n for n, node in flat.nodes.items() if isinstance(node, (Input, Output)) and n not in ends}
    for name in inner:
        before = [source for source, target in edges if target == name]
        after = [target for source, target in edges if source == name]
        edges = [edge for edge in edges if name not in edge] + [(a, b) for a in before for b in after]
    return {n: node for n, node in flat.nodes.items() if n not in inner}, list(dict.fromkeys(edges))


def _fuse_soft_resets(
    nodes: dict[str, Node], edges: list[tuple[str, str]], step: float
) -> tuple[dict[str, Node], list[tuple[str, str]], dict[str, _Loop]]:
    """Turn every I -> Threshold -> Scale -> I into one neuron; return the loops by the integrator's name.

    Only where the membrane goes nowhere but to the threshold, and the scale nowhere but back: then what a
    spike adds, dt * r * scale, can be added at once, for nothing looks at the membrane before the next step.
    """
    after: dict[str, list[str]] = {name: [] for name in nodes}
    before: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in edges:
        after[source].append(target)
        before[target].append(source)
    nodes, loops = dict(nodes), dict[str, _Loop]()
    for name, node in list(nodes.items()):
        if not isinstance(node, I) or len(after[name]) != 1:
            continue
        (threshold,) = after[name]
        level = nodes[threshold]
        if not isinstance(level, Threshold) or before[threshold] != [name]:
            continue
        back = {
            one: scale
            for one in after[threshold]
            if isinstance(scale := nodes[one], Scale) and after[one] == [name] and before[one] == [threshold]
        }
        if len(back) != 1:
            continue
        ((way, scale),) = back.items()
        gain = np.asarray(node.r * step, np.float32)
        loops[name] = _Loop(threshold, np.asarray(gain * scale.scale.astype(np.float32), np.float32))
        nodes[name] = IF(node.r, level.threshold)
        edges = [
            (name if source == threshold else source, target)
            for source, target in edges
            if target not in (threshold, way) and source != way
        ]
        del nodes[threshold], nodes[way]
    return nodes, edges, loops


def _groups(order: Sequence[str], edges: Edges) -> tuple[tuple[str, ...], ...]:
    """Return the strongly connected components, and the nodes in each, in topological order."""
    reach = _reachable(order, edges)
    groups: list[tuple[str, ...]] = []
    placed: set[str] = set()
    waiting = list(order)
    while waiting:  # the first whose sources outside its own component are all placed
        for name in waiting:
            mine = tuple(one for one in order if one == name or (one in reach[name] and name in reach[one]))
            outside = {source for source, target in edges if target in mine and source not in mine}
            if outside <= placed:
                break
        groups.append(mine)
        placed |= set(mine)
        waiting = [one for one in waiting if one not in placed]
    return tuple(groups)


def _reachable(names: Sequence[str], edges: Edges) -> Mapping[str, set[str]]:
    after: dict[str, list[str]] = {name: [] for name in names}
    for source, target in edges:
        after[source].append(target)
    found: dict[str, set[str]] = {}
    for name in names:
        seen: set[str] = set()
        stack = list(after[name])
        while stack:
            one = stack.pop()
            if one not in seen:
                seen.add(one)
                stack += after[one]
        found[name] = seen
    return found


def is_neuron(task: Task) -> bool:
    """Whether the task's node has a state."""
    return isinstance(task.node, NEURONS)
