"""Whether a sweep's energies are measured, and by which meter, or modelled.

Decided once, when the sweep begins, for the baseline and all trials: what a meter says and what the ledger
says never share an objective. `asked.json` keeps it for when the sweep is taken up again.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any

from paring_profiles import meters
from paring_profiles.energy.choose import EXTERNAL, choose
from paring_profiles.result import Settings
from paring_runtimes.errors import InputError

from .book import ASKED
from .plan import AUTO, MODELLED, Plan

PATIENCE_S = 60.0  # for a quiet machine: a meter sees all of it


def decided(plan: Plan) -> Plan:
    """The plan with its energy decided: a meter's name, as for `paring profile --energy`, or "modelled".

    Raises:
        InputError: a meter was asked for, or measured before, and is not here; several are, and none was
            named; or energy can be neither measured nor modelled.
    """
    if "energy" not in plan.objectives:
        if plan.energy != AUTO:
            raise InputError(f"energy {plan.energy!r}: the objective energy is not asked for: add it")
        return plan
    before = _before(plan.output)
    if plan.energy == AUTO:
        plan = dataclasses.replace(plan, energy=before or _found())
    if plan.energy == MODELLED:
        _check_model()
    else:
        _check_meter(plan.energy, before, plan.output)
    return plan


def meter_settings(energy: str) -> dict[str, Any]:
    """Of `paring_profiles.Settings`, for "rapl", "hwmon:SENSOR" or "external:LOG.csv"; "" is no meter."""
    name, _, choice = energy.partition(":")
    if name in ("", MODELLED):
        return {"energy": "none"}
    return {"energy": name, "energy_csv": choice or None} if name == EXTERNAL else {"energy": energy}


def patience_s(energy: str) -> float:
    """How long to wait for a quiet machine before measuring."""
    return 0.0 if meter_settings(energy)["energy"] == "none" else PATIENCE_S


def _before(folder: Path) -> str | None:
    """What the sweep in this folder decided; None where there is none, or it had no such objective."""
    if not (folder / ASKED).is_file():
        return None
    told = json.loads((folder / ASKED).read_text(encoding="utf-8"))
    if "energy" not in told["objectives"]:
        return None
    return str(told["measuring"].get("energy", MODELLED))


def _found() -> str:
    """The one meter here that sees what the baseline runs on, the CPU; else "modelled"."""
    known = meters.modules()
    chosen = choose(Settings()).present
    present = {name: one for name, one in chosen.items() if not getattr(known[name], "GPUS_ALONE", False)}
    if len(present) > 1:
        listed = "; ".join(f"{name} ({meter.facts.covers})" for name, meter in present.items())
        raise InputError(
            f"objective energy: several meters are here, and a sweep is measured by one: give --energy NAME."
            f" There are {listed}"
        )
    return next(iter(present), MODELLED)


def _check_meter(energy: str, before: str | None, folder: Path) -> None:
    try:
        choose(Settings(**meter_settings(energy)))
    except InputError as error:
        if energy != before:
            raise
        raise InputError(
            f"{folder}: the energies of this sweep are measured by {energy}, and modelled ones do not go"
            f" beside them: go on on its machine, or give another --output ({error})"
        ) from None


def _check_model() -> None:
    """The ledger models energy from an ONNX graph."""
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            "objective energy: no meter reads it here, and it cannot be modelled either: the ledger needs"
            f" {' and '.join(missing)} (pip install 'paring[onnx,ort]')"
        )
