"""What is computed in which order: cycles found, soft resets recognised.

Within one step nodes run in topological order. An edge that closes a cycle, seen from the inputs, carries what
its source sent one step before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from paring_runtimes.errors import EngineError
from paring_runtimes.spiking.neurons import NEURONS
from paring_runtimes.spiking.nir_file import NirFile, NirNode
from paring_runtimes.spiking.shapes import Shape, shapes_of

WEIGHTS = ("Affine", "Linear", "Conv1d", "Conv2d")


@dataclass(frozen=True)
class Task:
    """One node to compute.

    Attributes:
        name: the node's.
        node: its kind and fields.
        given, shape: what comes in and what goes out, without the batch.
        sources: nodes whose values are summed, each with whether its value of the step before is meant.
        spikes_as: the name under which its spikes are counted: its own but for a soft reset, whose
            spikes are those of the Threshold node.
        soft: reset by subtraction; only where a loop of three nodes was recognised.
    """

    name: str
    node: NirNode
    given: Shape
    shape: Shape
    sources: tuple[tuple[str, bool], ...]
    spikes_as: str
    soft: bool = False


@dataclass(frozen=True)
class Plan:
    """Tasks in order. A group of several, or of one that feeds itself, is a cycle: computed step by step."""

    path: Path
    tasks: dict[str, Task]
    groups: tuple[tuple[str, ...], ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def cyclic(self, group: tuple[str, ...]) -> bool:
        """Whether the group is a cycle."""
        return len(group) > 1 or any(late for _, late in self.tasks[group[0]].sources)

    def consumers(self) -> dict[str, list[tuple[str, bool]]]:
        """Return, by node, who takes its value, each with whether it is that of the step before."""
        found: dict[str, list[tuple[str, bool]]] = {name: [] for name in self.tasks}
        for task in self.tasks.values():
            for source, late in task.sources:
                found[source].append((task.name, late))
        return found


def plan_of(file: NirFile, fuse: bool) -> Plan:
    """Order a graph; with `fuse`, integrator, threshold and feedback become one neuron with soft reset.

    Raises:
        EngineError: edges or shapes that do not fit, no input or no output.
    """
    nodes, edges = dict(file.nodes), list(file.edges)
    for source, target in edges:
        if nodes[source].kind == "Output" and target in nodes:
            raise EngineError(f"{file.path}: the edge {source} -> {target} leaves an Output node")
    nodes, edges = _without_inner_ends(nodes, edges)
    inputs = tuple(name for name, node in nodes.items() if node.kind == "Input")
    outputs = tuple(name for name, node in nodes.items() if node.kind == "Output")
    if not inputs or not outputs:
        raise EngineError(f"{file.path}: {len(inputs)} Input and {len(outputs)} Output nodes; expected both")
    aliases: dict[str, str] = {}
    if fuse:
        nodes, edges, aliases = _fuse_soft_resets(nodes, edges)
    incoming, outgoing = shapes_of(file.path, nodes, edges)
    late = _closing(inputs, edges)
    order = _order(list(nodes), edges, late)
    tasks = {}
    for name in order:
        node = nodes[name]
        sources = tuple((source, (source, name) in late) for source, target in edges if target == name)
        tasks[name] = Task(
            name, node, incoming[name], outgoing[name], sources, aliases.get(name, name), name in aliases
        )
    return Plan(file.path, tasks, _groups(order, edges), inputs, outputs)


def _without_inner_ends(
    nodes: dict[str, NirNode], edges: list[tuple[str, str]]
) -> tuple[dict[str, NirNode], list[tuple[str, str]]]:
    """Take out the Input and Output nodes of graphs that lay within others: their edges go on."""
    fed = {target for _, target in edges}
    sending = {source for source, _ in edges}
    inner = {
        name
        for name, node in nodes.items()
        if (node.kind == "Input" and name in fed) or (node.kind == "Output" and name in sending)
    }
    for name in inner:
        before = [source for source, target in edges if target == name]
        after = [target for source, target in edges if source == name]
        edges = [edge for edge in edges if name not in edge] + [(a, b) for a in before for b in after]
    return {name: node for name, node in nodes.items() if name not in inner}, edges


def _fuse_soft_resets(
    nodes: dict[str, NirNode], edges: list[tuple[str, str]]
) -> tuple[dict[str, NirNode], list[tuple[str, str]], dict[str, str]]:
    """Turn every I -> Threshold -> Scale(-threshold / r) -> I into an IF; return their thresholds' names too.

    Only where the membrane goes nowhere but to the threshold, and the scale nowhere but back.
    """
    after: dict[str, list[str]] = {name: [] for name in nodes}
    before: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in edges:
        after[source].append(target)
        before[target].append(source)
    aliases: dict[str, str] = {}
    for name, node in list(nodes.items()):
        if node.kind != "I" or len(after[name]) != 1:
            continue
        (threshold,) = after[name]
        if nodes[threshold].kind != "Threshold" or before[threshold] != [name]:
            continue
        back = [
            one
            for one in after[threshold]
            if nodes[one].kind == "Scale" and after[one] == [name] and before[one] == [threshold]
        ]
        if len(back) != 1 or not _subtracts(node, nodes[threshold], nodes[back[0]]):
            continue
        aliases[name] = threshold
        fields = {"r": node.fields["r"], "v_threshold": nodes[threshold].fields["threshold"]}
        nodes[name] = replace(node, kind="IF", fields=fields)
        gone = {threshold, back[0]}
        edges = [
            (name if source == threshold else source, target)
            for source, target in edges
            if target not in gone and source != back[0]
        ]
        del nodes[threshold], nodes[back[0]]
    return nodes, edges, aliases


def _subtracts(integrator: NirNode, threshold: NirNode, scale: NirNode) -> bool:
    """Whether the feedback takes exactly the threshold away, in float32."""
    r, level, by = (
        np.asarray(value, np.float32)
        for value in (integrator.fields["r"], threshold.fields["threshold"], scale.fields["scale"])
    )
    try:
        return bool(np.array_equal(*np.broadcast_arrays(r * by, -level)))
    except ValueError:
        return False


def _closing(inputs: Sequence[str], edges: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the edges that close a cycle when the graph is walked from its inputs, depth first."""
    after: dict[str, list[str]] = {}
    for source, target in edges:
        after.setdefault(source, []).append(target)
    open_now, done, closing = set[str](), set[str](), set[tuple[str, str]]()
    for start in inputs:
        if start in done:
            continue
        stack = [(start, iter(after.get(start, ())))]
        open_now.add(start)
        while stack:
            name, targets = stack[-1]
            for target in targets:
                if target in open_now:
                    closing.add((name, target))
                elif target not in done:
                    open_now.add(target)
                    stack.append((target, iter(after.get(target, ()))))
                    break
            else:
                stack.pop()
                open_now.discard(name)
                done.add(name)
    return closing


def _order(names: Sequence[str], edges: Sequence[tuple[str, str]], late: set[tuple[str, str]]) -> list[str]:
    """Return a topological order over the edges that are not late."""
    from graphlib import TopologicalSorter

    before: dict[str, list[str]] = {name: [] for name in names}
    for edge in edges:
        if edge not in late:
            before[edge[1]].append(edge[0])
    return list(TopologicalSorter(before).static_order())


def _groups(order: Sequence[str], edges: Sequence[tuple[str, str]]) -> tuple[tuple[str, ...], ...]:
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


def _reachable(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> Mapping[str, set[str]]:
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
    return task.node.kind in NEURONS
