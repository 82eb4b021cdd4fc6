"""From the store of profiles to the report: every row a variant, compared within one machine and case."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from paring_profiles.history import Row, Selection, case_text, query, stored_profile
from paring_profiles.report import details, quantities
from paring_profiles.report.pareto.axes import axes_of, figures_of
from paring_profiles.report.pareto.modelled import constants, modelled_numbers
from paring_profiles.report.pareto.page import Advice, Gain, Metered, Report, Variant
from paring_profiles.report.pareto.stored_figures import NAMED, measures_of, named_of
from paring_profiles.report.pareto.words import counted, headline, quality_sentences
from paring_profiles.result import Candidate, MeterState, Profile
from paring_profiles.sweep import MEASURES, Measure, Named, Objective, Trial, front
from paring_profiles.sweep.choose import recommend_among
from paring_runtimes.errors import InputError

SEED = 0
# What the front is of, where at least two variants of a group have it.
OBJECTIVES = ("latency_p50_ms", "accuracy", "perplexity", "size_bytes")
_PLACES = ("on", "maybe", "dominated", None)


@dataclass(frozen=True)
class Asked:
    """A recommendation that is asked for: see `paring_profiles.sweep.recommend`."""

    constraints: Sequence[str]
    minimise: str | None = None
    confidence: str = "bound"


def from_store(store: Path, wanted: Selection, asked: Asked | None = None) -> Report:
    """The report of stored rows, the newest of each artifact, engine, machine, settings and case.

    Args:
        store: its file.
        wanted: which rows; `latest` is taken for granted.
        asked: constraints.

    Raises:
        StoreError: the store cannot be read.
        InputError: no row fits; a constraint that is none, or rows of several machines or cases with one.
    """
    rows = query(store, dataclasses.replace(wanted, latest=True))
    if not rows:
        raise InputError(f"{store}: no stored profile fits; see `paring history`")
    profiles = {number: stored_profile(store, number) for number in {row.profile for row in rows}}
    found = [_Found(row, profiles[row.profile]) for row in rows]
    trials = [one.trial() for one in found]
    named = NAMED | named_of(trials)
    objectives = _objectives(trials, named)
    standings = {one.trial: one for one in front(trials, [], objectives, SEED)}
    variants = []
    for one, trial in zip(found, trials, strict=True):
        own = standings.get(trial.number)
        place = None if own is None else own.place
        probability = None if own is None else own.probability
        by = [] if own is None else [str(number) for number in own.dominated_by]
        made = one.variant(trial, named)
        variants.append(dataclasses.replace(made, place=place, probability=probability, dominated_by=by))
    variants.sort(key=lambda v: (_PLACES.index(v.place), -(v.probability or 0.0), int(v.key)))
    axes = axes_of([one.measure for one in objectives], variants, named)
    advice = None if asked is None else _advice(trials, asked)
    groups = [group for group, _ in Counter(one.group for one in variants).most_common()]
    several = "Variants of different machines, cases or settings are never compared: choose one."
    return Report(
        title=headline(variants, axes, advice, "what is stored")
        if len(groups) == 1
        else _title(variants, groups),
        kicker=f"paring store {store.name}",
        created=max(row.created for row in rows),
        sentences=[f"{counted(variants)}.", *([several] if len(groups) > 1 else [])],
        groups=groups,
        axes=axes,
        variants=variants,
        constants=constants(variants),
        modelled=modelled_numbers(variants, axes),
        energy_not_measured=_not_measured(variants, list(profiles.values())),
        advice=advice,
        notes=[],
        machine={row.machine: _machine(row) for row in rows},
        settings=[["rows", str(len(rows))], ["runs of `paring profile`", str(len(profiles))]],
        tools={},
    )


def _title(variants: Sequence[Variant], groups: Sequence[str]) -> str:
    return f"{len(variants)} stored variants of {len(groups)} machines, cases or settings."


class _Found:
    """A row and the candidate of the whole profile that it is of."""

    def __init__(self, row: Row, profile: Profile) -> None:
        self.row, self.profile = row, profile
        self.candidate: Candidate = next(one for one in profile.candidates if one.name == row.name)

    @property
    def group(self) -> str:
        row = self.row
        told = ", ".join(
            f"{key} {value}" for key, value in row.settings.items() if value not in ({}, None, "")
        )
        return f"{row.host.cpu} ({row.machine}), {case_text(row.case)}" + (f", {told}" if told else "")

    def trial(self) -> Trial:
        """The row as what fronts and recommendations are made of."""
        return Trial(
            number=self.row.id,
            params={},
            overrides=[],
            recipe_digest=self.row.artifact_digest,
            artifact=self.candidate.path,
            engine=self.row.engine or self.row.format,
            device=self.group,
            state="complete",
            measures=measures_of(self.row, self.profile, self.candidate),
        )

    def variant(self, trial: Trial, named: Mapping[str, Named]) -> Variant:
        """Without its standing."""
        row, own = self.row, self.candidate
        export = row.recipe.get("export")
        return Variant(
            key=str(row.id),
            name=f"{row.name}, profile {row.profile}",
            group=trial.device,
            baseline=False,
            state="complete",
            reason="",
            place=None,
            probability=None,
            dominated_by=[],
            params=dict(row.labels),
            transforms=[str(step.get("name", "")) for step in own.transforms],
            engine=trial.engine,
            precision=str(export.get("precision", "")) if isinstance(export, dict) else "",
            recipe=details.as_yaml(dict(row.recipe)) if row.recipe else "",
            artifact=own.path,
            figures=figures_of(trial.measures, named),
            quality=quality_sentences(own.quality),
            gain=self._gain(),
            tokens_per_layer=own.tokens_per_layer,
            metered=[
                Metered(e.meter, e.mj, *e.mj_ci95, domains=e.domains, method=e.method)
                for e in own.energies
                if e.place == row.case[:2]
            ],
            noise=list(row.noise),
            facts=self._facts(),
        )

    def _gain(self) -> Gain | None:
        row = self.row
        if row.speedup is None or row.speedup_ci95 is None:
            return None
        fitting = (c for c in self.profile.comparisons if (c.candidate, c.case) == (row.name, row.case))
        ideal = next((c.mac_ratio for c in fitting), None)
        return Gain(row.speedup, *row.speedup_ci95, ideal, row.speedup / ideal if ideal else None)

    def _facts(self) -> list[list[str]]:
        row, own = self.row, self.candidate
        facts = [["stored as profile", str(row.profile)], ["measured", row.created]]
        facts.append(["artifact's digest", row.artifact_digest or "not known"])
        if row.baseline is not None:
            facts.append(["timed in turns with", row.baseline])
        if own.parity:
            facts.append(["parity with the source", details.parity_sentence(own.parity)])
        if row.macs is not None:
            facts.append(["multiply-accumulates a call, counted", quantities.with_prefix(row.macs, "")])
        if row.git_commit:
            facts.append(["commit", row.git_commit + (", files changed" if row.git_changed else "")])
        return facts + [[f"label {key}", value] for key, value in row.labels.items()]


def _objectives(trials: Sequence[Trial], named: Mapping[str, Named]) -> list[Objective]:
    known = MEASURES | dict(named)
    found = []
    for name in OBJECTIVES:
        if sum(name in one.measures for one in trials) >= min(2, len(trials)):
            own = known[name]
            found.append(Objective(name, name, own.minimise, own.title, own.unit, own.provenance))
    return found


def _advice(trials: Sequence[Trial], asked: Asked) -> Advice:
    plain = [_of_sweeps(one) for one in trials]
    chosen = recommend_among(plain, asked.constraints, asked.minimise, asked.confidence, otherwise="p50")

    def key(number: int | None) -> str | None:
        return None if number is None else str(number)

    return Advice(
        chosen.goal,
        chosen.constraints,
        chosen.confidence,
        key(chosen.trial),
        key(chosen.runner_up),
        key(chosen.nearest),
        chosen.sentences,
    )


def _of_sweeps(trial: Trial) -> Trial:
    """With the measures alone that constraints know."""
    known: dict[str, Measure] = {name: one for name, one in trial.measures.items() if name in MEASURES}
    return dataclasses.replace(trial, measures=known)


def _not_measured(variants: Sequence[Variant], profiles: Sequence[Profile]) -> str:
    """Why no meter has a figure; "" where one has."""
    if any(one.metered for one in variants):
        return ""
    states: dict[str, MeterState] = {one.name: one for profile in profiles for one in profile.meters}
    reasons = [f"{one.name}: {one.why_not}" for one in states.values() if one.why_not]
    why = f" Meters looked for: {'; '.join(reasons)}." if reasons else " No meter was asked for."
    return f"Energy was not measured.{why}"


def _machine(row: Row) -> list[list[str]]:
    host = row.host
    return [
        ["Processor", host.cpu],
        ["Cores", f"{host.cores_physical} physical, {host.cores_logical} logical"],
        ["Memory", f"{host.memory_gib} GiB"],
        *([["GPU", host.gpus]] if host.gpus else []),
        ["System", host.system],
    ]
