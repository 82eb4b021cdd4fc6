"""What is asked of a recommendation, as people write it: "p99 ≤ 12 ms, drop<=0.5pp, least energy"."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from paring_profiles.sweep.names import Named, resolve
from paring_profiles.sweep.result import Measure
from paring_runtimes.errors import InputError

_TEXT = re.compile(
    r"\s*([A-Za-z_][\w]*)\s*(<=|>=|<|>|=+)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*([^\d\s]\S*)?\s*"
)
_GOAL = re.compile(r"(?:least|minimi[sz]e)\s+(\w+)", re.IGNORECASE)
_SIGNS = str.maketrans({"≤": "<=", "≦": "<=", "⩽": "<=", "≥": ">=", "≧": ">=", "⩾": ">="})
_TIME = {"ms": 1.0, "s": 1e3, "us": 1e-3, "µs": 1e-3}
_BYTES = {"B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_ENERGY = {"uJ": 1.0, "µJ": 1.0, "mJ": 1e3, "J": 1e6}  # in uJ
# By the measure's own unit: what may be written, and how much of the unit it is.
UNITS: dict[str, dict[str, float]] = {
    "ms": _TIME,
    "bytes": _BYTES,
    "uJ": _ENERGY,
    "mJ": {name: size / 1e3 for name, size in _ENERGY.items()},
    "share": {"pp": 0.01, "%": 0.01},
    "x baseline": {"x": 1.0, "": 1.0},
    "1/s": {"/s": 1.0, "1/s": 1.0, "fps": 1.0, "": 1.0},
}


@dataclass(frozen=True)
class Constraint:
    """One condition. `limit` is in the measure's unit; `least`: for ">=", else it is "<="."""

    text: str
    named: Named
    least: bool
    limit: float

    def held(self, found: Measure, confidence: str) -> float:
        """What must keep to the limit: the figure, or the worse end of its interval ("bound")."""
        if confidence == "point":
            return found.value
        return found.low if self.least else found.high

    def miss(self, found: Measure, confidence: str) -> float:
        """By how much it misses, in the measure's unit; 0 where it keeps to the limit."""
        held = self.held(found, confidence)
        return max(0.0, self.limit - held if self.least else held - self.limit)

    def __str__(self) -> str:
        sign = ">=" if self.least else "<="
        return f"{self.named.measure} {sign} {self.named.shown(self.limit)} {self.named.shown_as}"


def split(texts: Iterable[str]) -> tuple[list[str], list[str]]:
    """Conditions, and what shall be least ("least energy"), each by itself; a text may hold several."""
    parts = [part.strip() for text in texts for part in text.split(",") if part.strip()]
    goals = [found.group(1) for part in parts if (found := _GOAL.fullmatch(part))]
    return [part for part in parts if not _GOAL.fullmatch(part)], goals


def constraints(texts: Iterable[str], present: set[str]) -> list[Constraint]:
    """Read conditions; a text may hold several, with commas between.

    Raises:
        InputError: with the text and what would be right.
    """
    parts = [part.strip() for text in texts for part in text.split(",") if part.strip()]
    return [_constraint(part, present) for part in parts]


def _constraint(text: str, present: set[str]) -> Constraint:
    found = _TEXT.fullmatch(text.translate(_SIGNS))
    if found is None:
        raise InputError(
            f"constraint {text!r}: expected MEASURE <= NUMBER UNIT, as in 'p99<=12ms' or 'drop<=0.5pp'"
        )
    word, sign, number, unit = found.groups()
    try:
        value = float(number)
    except ValueError:
        raise InputError(f"constraint {text!r}: {number!r} is no number") from None
    try:
        named = resolve(word, present)
    except InputError as error:
        raise InputError(f"constraint {text!r}: {error}") from None
    known = UNITS[named.unit]
    if (unit or "") not in known:
        units = [name for name in known if name]
        given = f"{unit!r} is no unit of it" if unit else "it needs a unit"
        others = f" (or {', '.join(units[1:])})" if units[1:] else ""
        raise InputError(f"constraint {text!r}: {given}: write {word}{sign}{number}{units[0]}{others}")
    if sign not in ("<=", ">="):
        raise InputError(
            f"constraint {text!r}: {sign!r} is no comparison for measured figures; write <= or >="
        )
    least = sign == ">="
    if least == named.minimise:
        better = "<=" if named.minimise else ">="
        raise InputError(
            f"constraint {text!r}: of {named.title} {'less' if named.minimise else 'more'} is better:"
            f" write {word}{better}{number}{unit or ''}"
        )
    return Constraint(text, named, least, value * known[unit or ""])
