"""Spiking networks: an event-driven runtime for NIR graphs, without PyTorch."""

from __future__ import annotations

from paring_runtimes.spiking.counts import Counts, Placement, SpikingResult

__all__ = ["Counts", "Placement", "SpikingResult"]
