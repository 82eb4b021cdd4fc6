"""From windows to energy an inference: idle subtracted, an interval over rounds, and what is doubtful."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paring_profiles.energy.meter import Joules, Meter, Refused
from paring_profiles.energy.windows import FEWEST_ROUNDS, RESOLUTION_SHARE, Rounds, Window
from paring_profiles.result import Energy
from paring_profiles.statistics import median_ci95

Place = tuple[int, "int | None"]  # batch size, tokens of a prompt

_DRIFT_LIMIT = 0.05  # of idle power, from the first half of the rounds to the second


@dataclass(frozen=True)
class Idle:
    """Power of the idle machine, W: of the meter's total in every window, and by domain (None: refused)."""

    total: list[float | None]
    domains: list[dict[str, float] | None]


@dataclass(frozen=True)
class _Round:
    """One window: mJ an inference without and with idle, its seconds, and mJ without idle by domain."""

    net_mj: float
    gross_mj: float
    seconds: float
    domains: dict[str, float]


@dataclass(frozen=True)
class Summary:
    """Of one meter in one case: an energy for each candidate, or none; and sentences on what is doubtful."""

    energies: list[Energy] | None
    said: list[str]
    refused: str | None = None


def summarise(
    meter_name: str, meter: Meter, rounds: Rounds, place: Place, names: Sequence[str], seed: int
) -> Summary:
    """Return what a meter says of each candidate.

    Args:
        meter_name: its name.
        meter: the meter, still open.
        rounds: the windows.
        place: batch size, which is the number of inferences in a call, and tokens of a prompt.
        names: of the candidates.
        seed: of the bootstrap.
    """
    idle = _idle(meter_name, meter, rounds.idle)
    said, energies = _drift(idle), []
    for name, windows in zip(names, rounds.loads, strict=True):
        try:
            energy, lost = _energy(meter_name, meter, windows, idle, place, seed)
        except Refused as error:
            return Summary(None, [], f"{name}: {error}")
        energies.append(energy)
        said += [f"{name}: {one}" for one in lost]
        if energy.mj_ci95[0] <= RESOLUTION_SHARE * energy.gross_mj:
            said.append(f"{name}: its energy does not stand out from that of the idle machine.")
    return Summary(energies, said)


def _idle(meter_name: str, meter: Meter, windows: Sequence[Window]) -> Idle:
    total: list[float | None] = []
    domains: list[dict[str, float] | None] = []
    for window in windows:
        try:
            found = meter.joules(window.begin[meter_name], window.end[meter_name])
        except Refused:
            total.append(None)
            domains.append(None)
            continue
        seconds = window.seconds(meter_name)
        domains.append({name: value / seconds for name, value in found.items()})
        total.append(_sum(meter, found) / seconds)
    return Idle(total, domains)


def _sum(meter: Meter, found: Joules) -> float:
    return sum(found[name] for name in meter.facts.total)


def _drift(idle: Idle) -> list[str]:
    known = [watts for watts in idle.total if watts is not None]
    half = len(known) // 2
    if half < 2:
        return []
    before, after = float(np.median(known[:half])), float(np.median(known[-half:]))
    if abs(after - before) <= _DRIFT_LIMIT * max(abs(before), 1e-9):
        return []
    return [f"idle power drifted from {before:.3g} W to {after:.3g} W."]


def _energy(
    meter_name: str,
    meter: Meter,
    windows: Sequence[Window],
    idle: Idle,
    place: Place,
    seed: int,
) -> tuple[Energy, list[str]]:
    """One candidate's energy, and which of its windows were left out.

    Raises:
        Refused: too few windows can be read, or the meter is too coarse.
    """
    rounds: list[_Round | None] = []
    lost = []
    for number, window in enumerate(windows):
        try:
            found = meter.joules(window.begin[meter_name], window.end[meter_name])
            rounds.append(_round(meter, window, found, _around(idle, number, meter), place[0], meter_name))
        except Refused as error:
            rounds.append(None)
            lost.append(str(error))
    kept = [one for one in rounds if one is not None]
    if len(kept) < FEWEST_ROUNDS:
        raise Refused(
            f"{len(kept)} of {len(windows)} windows can be used, {FEWEST_ROUNDS} needed: {lost[-1]}"
        )
    known = [watts for watts in idle.total if watts is not None]
    energy = Energy(
        batch_size=place[0],
        prompt_tokens=place[1],
        meter=meter_name,
        mj=float(np.median([one.net_mj for one in kept])),
        mj_ci95=median_ci95(np.array([one.net_mj for one in kept]), seed),
        gross_mj=float(np.median([one.gross_mj for one in kept])),
        domains={n: float(np.median([one.domains[n] for one in kept])) for n in meter.facts.domains},
        rounds_mj=[None if one is None else one.net_mj for one in rounds],
        idle_watts=float(np.median(known)),
        idle_watts_range=(min(known), max(known)),
        window_seconds=float(np.median([one.seconds for one in kept])),
        calls=sum(window.calls for window in windows),
        covers=meter.facts.covers,
        method=_method(meter, len(kept)),
    )
    return energy, [f"{len(lost)} of {len(windows)} windows left out: {lost[-1]}"] if lost else []


def _round(meter: Meter, window: Window, found: Joules, idle: Joules, items: int, meter_name: str) -> _Round:
    """One window's energy an inference, idle power (W, by domain) subtracted.

    Raises:
        Refused: the meter is too coarse for it.
    """
    drawn_j, resolution_j = _sum(meter, found), meter.facts.resolution_j
    if resolution_j > RESOLUTION_SHARE * drawn_j:
        raise Refused(f"the meter's step of {resolution_j:g} J is over 1 % of {drawn_j:.3g} J")
    scale, seconds = 1e3 / (window.calls * items), window.seconds(meter_name)
    return _Round(
        net_mj=scale * (drawn_j - _sum(meter, idle) * seconds),
        gross_mj=scale * drawn_j,
        seconds=seconds,
        domains={name: scale * (found[name] - idle[name] * seconds) for name in meter.facts.domains},
    )


def _around(idle: Idle, number: int, meter: Meter) -> Joules:
    """Idle power around a round by domain, W: the mean of the windows before and after it that can be read.

    Raises:
        Refused: neither can.
    """
    near = [idle.domains[i] for i in (number, number + 1)]
    known = [one for one in near if one is not None]
    if not known:
        raise Refused("idle power could not be read before nor after")
    return {name: sum(one[name] for one in known) / len(known) for name in meter.facts.domains}


def _method(meter: Meter, windows: int) -> str:
    facts = meter.facts
    return (
        f"{facts.method}; step {facts.resolution_j:.2g} J, new every {facts.update_period_s:g} s; {windows} "
        "windows in turns, idle power before and after each round subtracted"
    )
