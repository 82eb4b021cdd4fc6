"""Which meters to use: those that were asked for, and why others are not there."""

from __future__ import annotations

from dataclasses import dataclass

from paring_profiles import meters
from paring_profiles.energy.meter import Meter, Refused
from paring_profiles.result import MeterState, Settings
from paring_runtimes.errors import InputError

EXTERNAL = "external"


@dataclass(frozen=True)
class Chosen:
    """Meters that are present, by name, and those that are not, with their reasons."""

    present: dict[str, Meter]
    absent: list[MeterState]


def choose(settings: Settings) -> Chosen:
    """Find the meters that `settings.energy` asks for; none reads yet.

    Raises:
        InputError: a meter was asked for by name, or by its log, and is not there; the message says why.
    """
    known = meters.modules()
    name, _, choice = settings.energy.partition(":")
    if name not in {"auto", "none", *known}:
        raise InputError(f"energy: expected auto, none or a meter ({', '.join(known)}), given {name!r}")
    wanted = {"auto": list(known), "none": []}.get(name, [name])
    if settings.energy_csv is not None and name != "none":
        wanted = list(dict.fromkeys([*wanted, EXTERNAL]))
    chosen = Chosen({}, [])
    for each in wanted:
        told = _log(settings) if each == EXTERNAL else choice
        try:
            chosen.present[each] = known[each].open_meter(told)
        except Refused as error:
            if each == name or (each == EXTERNAL and told):
                raise InputError(f"energy: the meter {each} is not there: {error}") from None
            absent = known[each].probe(told)
            chosen.absent.append(MeterState(each, absent.covers, str(error)))
    return chosen


def _log(settings: Settings) -> str:
    if settings.energy_csv is None:
        return ""
    return f"{settings.energy_csv}|{settings.energy_csv_offset_s!r}"
