"""MustDrop in the language model: image tokens that no text attends to go. https://arxiv.org/abs/2411.10803

After each chosen layer, an image token stays by how much the text **after** the image attends to it, in sum
and at most; `_must_drop` has the rule. In `form: budget` how many stay is a constant a stage, so that the
model exports; `paring must-drop-budgets` finds the constants that the paper's thresholds keep on sample data.
In `form: threshold` the thresholds themselves decide, one prompt at a time and in PyTorch only. The stage in
the vision encoder is `window_merge`.

Survivors keep their positions. With `positions: paper_compat` they are numbered anew after each stage, and a
later token sits, in each layer, at that layer's own cache length, as in the released code: see
`_must_drop.positions` for what is wrong with it.

In a vision-language model `key_share` is the second stage (what the tower's class token looks at stays), and
`trim_cache` the last one (after a prompt, earlier layers' caches shrink to the final survivors).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from . import _vision_language
from ._decoder import Decoder, Growing, Tokens, open_decoder
from ._decoder.decoder import Decoded
from ._decoder.memory import KeyValue
from ._image_reducer import IMAGE, has_rotary, image_of, image_reasons, reducing_layers, rejoined
from ._must_drop.cache import cache_places, trim
from ._must_drop.calibration import budgets
from ._must_drop.keys import key_count
from ._must_drop.positions import MODES, PAPER_COMPAT, PERSISTENT
from ._must_drop.stages import UNEXPORTABLE, DropByText, DropByThreshold, Rule
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
            "help": "image tokens left after each of the layers; `paring must-drop-budgets` finds them",
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
    form: str = field(
        default="budget",
        metadata={
            "help": "'budget', a constant count after each layer; or 'threshold', the paper's own, whose"
            " counts depend on the values: one prompt at a time, in PyTorch, never exported",
            "choices": ("budget", "threshold"),
        },
    )
    positions: str = field(
        default=PERSISTENT,
        metadata={
            "help": "'persistent', survivors keep their positions; or 'paper_compat', they are numbered anew"
            " after each stage and later tokens sit at each layer's own cache length, like the released code",
            "choices": MODES,
        },
    )
    whole: int = field(
        default=2,
        metadata={"help": "leading layers whose cache trim_cache leaves", "unit": "layers", "minimum": 0},
    )


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
        config: its `budgets` and `form` are not read.
        quantile: 1.0 so that no sample loses a token that its thresholds kept.
    """
    counts = []
    try:
        _insert(decoder, replace(config, form="threshold"), config.image)
        for ids in prompts:
            outside = ids.shape[1] - (config.image[1] - config.image[0])
            counts.append([kept.shape[1] - outside for kept in prompted(decoder, ids).kept])
    finally:
        for index in config.layers:
            decoder.opened()[index].reducers = nn.ModuleList()
        decoder.by_row = False
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
    wanted, count = config.budgets, (image[1] - image[0] if len(image) == 2 else 0)
    if config.form == "threshold":
        wanted = (count,) * len(config.layers)
    reasons = image_reasons(model, image, config.layers, wanted) or _seeing_reasons(model, config)
    if reasons:
        return reasons
    if config.form == "threshold" and config.budgets:
        reasons.append("form: threshold counts by the values: leave budgets out, or use form: budget")
    if config.positions == PAPER_COMPAT and not has_rotary(model):
        reasons.append("positions: paper_compat is for rotary positions; this model's are learned")
    if len(set(config.keys)) < len(config.keys) or any(key >= count for key in config.keys):
        reasons.append(f"keys {config.keys} must be different numbers below {count}")
    elif len(config.keys) > wanted[-1]:
        reasons.append(f"{len(config.keys)} keys must stay, but only {wanted[-1]} tokens do")
    return reasons


def unexportable(config: Config) -> str:
    """Why this config has no static graph, or an empty text."""
    return UNEXPORTABLE if config.form == "threshold" else ""


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
    if seeing.image_tokens != seeing.tower.tokens():
        reasons.append("key_share names single patches, which are no tokens where windows or tiles are seen")
    count = key_count(seeing.tower.patches(), config.key_share)
    if config.keys:
        reasons.append("keys and key_share name the keys in two ways: leave one out")
    if config.form == "budget" and count > config.budgets[-1]:
        reasons.append(f"{count} keys must stay, but only {config.budgets[-1]} tokens do")
    return reasons


def apply(model: nn.Module, config: Config) -> nn.Module:
    """Drop image tokens after each chosen layer. The model given is consumed."""
    decoder = open_decoder(model)
    _insert(decoder, config, image_of(model, config.image))
    seeing = _vision_language.find(model)
    if seeing is not None:
        seeing.tower.key_share = config.key_share
        seeing.whole = config.whole if config.trim_cache else None
    return rejoined(model, decoder)


def _insert(decoder: Decoder, config: Config, image: tuple[int, ...]) -> None:
    """Put each stage behind its layer."""
    start, stop = image
    rule = Rule(config.global_threshold, config.individual_threshold, config.keys, config.positions)
    layers = [decoder.opened()[index] for index in config.layers]
    decoder.by_row = config.positions == PAPER_COMPAT
    if config.form == "threshold":
        for layer in layers:
            layer.reducers.append(DropByThreshold(rule, stop - start, start))
        return
    coming = (stop - start, *config.budgets)
    for layer, before, keep in zip(layers, coming, config.budgets, strict=False):
        layer.reducers.append(DropByText(rule, before, keep, start))
