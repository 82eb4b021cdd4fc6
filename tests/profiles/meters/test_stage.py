"""Energy in a whole profile: a package whose counter follows this process's own CPU time."""

from __future__ import annotations

import json
import time

import pytest

from paring_profiles import Settings, profile, read, report, write
from paring_profiles.energy import windows
from paring_profiles.energy.stage import Energies
from paring_profiles.meters import meters
from paring_profiles.report import energy, html, markdown
from paring_runtimes.errors import InputError

IDLE_W, WORK_W = 5.0, 20.0  # of the counter of CPU time
QUICK = Settings(threads=1, openings=4, min_runs=20, min_seconds=0.05, max_seconds=20.0)


def test_a_package_measures_what_calls_draw(cpu_time_counter):
    energies = Energies(Settings(energy="auto"))
    calls = [lambda: burn(0.004), lambda: burn(0.001)]
    base, short = energies.measure(calls, ["base", "short"], (2, None), "here", lambda _share: None)
    for (own,), cpu_s in ((base, 0.004), (short, 0.001)):
        assert own.mj == pytest.approx(1e3 * WORK_W * cpu_s / 2, rel=0.2)  # a call of two inferences
        assert own.gross_mj > own.mj
        assert own.idle_watts == pytest.approx(IDLE_W, rel=0.2)
        assert (own.meter, own.provenance, len(own.rounds_mj)) == ("rapl", "measured", 8)
    ratio, (low, high) = energy.saving(base[0], short[0])
    assert low <= ratio <= high
    assert ratio == pytest.approx(4, rel=0.3)


def burn(cpu_s: float) -> None:
    """Keeps a core busy for so long, whatever else runs on the machine."""
    end_s = time.thread_time() + cpu_s
    while time.thread_time() < end_s:
        pass


def test_a_profile_tells_energy_in_every_format(cpu_time_counter, mlp, tmp_path):
    found = profile([mlp(120, "deep.onnx"), mlp(20, "shallow.onnx")], QUICK)
    deep, shallow = (candidate.energies[0] for candidate in found.candidates)
    assert deep.mj > shallow.mj > 0
    assert [candidate.energy for candidate in found.candidates] == ["measured", "measured"]
    assert [(state.name, state.why_not) for state in found.meters] == [("rapl", None)]
    assert read(write(found, tmp_path / "p.json")) == found
    shown = energy.side_by_side(found.candidates)
    assert {row[3] for row in shown.rows} == {"rapl"}
    assert shown.rows[0][6] == "baseline"
    _check_written(found)


def _check_written(found):
    text, page = markdown.render(found), html.render(found)
    told = next(line for line in text.splitlines() if line.startswith("| Energy an inference, rapl"))
    assert told.split("|")[2].strip() == "measured"
    modelled = [line for line in text.splitlines() if "Eyeriss-like" in line and line.startswith("| Energy")]
    assert [line.split("|")[2].strip() for line in modelled] == ["modelled"]
    assert "Energy saving, rapl" in page
    assert "not measured" not in told
    assert "a counter of CPU time" in text
    assert "a counter of CPU time" in page


@pytest.fixture
def nothing_here(sysfs):
    """No meter, whatever this machine has; GPUs cannot be taken away."""
    if any(found.why_not is None for found in meters().values()):
        pytest.skip("this machine has a meter that is no file")


def test_without_a_meter_every_format_says_so_and_why(nothing_here, mlp, tmp_path):
    found = profile([mlp(4, "a.onnx"), mlp(2, "b.onnx")], QUICK)
    assert [candidate.energy for candidate in found.candidates] == ["not measured"] * 2
    assert [candidate.energies for candidate in found.candidates] == [[], []]
    reasons = {state.name: state.why_not for state in found.meters}
    assert set(reasons) == set(meters())
    assert all(reasons.values())
    paths = report.write(found, tmp_path / "out")
    data = json.loads(paths.json.read_text())
    assert {one["energy"] for one in data["candidates"]} == {"not measured"}
    assert {one["name"]: one["why_not"] for one in data["meters"]} == reasons
    text, page = paths.markdown.read_text(), paths.html.read_text()
    assert "| Energy an inference | – | not measured | not measured |" in text
    assert page.count("<td>not measured</td>") >= 2
    for name, reason in reasons.items():
        assert name in page
        assert reason.split("(")[0].split("`")[0][:40] in page
    for one in data["candidates"]:
        assert one["modelled_energies"][0]["provenance"] == "modelled"
        assert one["modelled_energies"][0]["mj"] > 0
    shown = energy.side_by_side(found.candidates)
    column = dict(zip(shown.header, zip(*shown.rows, strict=True), strict=True))
    assert column["measured, mJ (95 %)"] == ("not measured", "not measured")
    assert all(float(value) > 0 for value in column["modelled, mJ"])


def test_a_meter_that_was_asked_for_must_be_there(nothing_here, recorded, tmp_path):
    with pytest.raises(InputError, match="the meter rapl is not there: no RAPL zones in"):
        Energies(Settings(energy="rapl"))
    with pytest.raises(InputError, match=r"expected auto, none or a meter .*, given 'watts'"):
        Energies(Settings(energy="watts"))
    with pytest.raises(InputError, match=r"the meter external is not there: .*gone\.csv: cannot be read"):
        Energies(Settings(energy_csv=str(tmp_path / "gone.csv")))
    assert Energies(Settings(energy="none")).states() == []
    assert "| none | not asked for |" in markdown.render(recorded)
    assert "| Energy an inference | – | not measured | not measured |" in markdown.render(recorded)


def test_windows_that_do_not_fit_are_refused_with_what_would_do(tell):
    tell("class/power_supply/BAT0", type="Battery", status="Discharging", power_now=9_000_000)
    energies = Energies(Settings(energy="battery"))
    assert energies.measure([dict], ["a"], (1, None), "batch size 1", print) == [[]]
    (state,) = energies.states()
    assert state.why_not.startswith("batch size 1: its windows take 20 s")
    assert "--max-seconds 301 would do" in state.why_not


def test_a_sensor_is_chosen_by_its_name(tell):
    for number, name in enumerate("ab"):
        tell(f"class/hwmon/hwmon{number}", name=name, power1_input=1)
    with pytest.raises(InputError, match=r"the meter hwmon is not there: several sensors"):
        Energies(Settings(energy="hwmon"))
    assert "b/power1" in Energies(Settings(energy="hwmon:b/power1")).states()[0].covers


def test_an_external_log_is_read_after_the_fact(tmp_path, sysfs, monkeypatch):
    monkeypatch.setattr(windows, "SHORTEST_S", 0.05)
    path, now_s = tmp_path / "plug.csv", time.time()
    rows = (f"{now_s - 1 + 0.005 * i:.4f},7.5\n" for i in range(40_000))
    path.write_text("time,watts\n" + "".join(rows))
    energies = Energies(Settings(energy="external", energy_csv=str(path)))
    (found,) = energies.measure([lambda: time.sleep(0.004)], ["a"], (2, None), "here", lambda _share: None)
    (told,) = found
    call_s = told.window_seconds * len(told.rounds_mj) / told.calls
    assert told.meter == "external"
    assert told.gross_mj == pytest.approx(7.5e3 * call_s / 2, rel=0.15)
    assert told.mj == pytest.approx(0, abs=0.01 * told.gross_mj)
    assert energies.states()[0].covers.endswith("(plug.csv)")
    assert any("does not stand out" in one for one in energies.states()[0].said)
