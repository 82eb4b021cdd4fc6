"""A causal language model: embedding, layers, norm, head; nothing is remembered between calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from .families import Site
from .layer import Layer
from .memory import Growing, InPlace, KeyValue, Memory
from .rotary import Rotations
from .tokens import Tokens


class Decoded(NamedTuple):
    """What one pass gives.

    Attributes:
        tokens: those that came out, before the final norm.
        memory: each layer's keys and values, the chunk's among them; lengths differ by layer where a
            reducer ran.
        kept: what each reducer kept, in order, [B, K]: indices into the tokens that came to it.
    """

    tokens: Tokens
    memory: list[KeyValue]
    kept: list[torch.Tensor]


class Decoder(nn.Module):
    """A stack of pre-norm layers over tokens.

    Attributes:
        layers: `Layer` modules; `layers[i].reducers` is where a token-dropping method goes.
        max_positions: how long a text the model was made for.
        by_row: whether a step rotates, in each layer, by the row of that layer's cache that it is written
            to, and not by its position: MustDrop's released code (https://arxiv.org/abs/2411.10803).
    """

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.embedding, self.rotary = site.embedding, site.rotary
        self.layers = nn.ModuleList(Layer(site.split(layer)) for layer in site.layers)
        self.norm, self.head = site.norm, site.head
        self.max_positions = site.max_positions
        self.by_row = False

    def opened(self) -> list[Layer]:
        """The layers, with their type."""
        return [layer for layer in self.layers if isinstance(layer, Layer)]

    def cache_shape(self) -> tuple[int, int, int]:
        """(layers, key heads, head width) of the key-value cache."""
        first = self.opened()[0].attention
        return len(self.layers), first.key_heads, first.key.out_features // first.key_heads

    @property
    def vocabulary(self) -> int:
        """How many logits a token has."""
        return int(self.head.weight.shape[0])

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor,
        past: Sequence[KeyValue] = (),
    ) -> tuple[torch.Tensor, list[KeyValue]]:
        """One chunk over a growing cache, a prompt or a step.

        Args:
            input_ids: [B, S] int64.
            attention_mask: [B, P + S], 0 for padding, which is on the left.
            position_ids: [B, S] int64.
            past: each layer's cache [B, G, P, D]; empty for a prompt.

        Returns:
            Logits [B, S, V] and each layer's cache [B, G, P + S, D].
        """
        mask = attention_mask.bool()
        count = input_ids.shape[1]
        valid = mask.narrow(1, mask.shape[1] - count, count)
        tokens = Tokens(self.embedding(input_ids, position_ids), position_ids, valid)
        found = self.run(tokens, Growing(past, mask), reduce=not past)
        return self.logits(found.tokens.x), found.memory

    def in_place(
        self,
        input_ids: torch.Tensor,
        positions: torch.Tensor,
        slots: torch.Tensor | Sequence[torch.Tensor],
        last: torch.Tensor,
        cache: Sequence[KeyValue],
    ) -> tuple[torch.Tensor, list[KeyValue]]:
        """One chunk over buffers of fixed capacity.

        Args:
            input_ids: [B, S] int64, padded on the right.
            positions: [B, S] int64, by which tokens are rotated.
            slots: [B, S] int64, the rows they are written to: consecutive, ascending, in the capacity;
                or one a layer, where lengths differ.
            last: [B] int64, the index of each row's last real token.
            cache: each layer's buffer [B, G, capacity, D].

        Returns:
            Logits [B, V] of the last real tokens, and each layer's buffer.
        """
        valid = torch.arange(input_ids.shape[1], device=last.device) <= last[:, None]
        tokens = Tokens(self.embedding(input_ids, positions), positions, valid, last)
        found = self.run(tokens, InPlace(cache, slots), reduce=False)
        x = found.tokens.x
        ends = x.gather(1, last[:, None, None].expand(-1, 1, x.shape[2]))[:, 0]  # [B, C]
        return self.head(self.norm(ends)), found.memory

    def run(self, tokens: Tokens, memory: Memory, reduce: bool) -> Decoded:
        """All layers over a chunk. `reduce` lets the reducers run: for prompts, never for steps."""
        kept: list[torch.Tensor] = []
        written = []
        rotations = Rotations(self.rotary)
        for index, layer in enumerate(self.layers):
            by_row = self.by_row and not reduce
            positions = memory.rows(index, tokens) if by_row else tokens.positions
            rotation = rotations.of(positions, tokens.x.dtype)
            tokens, own, chosen = layer(tokens, rotation, memory, index, reduce)
            written.append(own)
            kept += chosen
        return Decoded(tokens, written, kept)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Hidden states [B, S, C] -> [B, S, V]."""
        batch, count, _ = x.shape
        # Of two dimensions, so that ONNX has a Gemm, which reads a tied embedding's weights as they are.
        flat = functional.linear(self.norm(x).flatten(0, 1), self.head.weight, self.head.bias)
        return flat.reshape(batch, count, -1)
