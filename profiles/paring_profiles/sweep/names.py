"""The measures of a trial, and the words by which people call them."""

from __future__ import annotations

from dataclasses import dataclass

from paring_runtimes.errors import InputError
from paring_runtimes.suggest import near_miss


@dataclass(frozen=True)
class Named:
    """A measure. `shown_as` and `scale`: the unit for readers, and how many of it make one of `unit`."""

    measure: str
    title: str
    unit: str
    minimise: bool
    provenance: str
    shown_as: str
    scale: float = 1.0
    digits: int = 3

    def shown(self, value: float) -> str:
        """The value in the reader's unit, without its name."""
        return f"{value * self.scale:.{self.digits}f}"


_MEASURED, _MODELLED = "measured", "modelled"
MEASURES = {
    one.measure: one
    for one in (
        Named("latency_relative", "latency against the baseline", "x baseline", True, _MEASURED, "x"),
        Named("latency_p50_ms", "latency, median", "ms", True, _MEASURED, "ms"),
        Named("latency_p99_ms", "latency, 99th percentile", "ms", True, _MEASURED, "ms"),
        Named("throughput_per_s", "throughput", "1/s", False, _MEASURED, "1/s", digits=0),
        Named("drop", "accuracy lost", "share", True, _MEASURED, "pp", 100.0, 2),
        Named("accuracy", "top-1 accuracy", "share", False, _MEASURED, "%", 100.0, 2),
        Named("size_bytes", "size", "bytes", True, _MEASURED, "MB", 1e-6, 3),
        Named("peak_memory_bytes", "peak memory", "bytes", True, _MEASURED, "MB", 1e-6, 1),
        Named("energy_measured_mj", "energy an inference, measured", "mJ", True, _MEASURED, "mJ"),
        Named("energy_modelled_uj", "energy a call, modelled", "uJ", True, _MODELLED, "uJ", 1.0, 1),
    )
}
# What a constraint or an objective may call a measure. "energy" is the sweep's own kind: see `resolve`.
WORDS = {
    "latency": "latency_relative",
    "speed": "latency_relative",
    "p50": "latency_p50_ms",
    "p99": "latency_p99_ms",
    "throughput": "throughput_per_s",
    "drop": "drop",
    "accuracy": "accuracy",
    "size": "size_bytes",
    "memory": "peak_memory_bytes",
    "energy_measured": "energy_measured_mj",
    "energy_modelled": "energy_modelled_uj",
}
MEASURED_ENERGY, MODELLED_ENERGY = ENERGIES = ("energy_measured_mj", "energy_modelled_uj")


# What `paring sweep --objectives` calls those measures that are there only where they are asked for.
_ASKED_FOR = {
    "latency_p99_ms": "p99",
    "drop": "accuracy",
    "accuracy": "accuracy",
    MEASURED_ENERGY: "energy",
    MODELLED_ENERGY: "energy",
}


def resolve(word: str, present: set[str]) -> Named:
    """The measure that a word means; `present` are the measures that trials have.

    "energy" is the measured one where trials have it, else the modelled one; the name says which.

    Raises:
        InputError: no measure is called so, or no trial has it.
    """
    name = word.strip().lower()
    if name == "energy":
        name = next((energy for energy in ENERGIES if energy in present), name)
        if name == "energy":
            raise InputError(f"energy: no trial has it, neither measured nor modelled{_way(MODELLED_ENERGY)}")
    measure = WORDS.get(name, name)
    if measure not in MEASURES:
        known = [*WORDS, "energy"]
        raise InputError(f"{word!r} is no measure{near_miss(name, known)}; known: {', '.join(known)}")
    if measure not in present:
        have = ", ".join(sorted(present)) or "none"
        raise InputError(
            f"{word}: no trial of this sweep has {measure}{_way(measure)}; measured or modelled are {have}"
        )
    return MEASURES[measure]


def _way(measure: str) -> str:
    """What would give a measure that no trial has."""
    objective = _ASKED_FOR.get(measure)
    where = " on a machine with a meter" if measure == MEASURED_ENERGY else ""
    if objective is None:
        return ""
    return f": `paring sweep --objectives {objective},...` with another --output gives it{where}"
