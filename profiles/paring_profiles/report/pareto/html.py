"""The report of many variants as one HTML file that loads nothing; its one script is named by its hash."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from paring_profiles.report import html, pictures
from paring_profiles.report.drawing import Plot
from paring_profiles.report.needle_tables import HeatMap
from paring_profiles.report.pareto import drawings, imported, tables
from paring_profiles.report.pareto.modelled import POINT_VALUES
from paring_profiles.report.pareto.page import Report, Variant
from paring_profiles.report.pareto.scatter import MARKS, PLACES, RING, Scatter, kind_of, scatter
from paring_profiles.report.tables import Table
from paring_profiles.sweep.result import STATES
from paring_runtimes.errors import MissingExtraError

SIMULATED = (
    "A chip's figures and the spikes in variants' sections are modelled too: the simulation's own report,"
    " simulation.html, holds their constants, with ranges and sources."
)


@dataclass(frozen=True)
class Described:
    """What a variant's own section shows."""

    variant: Variant
    row: tables.Ranked
    brief: str
    figures: Table
    metered: Table
    gain: str
    tokens: Plot | None
    energy: Plot | None
    strips: Sequence[pictures.Strip]
    plots: Sequence[Plot]
    maps: Sequence[HeatMap]
    facts: list[list[str]]


@dataclass(frozen=True)
class Extras:
    """Pictures of one variant beside its figures: what is kept of sample images, and plots of other runs."""

    strips: Sequence[pictures.Strip] = ()
    plots: Sequence[Plot] = ()
    maps: Sequence[HeatMap] = ()


def render(report: Report, extras: Mapping[str, Extras] | None = None) -> str:
    """The page; `extras` by the variants' keys.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    try:
        return html.page("pareto/page.html.j2", _context(report, extras or {}))
    except ModuleNotFoundError as error:
        raise MissingExtraError("writing a report", "report") from error


def island(data: Any) -> str:
    """JSON that is safe inside of a `<script>`, whatever names hold."""
    text = json.dumps(data, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _context(report: Report, extras: Mapping[str, Extras]) -> dict[str, Any]:
    drawn = scatter(report)
    script = _text("script.js")
    ready = [one for one in report.variants if one.state == "complete"]
    rows = tables.ranked(report, ready)
    every = {one.key: one for one in rows} | {
        one.key: tables.ranked_row(report, one) for one in report.variants if one.state != "complete"
    }
    bases = {one.group: one for one in report.variants if one.baseline}
    return {
        "report": report,
        "more_style": _text("style.css"),
        "goal": next(
            (axis.title for axis in report.axes if report.advice and axis.name == report.advice.goal), ""
        ),
        "scatter": drawn,
        "group_word": "Where",
        "marks": MARKS,
        "ring": RING,
        "places": _places(report),
        "objectives": tables.listed([axis.title for axis in report.objectives]),
        "fields": tables.fields(rows),
        "heads": tables.heads(report),
        "rows": rows,
        "unfinished": [one for one in report.variants if one.state != "complete"],
        "states": STATES,
        "realised": drawings.realised([one for one in ready if not one.baseline]),
        "energy": drawings.energy(ready),
        "metered": tables.metered(ready),
        "numbers": tables.modelled(report),
        "constants": tables.constants(report),
        "point_values": POINT_VALUES,
        "simulated": SIMULATED if any(one.plots for one in extras.values()) else "",
        "imported": imported.shown(report),
        "imported_title": imported.TITLE,
        "imported_caveat": imported.CAVEAT,
        "imported_header": imported.HEADER,
        "imported_remarks": imported.remarks(report),
        "described": [
            _described(report, one, every[one.key], bases.get(one.group), extras.get(one.key, Extras()))
            for one in report.variants
        ],
        "island": island(_data(drawn)),
        "script": script,
        "script_hash": _hash(script),
    }


def _places(report: Report) -> dict[str, str]:
    seen = {kind_of(one) for one in report.variants if one.state == "complete"}
    return {kind: words for kind, words in PLACES.items() if kind in seen}


def _data(drawn: Scatter | None) -> dict[str, Any]:
    return {} if drawn is None else drawn.data


def _described(
    report: Report, one: Variant, row: tables.Ranked, base: Variant | None, extras: Extras
) -> Described:
    energy = drawings.energy([own for own in (base, one) if own is not None]) if one.modelled_uj else None
    return Described(
        variant=one,
        row=row,
        brief=tables.brief(report, one),
        figures=tables.figures(report, one),
        metered=tables.metered([one]),
        gain=tables.gain_sentence(one),
        tokens=drawings.tokens(one, base),
        energy=energy if not one.baseline else None,
        strips=extras.strips,
        plots=extras.plots,
        maps=extras.maps,
        facts=[*([["artifact", one.artifact]] if one.artifact else []), *one.facts],
    )


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _text(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
