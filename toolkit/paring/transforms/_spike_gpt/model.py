"""SpikeGPT as a module (https://arxiv.org/abs/2302.13939): time and channel mixing, each behind spikes.

    x = spike(embedding); x = LN0(x)
    x = x + LIF(TimeMix(LN1(x)));  x = x + LIF(ChannelMix(LN2(x)))      in each block
    logits = head(LN(x))

Parameters are named and shaped as in the authors' checkpoints. The authors' generation halves activations
every six layers to keep fp16 in range; behind a threshold that changes what fires, and is not done here.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .config import Config
from .initial import fill, time_decay, time_first, time_mix
from .neuron import Leaky, spike
from .state import State
from .wkv import wkv, wkv_step

Sums = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def shifted(x: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """x [B, T, C] one place later, with `last` [B, C] first."""
    return torch.cat((last[:, None], x[:, :-1]), 1)


def mixed(x: torch.Tensor, before: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """A share of x and the rest of the token before it; any shapes that end in C."""
    return torch.addcmul(before, x - before, share)


class TimeMix(nn.Module):
    """Attention's place: a decayed average of values, gated. Parameters `time_mix_*` are [1, 1, C]."""

    def __init__(self, config: Config, index: int) -> None:
        super().__init__()
        width = config.width
        depth = index / max(config.layers - 1, 1)  # 0 to 1
        left = 1 - index / config.layers  # 1 to nearly 0
        self.time_decay = nn.Parameter(time_decay(width, depth))
        self.time_first = nn.Parameter(time_first(width))
        self.time_mix_k = nn.Parameter(time_mix(width, left))
        self.time_mix_v = nn.Parameter(time_mix(width, left) + 0.3 * depth)
        self.time_mix_r = nn.Parameter(time_mix(width, 0.5 * left))
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.receptance = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def _projected(self, x: torch.Tensor, before: torch.Tensor) -> Sums:
        """(key, value, gate), shaped as x, whose shape is [..., C]; at least three dimensions."""
        key = self.key(mixed(x, before, self.time_mix_k))
        value = self.value(mixed(x, before, self.time_mix_v))
        gate = torch.sigmoid(self.receptance(mixed(x, before, self.time_mix_r)))
        return key, value, gate

    def forward(self, x: torch.Tensor, last: torch.Tensor, sums: Sums) -> tuple[torch.Tensor, Sums]:
        """Currents [B, T, C] for the neurons from x [B, T, C], and the sums [B, C] after it."""
        key, value, gate = self._projected(x, shifted(x, last))
        average, sums = wkv(torch.exp(self.time_decay), self.time_first, key, value, sums)
        return self.output(gate * average), sums

    def step(self, x: torch.Tensor, last: torch.Tensor, sums: Sums) -> tuple[torch.Tensor, Sums]:
        """As `forward`, for one token: x [B, C]."""
        key, value, gate = (one[0] for one in self._projected(x[None], last[None]))
        average, sums = wkv_step(torch.exp(self.time_decay), self.time_first, key, value, sums)
        return self.output(gate * average), sums


class ChannelMix(nn.Module):
    """The feed-forward part: 4 C wide, a squared ReLU, gated."""

    def __init__(self, config: Config, index: int) -> None:
        super().__init__()
        width, left = config.width, 1 - index / config.layers
        self.time_mix_k = nn.Parameter(time_mix(width, left))
        self.time_mix_r = nn.Parameter(time_mix(width, left))
        self.key = nn.Linear(width, 4 * width, bias=False)
        self.receptance = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """Currents for the neurons, shaped as x and the tokens before each, [B, T, C]."""
        key = torch.relu(self.key(mixed(x, before, self.time_mix_k))).square()
        return torch.sigmoid(self.receptance(mixed(x, before, self.time_mix_r))) * self.value(key)


class Block(nn.Module):
    """One layer. `ln0`, behind the embedding, is the first one's only."""

    def __init__(self, config: Config, index: int) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(config.width)
        self.ln2 = nn.LayerNorm(config.width)
        if index == 0:
            self.ln0 = nn.LayerNorm(config.width)
        self.att = TimeMix(config, index)
        self.ffn = ChannelMix(config, index)
        self.lif1, self.lif2 = Leaky(), Leaky()
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """x [B, T, C] and the layer's state before and after it."""
        inner = self.ln1(x)
        current, sums = self.att(inner, state.attention_last, state[2:5])
        spikes, membrane = self.lif1(current, state.attention_membrane)
        x = x + spikes
        outer = self.ln2(x)
        current = self.ffn(outer, shifted(outer, state.mixing_last))
        spikes, membrane_2 = self.lif2(current, state.mixing_membrane)
        x = self.dropout(x + spikes)
        top, numerator, denominator = sums
        last = inner[:, -1].detach(), outer[:, -1].detach()
        return x, State(*last, top, numerator, denominator, membrane, membrane_2)

    def step(self, x: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """As `forward`, for one token: x [B, C]."""
        inner = self.ln1(x)
        current, sums = self.att.step(inner, state.attention_last, state[2:5])
        spikes, membrane = self.lif1.step(current, state.attention_membrane)
        x = x + spikes
        outer = self.ln2(x)
        current = self.ffn(outer[None], state.mixing_last[None])[0]
        spikes, membrane_2 = self.lif2.step(current, state.mixing_membrane)
        return x + spikes, State(inner, outer, *sums, membrane, membrane_2)


class SpikeGPT(nn.Module):
    """The whole model. `forward` and `step` start from an empty state where none is given."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.emb = nn.Embedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList(Block(config, index) for index in range(config.layers))
        self.ln_out = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        fill(self)

    def start(self, batch: int = 1) -> State:
        """The state before any token: membranes at rest, empty sums."""
        return State.empty(self.config.layers, batch, self.config.width, self.head.weight)

    def forward(self, ids: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        """Logits [B, T, V] of token ids [B, T], and the state after the last. Gradients end at the state."""
        state = state or self.start(len(ids))
        x, left = self._embedded(ids), []
        for index, block in enumerate(self.blocks):
            x, after = block(x, state.layer(index))
            left.append(after)
        return self.head(self.ln_out(x)), State.stacked(left)

    def step(self, ids: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        """Logits [B, V] of the next token after ids [B], and the state after them: work of one token."""
        state = state or self.start(len(ids))
        x, left = self._embedded(ids), []
        for index, block in enumerate(self.blocks):
            x, after = block.step(x, state.layer(index))  # type: ignore[operator]
            left.append(after)
        return self.head(self.ln_out(x)), State.stacked(left)

    def _embedded(self, ids: torch.Tensor) -> torch.Tensor:
        x = F.embedding(ids, self.emb.weight)
        x = spike(x) if self.config.binary_embedding else x
        return self.blocks[0].ln0(x)  # type: ignore[operator]
