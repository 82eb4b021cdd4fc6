"""From a budget and a fitted law to a model size and a count of visual tokens, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from paring_runtimes.errors import InputError

from .law import Fit, Law
from .table import Table

TOKENS = (1, 2, 4, 9, 16, 25, 36, 64, 100, 144, 256, 324, 576)  # what compressors and grids can make
SURE = 0.95


@dataclass(frozen=True)
class Budget:
    """What a prompt may cost.

    Attributes:
        flops: multiplications and additions of the language model, 2 N (Q + V).
        text_tokens: Q, what is read beside the image.
        sizes: parameters of the models there are; None for any.
        tokens: counts of visual tokens there are.
    """

    flops: float
    text_tokens: int
    sizes: tuple[float, ...] | None = None
    tokens: tuple[int, ...] = TOKENS


@dataclass(frozen=True)
class Answer:
    """What to deploy. Modelled, from the law; `error` is a share of 1.

    Attributes:
        parameters, tokens: the choice.
        flops: what it costs.
        error, error_ci95: predicted, and the interval of the law.
        support: share of the bootstrap's laws that choose this count of tokens.
        tokens_ci95: counts of tokens that the bootstrap's laws choose.
        loss_ci95: how much error the choice may cost against each law's own best, at most, with 97.5 %.
        outside: by what factor the choice lies outside of the fitted range, {"parameters": 2.9}.
        latency_ms: measured, where the choice is one of the table's rows.
    """

    parameters: float
    tokens: int
    flops: float
    error: float
    error_ci95: tuple[float, float]
    support: float
    tokens_ci95: tuple[int, int]
    loss_ci95: float
    outside: dict[str, float]
    latency_ms: float | None = None

    @property
    def sure(self) -> bool:
        """Whether nearly every law that fits would choose the same."""
        return self.support >= SURE


def options(budget: Budget) -> list[tuple[float, int]]:
    """Every (parameters, tokens) that the budget pays for: the largest size, or those of `sizes`.

    Raises:
        InputError: the budget pays for none.
    """
    found = []
    for tokens in budget.tokens:
        most = budget.flops / (2 * (budget.text_tokens + tokens))
        sizes = [most] if budget.sizes is None else [size for size in budget.sizes if size <= most]
        found += [(max(sizes), tokens)] if sizes else []
    if not found:
        least = 2 * min(budget.sizes or (0,)) * (budget.text_tokens + min(budget.tokens))
        raise InputError(
            f"{budget.flops:.3g} FLOPs pay for none of the models; the smallest with {min(budget.tokens)}"
            f" visual and {budget.text_tokens} text tokens takes {least:.3g}"
        )
    return found


def choose(fit: Fit, budget: Budget) -> Answer:
    """The choice of least predicted error.

    Raises:
        InputError: the budget pays for no model.
    """
    return _among(fit, options(budget), budget.text_tokens)


def choose_by_latency(fit: Fit, table: Table, latency_ms: float, text_tokens: int) -> Answer:
    """The choice among the table's own rows whose measured latency is within the budget.

    Raises:
        InputError: the table has no latencies, or none is low enough.
    """
    if not table.has_latency:
        raise InputError(
            f"{table.name}: a budget of latency needs a latency_ms measured for every row; use --budget-flops"
            " or add the column"
        )
    timed = {(row.parameters, row.tokens): row.latency_ms or 0.0 for row in table.rows}
    within = [key for key, value in timed.items() if value <= latency_ms]
    if not within:
        raise InputError(
            f"{table.name}: no model within {latency_ms:g} ms; the fastest takes {min(timed.values()):g} ms"
        )
    found = _among(fit, within, text_tokens)
    return replace(found, latency_ms=timed[found.parameters, found.tokens])


def frontier(fit: Fit, budgets: Sequence[Budget]) -> list[Answer]:
    """The choice at each budget."""
    return [choose(fit, budget) for budget in budgets]


def _among(fit: Fit, candidates: list[tuple[float, int]], text_tokens: int) -> Answer:
    sizes, tokens = (np.array(column, np.float64) for column in zip(*candidates, strict=True))

    def best(law: Law) -> int:
        return int(np.argmin(law.error(sizes, tokens)))

    chosen = best(fit.law)
    picks = [best(draw) for draw in fit.draws]
    losses = [
        float(errors[chosen] - errors.min()) for errors in (draw.error(sizes, tokens) for draw in fit.draws)
    ]
    size, count = candidates[chosen]
    error, interval = fit.error(size, count)
    low, high = np.quantile([candidates[pick][1] for pick in picks], [0.025, 0.975], method="inverted_cdf")
    return Answer(
        parameters=size,
        tokens=count,
        flops=2 * size * (text_tokens + count),
        error=error,
        error_ci95=interval,
        support=sum(candidates[pick][1] == count for pick in picks) / len(picks),
        tokens_ci95=(int(low), int(high)),
        loss_ci95=float(np.quantile(losses, 0.975)),
        outside=_outside(fit, size, count),
    )


def _outside(fit: Fit, size: float, tokens: int) -> dict[str, float]:
    found = {}
    for name, value, (low, high) in (("parameters", size, fit.parameters), ("tokens", tokens, fit.tokens)):
        if value < low:
            found[name] = low / value
        elif value > high:
            found[name] = value / high
    return found
