"""The report of a simulation: one HTML file that loads nothing, the same in Markdown, and JSON."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from paring_profiles.neuromorphic.rival import PROCESS
from paring_profiles.report import ReportPaths, html, simulation_plots, simulation_tables, write_whole
from paring_profiles.report.marks import table_lines, text
from paring_profiles.report.raster import raster_of
from paring_profiles.report.simulation_tables import Told
from paring_profiles.report.tables import Table
from paring_runtimes.errors import MissingExtraError

TEMPLATE = "simulation.html.j2"


def write(told: Told, folder: Path) -> ReportPaths:
    """Writes `simulation.html`, `simulation.md` and `simulation.json` into `folder`, made when missing.

    Raises:
        MissingExtraError: the `report` extra is not installed.
    """
    page, words = render(told), markdown(told)
    folder.mkdir(parents=True, exist_ok=True)
    paths = ReportPaths(folder / "simulation.html", folder / "simulation.json", folder / "simulation.md")
    write_whole(paths.json, json.dumps(as_dict(told), indent=1, allow_nan=False) + "\n")
    write_whole(paths.markdown, words)
    write_whole(paths.html, page)
    return paths


def render(told: Told) -> str:
    """The page.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    try:
        return html.page(
            TEMPLATE,
            {
                "told": told,
                "headline": html.unbroken(simulation_tables.headline(told)),
                "lines": [html.unbroken(line) for line in simulation_tables.sentences(told)],
                "plots": simulation_plots.results(told.simulation),
                "maps": simulation_plots.maps(told.simulation),
                "points": simulation_tables.point_table(told.simulation),
                "rivals": simulation_tables.rival_table(told.simulation),
                "parts": simulation_tables.part_table(told.simulation),
                "layers": simulation_tables.layer_table(told.simulation),
                "constants": simulation_tables.constant_table(told.simulation.chip),
                "sources": simulation_tables.source_rows(told.simulation.chip),
                "about": told.simulation.chip.about,
                "method": simulation_tables.METHOD,
                "settings": simulation_tables.settings_rows(told),
            },
        )
    except ModuleNotFoundError as error:
        raise MissingExtraError("writing a report", "report") from error


def markdown(told: Told) -> str:
    """The report as GitHub-flavoured Markdown."""
    found, tables = told.simulation, simulation_tables
    parts = [f"# {text(tables.headline(told))}", ""]
    parts += [*(f"- {text(line)}" for line in tables.sentences(told)), ""]
    parts += ["## By number of steps", "", *table_lines(tables.point_table(found))]
    parts += ["## Against the dense network, at int8 on one 45 nm process", ""]
    parts += table_lines(tables.rival_table(found))
    if tables.part_table(found).rows:
        parts += ["## Energy by part", "", *table_lines(tables.part_table(found))]
    parts += ["## Layers on the chip", "", *table_lines(tables.layer_table(found))]
    parts += [f"## {text(found.chip.title)}", "", text(found.chip.about), ""]
    parts += table_lines(tables.constant_table(found.chip))
    parts += [*(f"- {text(name)}: {text(source)}" for name, source in tables.source_rows(found.chip)), ""]
    parts += ["## How it was modelled", "", tables.METHOD, ""]
    parts += table_lines(Table(("Setting", ""), tuple(tables.settings_rows(told))))
    return "\n".join(parts) + "\n"


def as_dict(told: Told) -> dict[str, Any]:
    """Every figure as plain data; everything but the accuracies is modelled."""
    found = told.simulation
    placed = found.placed
    return {
        "provenance": "modelled",
        "headline": simulation_tables.headline(told),
        "artifact": told.artifact,
        "data": told.data,
        "samples": found.samples,
        "coding": dataclasses.asdict(found.coding),
        "chip": found.chip.model_dump(mode="json"),
        "rival_process": PROCESS,
        "layers": [
            {
                "name": layer.label,
                "state_node": layer.name,
                "shape": list(layer.shape),
                "neurons": layer.size,
                "fan_in": placed.fan_in[layer.name],
                "connections": placed.connections[layer.name],
                "cores": sorted({int(core) for core in placed.core_of[layer.name]}),
                "copies": placed.copies[layer.name],
                "seen_bits": found.seen_bits.get(layer.name),
                **dataclasses.asdict(found.rounding.layers[layer.name]),
            }
            for layer in placed.network.layers.values()
        ],
        "cores": [
            {"router": list(core.router), "layers": [tile.layer for tile in core.tiles]}
            | dataclasses.asdict(core.demand)
            for core in placed.cores
        ],
        "points": [_point(point) for point in found.points],
        "spikes": dataclasses.asdict(raster_of(found)),
        "created": told.created,
        "tools": told.tools,
    }


def _point(point: Any) -> dict[str, Any]:
    kept = ("synops", "macs", "spikes", "active", "inactive", "messages", "hops_x", "hops_y", "idle_cores")
    return {
        "steps": point.steps,
        "accuracy": point.accuracy,
        "accuracy_ci95": point.accuracy_ci95,
        "accuracy_before_rounding": point.unrounded,
        "counts": {name: getattr(point.load, name) for name in kept},
        "energy_nj": dataclasses.asdict(point.energy),
        "latency_us": dataclasses.asdict(point.latency),
        "against_dense_nj": dataclasses.asdict(point.rival),
    }
