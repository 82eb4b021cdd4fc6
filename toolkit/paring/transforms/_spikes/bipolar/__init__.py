"""Transformers of bipolar spikes, equal to their quantised form once no neuron fires any more.

SpikeZIP-TF (https://arxiv.org/abs/2406.03470) with ST-BIF neurons. One block is written once; `time` says
what its operations are in one pass over codes (the quantised form) and over T steps of spikes.
"""

from __future__ import annotations

from .block import SpikeBlock
from .neuron import Neurons, bipolar_fire
from .trunk import QuantisedTrunk, SpikingTrunk, find, quantised, spiking

__all__ = [
    "Neurons",
    "QuantisedTrunk",
    "SpikeBlock",
    "SpikingTrunk",
    "bipolar_fire",
    "find",
    "quantised",
    "spiking",
]
