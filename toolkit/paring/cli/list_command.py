"""`paring list`: what there is, and why something cannot be used here."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import MISSING, asdict, fields
from json import dumps
from typing import Annotated, Any

import typer

from ..api import extras
from .output import Json, print_json, table


class Kind(str, enum.Enum):
    """What can be listed."""

    transforms = "transforms"
    exporters = "exporters"
    engines = "engines"
    devices = "devices"
    meters = "meters"
    chips = "chips"
    modelled_devices = "modelled-devices"
    sources = "sources"
    data = "data"


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command("list")(show)


def show(
    kind: Annotated[Kind | None, typer.Argument(help="one kind; all when left out")] = None,
    json: Json = False,
) -> None:
    """List transforms, exporters, engines, devices, meters, chips, sources and more, each with its why-not.

    `list transforms` alone also tells each transform's recipe keys and their defaults.
    """
    kinds = [kind] if kind else list(Kind)
    found = {one.value: _rows(FINDERS[one]) for one in kinds}
    if json:
        print_json(found)
        return
    for name, rows in found.items():
        drawn = [[row["name"], row["about"], row["why_not"] or "usable here"] for row in rows]
        table(name, ("name", "about", "state"), drawn)
    if kind is Kind.transforms:
        keys = [
            [f"{row['name']}.{key['name']}", dumps(key["default"]), key["about"]]
            for row in found["transforms"]
            for key in row.get("keys", [])
        ]
        table("recipe keys, as in --set token_prune.keep_ratio=0.5", ("key", "default", "about"), keys)


def _rows(finder: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    try:
        with extras("listing them"):
            return finder()
    except ImportError as error:
        return [{"name": "-", "about": "-", "why_not": str(error)}]


def _transforms() -> list[dict[str, Any]]:
    from ..transforms import discover

    return [
        {
            "name": name,
            "about": f"{method.TRAITS.title} ({method.TRAITS.mechanism}) {method.TRAITS.paper}",
            "why_not": None,
            "traits": asdict(method.TRAITS),
            "keys": _keys(method.Config),
        }
        for name, method in sorted(discover().items())
    ]


def _keys(config: type[Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": item.name,
            "default": None if item.default is MISSING else item.default,
            "about": str(item.metadata.get("help", "")),
        }
        for item in fields(config)
    ]


def _exporters() -> list[dict[str, Any]]:
    from paring_exporters import exporters

    return [
        {"name": name, "about": _first_line(module), "why_not": module.why_not()}
        for name, module in sorted(exporters().items())
    ]


def _engines() -> list[dict[str, Any]]:
    from paring_runtimes.engines import engines

    return [
        {"name": name, "about": _first_line(module), "why_not": module.why_not()}
        for name, module in sorted(engines().items())
    ]


def _devices() -> list[dict[str, Any]]:
    from paring_profiles.devices import devices

    return [
        {"name": name, "about": "latency measured", "why_not": why_not}
        for name, why_not in sorted(devices().items())
    ]


def _meters() -> list[dict[str, Any]]:
    from paring_profiles.meters import meters, modules

    reads = {name: module.RESOLUTION for name, module in modules().items()}
    return [
        {
            "name": name,
            "about": f"energy of {found.covers}; {reads[name]}",
            "why_not": found.sentence(),
        }
        for name, found in meters().items()
    ]


def _chips() -> list[dict[str, Any]]:
    from paring_profiles.neuromorphic.chip import chip, chips

    found = {name: chip(name) for name in chips()}
    return [
        {
            "name": name,
            "about": f"{one.title}, cores: {one.limits.cores.value:,}; {_modelled(one)}",
            "why_not": None,
        }
        for name, one in found.items()
    ]


def _modelled(chip: Any) -> str:
    """What a chip's constants tell."""
    timed = chip.timing.step_ns or chip.timing.synaptic_operation_ns
    priced = chip.energy.synaptic_operation_pj
    known = [word for word, held in (("energy", priced), ("time", timed)) if held is not None]
    return f"{' and '.join(known)} modelled" if known else "no energies and times are published"


def _modelled_devices() -> list[dict[str, Any]]:
    from paring_profiles.devices_modelled import device, devices_modelled

    return [
        {
            "name": name,
            "about": f"{one.title}: peak in {', '.join(one.peak_tops)}; {_memory(one)}; bounds, modelled",
            "why_not": None,
            "constants": {key: figure.model_dump() for key, figure in one.constants().items()},
            "sources": {key: source.model_dump() for key, source in one.sources.items()},
        }
        for name, one in ((name, device(name)) for name in devices_modelled())
    ]


def _memory(one: Any) -> str:
    if one.memory_gb_s is None:
        return "no bandwidth is published"
    return f"{one.memory_gb_s.value:g} GB/s"


def _sources() -> list[dict[str, Any]]:
    from ..sources import sources

    return [
        {"name": name, "about": module.HELP, "why_not": module.why_not()}
        for name, module in sorted(sources().items())
    ]


def _data() -> list[dict[str, Any]]:
    from ..data import kinds

    return [{"name": name, "about": module.HELP, "why_not": None} for name, module in sorted(kinds().items())]


def _first_line(module: Any) -> str:
    return (module.__doc__ or "").strip().splitlines()[0]


FINDERS: dict[Kind, Callable[[], list[dict[str, Any]]]] = {
    Kind.transforms: _transforms,
    Kind.exporters: _exporters,
    Kind.engines: _engines,
    Kind.devices: _devices,
    Kind.meters: _meters,
    Kind.chips: _chips,
    Kind.modelled_devices: _modelled_devices,
    Kind.sources: _sources,
    Kind.data: _data,
}
