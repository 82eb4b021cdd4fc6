"""The report: what it says, that it says it honestly, and that it loads nothing."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from paring_profiles import report, store
from paring_profiles.report import curve as curves
from paring_profiles.report import drawing, html, markdown, tables
from paring_profiles.report.headline import others
from paring_profiles.result import (
    Candidate,
    Comparison,
    Latency,
    Machine,
    OperatorTime,
    Profile,
    Settings,
)
from paring_runtimes.errors import MissingExtraError

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
pytest.importorskip("PIL")

METHOD = "ONNX Runtime 1.32.0, CPUExecutionProvider, 2 threads, perf_counter_ns around run"
CPU = "Intel(R) Xeon(R) Processor @ 2.80GHz"
GRID = 7
BLOCKS = ("block 2", "block 4", "block 6")


def latency(batch_size: int, p50_ms: float, runs: int, seed: int) -> Latency:
    random = np.random.default_rng(seed)
    samples = p50_ms * (0.97 + random.gamma(1.6, 0.02, runs))
    enough_for_p99 = runs >= 662
    middle = float(np.median(samples))
    return Latency(
        batch_size=batch_size,
        samples_ms=samples.tolist(),
        warmup_runs=20,
        p50_ms=middle,
        p50_ci95_ms=(middle * 0.991, middle * 1.012),
        p90_ms=float(np.quantile(samples, 0.9)),
        p99_ms=float(np.quantile(samples, 0.99)) if enough_for_p99 else None,
        mean_ms=float(samples.mean()),
        std_ms=float(samples.std()),
        min_ms=float(samples.min()),
        throughput_per_s=1000 * batch_size / middle,
        refused={} if enough_for_p99 else {"p99_ms": f"{runs} runs, 662 needed"},
        method=METHOD,
    )


def operators(scale: float) -> list[OperatorTime]:
    times = {
        "MatMul": 1.21, "FusedMatMul": 0.35, "LayerNormalization": 0.21, "Softmax": 0.18,
        "BiasGelu": 0.31, "Transpose": 0.15, "Conv": 0.09, "Add": 0.07, "TopK": 0.03,
        "GatherElements": 0.02, "Concat": 0.02, "Unsqueeze": 0.002,
    }  # fmt: skip
    total = sum(times.values())
    return [OperatorTime(k, 12, v * scale, v / total) for k, v in times.items()]


def write_samples(folder: Path, merged: bool) -> None:
    """Two blobs on 28 x 28 pixels with a map that drops, fuses or merges patches outside them."""
    rows, columns = np.mgrid[0:28, 0:28]
    images, maps = [], []
    for centre, radius in (((14, 14), 9.0), ((10, 16), 6.0)):
        distance = np.hypot(rows - centre[0], columns - centre[1])
        blob = np.clip((radius - distance) / radius, 0, 1) * (150 + 100 * ((columns // 3) % 2))
        images.append(np.clip(blob, 0, 255).astype(np.uint8)[:, :, None])
        order = distance.reshape(GRID, 4, GRID, 4).mean(axis=(1, 3)).ravel().argsort().argsort()
        maps.append([stage_map(order, kept, merged) for kept in (34, 24, 17)])
    fused = [-1, -1, -1] if merged else [34, 24, -1]
    np.savez(
        folder / "samples.npz",
        images=np.stack(images),
        labels=np.array(["ankle boot", "bag"]),
        token_maps=np.array(maps, np.int32),
        grid=np.array([GRID, GRID]),
        stage_names=np.array(BLOCKS),
        fused_token=np.array(fused),
    )


def stage_map(order: np.ndarray, kept: int, merged: bool) -> np.ndarray:
    if merged:
        return np.where(order < kept, order, order % 4 + 100)
    gone = kept if kept != 17 else -1
    return np.where(order < kept, order, gone)


def candidate(folder: Path, name: str, scale: float, **changes: Any) -> Candidate:
    folder.mkdir(exist_ok=True)
    made = Candidate(
        name=name,
        path=str(folder),
        format="onnx",
        size_bytes=5_412_331,
        parameters=1_338_250,
        macs={"1": int(68_412_000 * scale), "8": int(547_296_000 * scale)},
        macs_unknown=[],
        tokens_per_layer=[50] * 8,
        peak_memory_bytes=int(31_400_000 * (0.8 + 0.2 * scale)),
        load_ms=21.4,
        latency=[latency(1, 2.61 * scale, 812, 1), latency(8, 17.3 * scale, 121, 2)],
        operators={"1": operators(scale), "8": operators(7 * scale)},
        source="builtin:fashion-vit",
        transforms=[],
        recipe={"model": "builtin:fashion-vit", "steps": [{"export": {"precision": "fp32"}}]},
        parity=parity(),
        quality=None,
    )
    return replace(made, **changes)


def parity() -> dict[str, Any]:
    cases = [
        {
            "name": name, "batch": batch, "image_size": 28, "max_abs": 2.4e-6, "max_rel": 1.1e-5,
            "cosine": 0.99999998, "top1_agreement": 1.0, "ties": 0,
        }
        for name in ("seed 0", "zeros", "extremes")
        for batch in (1, 8)
    ]  # fmt: skip
    tolerance = {"atol": 1e-5, "rtol": 1e-4}
    return {"passed": True, "tolerance": tolerance, "cases": cases, "max_abs": 2.4e-6}


def quality(drop: float, low: float, high: float) -> dict[str, Any]:
    return {
        "metric": "top-1 accuracy", "before": 0.901, "before_ci95": [0.887, 0.913],
        "after": 0.901 - drop, "after_ci95": [0.883 - drop, 0.914 - drop], "drop": drop,
        "drop_ci95": [low, high], "samples": 2000, "data": "fashion-mnist",
    }  # fmt: skip


def comparison(name: str, batch_size: int, ratio: float, ideal: float) -> Comparison:
    bounds = (ratio - 0.03, ratio + 0.03)
    verdict = "faster" if bounds[0] > 1 else "slower" if bounds[1] < 1 else "no difference shown"
    return Comparison("fashion-vit", name, batch_size, ratio, bounds, ideal, ratio / ideal, verdict)


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    return make_profile(tmp_path)


def make_profile(folder: Path) -> Profile:
    config = {"keep_ratio": 0.7, "blocks": [2, 4, 6], "fuse": True}
    prune = {"name": "token_prune", "config": config}
    merge = {"name": "token_merge", "config": {"r": 4, "proportional_attention": True}}
    pruned = candidate(
        folder / "pruned",
        "fashion-vit 0.7",
        1 / 1.31,
        transforms=[prune],
        recipe={"model": "builtin:fashion-vit", "steps": [{"token_prune": config}]},
        tokens_per_layer=[50, 50, 36, 36, 26, 26, 19, 19],
        quality=quality(0.004, -0.002, 0.010),
    )
    merged = candidate(
        folder / "merged",
        "fashion-vit, token_merge r=4",
        1 / 1.22,
        transforms=[merge],
        tokens_per_layer=[50, 46, 42, 38, 34, 30, 26, 22],
        quality=quality(0.011, 0.004, 0.018),
    )
    write_samples(folder / "pruned", merged=False)
    write_samples(folder / "merged", merged=True)
    return Profile(
        created="2026-01-05T10:12:44Z",
        machine=Machine(CPU, 1, 2, 8_250_000_000, "Linux 6.8 x86_64", "3.11.9", 0.42, True),
        settings=Settings(batch_sizes=(1, 8)),
        tools={"onnxruntime": "1.32.0", "numpy": "2.4.6", "paring": "0.1.0", "torch": "2.14.1"},
        candidates=[candidate(folder / "base", "fashion-vit", 1.0), pruned, merged],
        comparisons=[
            comparison(pruned.name, 1, 1.31, 1.42),
            comparison(pruned.name, 8, 1.38, 1.42),
            comparison(merged.name, 1, 1.01, 1.36),
            comparison(merged.name, 8, 1.22, 1.36),
        ],
        noise=[
            "the load average was 1.9 on 2 cores: something else was running",
            "latency drifted by 6 % between the first and the last third of the rounds",
        ],
    )


def curve() -> dict[str, Any]:
    points = []
    for transform, cost in (("token_prune", 0.10), ("token_merge", 0.06)):
        for keep in (1.0, 0.9, 0.7, 0.5, 0.3):
            accuracy = 0.912 - cost * (1 - keep) ** 2 * 2
            speed = 1 + (1 - keep) * (1.9 - 5 * cost)
            points.append(
                {
                    "label": f"{transform} {keep:g}", "transform": transform, "keep_ratio": keep,
                    "accuracy": accuracy, "accuracy_ci95": [accuracy - 0.012, accuracy + 0.011],
                    "latency_ratio": speed, "latency_ratio_ci95": [speed * 0.97, speed * 1.03],
                }
            )  # fmt: skip
    return {"metric": "top-1 accuracy", "points": points}


def with_ratio(profile: Profile, ratio: float, quality: dict[str, Any] | None) -> Profile:
    """A profile of the baseline and one candidate at batch 1."""
    second = replace(profile.candidates[1], quality=quality)
    return replace(
        profile,
        candidates=[profile.candidates[0], second],
        comparisons=[comparison(second.name, 1, ratio, 1.42)],
    )


@pytest.mark.parametrize(
    ("ratio", "drop", "expected"),
    [
        (
            1.31,
            (0.004, -0.002, 0.010),
            "fashion-vit 0.7 with token_prune is 1.31× faster than fashion-vit (95 % interval 1.28 "
            "to 1.34) at batch 1, 0.4 points less accurate (−0.2 to 1.0, no difference shown), "
            f"measured on {CPU}.",
        ),
        (
            0.8,
            (0.011, 0.004, 0.018),
            "fashion-vit 0.7 with token_prune is 1.25× slower than fashion-vit (95 % interval 1.20 "
            f"to 1.30) at batch 1, 1.1 points less accurate (0.4 to 1.8), measured on {CPU}.",
        ),
        (
            1.01,
            (-0.006, -0.009, -0.003),
            "fashion-vit 0.7 with token_prune shows no difference in latency from fashion-vit at "
            "batch 1 (ratio 1.01, 95 % interval 0.98 to 1.04), 0.6 points more accurate "
            f"(0.3 to 0.9), measured on {CPU}.",
        ),
        (
            1.31,
            None,
            "fashion-vit 0.7 with token_prune is 1.31× faster than fashion-vit (95 % interval 1.28 "
            f"to 1.34) at batch 1, accuracy not measured, measured on {CPU}.",
        ),
    ],
)
def test_headline_tells_gain_and_cost(
    profile: Profile, ratio: float, drop: tuple[float, float, float] | None, expected: str
) -> None:
    given = with_ratio(profile, ratio, quality(*drop) if drop else None)
    assert report.headline(given) == expected


def test_the_headline_is_on_the_best_candidate_that_changes_something(profile: Profile) -> None:
    base, pruned, merged = profile.candidates
    no_op = replace(
        base, name="token_prune 1", quality=quality(0.0, -0.001, 0.001), transforms=pruned.transforms
    )
    costly = replace(merged, name="costly", quality=quality(0.03, 0.02, 0.04))
    made = [
        comparison("token_prune 1", 1, 1.99, 1.0),
        comparison("costly", 1, 1.8, 1.9),
        comparison(pruned.name, 1, 1.31, 1.42),
        comparison(pruned.name, 8, 1.9, 1.42),
    ]
    given = replace(profile, candidates=[base, no_op, costly, pruned], comparisons=made)
    assert report.headline(given).startswith("fashion-vit 0.7 with token_prune is 1.31× faster")
    assert len(others(given)) == 3
    unmeasured = replace(given, candidates=[base, no_op, replace(costly, quality=None)], comparisons=made[:2])
    assert report.headline(unmeasured).startswith("costly with token_merge is 1.80× faster")
    alone = replace(given, candidates=[base, no_op], comparisons=made[:1])
    assert report.headline(alone).startswith("token_prune 1 is 1.99× faster")


def test_labels_of_the_curve_cover_no_other_label() -> None:
    points = curve()["points"]
    lines = [[p for p in points if p["transform"] == name] for name in ("token_prune", "token_merge")]
    with drawing.new_axes("curve", 3.9) as (axes, _):
        for line in lines:
            axes.plot([p["latency_ratio"] for p in line], [100 * p["accuracy"] for p in line])
        boxes = curves.label(axes, lines, 100)
    assert len(boxes) == len(points)
    for index, box in enumerate(boxes):
        assert all(curves.overlap(box, other) == 0 for other in boxes[:index])


def test_names_break_at_their_joints_only() -> None:
    expected = ["token_", "merge-", "0.", "7,", " vit/", "small"]
    assert html._parts("token_merge-0.7, vit/small") == expected


def test_headline_does_not_call_a_modelled_latency_measured(profile: Profile) -> None:
    second = profile.candidates[1]
    modelled = [replace(found, provenance="modelled") for found in second.latency]
    given = replace(profile, candidates=[profile.candidates[0], replace(second, latency=modelled)])
    given = replace(given, comparisons=profile.comparisons[:2])
    assert report.headline(given).endswith(f"latency measured and modelled, on {CPU}.")


def test_headline_of_one_candidate_compares_nothing(profile: Profile) -> None:
    alone = replace(profile, candidates=profile.candidates[:1], comparisons=[])
    said = report.headline(alone)
    assert said.startswith("fashion-vit takes 2.597 ms a call")
    assert "faster" not in said
    html.render(alone)
    assert said in markdown.render(alone)


def test_modelled_and_measured_latencies_never_share_a_row(profile: Profile) -> None:
    second = profile.candidates[1]
    modelled = [replace(found, provenance="modelled") for found in second.latency]
    mixed = replace(profile, candidates=[profile.candidates[0], replace(second, latency=modelled)])
    rows = [row for row in tables.before_after(mixed)[0].rows if row.label == "Latency, median"]
    assert [(row.provenance, [cell.text for cell in row.cells]) for row in rows] == [
        ("measured", ["2.597 ms", tables.ABSENT]),
        ("modelled", [tables.ABSENT, "1.982 ms"]),
    ]


def test_the_page_loads_nothing(profile: Profile) -> None:
    page = html.render(profile, curve())
    links = re.findall(r'(?:src|href|srcset|data|action)="([^"]*)"', page)
    assert links
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in links)
    assert all(link.startswith("#") for link in re.findall(r"url\(([^)]*)\)", page))
    assert not re.search(r"<(script|link|iframe|object|embed)|@import|@font-face", page)


def test_plots_and_pictures_are_xml_with_unique_ids_and_page_colours(profile: Profile) -> None:
    page = html.render(profile, curve())
    drawn = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    roots = [ElementTree.fromstring(svg) for svg in drawn]
    named = [root for root in roots if root.get("aria-hidden") is None]
    assert len([root for root in named if root.get("class") == "plot"]) == 7
    assert len([root for root in named if root.get("class") == "patches"]) == 2 * 2 * 4
    assert all(root.get("role") == "img" and root.get("aria-label") for root in named)
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert sorted(ids) == sorted(set(ids))
    targets = re.findall(r'href="#([^"]*)"', page) + re.findall(r"url\(#([^)]*)\)", page)
    assert set(targets) <= set(ids)
    plots = [svg for svg in drawn if 'class="plot"' in svg]
    assert all("var(--ink)" in svg or "var(--muted)" in svg for svg in plots)
    assert not any("#0101" in svg or "#0102" in svg for svg in plots)


def test_every_candidate_refusal_noise_and_condition_is_told(profile: Profile) -> None:
    for text in (html.render(profile), markdown.render(profile)):
        for one in profile.candidates:
            assert one.name in text
        assert text.count("121 runs, 662 needed") == 3
        for expected in (*profile.noise, METHOD, CPU, "2.14.1", "keep_ratio: 0.7", "not measured"):
            assert expected in text


def test_markdown_has_the_figures_of_the_page(profile: Profile) -> None:
    page, text = html.render(profile), markdown.render(profile)
    for group in tables.before_after(profile):
        for row in group.rows:
            line = next(
                line for line in text.splitlines()
                if line.startswith(f"| {row.label} |")
                and all(cell.text in line and cell.note in line for cell in row.cells)
            )  # fmt: skip
            assert line.count("|") == len(profile.candidates) + 3
            for cell in row.cells:
                note = f"<small>{cell.note}</small>" if cell.note else ""
                assert f">{cell.text}{note}</td>" in page


EVIL = '<script>alert(1)</script>"><img src=x onerror=alert(1)> $x$ | `a` fill: #010101 id="b'


def test_names_are_escaped(profile: Profile, tmp_path: Path) -> None:
    first, second, _ = profile.candidates
    second = replace(second, name=EVIL, source=EVIL, recipe={EVIL: EVIL}, transforms=[{"name": EVIL}])
    made = [replace(found, candidate=EVIL) for found in profile.comparisons[:2]]
    evil = replace(profile, candidates=[first, second], comparisons=made, noise=[EVIL], tools={EVIL: EVIL})
    page = html.render(evil)
    assert "<script" not in page
    assert "<img" not in page
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(svg)
    rows = [line for line in markdown.render(evil).splitlines() if line.startswith("| Batch 1")]
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 5
    assert "\\<script" in rows[0]


@pytest.mark.parametrize("name", ["_hidden", "$\\frac$", "nul\x00bell\x07", "模型"])
def test_plots_show_every_name(profile: Profile, name: str) -> None:
    one = replace(profile.candidates[0], name=name)
    alone = replace(profile, candidates=[one], comparisons=[])
    page = html.render(alone)
    svg = re.findall(r"<svg.*?</svg>", page, re.DOTALL)[0]
    root = ElementTree.fromstring(svg)
    told = " ".join(root.itertext())
    assert name.replace("\x00", "\ufffd").replace("\x07", "\ufffd") in told


def test_write_makes_three_files_and_leaves_no_other(profile: Profile, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "report"
    paths = report.write(profile, folder, curve=curve())
    paths = report.write(profile, folder, curve=curve())
    assert {path.name for path in folder.iterdir()} == {"report.html", "report.md", "profile.json"}
    assert store.read(paths.json) == profile
    assert paths.markdown.read_text(encoding="utf-8").startswith(f"# {report.headline(profile)}")
    assert paths.html.read_text(encoding="utf-8") == html.render(profile, curve())


def test_a_missing_extra_is_named(profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"paring\[report\]"):
        report.write(profile, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_token_counts_and_words_of_the_pictures(profile: Profile) -> None:
    page = html.render(profile)
    assert "block 2: 35 tokens" in page  # 34 kept and the fused one
    assert "ankle boot, after block 2: 34 of 49 patches kept as they are, 15 fused into" in page
    assert "ankle boot, after block 6: 17 of 49 patches kept as they are, 32 dropped" in page
    assert "ankle boot, after block 6: 17 of 49 patches kept as they are, 32 merged into 4" in page
