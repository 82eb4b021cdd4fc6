"""Energy as an objective: measured for all or modelled for all, by a package that follows the CPU's time."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import paring_profiles.meters
from paring.sweep import Plan, run
from paring.sweep.energy import decided, meter_settings
from paring.sweep.jobs import Job, Outcome, Shelf, Subject
from paring.sweep.work import KINDS, work
from paring_profiles import memory
from paring_profiles.energy import windows
from paring_profiles.energy.meter import Availability, Refused
from paring_profiles.sweep import recommend
from paring_profiles.sweep.measures import Unresolved
from paring_profiles.sweep.tables import markdown
from paring_runtimes.errors import InputError, OutputError

pytest.importorskip("optuna")
SPACE = "engine: [onnxruntime]"  # its one point is the baseline's artifact
WHY_NOT = "no counter on this machine"


@pytest.fixture
def no_meter(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Takes the meter away."""

    def refuse(_choice: str) -> None:
        raise Refused(WHY_NOT)

    def take_away() -> None:
        module = SimpleNamespace(open_meter=refuse, probe=lambda _choice: Availability("a package", WHY_NOT))
        monkeypatch.setattr(paring_profiles.meters, "modules", lambda: {"rapl": module})

    return take_away


def test_where_a_meter_is_present_every_energy_is_measured(
    cpu_time_counter: None,
    no_meter: Callable[[], None],
    plan: Callable[..., Plan],
    here: Callable[[], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("paring.sweep.energy.PATIENCE_S", 0.0)
    monkeypatch.setattr(windows, "MOST_ROUNDS", windows.FEWEST_ROUNDS)
    monkeypatch.setattr(memory, "measure", lambda *_args, **_more: None)  # not looked at; seconds each
    made, pool = plan(SPACE, objectives=("energy", "size")), here()
    found = run(made, make_pool=lambda: pool)
    energy = found.objectives[0]
    assert (energy.measure, energy.provenance, energy.unit) == ("energy_measured_mj", "measured", "mJ")
    for one in (*found.trials, *found.baselines):
        own = one.measures["energy_measured_mj"]
        assert own.low <= own.value <= own.high
        assert own.low < own.high
        assert own.value > 0
        assert own.provenance == "measured"
        assert own.method.startswith("rapl: package-0; batch 1, ")
        assert "idle power before and after each round subtracted" in own.method
        assert "energy_modelled_uj" not in one.measures
    assert "energy an inference, measured, mJ" in markdown(found)
    assert "energy an inference, measured" in recommend(found, [], "energy", "point").sentences[0]
    last = pool.jobs[-1]
    final = work(dataclasses.replace(last, kind="final", finalists={"0": last.subject}))
    assert {key: told["energy_measured_mj"].round for key, told in final.of_finalists.items()} == {
        "baseline": "final",
        "0": "final",
    }
    assert json.loads((made.output / "asked.json").read_text())["measuring"]["energy"] == "rapl"

    no_meter()
    says = f"are measured by rapl, and modelled ones do not go beside them: .* another --output .*{WHY_NOT}"
    with pytest.raises(InputError, match=says):
        run(plan(SPACE, objectives=("energy", "size"), trials=30), make_pool=here)
    with pytest.raises(OutputError, match=r'measuring\.energy: "rapl" -> "modelled"'):
        run(plan(SPACE, objectives=("energy", "size"), energy="modelled"), make_pool=here)


def test_what_began_modelled_stays_modelled(
    cpu_time_counter: None, plan: Callable[..., Plan], no_meter: Callable[[], None]
) -> None:
    made = plan(SPACE, objectives=("energy",))
    assert decided(made).energy == "rapl"
    assert decided(plan(SPACE, objectives=("size",))).energy == "auto"
    made.output.mkdir()
    asked = {"objectives": ["energy"], "measuring": {"energy": "modelled"}}
    (made.output / "asked.json").write_text(json.dumps(asked))
    assert decided(made).energy == "modelled"
    no_meter()
    (made.output / "asked.json").unlink()
    assert decided(made).energy == "modelled"


def test_what_energy_cannot_be_is_said(
    plan: Callable[..., Plan], no_meter: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="the objective energy is not asked for"):
        decided(plan(SPACE, objectives=("size",), energy="modelled"))
    no_meter()
    with pytest.raises(InputError, match=f"the meter rapl is not there: {WHY_NOT}"):
        decided(plan(SPACE, objectives=("energy",), energy="rapl"))
    meter = SimpleNamespace(facts=SimpleNamespace(covers="all of it"))
    two = dict.fromkeys(("battery", "rapl"), SimpleNamespace(open_meter=lambda _choice: meter))
    monkeypatch.setattr(paring_profiles.meters, "modules", lambda: two)
    with pytest.raises(InputError, match=r"give --energy NAME\. There are battery \(all of it\); rapl"):
        decided(plan(SPACE, objectives=("energy",)))
    assert decided(plan(SPACE, objectives=("energy",), energy="rapl")).energy == "rapl"
    two["battery"] = SimpleNamespace(open_meter=lambda _choice: meter, GPUS_ALONE=True)
    assert decided(plan(SPACE, objectives=("energy",))).energy == "rapl"
    del two["rapl"]
    assert decided(plan(SPACE, objectives=("energy",))).energy == "modelled"


def test_what_noise_hides_may_be_tried_again(
    plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hidden(_job: Job, _stage: object) -> Outcome:
        raise Unresolved("it does not stand out")

    monkeypatch.setitem(KINDS, "baseline", hidden)
    made, subject = plan(SPACE), Subject("0" * 64, "onnxruntime")
    found = work(Job("baseline", Shelf(""), made.settings(), subject, {}))
    assert (found.state, found.lost, found.reason) == ("failed", True, "it does not stand out")


def test_a_meter_is_told_as_profiles_take_it() -> None:
    assert meter_settings("") == meter_settings("modelled") == {"energy": "none"}
    assert meter_settings("hwmon:gpu/PPT") == {"energy": "hwmon:gpu/PPT"}
    assert meter_settings("external:plug.csv") == {"energy": "external", "energy_csv": "plug.csv"}
