"""The energy of candidates in one case: windows of all meters at once, then each meter's verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from paring_profiles import latency, noise
from paring_profiles.energy import windows
from paring_profiles.energy.choose import choose
from paring_profiles.energy.summary import Place, Summary, summarise
from paring_profiles.energy.windows import Call, Reopen
from paring_profiles.result import Energy, MeterState, Settings

_OTHERS_LIMIT = 0.10  # cores that other processes use: meters see them too


@dataclass
class _Told:
    """Of one meter: what is doubtful, and whether it measured anything."""

    covers: str
    said: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    measured: bool = False


class Energies:
    """Measures energy case by case, and remembers what the meters said.

    Without a meter nothing is run. Meters read only while energy is measured: their threads would disturb
    what else is timed.

    Raises:
        InputError: a meter that was asked for is not there; see `choose`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, chosen = settings, choose(settings)
        self._meters, self._absent = chosen.present, chosen.absent
        self._told = {name: _Told(meter.facts.covers) for name, meter in self._meters.items()}

    def measure(
        self,
        calls: Sequence[Call],
        names: Sequence[str],
        place: Place,
        where: str,
        progress: Callable[[float], None],
        reopen: Reopen | None = None,
    ) -> list[list[Energy]]:
        """Return each candidate's energies in one case, one for each meter that could tell.

        Args:
            calls: one a candidate, warm.
            names: of the candidates.
            place: batch size, which is the number of inferences in a call, and tokens of a prompt.
            where: the case in words.
            progress: told the share that is done.
            reopen: opens the candidates anew, before each round.
        """
        found: list[list[Energy]] = [[] for _ in calls]
        if not self._meters:
            return found
        settle_s = max(latency.linger(call) for call in calls)
        plan, refused = windows.plan(self._meters, len(calls), settle_s, self._settings.max_seconds)
        for name, reason in refused.items():
            self._told[name].refused.append(f"{where}: {reason}")
        if plan is None:
            return found
        with ExitStack() as stack:
            fitting = {
                name: stack.enter_context(meter)
                for name, meter in self._meters.items()
                if name not in refused
            }
            before = noise.take_reading()
            rounds = windows.run(calls, fitting, plan, self._settings.seed, progress, reopen=reopen)
            others = noise.others_cores(before, noise.take_reading())
            for name, meter in fitting.items():
                made = summarise(name, meter, rounds, place, names, self._settings.seed)
                for own, energy in zip(found, self._conclude(name, made, where, others), strict=False):
                    own.append(energy)
        return found

    def _conclude(self, name: str, made: Summary, where: str, others: float) -> list[Energy]:
        """Remember what a meter said; return its energies, none where it was refused."""
        told = self._told[name]
        if made.energies is None:
            told.refused.append(f"{where}: {made.refused}")
            return []
        told.measured = True
        told.said += [f"{where}: {one}" for one in made.said]
        if others > _OTHERS_LIMIT:
            told.said.append(f"{where}: other processes used {others:.2f} cores, which it saw too.")
        return made.energies

    def states(self) -> list[MeterState]:
        """Return every meter that was looked for: what it saw, or why it measured nothing."""
        used = []
        for name, told in self._told.items():
            if told.measured:
                used.append(MeterState(name, told.covers, None, [*told.said, *told.refused]))
            else:
                used.append(MeterState(name, told.covers, "; ".join(told.refused) or "nothing was measured"))
        return sorted([*used, *self._absent], key=lambda state: state.name)
