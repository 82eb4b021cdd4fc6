"""Integrate-and-fire networks: neurons, codings of inputs, and conversion from trained networks."""

from __future__ import annotations

from .network import SpikingNetwork
from .neuron import IntegrateFire, integrate_fire

__all__ = ["IntegrateFire", "SpikingNetwork", "integrate_fire"]
