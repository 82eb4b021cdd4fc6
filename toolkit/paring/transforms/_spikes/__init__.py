"""Integrate-and-fire networks: neurons, codings of inputs, and conversion from trained networks."""

from __future__ import annotations

from .adopting import adopting_spikes, firing_layers
from .network import SpikingNetwork
from .neuron import IntegrateFire, integrate_fire

__all__ = ["IntegrateFire", "SpikingNetwork", "adopting_spikes", "firing_layers", "integrate_fire"]
