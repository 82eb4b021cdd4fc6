"""A NIR graph as a torch module that runs step by step."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from paring.transforms._spikes.coding import encoder
from paring_runtimes.nir import Graph, NirRefused, Node, flatten, node_shapes
from paring_runtimes.nir.flat import schedule
from paring_runtimes.nir.time_step import step_of

from .discretisation import Reading
from .modules import Delayed, Fire, State, Stateful, Step, module_of, together, trained

NetworkState = dict[str, Any]  # by node: its state, and under "" what the delayed edges carry


class NirNetwork(nn.Module):
    """Runs a graph; see `discretisation` for the arithmetic. The state is argument and result, never kept.

    Attributes:
        flat: the graph without subgraphs.
        shapes: by node, what it takes and what it gives.
        dt: the step.
        steps: T of `forward`, where the graph's metadata or the caller tell it.
    """

    def __init__(self, graph: Graph, reading: Reading | None = None, steps: int | None = None) -> None:
        """Raises NirRefused for a graph that does not fit together, with the node."""
        super().__init__()
        reading = reading or Reading()
        self.graph, self.flat = graph, flatten(graph)
        self.shapes = node_shapes(self.flat)
        self.dt = step_of(self.flat, graph.metadata, reading.dt)
        told = graph.metadata.get("steps") if steps is None else steps
        self.steps = None if told is None else int(told)
        if self.steps is not None and self.steps < 1:
            raise NirRefused(f"steps: {self.steps}, expected at least 1")
        self.coding = str(graph.metadata.get("coding", "constant"))
        self.names = tuple(self.flat.nodes)
        self.parts = nn.ModuleList(self._part(name, node, reading) for name, node in self.flat.nodes.items())
        late = {name for name, part in self._by_name().items() if isinstance(part, Delayed) and part.late}
        plan = schedule(self.flat, late)
        self.order, self.delayed, self.late = plan.order, plan.delayed, frozenset(late)
        self.incoming = {name: self.flat.into(name) for name in self.names}
        self.encoder = self._encoder() if self.steps is not None and len(self.flat.inputs) == 1 else None

    def _part(self, name: str, node: Node, reading: Reading) -> nn.Module:
        try:
            return module_of(node, self.shapes[name][0], self.dt, reading)
        except NirRefused as error:
            raise NirRefused(f"node {name} ({type(node).__name__}): {error}") from None

    def _by_name(self) -> dict[str, nn.Module]:
        return dict(zip(self.names, self.parts, strict=True))

    def _encoder(self) -> nn.Module:
        assert self.steps is not None
        said, shape = self.graph.metadata, self.shapes[self.flat.inputs[0]][0]
        scale, seed = float(said.get("scale", 1.0)), int(said.get("seed", 0))
        try:
            return encoder(self.coding, self.steps, shape, scale, seed)
        except ValueError as error:
            raise NirRefused(str(error)) from None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, ...] -> the mean of the output over `steps`, from a fresh state. One Input, one Output."""
        if self.encoder is None or len(self.flat.outputs) != 1:
            raise NirRefused("forward needs one Input, one Output and `steps`; `run` takes any graph")
        shape = self.shapes[self.flat.inputs[0]][0]
        outputs, _ = self.run({self.flat.inputs[0]: self.encoder(x.reshape(len(x), *shape))})
        return outputs[self.flat.outputs[0]].mean(0)

    def run(
        self, inputs: Mapping[str, torch.Tensor], record: Collection[str] = ()
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """All steps from a fresh state.

        Args:
            inputs: [T, B, ...] by Input.
            record: nodes whose values are wanted.

        Returns:
            The outputs [T, B, ...] by Output, and the recorded values [T, B, ...] by node.
        """
        state: NetworkState | None = None
        found: dict[str, list[torch.Tensor]] = {name: [] for name in (*self.flat.outputs, *record)}
        for step in range(len(next(iter(inputs.values())))):
            values, state = self.step({name: value[step] for name, value in inputs.items()}, state)
            for name, kept in found.items():
                kept.append(values[name])
        stacked = {name: torch.stack(kept) for name, kept in found.items()}
        return {name: stacked[name] for name in self.flat.outputs}, {name: stacked[name] for name in record}

    def step(
        self, inputs: Mapping[str, torch.Tensor], state: NetworkState | None = None
    ) -> tuple[dict[str, torch.Tensor], NetworkState]:
        """One step: [B, ...] by Input -> [B, ...] by node, and the state after it; None starts afresh."""
        self._check(inputs)
        example = next(iter(inputs.values()))
        before, after = state or {}, NetworkState()
        carried = before.get("", {})
        parts, values = self._by_name(), dict[str, torch.Tensor]()
        for name in self.order:
            part = parts[name]
            if name in inputs:
                values[name] = part(inputs[name])
            elif name in self.late and isinstance(part, Delayed):
                values[name] = part.read(self._state(name, part, before, example))
            else:
                sums = self._arriving(name, values, carried, example)
                if isinstance(part, Stateful):
                    kept = self._state(name, part, before, example)
                    values[name], after[name] = part(*sums, kept)
                else:
                    values[name] = part(together(*sums))
        for name in self.late:
            late_part = parts[name]
            assert isinstance(late_part, Delayed)
            now = together(*self._arriving(name, values, carried, example))
            after[name] = late_part.keep(self._state(name, late_part, before, example), now)
        after[""] = {source: values[source] for source, _ in self.delayed}
        return values, after

    def _check(self, inputs: Mapping[str, torch.Tensor]) -> None:
        if set(inputs) != set(self.flat.inputs):
            raise NirRefused(f"inputs {sorted(inputs)}, expected {sorted(self.flat.inputs)}")
        for name, value in inputs.items():
            if tuple(value.shape[1:]) != self.shapes[name][0]:
                raise NirRefused(
                    f"input {name}: {list(value.shape)}, expected [B, *{list(self.shapes[name][0])}]"
                )

    def _state(self, name: str, part: Stateful, before: NetworkState, example: torch.Tensor) -> State:
        if name in before:
            found: State = before[name]
            return found
        return part.begin(example.new_zeros(len(example), *self.shapes[name][0]))

    def _arriving(
        self,
        name: str,
        values: Mapping[str, torch.Tensor],
        carried: Mapping[str, torch.Tensor],
        example: torch.Tensor,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """The sum of what delayed edges bring, and of what the others do, in the file's order."""
        late = now = None
        for source in self.incoming[name]:
            if (source, name) in self.delayed:
                missing = example.new_zeros(len(example), *self.shapes[source][1])
                value = carried.get(source, missing)
                late = value if late is None else late + value
            else:
                now = values[source] if now is None else now + values[source]
        return late, now

    def to_graph(self) -> Graph:
        """The graph with the weights as they are now; what has not changed is the array that was read."""
        return _with(self.graph, "", self._by_name())


def _with(graph: Graph, prefix: str, parts: Mapping[str, nn.Module]) -> Graph:
    nodes: dict[str, Node | Graph] = {}
    for name, node in graph.nodes.items():
        if isinstance(node, Graph):
            nodes[name] = _with(node, f"{prefix}{name}.", parts)
        else:
            moved: dict[str, Any] = trained(node, parts[f"{prefix}{name}"])
            nodes[name] = replace(node, **moved) if moved else node
    return Graph(nodes, graph.edges, graph.metadata)


def spiking_nodes(network: NirNetwork) -> list[str]:
    """The nodes whose values are spikes."""
    found = []
    for name, part in zip(network.names, network.parts, strict=True):
        if isinstance(part, Step) or isinstance(getattr(part, "fire", None), Fire):
            found.append(name)
    return found
