"""GemFilter: an early layer picks a long prompt's tokens. Shi et al., https://arxiv.org/abs/2409.17422

The layers before the filter layer run on the whole prompt; of the filter layer the keys and the last
query score the tokens (`_gem_filter` has the rule), its own attention and MLP do not run; then the whole
model runs on the k chosen token ids, from position 0 on. `FilterLayer` is a layer of the first pass as it is
exported.

Which layer can filter depends on the model: `recall_by_layer` measures it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from ._decoder import Decoder, Growing, InPlace, Memory, Tokens, find, open_decoder, why_not, write_rows
from ._decoder.families import locate
from ._decoder.memory import KeyValue, Nothing
from ._decoder.rotary import Rotation
from ._gem_filter import KERNEL, last_query_scores, needle_recall, pooled, select
from .traits import Traits

TRAITS = Traits(
    title="GemFilter: an early layer chooses the prompt's tokens",
    paper="https://arxiv.org/abs/2409.17422",
    mechanism="attention",
    training_free=True,
    static_shape=True,
    stage="prompt",
    query_dependent=True,
)


@dataclass(frozen=True)
class Config:
    """How many tokens stay, and which layer chooses them."""

    k: int = field(default=1024, metadata={"help": "tokens that stay", "unit": "tokens", "minimum": 1})
    layer: int | None = field(
        default=None,
        metadata={
            "help": "the layer that scores, counted from 0; the paper's are 13 of 32 (Llama-3.1-8B), 19 of 40"
            " (Mistral-Nemo) and 19 of 32 (Phi-3.5-mini). By default in proportion to Llama's",
            "minimum": 0,
        },
    )
    kernel: int = field(
        default=KERNEL, metadata={"help": "neighbours whose scores are averaged, odd", "minimum": 1}
    )
    pin_first: int = field(
        default=0, metadata={"help": "leading tokens that stay anyway", "unit": "tokens", "minimum": 0}
    )
    pin_last: int = field(
        default=0, metadata={"help": "last tokens that stay anyway", "unit": "tokens", "minimum": 0}
    )
    chunk: int = field(
        default=16384,
        metadata={"help": "keys that are scored at a time, to save memory", "unit": "tokens", "minimum": 1},
    )


class PromptFilter(nn.Module):
    """The first pass: which columns of a prompt stay. An engine of its own."""

    def __init__(self, decoder: Decoder, config: Config) -> None:
        super().__init__()
        self.decoder, self.config = decoder, config
        self.layer = filter_layer(config, len(decoder.layers))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Ids and mask [B, S], 0 for padding on the left -> [B, min(k, S)] columns, ascending.

        Padding goes first. A row with fewer than k tokens keeps all of them.
        """
        valid = attention_mask.bool()
        scores = layer_scores(self.decoder, input_ids, valid, [self.layer], self.config.chunk)[0]
        scores = pooled(scores.masked_fill(~valid, 0.0), self.config.kernel)
        real = valid.long().cumsum(1)  # the first real token is number 1
        pinned = (real <= self.config.pin_first) | (real > real[:, -1:] - self.config.pin_last)
        scores = scores.masked_fill(pinned, torch.inf).masked_fill(~valid, -torch.inf)
        return select(scores, self.config.k)


class FilterLayer(nn.Module):
    """One layer of the first pass over one chunk of a prompt, in buffers of fixed capacity: what is exported.

    A layer reads the whole prompt, chunk by chunk, before the next one begins. So memory holds the buffers
    and the weights of one layer, one chunk's activations, and one hidden state a token. Prompts of a batch
    have one length; a chunk's last column is then its last token, and what the filter layer gives of the last
    chunk are the prompt's scores.
    """

    def __init__(self, decoder: Decoder, config: Config, index: int) -> None:
        super().__init__()
        self.embedding = decoder.embedding if index == 0 else None
        self.rotary, self.layer = decoder.rotary, decoder.opened()[index]
        self.kernel = config.kernel
        self.scores = index == filter_layer(config, len(decoder.layers))

    def forward(
        self,
        x: torch.Tensor,
        positions: torch.Tensor,
        length: torch.Tensor,
        cache: list[torch.Tensor],
    ) -> tuple[torch.Tensor, ...]:
        """Write a chunk's keys and values; transform it, or score all tokens up to its last.

        Args:
            x: [B, S] int64 token ids where this is the first layer, else [B, S, C] of the layer before.
            positions: [B, S] int64, their places in the prompt, consecutive: they are rotated by these, and
                written to these rows.
            length: [B] int64, tokens of the whole prompt.
            cache: the layer's keys and values, of the filter layer the keys only: [B, G, capacity, D] each.

        Returns:
            [B, S, C]; of the filter layer pooled scores [B, capacity] fp32, without meaning from `length`
            on. Then the buffers, written.
        """
        if self.embedding is not None:
            x = self.embedding(x, positions)
        rotation = None if self.rotary is None else self.rotary(positions, x.dtype, length - 1)
        if self.scores:
            return self._score(x, positions, length, cache[0], rotation)
        tokens = Tokens(x, positions, torch.ones_like(positions, dtype=torch.bool))
        memory = InPlace([KeyValue(*cache)], positions)
        tokens, own, _ = self.layer(tokens, rotation, memory, 0, False)
        return tokens.x, *own

    def _score(
        self,
        x: torch.Tensor,
        positions: torch.Tensor,
        length: torch.Tensor,
        cache: torch.Tensor,
        rotation: Rotation | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.layer.norm1(x)
        _, key, _ = self.layer.attention.project(x, rotation)
        query, _, _ = self.layer.attention.project(x[:, -1:], None if rotation is None else rotation.last())
        keys = write_rows(cache, key, positions[:, 0])
        real = torch.arange(keys.shape[2], device=keys.device) < length[:, None]
        raw = last_query_scores(query[:, :, 0], keys).masked_fill(~real, 0.0)
        return pooled(raw, self.kernel), keys


def filter_layers(decoder: Decoder, config: Config) -> list[FilterLayer]:
    """The first pass, layer by layer."""
    count = filter_layer(config, len(decoder.layers)) + 1
    return [FilterLayer(decoder, config, index) for index in range(count)]


class GemFilter(nn.Module):
    """Both passes over a prompt; steps go to `decoder` with the cache that comes out."""

    def __init__(self, decoder: Decoder, config: Config) -> None:
        super().__init__()
        self.decoder = decoder
        self.filter = PromptFilter(decoder, config)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, list[KeyValue], torch.Tensor]:
        """A prompt [B, S], padded on the left.

        Returns:
            Logits [B, K, V] of the tokens that stay, each layer's cache of K rows, and their columns
            [B, K]. A step's mask is the prompt's at these columns, and one more.
        """
        columns = self.filter(input_ids, attention_mask)
        mask = attention_mask.gather(1, columns)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        logits, memory = self.decoder(input_ids.gather(1, columns), mask, positions)
        return logits, memory, columns


def layer_scores(
    decoder: Decoder,
    ids: torch.Tensor,
    valid: torch.Tensor | None,
    layers: Sequence[int],
    chunk: int | None = None,
) -> list[torch.Tensor]:
    """The last token's raw scores of each of the `layers`, ascending: [B, S] fp32 each, before pooling.

    `valid` [B, S] is False for padding, on the left; None says that there is none, and saves memory.
    """
    memory: Memory = Nothing() if valid is None else Growing((), valid)
    real = torch.ones_like(ids, dtype=torch.bool) if valid is None else valid
    positions = (real.long().cumsum(1) - 1).clamp(min=0)
    tokens = Tokens(decoder.embedding(ids, positions), positions, real)
    rotation = None if decoder.rotary is None else decoder.rotary(positions, tokens.x.dtype)
    scores = []
    for index, layer in enumerate(decoder.opened()[: layers[-1] + 1]):
        if index in layers:
            query, key, _ = layer.attention.project(layer.norm1(tokens.x), rotation)
            scores.append(last_query_scores(query[:, :, -1], key, chunk))
        if index < layers[-1]:
            tokens, _, _ = layer(tokens, rotation, memory, index, False)
    return scores


@torch.inference_mode()
def recall_by_layer(
    decoder: Decoder, prompts: Sequence[torch.Tensor], needles: Sequence[tuple[int, int]], config: Config
) -> torch.Tensor:
    """Which layer finds a known needle: [layers, prompts] share of its tokens that the layer would keep.

    Args:
        decoder: opened.
        prompts: [1, S] token ids each.
        needles: (start, stop) of each prompt's needle.
        config: its `layer` is not read.
    """
    recall = []
    for ids, needle in zip(prompts, needles, strict=True):
        scores = layer_scores(decoder, ids, None, range(len(decoder.layers)), config.chunk)
        kept = [select(pooled(one, config.kernel), config.k) for one in scores]
        recall.append(torch.cat([needle_recall(columns, needle) for columns in kept]))
    return torch.stack(recall, 1)


def filter_layer(config: Config, depth: int) -> int:
    """The layer that scores, of `depth`."""
    return 13 * depth // 32 if config.layer is None else config.layer


def check(model: nn.Module, config: Config) -> list[str]:
    """Reasons why prompts of `model` cannot be filtered."""
    reasons = why_not(model)
    if config.kernel % 2 == 0:
        reasons.append(f"kernel {config.kernel} must be odd")
    if config.pin_first + config.pin_last > config.k:
        reasons.append(f"{config.pin_first + config.pin_last} tokens are pinned, but only {config.k} stay")
    if reasons:
        return reasons
    decoder, site = find(model), locate(model)
    depth = len(decoder.layers) if decoder is not None else len(site.layers) if site else 0
    if filter_layer(config, depth) >= depth:
        reasons.append(f"layer {config.layer} does not exist: the model has layers 0 to {depth - 1}")
    return reasons


def apply(model: nn.Module, config: Config) -> GemFilter:
    """Both passes as one module. The model given is consumed."""
    return GemFilter(open_decoder(model), config)
