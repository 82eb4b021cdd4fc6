"""A graph without subgraphs, and the order in which its nodes run within a time step.

Nodes run in topological order, so that a spike reaches the whole way through within one step. An edge that
closes a cycle is delayed by one step. Which edge that is: a depth-first search from the Inputs, then from
what they do not reach, follows edges in the file's order; an edge to a node that is still on the search's own
path closes a cycle. In Input -> LIF -> Linear -> LIF that is Linear -> LIF.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from .errors import NirRefused
from .graph import Edge, Graph, walk
from .nodes import Input, Node, Output


@dataclass(frozen=True, eq=False)
class Flat:
    """Nodes by path ("block.lif" for the node lif of the subgraph block), and edges, none of them twice."""

    nodes: dict[str, Node]
    edges: tuple[Edge, ...]
    inputs: tuple[str, ...]  # of the whole graph: subgraphs' Inputs and Outputs hand on what they get
    outputs: tuple[str, ...]

    def into(self, name: str) -> list[str]:
        """What feeds a node, in the file's order."""
        return [source for source, target in self.edges if target == name]


@dataclass(frozen=True)
class Schedule:
    """The order of the nodes within a step, and the edges that carry what was there a step before."""

    order: tuple[str, ...]
    delayed: frozenset[Edge]


def flatten(graph: Graph) -> Flat:
    """Put the nodes of subgraphs in their places. An edge to a subgraph leads to its Input.

    Raises:
        NirRefused: two nodes come to have one path.
    """
    nodes: dict[str, Node] = {}
    for path, node in walk(graph):
        if path in nodes:
            raise NirRefused(f"node {path}: is there twice, as a node and as one within a subgraph")
        nodes[path] = node
    edges = tuple(dict.fromkeys(_edges(graph, "")))
    return Flat(nodes, edges, tuple(graph.of_type(Input)), tuple(graph.of_type(Output)))


def _edges(graph: Graph, prefix: str) -> Iterator[Edge]:
    def port(name: str, kind: type[Node]) -> str:
        node = graph.nodes[name]
        if not isinstance(node, Graph):
            return f"{prefix}{name}"
        inner = next(iter(node.of_type(kind)))  # there is one: see `check_edges`
        return f"{prefix}{name}.{inner}"

    for source, target in graph.edges:
        yield port(source, Output), port(target, Input)
    for name, node in graph.nodes.items():
        if isinstance(node, Graph):
            yield from _edges(node, f"{prefix}{name}.")


def schedule(flat: Flat, late: Collection[str] = ()) -> Schedule:
    """Order the nodes of one step.

    Args:
        flat: the graph.
        late: nodes whose output at a step does not depend on their input at that step (delays of a step or
            more): they run before what feeds them, and close no cycle.
    """
    following: dict[str, list[str]] = {name: [] for name in flat.nodes}
    for source, target in flat.edges:
        if target not in late:
            following[source].append(target)
    delayed: set[Edge] = set()
    done: list[str] = []  # in the order in which the search leaves them
    on_path: set[str] = set()
    seen: set[str] = set()
    for root in (*flat.inputs, *(name for name in flat.nodes if name in late), *flat.nodes):
        if root in seen:
            continue
        seen.add(root)
        on_path.add(root)
        stack = [(root, iter(following[root]))]
        while stack:
            name, rest = stack[-1]
            nearest = next(rest, None)
            if nearest is None:
                stack.pop()
                on_path.discard(name)
                done.append(name)
            elif nearest in on_path:
                delayed.add((name, nearest))
            elif nearest not in seen:
                seen.add(nearest)
                on_path.add(nearest)
                stack.append((nearest, iter(following[nearest])))
    return Schedule(tuple(reversed(done)), frozenset(delayed))
