"""The key-value cache: inputs and outputs of a decoder, in one of two forms.

`Growing` appends: the outputs are longer than the inputs, as transformers and optimum have it.
`InPlace` writes rows into buffers of a fixed capacity, which a runtime binds as input and output at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch

from .tokens import Tokens


class KeyValue(NamedTuple):
    """Keys and values of one layer, [B, G, T, D] each; keys are rotated."""

    key: torch.Tensor
    value: torch.Tensor


class Memory(Protocol):
    """How the keys of a chunk join those of the cache, and who sees which."""

    def extend(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> KeyValue:
        """The layer's cache with the chunk's [B, G, S, D] in it."""

    def bias(self, layer: int, tokens: Tokens, window: int | None) -> torch.Tensor | None:
        """[B, 1, S, T]: 0 where a query of the chunk sees a row of the cache, very low elsewhere.

        None where the chunk sees itself alone, causally and without padding.
        """

    def rows(self, layer: int, tokens: Tokens) -> torch.Tensor:
        """[B, S] int64: the rows of the layer's cache that the chunk is written to."""


class Nothing:
    """No cache: a prompt without padding that is read once, in memory that grows with S, not S x S."""

    def extend(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> KeyValue:
        """The prompt's own."""
        return KeyValue(key, value)

    def bias(self, layer: int, tokens: Tokens, window: int | None) -> None:
        """None."""

    def rows(self, layer: int, tokens: Tokens) -> torch.Tensor:
        """0, 1, ..."""
        return torch.arange(tokens.x.shape[1], device=tokens.x.device).expand(tokens.x.shape[0], -1)


class Growing:
    """A cache that grows by the chunk.

    Args:
        past: each layer's cache [B, G, P_i, D]; empty means that there is none yet.
        mask: [B, P + S] bool, False for padding; or one a layer, where lengths differ.
    """

    def __init__(self, past: Sequence[KeyValue], mask: torch.Tensor | Sequence[torch.Tensor]) -> None:
        self.past, self.mask = list(past), mask
        self._biases = _Biases()

    def extend(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> KeyValue:
        """Append the chunk."""
        if not self.past:
            return KeyValue(key, value)
        old = self.past[layer]
        return KeyValue(torch.cat([old.key, key], dim=2), torch.cat([old.value, value], dim=2))

    def bias(self, layer: int, tokens: Tokens, window: int | None) -> torch.Tensor:
        """Causal over what is no padding; shared by layers that see the same."""
        mask = self.mask if isinstance(self.mask, torch.Tensor) else self.mask[layer]

        def compute() -> torch.Tensor:
            seen = mask
            if tokens.reduced:  # the chunk's own part of the mask is that of fewer tokens
                old = self.past[layer].key.shape[2] if self.past else 0
                seen = torch.cat([mask[:, :old], tokens.valid], dim=1)
            count, total = tokens.valid.shape[1], seen.shape[1]
            rows = torch.arange(total, device=seen.device)[None]
            queries = torch.arange(count, device=seen.device)[None] + (total - count)
            return visible_bias(queries, rows, seen, window, tokens.x.dtype)

        return self._biases.shared((mask, tokens.valid), window, compute)

    def rows(self, layer: int, tokens: Tokens) -> torch.Tensor:
        """Those behind the past."""
        old = self.past[layer].key.shape[2] if self.past else 0
        place = torch.arange(tokens.x.shape[1], device=tokens.x.device) + old
        return place.expand(tokens.x.shape[0], -1)


class InPlace:
    """Buffers of fixed capacity.

    Args:
        cache: each layer's buffer [B, G, capacity, D].
        slots: [B, S] int64, the rows that the chunk is written to: consecutive and ascending; or one a
            layer, where lengths differ. A key in row j is seen by a query in row s when j <= s.
    """

    def __init__(self, cache: Sequence[KeyValue], slots: torch.Tensor | Sequence[torch.Tensor]) -> None:
        self.cache, self.slots = list(cache), slots
        self._biases = _Biases()

    def _slots(self, layer: int) -> torch.Tensor:
        return self.slots if isinstance(self.slots, torch.Tensor) else self.slots[layer]

    def extend(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> KeyValue:
        """Write the chunk's rows, from the first slot on."""
        start, old = self._slots(layer)[:, 0], self.cache[layer]
        return KeyValue(write_rows(old.key, key, start), write_rows(old.value, value, start))

    def bias(self, layer: int, tokens: Tokens, window: int | None) -> torch.Tensor:
        """Rows up to the query's own; what lies behind, padding included, is never seen."""
        slots, count = self._slots(layer), tokens.valid.shape[1]

        def compute() -> torch.Tensor:
            rows = torch.arange(self.cache[layer].key.shape[2], device=slots.device)[None]
            queries = slots[:, :count] if tokens.reduced else slots
            return visible_bias(queries, rows, None, window, tokens.x.dtype)

        return self._biases.shared((slots, tokens.valid), window, compute)

    def rows(self, layer: int, tokens: Tokens) -> torch.Tensor:
        """The layer's slots."""
        return self._slots(layer)[:, : tokens.x.shape[1]]


class _Biases:
    """One bias for all layers that see the same: a graph then holds it once."""

    def __init__(self) -> None:
        self._found: list[tuple[tuple[torch.Tensor, ...], int | None, torch.Tensor]] = []

    def shared(
        self, of: tuple[torch.Tensor, ...], window: int | None, compute: Callable[[], torch.Tensor]
    ) -> torch.Tensor:
        for known, known_window, bias in self._found:
            if window == known_window and all(a is b for a, b in zip(known, of, strict=True)):
                return bias
        bias = compute()
        self._found.append((of, window, bias))
        return bias


def visible_bias(
    queries: torch.Tensor,
    keys: torch.Tensor,
    valid: torch.Tensor | None,
    window: int | None,
    dtype: torch.dtype,
) -> torch.Tensor:
    """What to add to the scores, [B or 1, 1, S, T].

    Args:
        queries: [B or 1, S] row numbers.
        keys: [B or 1, T] row numbers.
        valid: [B, T] bool, which keys are no padding; None is all.
        window: how many rows back a query sees, its own included.
        dtype: of the scores.
    """
    query, key = queries[:, None, :, None], keys[:, None, None, :]
    seen = key <= query
    if window is not None:
        seen = seen & (key > query - window)
    if valid is not None:
        seen = seen & valid[:, None, None, :]
    # Finite, so that a row of padding, which sees nothing, gives no NaN; half the lowest number, so that
    # a score on top of it cannot overflow fp16.
    low = torch.finfo(dtype).min / 2
    return torch.where(seen, 0.0, low).to(dtype)


@torch.library.custom_op("paring::write_rows", mutates_args=())
def write_rows(cache: torch.Tensor, rows: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """The cache [B, G, capacity, D] with `rows` [B, G, S, D] from row `start` [B] on.

    An operator of its own, because ONNX has it as TensorScatter, which a runtime does in place.
    """
    written = cache.clone()
    index = start[:, None] + torch.arange(rows.shape[2], device=start.device)  # [B, S]
    batch = torch.arange(cache.shape[0], device=start.device)[:, None]
    written[batch, :, index] = rows.transpose(1, 2)
    return written


@write_rows.register_fake
def _(cache: torch.Tensor, rows: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(cache)
