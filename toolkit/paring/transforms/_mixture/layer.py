"""The module that exports: a router, and experts that each work on their share of a sample's tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from .._encoder import take
from .dispatch import counts, split

GATES = ("straight_through", "probability")


@dataclass(frozen=True)
class Plan:
    """What is decided of a mixture before it runs.

    Attributes:
        shares: of a sample's tokens, one an expert; they add up to 1.
        alpha: relative latencies of a token, one an expert; they add up to 1.
        costs: where alpha comes from: "measured", "given" or "assumed".
        shape: of the layer, as recipes name it: "96x384", inputs x outputs.
        gate: what an expert's output is multiplied by. "probability": its gate p_i. "straight_through": 1,
            with the gradient of p_i, so that the mixture answers as the layer that it was made of does.
        balance_weight: of the latency-aware loss.
    """

    shares: tuple[float, ...]
    alpha: tuple[float, ...]
    costs: str
    shape: str = ""
    gate: str = "straight_through"
    balance_weight: float = 0.01


class MixtureLinear(nn.Module):
    """y(x) = g_i E_i(x) for the expert i that token x was given to: [B, N, K] -> [B, N, M].

    Gates are p = softmax(router(x)); g_i is 1 or p_i (`Plan.gate`). How many tokens an expert gets follows
    from N alone: the tokens are put in order of their experts, each expert works on its part, and the
    answers are put back. Plain weighted answers: never in the log domain, as the release combines them.
    """

    def __init__(self, experts: Mapping[str, nn.Module], router: nn.Linear, plan: Plan) -> None:
        super().__init__()
        self.router = router
        self.experts = nn.ModuleDict(experts)
        self.plan = plan
        self.in_features = router.in_features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        scores = self.router(x)
        numbers = counts(self.plan.shares, x.shape[1])
        found = split(scores, numbers)
        parts = take(x, found.order).split(numbers, dim=1)
        answers = [
            expert(part) for expert, part in zip(self.experts.values(), parts, strict=True) if part.shape[1]
        ]
        y = answers[0] if len(answers) == 1 else torch.cat(answers, dim=1)
        if self.plan.gate == "probability":
            y = y * self._chosen_gates(take(scores.softmax(-1), found.order), numbers)
        return take(y, found.place)

    def _chosen_gates(self, gates: torch.Tensor, numbers: tuple[int, ...]) -> torch.Tensor:
        """Of gates [B, N, E] in order of the experts, each token's own: [B, N, 1]."""
        parts = gates.split(numbers, dim=1)
        return torch.cat([part[..., i : i + 1] for i, part in enumerate(parts)], dim=1)

    def decision_gap(self, x: torch.Tensor) -> torch.Tensor:
        """[B] by how little the closest of a sample's tokens was dispatched; see `dispatch.Split`."""
        return split(self.router(x), counts(self.plan.shares, x.shape[1])).gap

    def preferred(self, x: torch.Tensor) -> torch.Tensor:
        """[B, N] the expert of each token's largest gate: the router's choice were there no fixed shares."""
        return self.router(x).argmax(-1)

    def extra_repr(self) -> str:
        """What `print` shows."""
        shares = ", ".join(f"{n} {s:.0%}" for n, s in zip(self.experts, self.plan.shares, strict=True))
        return f"{shares}, gate={self.plan.gate}, costs={self.plan.costs}"
