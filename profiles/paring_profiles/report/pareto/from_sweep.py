"""From a sweep and the artifacts in its folder to the report."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paring_profiles.report import details, quantities
from paring_profiles.report.pareto.axes import axes_of, figures_of
from paring_profiles.report.pareto.looking import Looker, Say, Seen
from paring_profiles.report.pareto.modelled import constants, modelled_numbers
from paring_profiles.report.pareto.page import Advice, Gain, Metered, Report, Variant
from paring_profiles.report.pareto.words import counted, headline, quality_sentences
from paring_profiles.sweep import Baseline, Measure, Recommendation, Standing, Sweep, Trial

ENERGY = "energy_measured_mj"
_NOT_METERED = (
    "Energy was not measured: no trial has a meter's figure. Modelled figures are a cost model's and do not"
    " stand in for it."
)
_PLACES = ("on", "maybe", "dominated", None)


def from_sweep(
    sweep: Sweep,
    folder: Path,
    chosen: Recommendation | None = None,
    graphs: bool = True,
    say: Say = lambda sentence: None,
) -> Report:
    """The report of a sweep.

    Args:
        sweep: what `sweep.json` tells.
        folder: that it lies in; artifacts are looked for there and nowhere else.
        chosen: a recommendation.
        graphs: read the artifacts' graphs, for operations and modelled energy by part.
        say: told a sentence an artifact that is looked into.
    """
    looker = Looker(folder, sweep.settings.batch, graphs)
    devices = list(dict.fromkeys([one.device for one in sweep.baselines] + [t.device for t in sweep.trials]))
    bases = {one.device: _baseline(one, sweep, looker, len(devices) > 1) for one in sweep.baselines}
    standings = {one.trial: one for one in sweep.front}
    telling = _telling(sweep.trials)
    variants = []
    for trial in sweep.trials:
        say(f"trial {trial.number}")
        variants.append(_variant(trial, sweep, looker, standings.get(trial.number), telling))
    variants.sort(key=lambda one: (_PLACES.index(one.place), -(one.probability or 0.0), int(one.key)))
    every = [*bases.values(), *variants]
    axes = axes_of([one.measure for one in sweep.objectives], every)
    advice = None if chosen is None else _advice(chosen)
    return Report(
        title=headline(variants, axes, advice, str(sweep.recipe.get("model"))),
        kicker=f"paring sweep of {sweep.recipe.get('model')}",
        created=sweep.updated,
        sentences=_sentences(sweep, variants),
        groups=devices,
        axes=axes,
        variants=every,
        constants=constants(every),
        modelled=modelled_numbers(every, axes),
        energy_not_measured="" if any(ENERGY in one.figures for one in every) else _NOT_METERED,
        advice=advice,
        notes=[*sweep.left_out, *sweep.notes],
        machine={
            device: [list(pair) for pair in details.machine_rows(found)]
            for device, found in sweep.machine.items()
        },
        settings=_settings(sweep),
        tools=sweep.tools,
    )


def _sentences(sweep: Sweep, variants: Sequence[Variant]) -> list[str]:
    again = f", taken up again ({sweep.resumed} x)" if sweep.resumed else ""
    running = "It is still running. " if sweep.state == "running" else ""
    space = "" if sweep.points is None else f" of a space of {sweep.points:,} points"
    took = quantities.fixed(sweep.seconds, 0)
    return [f"{running}{counted(variants, space)}, in {took} s{again}."]


def _baseline(base: Baseline, sweep: Sweep, looker: Looker, several: bool) -> Variant:
    seen = looker.look(base.artifact)
    key = f"baseline-{base.device}" if several else "baseline"
    recipe = seen.recipe or {**sweep.recipe, "transforms": []}
    measures = base.measures | base.final
    return Variant(
        key=key,
        name="baseline, untransformed, fp32",
        group=base.device,
        baseline=True,
        state="complete",
        reason="",
        place=None,
        probability=None,
        dominated_by=[],
        params={},
        transforms=[],
        engine=base.engine,
        precision="fp32",
        recipe=details.as_yaml(recipe),
        artifact=base.artifact,
        figures=figures_of(measures),
        quality=quality_sentences(seen.quality),
        tokens_per_layer=seen.tokens_per_layer,
        metered=_metered(measures),
        modelled_uj=seen.parts_uj,
        modelled_method=seen.method,
        facts=_facts(seen),
    )


def _telling(trials: Sequence[Trial]) -> set[str]:
    """Parameters in which trials differ."""
    names = {name for trial in trials for name in trial.params}
    return {name for name in names if len({repr(trial.params.get(name)) for trial in trials}) > 1}


def _variant(
    trial: Trial, sweep: Sweep, looker: Looker, standing: Standing | None, telling: set[str]
) -> Variant:
    seen = looker.look(trial.artifact)
    base = next((one for one in sweep.baselines if one.device == trial.device), None)
    recipe, untold = _recipe(trial, sweep.recipe, seen)
    measures = trial.measures | trial.final
    names = seen.transforms or [step for step in recipe.get("transforms") or [] if isinstance(step, dict)]
    facts = [
        *_facts(seen),
        ["stage reached", trial.stage],
        ["wall time", f"{quantities.fixed(trial.seconds, 1)} s, {trial.attempts} attempts"],
        ["run by", trial.worker or "not known"],
    ]
    return Variant(
        key=str(trial.number),
        name=name_of(trial, telling),
        group=trial.device,
        baseline=False,
        state=trial.state,
        reason=trial.reason,
        place=None if standing is None else standing.place,
        probability=None if standing is None else standing.probability,
        dominated_by=[] if standing is None else [str(number) for number in standing.dominated_by],
        params=trial.params,
        transforms=[_step_name(step) for step in names],
        engine=trial.engine,
        precision=str((recipe.get("export") or {}).get("precision", "")),
        recipe=details.as_yaml(recipe) + "".join(f"\n# and: {text}" for text in untold),
        artifact=trial.artifact,
        figures=figures_of(measures),
        quality=quality_sentences(seen.quality),
        gain=_gain(
            measures.get("latency_relative"), seen, None if base is None else looker.look(base.artifact)
        ),
        tokens_per_layer=seen.tokens_per_layer,
        metered=_metered(measures),
        modelled_uj=seen.parts_uj,
        modelled_method=seen.method,
        noise=trial.noise,
        facts=facts,
    )


def name_of(trial: Trial, telling: set[str]) -> str:
    """A trial's point in a few words; keys keep their last part where that is enough.

    `telling` are the parameters that tell trials apart; without any, all are told.
    """
    params = {name: value for name, value in trial.params.items() if name in telling} or trial.params
    short = [str(name).rpartition(".")[2] for name in params]
    told = []
    for last, (name, value) in zip(short, params.items(), strict=True):
        told.append(f"{last if short.count(last) == 1 else name} {value}")
    return ", ".join(told) or f"on {trial.engine}"


def _recipe(trial: Trial, base: dict[str, Any], seen: Seen) -> tuple[dict[str, Any], list[str]]:
    """The artifact's own recipe, else the sweep's with the overrides; and those that could not be applied."""
    if seen.recipe:
        return seen.recipe, []
    made, untold = copy.deepcopy(base), []
    for text in trial.overrides:
        key, _, value = text.partition("=")
        if not _assign(made, key.split("."), value):
            untold.append(text)
    return made, untold


def _assign(into: Any, path: Sequence[str], text: str) -> bool:
    for part in path[:-1]:
        into = into.get(part) if isinstance(into, dict) else None
    if not isinstance(into, dict):
        return False
    try:
        into[path[-1]] = json.loads(text)
    except ValueError:
        into[path[-1]] = text
    return True


def _step_name(step: dict[str, Any]) -> str:
    return str(step.get("name") or next(iter(step), ""))


def _gain(relative: Measure | None, seen: Seen, base: Seen | None) -> Gain | None:
    if relative is None or relative.value <= 0 or relative.low <= 0:
        return None
    ideal = base.macs / seen.macs if base is not None and base.macs and seen.macs else None
    realised = 1 / relative.value
    share = None if ideal is None else realised / ideal
    return Gain(realised, 1 / relative.high, 1 / relative.low, ideal, share)


def _metered(measures: dict[str, Measure]) -> list[Metered]:
    found = measures.get(ENERGY)
    return [] if found is None else [Metered("meter", found.value, found.low, found.high, {}, found.method)]


def _facts(seen: Seen) -> list[list[str]]:
    facts = [["parity with the source", seen.parity]] if seen.parity else []
    if seen.macs is not None:
        facts.append(["multiply-accumulates a call, counted", quantities.with_prefix(seen.macs, "")])
    return facts + [["not seen", sentence] for sentence in seen.missing]


def _settings(sweep: Sweep) -> list[list[str]]:
    own = sweep.settings
    prune = "never" if own.prune_drop is None else f"above {100 * own.prune_drop:g} pp on {own.prune_images}"
    return [
        ["batch", str(own.batch)],
        ["threads", str(own.threads)],
        ["timed calls, at least", f"{own.min_runs}, and {own.min_seconds:g} s"],
        ["sampler", f"{own.sampler}, seed {own.seed}"],
        ["trials, at most", str(own.trials)],
        ["given up early", prune],
    ]


def _advice(chosen: Recommendation) -> Advice:
    def key(number: int | None) -> str | None:
        return None if number is None else str(number)

    return Advice(
        goal=chosen.goal,
        constraints=chosen.constraints,
        confidence=chosen.confidence,
        variant=key(chosen.trial),
        runner_up=key(chosen.runner_up),
        nearest=key(chosen.nearest),
        sentences=chosen.sentences,
    )
