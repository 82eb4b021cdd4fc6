"""The scaling law of a vision-language model's error, fitted with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paring_runtimes.errors import InputError

from .table import Table

BILLION = 1e9
RESAMPLES = 1000
FEWEST = 6  # points: four parameters, and something to tell how well they fit
_STARTS = ((0.6, 0.07, 0.015, 0.0), (0.5, 0.03, 0.15, 0.05), (0.4, 0.3, 0.05, 0.2))
_HIGH = (10.0, 2.0, 2.0, 1.0)
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Law:
    """Y(N, V) = a / (N^alpha V^beta) + d, with N in billions of parameters and V visual tokens."""

    a: float
    alpha: float
    beta: float
    d: float

    def error(self, parameters: float | Values, tokens: float | Values) -> Values:
        """Predicted error, share of 1."""
        scaled = np.asarray(parameters, np.float64) / BILLION
        return self.a * scaled**-self.alpha * np.asarray(tokens, np.float64) ** -self.beta + self.d


@dataclass(frozen=True)
class Fit:
    """A law and how well it is known.

    Attributes:
        law: least squares over all points, d >= 0.
        draws: the law of each bootstrap copy of the residuals.
        residuals: observed minus predicted error.
        parameters, tokens: smallest and largest of the points.
        name: of the table.
    """

    law: Law
    draws: tuple[Law, ...]
    residuals: Values
    parameters: tuple[float, float]
    tokens: tuple[int, int]
    name: str

    @property
    def sum_of_squares(self) -> float:
        """Of the residuals."""
        return float(self.residuals @ self.residuals)

    def interval(self, name: str) -> tuple[float, float]:
        """95 % interval of `a`, `alpha`, `beta` or `d`."""
        low, high = np.quantile([getattr(draw, name) for draw in self.draws], [0.025, 0.975])
        return float(low), float(high)

    def error(self, parameters: float, tokens: float) -> tuple[float, tuple[float, float]]:
        """Predicted error and its 95 % interval: that of the law, not of one model's scatter around it."""
        found = [float(draw.error(parameters, tokens)) for draw in self.draws]
        low, high = np.quantile(found, [0.025, 0.975])
        return float(self.law.error(parameters, tokens)), (float(low), float(high))


def fit(table: Table, seed: int = 0, resamples: int = RESAMPLES) -> Fit:
    """Fit the law by bounded least squares from several starts; bootstrap the residuals for intervals.

    A free d runs to absurd negative values on the published table (the fit is ill-conditioned), so d >= 0.

    Args:
        table: at least six points, over more than one size and more than one count of tokens.
        seed: of the bootstrap.
        resamples: bootstrap copies.

    Raises:
        InputError: too few points, or all of one size or one count of tokens.
    """
    size = np.array([row.parameters for row in table.rows])
    tokens = np.array([row.tokens for row in table.rows], np.float64)
    error = np.array([1 - row.score for row in table.rows])
    if len(error) < FEWEST or len(set(size)) < 2 or len(set(tokens)) < 2:
        raise InputError(
            f"{table.name}: expected at least {FEWEST} scores, of two or more sizes and two or more counts of"
            f" tokens; given {len(error)} of {len(set(size))} sizes and {len(set(tokens))} counts"
        )
    law = min((_solve(size, tokens, error, start) for start in _STARTS), key=lambda one: one[1])[0]
    predicted = law.error(size, tokens)
    residuals = error - predicted
    # Residuals of a fit with four parameters are too small by that much.
    scaled = residuals * np.sqrt(len(error) / (len(error) - 4))
    random, start = np.random.default_rng(seed), (law.a, law.alpha, law.beta, law.d)
    copies = (predicted + random.choice(scaled, len(error)) for _ in range(resamples))
    draws = tuple(_solve(size, tokens, copy, start)[0] for copy in copies)
    return Fit(
        law,
        draws,
        residuals,
        (float(size.min()), float(size.max())),
        (int(tokens.min()), int(tokens.max())),
        table.name,
    )


def _solve(size: Values, tokens: Values, error: Values, start: tuple[float, ...]) -> tuple[Law, float]:
    """The law and its sum of squares."""
    from scipy.optimize import least_squares

    scale, count = np.log(size / BILLION), np.log(tokens)

    def power(x: Values) -> Values:
        return np.asarray(np.exp(-x[1] * scale - x[2] * count))

    def misses(x: Values) -> Values:
        return np.asarray(x[0] * power(x) + x[3] - error)

    def slopes(x: Values) -> Values:
        raised = power(x)
        part = x[0] * raised
        return np.stack([raised, -part * scale, -part * count, np.ones_like(raised)], axis=1)

    inside = np.clip(start, 1e-9, np.array(_HIGH) - 1e-9)
    found = least_squares(misses, inside, jac=slopes, bounds=((0, 0, 0, 0), _HIGH), x_scale="jac")
    return Law(*(float(value) for value in found.x)), float(2 * found.cost)
