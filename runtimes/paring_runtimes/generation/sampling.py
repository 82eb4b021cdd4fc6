"""From one row of logits to a token id, in float64.

The order is transformers': repetition penalty (CTRL, https://arxiv.org/abs/1909.05858, eq. in 4.1),
temperature, top-k, top-p (nucleus, https://arxiv.org/abs/1904.09751), min-p
(https://arxiv.org/abs/2407.01082).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.errors import EngineError
from paring_runtimes.generation.options import Options

if TYPE_CHECKING:
    from numpy.typing import NDArray


def choose(logits: NDArray[Any], seen: Collection[int], options: Options, draw: np.random.Generator) -> int:
    """Choose a token.

    Args:
        logits: [vocab].
        seen: the ids in prompt and answer so far, for the repetition penalty.
        options: how to choose.
        draw: one uniform number is taken from it a token; none at temperature 0.

    Raises:
        EngineError: the logits hold a NaN, or nothing finite to choose.
    """
    if options.repetition_penalty != 1.0:
        logits = penalised(logits, seen, options.repetition_penalty)
    best = int(np.argmax(logits))  # the first of equals; a NaN wins
    if not np.isfinite(logits[best]):
        raise EngineError(f"the model's logits are not finite (token {best}: {logits[best]})")
    if options.temperature == 0:
        return best
    tokens, probabilities = distribution(logits, options)
    total = np.cumsum(probabilities)
    place = int(np.searchsorted(total, draw.random() * total[-1], side="right"))
    return int(tokens[min(place, len(tokens) - 1)])


def penalised(logits: NDArray[Any], seen: Collection[int], penalty: float) -> NDArray[np.float64]:
    """Return float64 logits with those of `seen` made less likely (more, for a penalty below 1)."""
    scores = logits.astype(np.float64)
    ids = np.fromiter(set(seen), dtype=np.int64)
    chosen = scores[ids]
    scores[ids] = np.where(chosen < 0, chosen * penalty, chosen / penalty)
    return scores


def distribution(logits: NDArray[Any], options: Options) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return what may be sampled: token ids, ascending, and their probabilities, which add up to 1.

    Args:
        logits: [vocab], after the repetition penalty.
        options: temperature over 0.
    """
    tokens = np.arange(len(logits))
    if 0 < options.top_k < len(logits):  # before the temperature, which keeps the order
        kth = np.partition(logits, -options.top_k)[-options.top_k]
        tokens = np.flatnonzero(logits >= kth)
        logits = logits[tokens]
    scores = logits.astype(np.float64) / options.temperature
    weights = np.exp(scores - scores.max())
    weights /= weights.sum()
    if not weights.all():
        kept = weights > 0
        tokens, weights = tokens[kept], weights[kept]
    if options.top_p < 1:
        kept = _nucleus(weights, options.top_p)
        tokens, weights = tokens[kept], weights[kept]
    if options.min_p > 0:
        kept = weights >= options.min_p * weights.max()
        tokens, weights = tokens[kept], weights[kept]
    return tokens, weights / weights.sum()


def _nucleus(probabilities: NDArray[np.float64], top_p: float) -> NDArray[np.int64]:
    """Return the places, ascending, of the fewest tokens with at least `top_p` together."""
    # Tokens less likely than (1 - top_p) / n have less than 1 - top_p together: none can belong.
    likely = np.flatnonzero(probabilities >= (1 - top_p) / len(probabilities))
    order = likely[np.argsort(-probabilities[likely], kind="stable")]
    before = np.cumsum(probabilities[order]) - probabilities[order]
    kept = before < top_p
    kept[0] = True
    return np.sort(order[kept])
