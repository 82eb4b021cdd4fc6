"""Numbers as a reader wants them: significant digits, units, intervals."""

from __future__ import annotations

import math

MINUS = "\N{MINUS SIGN}"
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def decimals(value: float, digits: int = 3) -> int:
    """How many decimals show `value` with `digits` significant digits; 0 to 9."""
    if value == 0 or not math.isfinite(value):
        return 0
    return min(9, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def fixed(value: float, places: int) -> str:
    """`value` with `places` decimals, thousands separated, and a true minus sign."""
    if not math.isfinite(value):
        return "not finite"
    text = f"{value:,.{places}f}"
    if text.startswith("-"):
        return text[1:] if float(text.replace(",", "")) == 0 else MINUS + text[1:]
    return text


def plain(value: float, digits: int = 3) -> str:
    """`value` with `digits` significant digits; whole numbers are never rounded to tens."""
    return fixed(value, decimals(value, digits))


def scientific(value: float) -> str:
    """Small errors: 3.1e-06, or 0."""
    return "0" if value == 0 else f"{value:.2g}" if math.isfinite(value) else "not finite"


def with_prefix(value: float, unit: str = "") -> str:
    """4320000000 -> "4.32 G", with the unit after the prefix when there is one."""
    for scale, prefix in _PREFIXES:
        if abs(value) >= scale:
            return f"{plain(value / scale)} {prefix}{unit}"
    return f"{plain(value)} {unit}".rstrip()


def in_bytes(value: float) -> str:
    """Decimal bytes: 22100000 -> "22.1 MB"."""
    return with_prefix(value, "B")


def interval(low: float, high: float, value: float) -> tuple[str, str]:
    """`value`, and "low to high", with decimals enough to show the interval's width.

    The width keeps two significant digits, the value three to five: more would pretend to know.
    """
    places = max(decimals(high - low, 2), decimals(value, 3))
    places = min(places, decimals(value, 5))
    return fixed(value, places), f"{fixed(low, places)} to {fixed(high, places)}"


def duration_ms(value: float, low: float, high: float) -> tuple[str, str]:
    """A latency in ms and its interval, as `interval`."""
    text, between = interval(low, high, value)
    return f"{text} ms", between


def ratio(value: float) -> str:
    """A factor: "1.31×"."""
    return f"{fixed(value, 2)}×"


def as_share(metric: str) -> bool:
    """Whether a metric is a share of 1 that is read in percent and percentage points."""
    return "accuracy" in metric.lower()


def metric_value(metric: str, value: float) -> str:
    """A metric's value: in percent for accuracies, three digits otherwise."""
    return f"{fixed(100 * value, 1)} %" if as_share(metric) else plain(value)


def metric_between(metric: str, bounds: tuple[float, float] | list[float]) -> str:
    """A metric's interval, in the unit of `metric_value`."""
    low, high = bounds
    if as_share(metric):
        return f"{fixed(100 * low, 1)} to {fixed(100 * high, 1)}"
    return f"{plain(low)} to {plain(high)}"


def metric_drop(metric: str, value: float) -> str:
    """A drop of a metric: in points for accuracies."""
    return f"{fixed(100 * value, 1)} points" if as_share(metric) else plain(value)
