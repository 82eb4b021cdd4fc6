"""What artifacts' folders and other runs' files add to a variant's section."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from paring_profiles.needle.result import Cell, NeedleResult, NeedleSettings, Reader, Summary
from paring_profiles.report.needle import to_json
from paring_profiles.report.pareto import Report, from_sweep, pictures_of, render
from paring_profiles.report.raster import Raster, RasterLayer, drawn
from paring_profiles.result import Machine
from paring_profiles.sweep import Sweep
from paring_runtimes.errors import InputError

MACHINE = Machine("A CPU", 2, 4, 8_200_000_000, "Linux-6.1.0-x86_64", "CPython 3.11", 0.1, False)
RASTER = Raster(4, [RasterLayer("fc1", 3, [1, 1, 4], [0, 2, 1]), RasterLayer("fc2", 2, [3], [1])])


def with_artifact(report: Report, key: str, artifact: str) -> Report:
    variants = [dataclasses.replace(v, artifact=artifact) if v.key == key else v for v in report.variants]
    return dataclasses.replace(report, variants=variants)


def needles(artifact: str) -> NeedleResult:
    cell = Cell("gem", 256, 0.5, 4, 0.75, (0.3, 0.95), 1.0, 256, 90, 12.0, 3.0)
    line = Summary("gem", None, 4, 0.75, (0.3, 0.95), 256, 90, 12.0, None, None)
    return NeedleResult(
        "2026-01-02T03:04:05+00:00", MACHINE, {}, NeedleSettings((256,), (0.5,)), "prose",
        (Reader("gem", artifact),), (cell,), (line,), (), (), 0.1,
    )  # fmt: skip


def test_a_needle_map_goes_to_the_variant_of_its_artifact(report: Report, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    file = tmp_path / "needle.json"
    file.write_text(to_json(needles(str(tmp_path / "made"))))
    found = with_artifact(report, "4", "made")
    pictures = pictures_of(found, tmp_path, [file])
    assert list(pictures) == ["4"]
    section = render(found, pictures).partition('id="variant-4"')[2].partition("</article>")[0]
    assert "75 %" in section
    with pytest.raises(InputError, match="no variant of the report has that artifact"):
        pictures_of(report, tmp_path, [file])


def test_spikes_go_to_the_variant_of_their_artifact(report: Report, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    file = tmp_path / "simulation.json"
    file.write_text(json.dumps({"artifact": str(tmp_path / "made"), "spikes": dataclasses.asdict(RASTER)}))
    pictures = pictures_of(with_artifact(report, "4", "made"), tmp_path, [file])
    assert [plot.title for plot in pictures["4"].plots] == ["Spikes of one image"]
    file.write_text(json.dumps({"artifact": "x", "spikes": {"steps": "4", "layers": []}}))
    with pytest.raises(InputError, match="steps"):
        pictures_of(report, tmp_path, [file])
    file.write_text("{}")
    with pytest.raises(InputError, match="neither"):
        pictures_of(report, tmp_path, [file])


def test_a_raster_has_a_dot_an_event() -> None:
    svg = drawn(RASTER).svg
    assert svg.count("M") - svg.count('d="M76 ') == 4
    assert "fc1" in svg


@pytest.mark.parametrize("artifact", ["../outside", "/etc", "s3://bucket/a.json", "gone"])
def test_artifacts_outside_of_the_folder_are_not_opened(sweep: Sweep, tmp_path: Path, artifact: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "manifest.json").write_text("{}")
    (tmp_path / "sweep").mkdir()
    trials = [dataclasses.replace(sweep.trials[0], artifact=artifact)]
    found = from_sweep(dataclasses.replace(sweep, trials=trials, front=[]), tmp_path / "sweep")
    one = found.variants[-1]
    assert one.modelled_uj == {}
    assert ["not seen", f"the artifact {artifact} is not in the sweep's folder: not looked into"] in one.facts


def test_operations_and_modelled_parts_come_from_the_graph(mlp: Callable[..., Path]) -> None:
    from paring_profiles.report.pareto.looking import _count

    found = _count(mlp(3, "three.onnx"), 2)
    assert found["macs"] == 3 * 2 * 64 * 64
    assert set(found["parts_uj"]) <= {"operations", "dram", "buffer", "network", "registers"}
    assert found["parts_uj"]["operations"] == pytest.approx(found["macs"] * (3.7 + 0.9) / 1e6)
    broken = mlp(1, "broken.onnx")
    broken.write_bytes(b"no graph")
    assert "not modelled" in _count(broken, 1)["method"]
