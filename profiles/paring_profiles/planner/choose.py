"""From a budget and a fitted law to a model size and a count of visual tokens, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from paring_runtimes.errors import InputError

from .law import Fit, Law
from .table import Table

TOKENS = (1, 2, 4, 9, 16, 25, 36, 64, 100, 144, 256, 324, 576)  # what compressors and grids can make
SURE = 0.95
SCALES = tuple(float(scale) for scale in 10.0 ** np.linspace(-1, 1, 5))  # of a budget, for its neighbours


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

    @property
    def least_flops(self) -> float:
        """What the smallest model with the fewest tokens costs."""
        return 2 * min(self.sizes or (0,)) * (self.text_tokens + min(self.tokens))


@dataclass(frozen=True)
class Answer:
    """What to deploy. The error is modelled, by the law; a cost is either modelled or measured.

    Attributes:
        parameters, tokens: the choice.
        error, error_ci95: predicted, a share of 1, and the interval of the law.
        support: share of the bootstrap's laws that choose this count of tokens.
        tokens_ci95: counts of tokens that the bootstrap's laws choose.
        loss_ci95: how much error the choice may cost against each law's own best, at most, with 97.5 %.
        outside: by what factor the choice lies outside of the fitted range, {"parameters": 2.9}.
        flops: what it costs, modelled; None where the budget is a latency.
        latency_ms: what it takes, measured; None where the budget is of operations.
        name: of the artifact, where the choice is one.
    """

    parameters: float
    tokens: int
    error: float
    error_ci95: tuple[float, float]
    support: float
    tokens_ci95: tuple[int, int]
    loss_ci95: float
    outside: dict[str, float]
    flops: float | None = None
    latency_ms: float | None = None
    name: str = ""

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
        least = budget.least_flops
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
    found = _among(fit, options(budget))
    return replace(found, flops=2 * found.parameters * (budget.text_tokens + found.tokens))


def choose_by_latency(fit: Fit, table: Table, latency_ms: float) -> Answer:
    """The choice among the table's own rows whose measured latency is within the budget.

    Raises:
        InputError: the table has no latencies, or none is low enough.
    """
    if not table.has_latency:
        raise InputError(
            f"{table.name}: a budget of latency needs a latency_ms measured for every row; add the column,"
            " give --profile, or use --budget-flops"
        )
    timed: dict[tuple[float, int], tuple[float, str]] = {}
    for row in table.rows:
        one, key = (row.latency_ms or 0.0, row.name), (row.parameters, row.tokens)
        timed[key] = min(one, timed.get(key, one))
    within = [key for key, (value, _) in timed.items() if value <= latency_ms]
    if not within:
        fastest = min(value for value, _ in timed.values())
        raise InputError(f"{table.name}: no model within {latency_ms:g} ms; the fastest takes {fastest:g} ms")
    found = _among(fit, within)
    own, name = timed[found.parameters, found.tokens]
    return replace(found, latency_ms=own, name=name)


def frontier(fit: Fit, budget: Budget) -> list[Answer]:
    """The choices at a tenth of the budget to ten times as much; less than any model costs is left out."""
    every = [replace(budget, flops=budget.flops * scale) for scale in SCALES]
    return [choose(fit, one) for one in every if one.flops >= one.least_flops]


def frontier_by_latency(fit: Fit, table: Table) -> list[Answer]:
    """Every model that is the choice at some budget of latency, the fastest first."""
    found: dict[float, Answer] = {}
    for latency_ms in sorted({row.latency_ms or 0.0 for row in table.rows}):
        answer = choose_by_latency(fit, table, latency_ms)
        found.setdefault(answer.latency_ms or 0.0, answer)
    return list(found.values())


def _among(fit: Fit, candidates: list[tuple[float, int]]) -> Answer:
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
