"""The report as one HTML file that loads nothing: styles, plots and images are inside."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from paring_profiles.report import (
    answers,
    details,
    energy,
    experts,
    pictures,
    plots,
    questions,
    robustness,
    tables,
)
from paring_profiles.report import curve as curves
from paring_profiles.report.drawing import Plot
from paring_profiles.report.headline import headline, others
from paring_profiles.report.rival import against_int8
from paring_profiles.result import Candidate, Profile
from paring_runtimes.errors import MissingExtraError


@dataclass(frozen=True)
class Described:
    """What the page says of one candidate beside its figures."""

    name: str
    path: str
    format: str
    source: str | None
    recipe: str
    transforms: str
    parity: str
    parity_cases: tables.Table | None
    strips: list[pictures.Strip]
    kept_text: str | None


def render(profile: Profile, curve: dict[str, Any] | None = None) -> str:
    """The page.

    Raises:
        MissingExtraError: jinja2, matplotlib or pillow is not installed.
        ArtifactError: a candidate's `samples.npz` is damaged.
    """
    try:
        return page("template.html.j2", _context(profile, curve))
    except ModuleNotFoundError as error:
        raise MissingExtraError("writing a report", "report") from error


def page(template: str, context: dict[str, Any]) -> str:
    """A page of this folder's template, which extends `base.html.j2`, with the style inside."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_resource),
    )
    environment.filters["parts"] = _parts
    return environment.get_template(template).render(style=_resource("style.css"), **context)


def _context(profile: Profile, curve: dict[str, Any] | None) -> dict[str, Any]:
    cases = tables.cases(profile)
    sizes = dict.fromkeys(case[0] for case in cases)
    phases = {case[2] for case in cases}
    # Without an encoder or a filter, what comes before the first token is the prefill.
    left_out = {
        "encoder",
        "question",
        "compressor",
        "filter",
        *(() if phases & {"encoder", "filter"} else ("prefill",)),
    }
    shown = [case for case in cases if case[2] not in left_out]
    return {
        "profile": profile,
        "headline": unbroken(headline(profile)),
        "others": [unbroken(line) for line in (*others(profile), *against_int8(profile))],
        "curve": curves.curve(curve) if curve else None,
        "curve_table": details.curve_table(curve) if curve else None,
        "groups": questions.before_after(profile),
        "robustness_tables": robustness.robustness_tables(profile),
        "latency_plots": _drawn(plots.latencies(profile, case) for case in shown),
        "realised": plots.realised(profile),
        "tokens": plots.tokens(profile),
        "token_table": details.token_table(profile),
        "operator_plots": _drawn(plots.operators(profile, size) for size in sizes),
        "described": [_described(c, f"sample-{i}") for i, c in enumerate(profile.candidates)],
        "stages": answers.stage_table(profile),
        "expert_plots": _drawn(experts.bars(c, f"experts-{i}") for i, c in enumerate(profile.candidates)),
        "expert_tables": experts.share_tables(profile),
        "machine": details.machine_rows(profile.machine),
        "settings": details.settings_rows(profile),
        "meters": energy.meter_rows(profile),
        "methods": details.methods(profile),
        "method": details.method(profile),
    }


def _described(candidate: Candidate, prefix: str) -> Described:
    parity = candidate.parity
    return Described(
        name=candidate.name,
        path=candidate.path,
        format=candidate.format,
        source=candidate.source,
        recipe=details.as_yaml(candidate.recipe) if candidate.recipe else "",
        transforms=details.as_yaml(candidate.transforms) if candidate.transforms else "",
        parity=details.parity_sentence(parity) if parity else "Not checked.",
        parity_cases=details.parity_table(parity) if parity and parity.get("cases") else None,
        strips=pictures.strips(Path(candidate.path), prefix),
        kept_text=answers.kept_text(candidate),
    )


def _parts(name: str) -> list[str]:
    """Pieces of a name between which a line may break."""
    return re.findall(r"[^-_/,.]*[-_/,.]+|[^-_/,.]+", name)


def unbroken(sentence: str) -> str:
    """Keeps a number and its percent sign on one line."""
    return sentence.replace(" %", "\N{NO-BREAK SPACE}%")


def _drawn(found: Any) -> list[Plot]:
    return [plot for plot in found if plot is not None]


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
