"""LLaVA in parts (https://arxiv.org/abs/2304.08485): features of an image stand where its token stood."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import nn

from .._decoder import Decoder, Growing, Reducer, Tokens
from .._decoder.memory import KeyValue
from .._decoder.tokens import Image
from .._must_drop.cache import cache_places, trim
from .._query_compressor import Patches, QueryCompressor
from .folding import FoldedProjector
from .question import question_state
from .raters import text_raters
from .tiles import Untile
from .tower import Tower


class Encoded(NamedTuple):
    """An image as the language model gets it: features [B, n, C], and the key set [B, K] or None."""

    features: torch.Tensor
    keys: torch.Tensor | None


class Prefilled(NamedTuple):
    """A prompt that has been read.

    Attributes:
        logits: [B, V] after the last token.
        memory: each layer's keys and values [B, G, L_i, D]; lengths differ where tokens were dropped.
        kept: what each reducer kept.
    """

    logits: torch.Tensor
    memory: list[KeyValue]
    kept: list[torch.Tensor]


@runtime_checkable
class ImageCount(Protocol):
    """A reducer of image tokens: `stop - start` come, `keep` stay."""

    start: int
    stop: int
    keep: int


class VisionLanguage(nn.Module):
    """A tower, a projector and a decoder.

    Attributes:
        image_token: the id in whose place an image's features stand.
        untile: what joins an image's views, where there are several.
        whole: with a number, the cache is trimmed to the final survivors after a prompt, except in so many
            leading layers (MustDrop, https://arxiv.org/abs/2411.10803).
        named_raters: whether a prompt says which of its words look at the image (SparseVLM,
            https://arxiv.org/abs/2410.04417).
        compressor: what stands in the projector's place and looks at several levels of the tower (QueCC,
            https://arxiv.org/abs/2411.03312).
        levels: these levels, as numbers of blocks passed.
        asks: whether the compressor looks at each prompt's question.
        prompt_state: [1, 1, C], the state after a prompt that the compressor looks at instead.
        text_ids: text to token ids without special tokens, where a tokenizer is at hand.
    """

    def __init__(
        self,
        tower: Tower,
        projector: nn.Module,
        decoder: Decoder,
        image_token: int,
        untile: Untile | None = None,
    ) -> None:
        super().__init__()
        self.tower, self.projector, self.decoder = tower, projector, decoder
        self.image_token = image_token
        self.untile = untile
        self.whole: int | None = None
        self.named_raters = False
        self.compressor: QueryCompressor | None = None
        self.levels: tuple[int, ...] = ()
        self.asks = False
        self.prompt_state: torch.Tensor | None
        self.register_buffer("prompt_state", None, persistent=False)
        self.text_ids: Callable[[str], list[int]] | None = None

    @property
    def image_tokens(self) -> int:
        """How many tokens an image is in the prompt."""
        entering = self.tower.tokens()
        if self.compressor is not None:
            return self.compressor.regions.count_of(entering)
        if isinstance(self.projector, FoldedProjector):
            entering = self.projector.count(entering)
        return entering if self.untile is None else self.untile.count(entering)

    @property
    def pixel_shape(self) -> tuple[int, ...]:
        """Of one prepared image: [3, H, W], or [views, 3, H, W]."""
        views = () if self.untile is None else (1 + self.untile.tiling.tiles,)
        return (*views, 3, *self.tower.size)

    def encode(self, pixels: torch.Tensor) -> Encoded:
        """Pixels [B, 3, H, W], or [B, views, 3, H, W], normalised.

        Raises:
            ValueError: the tokens depend on the question: `patches` and `compress`, or `see`, give them.
        """
        if self.compressor is not None:
            if self.asks:
                raise ValueError("its image tokens depend on the question: give it to see()")
            return Encoded(self.compressor.compress(self.patches(pixels), self.prompt_share()), None)
        if self.untile is None:
            found, keys = self.tower(pixels)
            return Encoded(self.projector(found), keys)
        batch, views = pixels.shape[:2]
        features = self.projector(self.tower(pixels.flatten(0, 1))[0])
        return Encoded(self.untile(features.reshape(batch, views, *features.shape[1:])), None)

    def patches(self, pixels: torch.Tensor) -> Patches:
        """What the compressor needs of an image, whatever the question. Pixels [B, 3, H, W].

        Raises:
            ValueError: there is no compressor.
        """
        if self.compressor is None:
            raise ValueError("this model has no query compressor")
        return self.compressor.patches(*self.tower.levels(pixels, self.levels))

    def prompt_share(self) -> torch.Tensor | None:
        """[1, 1, inner]: what the constant prompt adds to the compressor's queries, where there is one."""
        if self.compressor is None or self.prompt_state is None:
            return None
        return self.compressor.share(self.prompt_state)

    def question(self, after: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """What each question adds to the compressor's queries, [B, 1, inner]; see `question_state`.

        Raises:
            ValueError: it looks at none.
        """
        if self.compressor is None or not self.asks:
            raise ValueError("this model's image tokens do not depend on the question")
        return self.compressor.share(question_state(self.decoder, after, lengths))

    def compress(
        self, patches: Patches, after: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Image tokens [B, n, C] for the question that follows the image.

        Args:
            patches: of the images.
            after: [B, T] int64, token ids after the image, padded on the right.
            lengths: [B] int64 of them that are real; None for all.
        """
        share = self.question(after, lengths)
        assert self.compressor is not None  # `question` says so
        return self.compressor.compress(patches, share)

    def see(self, pixels: torch.Tensor, after: torch.Tensor, lengths: torch.Tensor | None = None) -> Encoded:
        """`encode`, or where the tokens depend on the question, the same for this question."""
        if not self.asks:
            return self.encode(pixels)
        return Encoded(self.compress(self.patches(pixels), after, lengths), None)

    def embed(self, input_ids: torch.Tensor) -> torch.Tensor:
        """[B, S] int64 -> [B, S, C]."""
        return self.decoder.embedding(input_ids, torch.zeros_like(input_ids))

    def prefill(
        self,
        before: torch.Tensor,
        image: torch.Tensor,
        after: torch.Tensor,
        keys: torch.Tensor | None = None,
    ) -> Prefilled:
        """Read a prompt: text, an image, text.

        Args:
            before, after: [B, P, C] and [B, T, C], embedded; T is at least 1.
            image: [B, n, C] features.
            keys: [B, K] int64, image tokens that are never dropped.
        """
        x = torch.cat([before, image, after], 1)
        positions = torch.arange(x.shape[1], device=x.device).expand(x.shape[0], -1)
        valid = torch.ones_like(positions, dtype=torch.bool)
        raters = text_raters(image, after) if self.named_raters else None
        tokens = Tokens(x, positions, valid, image=Image(before.shape[1], keys, raters))
        found = self.decoder.run(tokens, Growing((), valid), reduce=True)
        logits = self.decoder.logits(found.tokens.x[:, -1:])[:, 0]
        return Prefilled(logits, self._trimmed(found.memory, found.kept), found.kept)

    def _trimmed(self, memory: list[KeyValue], kept: Sequence[torch.Tensor]) -> list[KeyValue]:
        if self.whole is None:
            return memory
        places = cache_places(kept, self.reducing_layers(), len(memory), self.whole)
        return [
            KeyValue(trim(own.key, chosen), trim(own.value, chosen))
            for own, chosen in zip(memory, places, strict=True)
        ]

    def reducing_layers(self) -> list[int]:
        """Decoder layers after which image tokens are dropped, counted from 0."""
        return [index for index, layer in enumerate(self.decoder.opened()) if len(layer.reducers)]

    def image_rows(self) -> list[int]:
        """How many rows of each layer's cache an image has after a prompt.

        Raises:
            ValueError: a step that drops image tokens counts on others than come, or by their values.
        """
        rows, left = [], self.image_tokens
        for index, layer in enumerate(self.decoder.opened()):
            rows.append(left)
            for reducer in layer.reducers:
                if isinstance(reducer, Reducer) and reducer.unexportable:
                    raise ValueError(reducer.unexportable)
                if not isinstance(reducer, ImageCount) or reducer.stop - reducer.start != left:
                    raise ValueError(
                        f"the step after layer {index} of the decoder does not drop from {left} image tokens:"
                        " steps in the vision tower come before those in the language model"
                    )
                left = reducer.keep
        if self.whole is None:
            return rows
        last = self.reducing_layers()[-1]
        return [left if self.whole <= layer <= last else own for layer, own in enumerate(rows)]

    def groups(self) -> list[int]:
        """Layers whose caches have the same rows have the same number: 0, 1, ... in order."""
        rows = self.image_rows()
        order = list(dict.fromkeys(rows))
        return [order.index(own) for own in rows]
