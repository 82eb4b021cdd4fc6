"""A vision-language model's graphs as modules of flat inputs and outputs, with their names and shapes."""

from __future__ import annotations

import torch
from torch import nn

from paring.transforms._decoder import Decoder
from paring.transforms._vision_language import VisionLanguage

from ..language.graphs import BATCH, CAPACITY, SEQUENCE, Graph, names, paired
from ..language.graphs import in_place as in_place_of_decoder

BEFORE, AFTER = 3, 4  # of the example: neither 0 nor 1
PATCHES = ("image_queries", "image_keys", "image_values")


class EncoderGraph(nn.Module):
    """Pixels to features, and to keys where there are; or to what a question is still to compress."""

    def __init__(self, model: VisionLanguage) -> None:
        super().__init__()
        self.model = model
        self.share: torch.Tensor | None  # of a constant prompt, so that the graph does not compute it
        with torch.no_grad():
            self.register_buffer("share", model.prompt_share())

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """[B, 3, H, W] or [B, views, 3, H, W] -> [B, n, C] and perhaps [B, K] int64."""
        pixels = pixel_values.to(dtype_of(self.model))
        if self.model.asks:
            return self.model.patches(pixels)
        if self.model.compressor is not None:
            return (self.model.compressor.compress(self.model.patches(pixels), self.share),)
        features, keys = self.model.encode(pixels)
        return (features,) if keys is None else (features, keys)


class EmbedGraph(nn.Module):
    """Token ids to embeddings."""

    def __init__(self, model: VisionLanguage) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """[B, S] int64 -> [B, S, C]."""
        return self.model.embed(input_ids)


class PrefillGraph(nn.Module):
    """A prompt to logits [B, V] and each layer's cache [B, G, L_i, D]."""

    def __init__(self, model: VisionLanguage) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        before: torch.Tensor,
        image_features: torch.Tensor,
        after: torch.Tensor,
        keys: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """See `VisionLanguage.prefill`."""
        found = self.model.prefill(before, image_features, after, keys)
        return (found.logits.float(), *(value for own in found.memory for value in own))


class GroupedInPlaceGraph(nn.Module):
    """The in-place graph whose layers are in groups, each with slots of its own."""

    def __init__(self, decoder: Decoder, groups: list[int]) -> None:
        super().__init__()
        self.decoder, self.groups = decoder, groups

    def forward(
        self,
        input_ids: torch.Tensor,
        positions: torch.Tensor,
        slots: list[torch.Tensor],
        last: torch.Tensor,
        cache: list[torch.Tensor],
    ) -> tuple[torch.Tensor, ...]:
        """See `Decoder.in_place`; `slots` is [B, S] a group, `cache` key and value of each layer in turn."""
        own = [slots[group] for group in self.groups]
        logits, memory = self.decoder.in_place(input_ids, positions, own, last, paired(cache))
        return (logits.float(), *(value for layer in memory for value in layer))


def dtype_of(model: VisionLanguage) -> torch.dtype:
    """Of its weights."""
    return model.decoder.head.weight.dtype


def encoder(model: VisionLanguage) -> Graph:
    """`pixel_values` to `image_features`, and `keys` where there are; or to what `compressing` takes."""
    outputs: tuple[str, ...] = ("image_features", "keys") if model.tower.key_share else ("image_features",)
    outputs = PATCHES if model.asks else outputs
    example = torch.randn(BATCH, *model.pixel_shape, generator=torch.Generator().manual_seed(0))
    return Graph(EncoderGraph(model), (example,), ({0: "batch_size"},), ("pixel_values",), outputs)


def embed(model: VisionLanguage) -> Graph:
    """`input_ids` to `inputs_embeds`."""
    ids = torch.randint(0, model.decoder.vocabulary, (BATCH, SEQUENCE))
    shapes = ({0: "batch_size", 1: "sequence_length"},)
    return Graph(EmbedGraph(model), (ids,), shapes, ("input_ids",), ("inputs_embeds",))


def prefill(model: VisionLanguage) -> Graph:
    """`before`, `image_features`, `after` (and `keys`) to `logits`, `present.0.key`, ..."""
    width, batch = model.decoder.head.in_features, {0: "batch_size"}
    lengths = (BEFORE, model.image_tokens, AFTER)
    example = [torch.randn(BATCH, length, width).to(dtype_of(model)) for length in lengths]
    shapes: list[dict[int, str]] = [{**batch, 1: "before_length"}, batch, {**batch, 1: "after_length"}]
    inputs = ["before", "image_features", "after"]
    if model.tower.key_share:
        example.append(torch.arange(model.tower.keys()).expand(BATCH, -1).contiguous())
        shapes.append(batch)
        inputs.append("keys")
    outputs = ("logits", *names("present", len(model.decoder.layers)))
    return Graph(PrefillGraph(model), tuple(example), tuple(shapes), tuple(inputs), outputs)


def in_place(model: VisionLanguage) -> Graph:
    """`input_ids`, `positions`, `slots` (or `slots.0`, `slots.1`, ...), `last`, `cache.0.key`, ..."""
    plain, groups = in_place_of_decoder(model.decoder), model.groups()
    count = max(groups) + 1
    if count == 1:
        return plain
    ids, positions, slots, last, _ = plain.example
    _, heads, width = model.decoder.cache_shape()
    sizes = [CAPACITY + group for group in groups for _ in range(2)]
    own = [torch.zeros(BATCH, heads, size, width, dtype=dtype_of(model)) for size in sizes]
    own_slots = [f"slots.{group}" for group in range(count)]
    row = {0: "batch_size", 1: "sequence_length"}
    capacities = [{0: "batch_size", 2: f"capacity_{group}"} for group in groups for _ in range(2)]
    return Graph(
        module=GroupedInPlaceGraph(model.decoder, groups),
        example=(ids, positions, [slots.clone() for _ in range(count)], last, own),
        shapes=(row, row, [row] * count, {0: "batch_size"}, capacities),
        inputs=("input_ids", "positions", *own_slots, "last", *names("cache", len(groups))),
        outputs=plain.outputs,
    )
