"""A linear layer as several primitives, each for a share of the tokens that a router gives it.

- `dispatch`: which tokens go to which expert, in fixed numbers;
- `primitives`: what an expert can be;
- `layer`: the module that exports;
- `balance`: the latency-aware loss;
- `training`: the module that trains, `trainable`, `frozen` and `auxiliary_loss`;
- `shares`: how many tokens each expert of a model gets, and how many its router would give it.
"""

from __future__ import annotations

from .layer import MixtureLinear, Plan
from .primitives import PRIMITIVES, Primitive
from .shares import ExpertShare, expert_shares, mixtures, routing
from .training import TrainableMixtureLinear, auxiliary_loss, frozen, trainable

__all__ = [
    "PRIMITIVES",
    "ExpertShare",
    "MixtureLinear",
    "Plan",
    "Primitive",
    "TrainableMixtureLinear",
    "auxiliary_loss",
    "expert_shares",
    "frozen",
    "mixtures",
    "routing",
    "trainable",
]
