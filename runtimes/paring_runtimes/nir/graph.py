"""A graph of nodes, which may be graphs themselves, and of the edges between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .errors import NirRefused
from .nodes import Input, Node, Output

Edge = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes by name, and edges (from, to). What meets in a node is summed; an edge said twice counts once."""

    nodes: dict[str, Node | Graph]
    edges: tuple[Edge, ...]
    metadata: dict[str, Any] = field(default_factory=dict)

    def of_type(self, kind: type[Node]) -> dict[str, Node]:
        """The nodes of one type, by name."""
        return {name: node for name, node in self.nodes.items() if isinstance(node, kind)}


def check_edges(graph: Graph, where: str = "") -> None:
    """Check that edges join nodes that are there, and that every node is fed.

    Args:
        graph: with its subgraphs.
        where: the path of the graph within the whole, for the message.

    Raises:
        NirRefused: with the edge or the node.
    """
    told = f"graph {where}" if where else "the graph"
    for source, target in graph.edges:
        for end in (source, target):
            if end not in graph.nodes:
                raise NirRefused(f"{told}: edge {source} -> {target}: no node {end!r}")
    fed, feeding = {b for _, b in graph.edges}, {a for a, _ in graph.edges}
    for name, node in graph.nodes.items():
        path = f"{where}.{name}" if where else name
        if isinstance(node, Input):
            if name in fed:
                raise NirRefused(f"node {path}: an Input takes no edge")
        elif name not in fed:
            raise NirRefused(f"node {path} ({_kind(node)}): no edge leads to it, so that it has no input")
        if isinstance(node, Output) and name in feeding:
            raise NirRefused(f"node {path}: no edge leaves an Output")
        if isinstance(node, Graph):
            check_edges(node, path)
    for kind in (Input, Output):
        found = len(graph.of_type(kind))
        if found == 0 or (where and found > 1):
            wanted = "one" if where else "at least one"
            raise NirRefused(f"{told}: {found} nodes of type {kind.__name__}, expected {wanted}")


def walk(graph: Graph, prefix: str = "") -> Iterator[tuple[str, Node]]:
    """Every node that is no graph, with its path."""
    for name, node in graph.nodes.items():
        if isinstance(node, Graph):
            yield from walk(node, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", node


def _kind(node: Node | Graph) -> str:
    return "NIRGraph" if isinstance(node, Graph) else type(node).__name__
