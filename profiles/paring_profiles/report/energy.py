"""Energy an inference in reports: what meters measured, what the ledger models, never in one row or column.

An inference is one input of a batch, or the answer to one prompt.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paring_profiles.report import quantities
from paring_profiles.report.rows import ABSENT, Cell, Row, Table, cells
from paring_profiles.result import NOT_MEASURED, Candidate, Energy, ModelledEnergy, Profile
from paring_profiles.statistics import FEWEST_FOR_INTERVAL, paired_ratio

Place = tuple[int, "int | None"]  # batch size, tokens of a prompt

HEADER = (
    "model", "batch", "measured, mJ (95 %)", "meter", "idle included, mJ", "idle, W", "saving",
    "modelled, mJ",
)  # fmt: skip
_NOTHING = (NOT_MEASURED, ABSENT, ABSENT, ABSENT, ABSENT)


def measured_rows(profile: Profile, place: Place) -> list[Row]:
    """Two rows for each meter that measured: energy, and how many times less than the baseline."""
    what = "inference" if place[1] is None else "answer"
    rows = []
    for meter in meters_at(profile.candidates, place):
        found = [energy_at(candidate, place, meter) for candidate in profile.candidates]
        rows.append(Row(f"Energy an {what}, {meter}", "measured", _cells(found)))
        if len(found) > 1 and found[0] is not None:
            against = cells([saving(found[0], one) for one in found[1:]], _saving_cell)
            rows.append(Row(f"Energy saving, {meter}", "measured", (Cell("baseline"), *against)))
    return rows


def absent_rows(candidates: Sequence[Candidate]) -> list[Row]:
    """The row that says that no meter measured anything; none where one did."""
    if any(candidate.energies for candidate in candidates):
        return []
    what = "answer" if any(candidate.answered for candidate in candidates) else "inference"
    return [Row(f"Energy an {what}", "", tuple(Cell(NOT_MEASURED) for _ in candidates))]


def modelled_rows(profile: Profile, batch_size: int) -> list[Row]:
    """What the ledger's chip would be charged, where it was asked."""
    found = [modelled_at(candidate, batch_size) for candidate in profile.candidates]
    chip = next((one.chip for one in found if one is not None), None)
    return [] if chip is None else [Row(f"Energy an inference, {chip}", "modelled", cells(found, _modelled))]


def meters_at(candidates: Sequence[Candidate], place: Place) -> list[str]:
    """Meters that measured some candidate there."""
    return sorted({e.meter for candidate in candidates for e in candidate.energies if e.place == place})


def energy_at(candidate: Candidate, place: Place, meter: str) -> Energy | None:
    """A candidate's energy in one place by one meter."""
    return next((e for e in candidate.energies if (e.place, e.meter) == (place, meter)), None)


def modelled_at(candidate: Candidate, batch_size: int) -> ModelledEnergy | None:
    """A candidate's modelled energy."""
    return next((one for one in candidate.modelled_energies if one.batch_size == batch_size), None)


def saving(baseline: Energy, own: Energy | None) -> tuple[float, tuple[float, float]] | None:
    """How many times less energy than the baseline, over the rounds that both had, and its 95 % interval.

    None where one's energy does not stand out from idle, or fewer than six rounds pair.
    """
    if own is None or min(baseline.mj_ci95[0], own.mj_ci95[0]) <= 0:
        return None
    both = [
        (base, other)
        for base, other in zip(baseline.rounds_mj, own.rounds_mj, strict=False)
        if base is not None and other is not None and min(base, other) > 0
    ]
    if len(both) < FEWEST_FOR_INTERVAL:
        return None
    bases, others = np.array(both).T
    return paired_ratio(bases, others, seed=0)


def _cells(found: Sequence[Energy | None]) -> tuple[Cell, ...]:
    return tuple(Cell(NOT_MEASURED) if one is None else _energy(one) for one in found)


def _energy(energy: Energy) -> Cell:
    text, between = quantities.interval(*energy.mj_ci95, energy.mj)
    gross, idle = quantities.plain(energy.gross_mj), quantities.plain(energy.idle_watts)
    return Cell(f"{text} mJ", f"{between}; {gross} mJ with idle, {idle} W")


def _saving_cell(found: tuple[float, tuple[float, float]]) -> Cell:
    ratio, (low, high) = found
    return Cell(quantities.ratio(ratio), f"{quantities.fixed(low, 2)} to {quantities.fixed(high, 2)}")


def _modelled(energy: ModelledEnergy) -> Cell:
    if energy.mj is None:
        return Cell("not modelled", energy.method)
    return Cell(f"{quantities.plain(energy.mj)} mJ")


def side_by_side(candidates: Sequence[Candidate], names: Sequence[str] | None = None) -> Table:
    """Every candidate in every place by every meter, for terminals; the first candidate is the baseline."""
    rows = []
    for name, candidate in zip(names or [one.name for one in candidates], candidates, strict=True):
        for place in _places(candidate):
            here = [energy for energy in candidate.energies if energy.place == place]
            told = [_measured(candidates[0], energy) for energy in here] or [_NOTHING]
            rows += [(name, _where(place), *one, _shown(candidate, place)) for one in told]
    return Table(HEADER, tuple(rows))


def _places(candidate: Candidate) -> list[Place]:
    return list(dict.fromkeys(latency.case[:2] for latency in candidate.latency))


def _where(place: Place) -> str:
    return str(place[0]) if place[1] is None else f"{place[0]}, {place[1]} tokens"


def _measured(baseline: Candidate, energy: Energy) -> tuple[str, ...]:
    text, between = quantities.interval(*energy.mj_ci95, energy.mj)
    base = energy_at(baseline, energy.place, energy.meter)
    against = None if base is None or base is energy else saving(base, energy)
    shown = "baseline" if base is energy else ABSENT if against is None else quantities.ratio(against[0])
    gross, idle = quantities.plain(energy.gross_mj), quantities.plain(energy.idle_watts)
    return f"{text} ({between})", energy.meter, gross, idle, shown


def _shown(candidate: Candidate, place: Place) -> str:
    found = modelled_at(candidate, place[0]) if place[1] is None else None
    return ABSENT if found is None or found.mj is None else quantities.plain(found.mj)


def meter_rows(profile: Profile) -> list[tuple[str, str]]:
    """Every meter that was looked for: what it covers and how it measured, or why it did not."""
    rows = []
    for state in profile.meters:
        methods = [e.method for c in profile.candidates for e in c.energies if e.meter == state.name]
        told = f"not present: {state.why_not}" if state.why_not else f"{state.covers}. {methods[0]}"
        rows.append((state.name, " ".join([told, *state.said])))
    return rows or [("none", "not asked for")]
