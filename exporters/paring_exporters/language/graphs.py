"""A decoder's graphs as modules of flat inputs and outputs, with their names and shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from paring.transforms import gem_filter
from paring.transforms._decoder import Decoder
from paring.transforms._decoder.memory import KeyValue

BATCH, SEQUENCE, PAST, TOTAL, CAPACITY = 2, 3, 5, 8, 8  # of the example: none of them 0 or 1


@dataclass(frozen=True)
class Graph:
    """What `torch.onnx.export` needs of one graph. Shapes hold the names of open dimensions."""

    module: nn.Module
    example: tuple[Any, ...]
    shapes: tuple[Any, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class GrowingGraph(nn.Module):
    """Prompt and step in one: the cache comes in and goes out longer. Logits are fp32."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor,
        past: list[torch.Tensor],
    ) -> tuple[torch.Tensor, ...]:
        """See `Decoder.forward`; `past` is key and value of each layer in turn."""
        logits, memory = self.decoder(input_ids, attention_mask, position_ids, paired(past))
        return (logits.float(), *(value for own in memory for value in own))


class InPlaceGraph(nn.Module):
    """Buffers of fixed capacity come in and go out with new rows; logits of the last tokens, fp32."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self,
        input_ids: torch.Tensor,
        positions: torch.Tensor,
        slots: torch.Tensor,
        last: torch.Tensor,
        cache: list[torch.Tensor],
    ) -> tuple[torch.Tensor, ...]:
        """See `Decoder.in_place`; `cache` is key and value of each layer in turn."""
        logits, memory = self.decoder.in_place(input_ids, positions, slots, last, paired(cache))
        return (logits.float(), *(value for own in memory for value in own))


def filtering(decoder: Decoder, config: gem_filter.Config) -> list[Graph]:
    """GemFilter's first pass, a graph a layer.

    `input_ids`, `positions`, `length`, `cache.key`, `cache.value` -> `updated`, `updated.key`,
    `updated.value`;
    then `hidden` in place of the ids, which is the layer before's `updated`; the last gives `scores`.
    """
    layers = gem_filter.filter_layers(decoder, config)
    return [_filter_layer(decoder, layer, index) for index, layer in enumerate(layers)]


def _filter_layer(decoder: Decoder, layer: gem_filter.FilterLayer, index: int) -> Graph:
    _, heads, width = decoder.cache_shape()
    ids = torch.randint(0, decoder.vocabulary, (BATCH, SEQUENCE))
    places = torch.arange(SEQUENCE).expand(BATCH, -1).contiguous()
    parts = ("key",) if layer.scores else ("key", "value")  # of the filter layer the keys only
    cache = _buffers(decoder, (BATCH, heads, CAPACITY, width))[: len(parts)]
    batch = {0: "batch_size"}
    row = {**batch, 1: "sequence_length"}
    with torch.no_grad():
        x = ids if index == 0 else decoder.embedding(ids, places)
    return Graph(
        module=layer,
        example=(x, places, torch.full((BATCH,), SEQUENCE), cache),
        shapes=(row, row, batch, [{**batch, 2: "capacity"}] * len(parts)),
        inputs=(
            "hidden" if index else "input_ids",
            "positions",
            "length",
            *(f"cache.{part}" for part in parts),
        ),
        outputs=("scores" if layer.scores else "updated", *(f"updated.{part}" for part in parts)),
    )


def paired(flat: list[torch.Tensor]) -> list[KeyValue]:
    """Key, value, key, value, ... -> one pair a layer."""
    return [KeyValue(key, value) for key, value in zip(flat[::2], flat[1::2], strict=True)]


def growing(decoder: Decoder) -> Graph:
    """The graph that optimum would export: `input_ids`, `past_key_values.0.key`, `present.0.key`, ..."""
    layers, heads, width = decoder.cache_shape()
    ids = torch.randint(0, decoder.vocabulary, (BATCH, SEQUENCE))
    past = _buffers(decoder, (BATCH, heads, PAST, width))
    positions = torch.arange(PAST, TOTAL).expand(BATCH, -1).contiguous()
    batch = {0: "batch_size"}
    row = {**batch, 1: "sequence_length"}
    return Graph(
        module=GrowingGraph(decoder),
        example=(ids, torch.ones(BATCH, TOTAL, dtype=torch.int64), positions, past),
        shapes=(
            row,
            {**batch, 1: "total_sequence_length"},
            row,
            [{**batch, 2: "past_sequence_length"}] * 2 * layers,
        ),
        inputs=("input_ids", "attention_mask", "position_ids", *names("past_key_values", layers)),
        outputs=("logits", *names("present", layers)),
    )


def in_place(decoder: Decoder) -> Graph:
    """The graph over buffers: `input_ids`, `positions`, `slots`, `last`, `cache.0.key`, ..."""
    layers, heads, width = decoder.cache_shape()
    ids = torch.randint(0, decoder.vocabulary, (BATCH, SEQUENCE))
    places = torch.arange(SEQUENCE).expand(BATCH, -1).contiguous()
    last = torch.full((BATCH,), SEQUENCE - 1)
    cache = _buffers(decoder, (BATCH, heads, CAPACITY, width))
    batch = {0: "batch_size"}
    row = {**batch, 1: "sequence_length"}
    return Graph(
        module=InPlaceGraph(decoder),
        example=(ids, places, places.clone(), last, cache),
        shapes=(row, row, row, batch, [{**batch, 2: "capacity"}] * 2 * layers),
        inputs=("input_ids", "positions", "slots", "last", *names("cache", layers)),
        outputs=("logits", *names("updated", layers)),
    )


def names(start: str, layers: int) -> list[str]:
    """`start.0.key`, `start.0.value`, `start.1.key`, ..."""
    return [f"{start}.{layer}.{part}" for layer in range(layers) for part in ("key", "value")]


def _buffers(decoder: Decoder, shape: tuple[int, ...]) -> list[torch.Tensor]:
    dtype = decoder.head.weight.dtype
    return [torch.zeros(shape, dtype=dtype) for _ in range(2 * len(decoder.layers))]
