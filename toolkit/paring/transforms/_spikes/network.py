"""A converted network: T steps of integrate-and-fire layers, weights between them, and a mean at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Interpreter, Node

from .neuron import IntegrateFire

State = Mapping[str, torch.Tensor]


class SpikingNetwork(nn.Module):
    """x [B, ...] -> the mean over T steps of the last layer's output, [B, classes].

    Layer after layer, each over all T steps at once: every layer sees time merged with the batch, time
    first, and only `IntegrateFire` takes them apart. For a network without cycles that gives what step after
    step gives (`step`), a spike of one layer reaching the next within the same step. A call leaves nothing.

    Attributes:
        body: one time step. Holds convolutions, linear layers, average pooling, flattening, scales,
            additions, and `IntegrateFire`, whose spikes are 0 or 1: scales lie in weights and thresholds.
        encoder: [B, ...] -> [T, B, ...], see `coding`.
        steps: T.
        coding: "constant", "rate" or "latency".
        input_shape: of one input, without the batch.
        levels: of the rates while it is trained, see `training`; by default T.
    """

    def __init__(
        self,
        body: GraphModule,
        encoder: nn.Module,
        steps: int,
        coding: str,
        input_shape: tuple[int, ...],
        levels: int | None = None,
    ) -> None:
        super().__init__()
        self.levels = levels or steps
        self.wanted: Any = None  # how it was converted, for fitting it to other images
        self.images: tuple[torch.Tensor, ...] = ()  # batches that it was fitted to
        self.body, self.encoder = body, encoder
        self.steps, self.coding, self.input_shape = steps, coding, input_shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, ...] -> [B, classes], from reset neurons."""
        given = tuple(x.shape[1:])
        if given != self.input_shape:
            wanted = ", ".join(str(size) for size in self.input_shape)
            raise ValueError(f"the network was converted for inputs [B, {wanted}], given {list(x.shape)}")
        outputs: torch.Tensor = self.body(self.encoder(x).flatten(0, 1))
        return outputs.unflatten(0, (self.steps, -1)).mean(0)

    def neurons(self) -> dict[str, IntegrateFire]:
        """Every layer of neurons by its name in `body`, in the order in which they run."""
        called = [str(node.target) for node in self.body.graph.nodes if node.op == "call_module"]
        modules = dict(self.body.named_modules())
        found = {name: modules[name] for name in called}
        return {name: module for name, module in found.items() if isinstance(module, IntegrateFire)}

    @torch.inference_mode()
    def trace(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Every layer's spikes by its name, [T, B, ...] each."""
        with recording(self) as found:
            self(x)
        return {name: spikes.unflatten(0, (self.steps, -1)) for name, spikes in found.items()}

    def step(
        self, x: torch.Tensor, state: State | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """One time step of the body: its outputs [B, classes], and the membranes after it.

        Args:
            x: [B, ...], what `encoder` gives for this step.
            state: the membranes of the step before, by the neurons' names; None starts afresh.
        """
        runner = _OneStep(self.body, state or {})
        return runner.run(x), runner.after


class _OneStep(Interpreter):
    """Runs a body once, with the membranes given."""

    def __init__(self, body: GraphModule, before: State) -> None:
        super().__init__(body)
        self.before, self.after = before, dict[str, torch.Tensor]()

    def run_node(self, n: Node) -> Any:
        """As any interpreter, but neurons take one step."""
        if n.op == "call_module":
            module = self.fetch_attr(str(n.target))
            if isinstance(module, IntegrateFire):
                (current,), _ = self.fetch_args_kwargs_from_env(n)
                name = str(n.target)
                spikes, self.after[name] = module.step(current, self.before.get(name))
                return spikes
        return super().run_node(n)


@contextmanager
def recording(network: SpikingNetwork) -> Iterator[dict[str, torch.Tensor]]:
    """Inside, each forward pass leaves every layer's spikes, [T * B, ...], by its name."""
    found: dict[str, torch.Tensor] = {}
    handles = []
    for name, module in network.neurons().items():

        def keep(module: nn.Module, inputs: Any, spikes: torch.Tensor, name: str = name) -> None:
            found[name] = spikes

        handles.append(module.register_forward_hook(keep))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
