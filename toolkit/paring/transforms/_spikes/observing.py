"""What the layers of a lifted network compute on calibration images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Interpreter, Node

from .layers import RECTIFIERS
from .thresholds import Activations

SAMPLES = 16384  # of a channel, over all images


@dataclass
class _Seen:
    parts: list[torch.Tensor] = field(default_factory=list)
    largest: torch.Tensor | None = None
    total: torch.Tensor | float = 0.0
    count: int = 0
    ceiling: float | None = None

    def add(self, before: torch.Tensor, after: torch.Tensor, quota: int) -> None:
        self.parts.append(sampled(before, quota))
        outputs = after.movedim(1, 0).flatten(1)  # [C, B * positions]
        most = outputs.amax(1)
        self.largest = most if self.largest is None else torch.maximum(self.largest, most)
        self.total, self.count = self.total + outputs.double().sum(1), self.count + outputs.shape[1]

    def mean(self) -> torch.Tensor:
        return (torch.as_tensor(self.total) / self.count).float()


def sampled(values: torch.Tensor, quota: int) -> torch.Tensor:
    """[B, C, ...] -> [C, S], S at most `quota`: always the same places of values of a shape."""
    flat = values.movedim(1, 0).flatten(1)  # [C, B * positions]
    return flat[:, :: max(1, -(-flat.shape[1] // quota))].clone()


def quota_of(batches: Sequence[torch.Tensor]) -> int:
    """How many places of a batch are kept."""
    return max(1, SAMPLES // len(batches))


class _Watching(Interpreter):
    """Runs a lifted network and keeps what its rectifiers and its output see."""

    def __init__(self, body: GraphModule, quota: int) -> None:
        super().__init__(body)
        self.quota, self.seen = quota, dict[str, _Seen]()

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        module = self.fetch_attr(str(n.target)) if n.op == "call_module" else None
        if isinstance(module, RECTIFIERS):
            before = self.env[n.all_input_nodes[0]]
            assert isinstance(before, torch.Tensor)
            seen = self.seen.setdefault(str(n.target), _Seen())
            seen.ceiling = float(module.max_val) if isinstance(module, nn.Hardtanh) else None
            seen.add(before, value, self.quota)
        elif n.op == "output":
            self.seen.setdefault("output", _Seen()).add(value, value, self.quota)
        return value


@torch.no_grad()
def observed(body: GraphModule, batches: Sequence[torch.Tensor]) -> dict[str, Activations]:
    """Each rectifier's activations by its name, and the answers' as `output`.

    Args:
        body: a lifted network.
        batches: [B, ...] of images, as it takes them.
    """
    watching = _Watching(body, quota_of(batches))
    watching.garbage_collect_values = False  # a rectifier's input is read after it ran
    for batch in batches:
        watching.run(batch)
        watching.env.clear()
    found = {}
    for name, seen in watching.seen.items():
        assert seen.largest is not None
        found[name] = Activations(torch.cat(seen.parts, 1), seen.largest, seen.mean(), seen.ceiling)
    return found
