"""SpikeGPT, a language model of RWKV's kind whose layers speak in spikes: https://arxiv.org/abs/2302.13939.

- `config.Config`: sizes; `config.from_weights` reads them off a checkpoint.
- `model.SpikeGPT`: the module, with the parameter names of published checkpoints. `forward` takes a sequence
  at once, `step` one token and a state; both give the same logits.
- `neuron`: leaky integrate-and-fire over a sequence, with its surrogate gradient.
- `wkv`: the decayed average that stands for attention, as a parallel scan.
"""

from __future__ import annotations

from .config import Config, from_weights
from .model import SpikeGPT
from .state import State

__all__ = ["Config", "SpikeGPT", "State", "from_weights"]
