"""MustDrop in the language model: image tokens that no text attends to go. https://arxiv.org/abs/2411.10803

After each chosen layer, an image token stays by how much the text **after** the image attends to it, in sum
and at most; `_must_drop` has the rule. How many stay is a constant a stage, so that the model exports;
`calibrate` finds the constants that the paper's thresholds keep on sample prompts. The stage in the
vision encoder is `window_merge`. Survivors keep their positions, unlike in the released code.

In a vision-language model `key_share` is the second stage (what the tower's class token looks at stays), and
`trim_cache` the last one (after a prompt, earlier layers' caches shrink to the final survivors).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from . import _vision_language
from ._decoder import Decoder, Growing, Reducer, Seen, Tokens, attention_rows, open_decoder
from ._decoder.decoder import Decoded
from ._decoder.memory import KeyValue
from ._image_reducer import IMAGE, ImageReducer, image_of, image_reasons, reducing_layers, rejoined
from ._must_drop.cache import cache_places, sequence_places, trim
from ._must_drop.calibration import budgets
from ._must_drop.dual_attention import budget_scores, dual_scores, keep_budget, passes, survivors
from ._must_drop.keys import key_count, remap
from .traits import Traits

TRAITS = Traits(
    title="MustDrop, third stage: dropping image tokens by the text's attention",
    paper="https://arxiv.org/abs/2411.10803",
    mechanism="attention",
    training_free=True,
    static_shape=True,
    stage="decoder",
    query_dependent=True,
)


@dataclass(frozen=True)
class Config:
    """Where the image is, how many of its tokens are left after each stage, and how they are scored."""

    image: tuple[int, ...] = field(default=(0, 0), metadata=IMAGE)
    layers: tuple[int, ...] = field(
        default=(2, 6, 10, 14),
        metadata={"help": "layers after which tokens are dropped, counted from 0", "minimum": 0},
    )
    budgets: tuple[int, ...] = field(
        default=(),
        metadata={
            "help": "image tokens left after each of the layers; `calibrate` finds them",
            "unit": "tokens",
            "minimum": 1,
        },
    )
    global_threshold: float = field(
        default=0.0012,
        metadata={
            "help": "of the attention in sum, relative to all image tokens'",
            "unit": "1",
            "minimum": 0.0,
            "maximum": 1.0,
        },
    )
    individual_threshold: float = field(
        default=0.001,
        metadata={"help": "of the largest attention", "unit": "1", "minimum": 0.0, "maximum": 1.0},
    )
    keys: tuple[int, ...] = field(
        default=(),
        metadata={"help": "image tokens that are never dropped, counted within the image", "minimum": 0},
    )
    key_share: float = field(
        default=0.0,
        metadata={
            "help": "share of the image tokens that are never dropped, by the class token's attention in the"
            " last layer of a vision-language model's tower; the paper's is 0.08",
            "unit": "1",
            "minimum": 0.0,
            "maximum": 1.0,
        },
    )
    trim_cache: bool = field(
        default=False,
        metadata={"help": "of a vision-language model: after a prompt, keep only the final survivors' cache"},
    )
    whole: int = field(
        default=2,
        metadata={"help": "leading layers whose cache trim_cache leaves", "unit": "layers", "minimum": 0},
    )


class DropByText(ImageReducer):
    """One stage: keep the image tokens of the highest score.

    Args:
        config: of the method.
        before: image tokens that come.
        keep: image tokens that stay.
        start: the image's first column, where the prompt does not say it.
    """

    def __init__(self, config: Config, before: int, keep: int, start: int = 0) -> None:
        super().__init__(start, start + before, keep)
        self.thresholds = (config.global_threshold, config.individual_threshold)
        self.keys = tuple(sorted(config.keys))

    def choose(self, seen: Seen) -> torch.Tensor:
        """[B, keep] places within the image, ascending."""
        start, stop = self.span(seen)
        c, m = text_scores(seen, start, stop)
        keys = key_places(seen, self.keys, start, stop)
        count = 0 if keys is None else keys.shape[1]
        return keep_budget(budget_scores(c, m, *self.thresholds, keys), self.keep, count)


class DropByThreshold(Reducer):
    """The paper's own form of a stage, for calibration: how many stay depends on the values. Batch 1 only."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def count(self, tokens: int) -> int:
        """Not known from the shapes."""
        raise NotImplementedError("how many tokens the thresholds keep depends on the values")

    def forward(self, seen: Seen) -> torch.Tensor:
        """[1, K] columns that stay, ascending."""
        config, positions = self.config, seen.tokens.positions
        start, last = config.image
        stop = int((positions[0] < last).sum())
        c, m = text_scores(seen, start, stop)
        keys = key_places(seen, config.keys, start, stop)
        (kept,) = survivors(passes(c, m, config.global_threshold, config.individual_threshold, keys))
        return sequence_places(kept[None], (start, stop), positions.shape[1])


def text_scores(seen: Seen, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(c, m) of the image tokens at columns [start, stop), from the text behind them: [B, n] each."""
    batch, length = seen.tokens.positions.shape
    rows = torch.arange(stop, length, device=seen.query.device).expand(batch, -1)
    attention = attention_rows(seen, rows)[:, :, start:stop]
    return dual_scores(attention, seen.tokens.valid[:, stop:])


def key_places(seen: Seen, keys: Sequence[int], start: int, stop: int) -> torch.Tensor | None:
    """Where the keys of the whole image are among the survivors: by their positions. [B, K]

    Each prompt's own keys (`Tokens.image`) go before `keys`, which all prompts share.
    """
    image = seen.tokens.image
    if image is not None and image.keys is not None:
        return remap(image.keys, seen.tokens.positions[:, start:stop] - start)
    if not keys:
        return None
    batch = seen.tokens.positions.shape[0]
    original = torch.tensor(sorted(keys), device=seen.query.device).expand(batch, -1)
    return remap(original, seen.tokens.positions[:, start:stop] - start)


def trimmed(decoder: Decoder, decoded: Decoded, whole: int = 2) -> list[KeyValue]:
    """The output-aware cache: after a prompt, each layer's cache of what survived every stage.

    Args:
        decoder: that ran the prompt, with no other reducers than this method's.
        decoded: what it gave.
        whole: leading layers whose cache is left as it is.
    """
    places = cache_places(decoded.kept, reducing_layers(decoder), len(decoder.layers), whole)
    return [
        KeyValue(trim(own.key, chosen), trim(own.value, chosen))
        for own, chosen in zip(decoded.memory, places, strict=True)
    ]


def calibrate(
    decoder: Decoder, prompts: Sequence[torch.Tensor], config: Config, quantile: float = 1.0
) -> tuple[int, ...]:
    """Budgets from what the thresholds keep on sample prompts.

    Args:
        decoder: opened, without reducers.
        prompts: [1, S] token ids each, the image where `config.image` says.
        config: its `budgets` are not read.
        quantile: 1.0 so that no sample loses a token that its thresholds kept.
    """
    layers = [decoder.opened()[index] for index in config.layers]
    counts = []
    try:
        for layer in layers:
            layer.reducers.append(DropByThreshold(config))
        for ids in prompts:
            outside = ids.shape[1] - (config.image[1] - config.image[0])
            counts.append([kept.shape[1] - outside for kept in prompted(decoder, ids).kept])
    finally:
        for layer in layers:
            layer.reducers = nn.ModuleList(
                reducer for reducer in layer.reducers if not isinstance(reducer, DropByThreshold)
            )
    return tuple(budgets(torch.tensor(counts), quantile, max(1, len(config.keys))))


@torch.inference_mode()
def prompted(decoder: Decoder, ids: torch.Tensor) -> Decoded:
    """A prompt [B, S] without padding through the decoder and its reducers."""
    positions = torch.arange(ids.shape[1], device=ids.device).expand(ids.shape[0], -1)
    valid = torch.ones_like(ids, dtype=torch.bool)
    tokens = Tokens(decoder.embedding(ids, positions), positions, valid)
    return decoder.run(tokens, Growing((), valid), reduce=True)


def check(model: nn.Module, config: Config) -> list[str]:
    """Reasons why image tokens of `model` cannot be dropped."""
    image = image_of(model, config.image)
    reasons = image_reasons(model, image, config.layers, config.budgets) or _seeing_reasons(model, config)
    if reasons:
        return reasons
    count = image[1] - image[0]
    if len(set(config.keys)) < len(config.keys) or any(key >= count for key in config.keys):
        reasons.append(f"keys {config.keys} must be different numbers below {count}")
    elif len(config.keys) > config.budgets[-1]:
        reasons.append(f"{len(config.keys)} keys must stay, but only {config.budgets[-1]} tokens do")
    return reasons


def _seeing_reasons(model: nn.Module, config: Config) -> list[str]:
    """Why the stages that need the vision tower or the whole line cannot be had."""
    if not (config.key_share or config.trim_cache):
        return []
    seeing = _vision_language.find(model)
    if seeing is None:
        return ["key_share and trim_cache need a vision-language model"]
    if not config.key_share:
        return []
    reasons = seeing.tower.key_reasons()
    count = key_count(seeing.tower.patches(), config.key_share)
    if config.keys:
        reasons.append("keys and key_share name the keys in two ways: leave one out")
    if count > config.budgets[-1]:
        reasons.append(f"{count} keys must stay, but only {config.budgets[-1]} tokens do")
    return reasons


def apply(model: nn.Module, config: Config) -> nn.Module:
    """Drop image tokens after each chosen layer. The model given is consumed."""
    decoder = open_decoder(model)
    start, stop = image_of(model, config.image)
    before = stop - start
    for index, keep in zip(config.layers, config.budgets, strict=True):
        decoder.opened()[index].reducers.append(DropByText(config, before, keep, start))
        before = keep
    seeing = _vision_language.find(model)
    if seeing is not None:
        seeing.tower.key_share = config.key_share
        seeing.whole = config.whole if config.trim_cache else None
    return rejoined(model, decoder)
