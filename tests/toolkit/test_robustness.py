"""Accuracy under corruptions: the figures, what is corrupted, the gate, and the whole conversion."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import paring
from paring.data import ImageData, Preprocess
from paring.gates import gate
from paring.quality import Z, quality
from paring.recipe import Robustness, build_recipe
from paring.robustness import Conditions, robustness
from paring_runtimes import read_manifest
from paring_runtimes.errors import GateError, RecipeError

TWO = Robustness(corruptions=("gaussian_noise", "contrast"), severities=(1, 5))
DIGEST: Any = SimpleNamespace(digest="abc")


def images(count: int, side: int) -> ImageData:
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 1), np.uint8)
    return ImageData(pixels, np.zeros(count, np.int64), (), "none", "d")


class Records:
    """A session that keeps what it is given, and answers 0 to all."""

    inputs = (SimpleNamespace(name="pixels", shape=("batch", 28, 28, 1)),)
    outputs = (SimpleNamespace(name="logits"),)

    def __init__(self) -> None:
        self.given: list[np.ndarray] = []

    def run(self, feeds: dict[str, np.ndarray], names: list[str]) -> dict[str, np.ndarray]:
        self.given.append(feeds["pixels"])
        return {names[0]: np.eye(10)[np.zeros(len(feeds["pixels"]), int)]}


def answers() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    before = random.random((4, 200)) < 0.8
    return before, before & (random.random((4, 200)) < 0.9)


def found() -> dict[str, Any]:
    return robustness(*answers(), Conditions(TWO, (28, 28)))


def test_each_cell_compares_its_own_row() -> None:
    before, after = answers()
    told = found()
    assert [(cell["corruption"], cell["severity"]) for cell in told["cells"]] == [
        ("gaussian_noise", 1), ("gaussian_noise", 5), ("contrast", 1), ("contrast", 5),
    ]  # fmt: skip
    for row, cell in enumerate(told["cells"]):
        alone = quality(before[row], after[row], DIGEST, "images")
        assert (cell["before"], cell["after"]) == (alone.before, alone.after)
        assert cell["drop_ci95"] == alone.drop_ci95
    noise = told["corruptions"][0]
    assert noise["drop"] == pytest.approx((told["cells"][0]["drop"] + told["cells"][1]["drop"]) / 2)
    assert told["mean"]["after"] == pytest.approx(after.mean())
    assert told["strengths"] == "CIFAR-10-C"


def test_the_means_interval_takes_an_image_as_one_observation() -> None:
    before, after = answers()
    share = before.mean(axis=0) - after.mean(axis=0)
    low, high = found()["mean"]["drop_ci95"]
    plain = Z * share.std() / math.sqrt(200)
    assert plain < (high - low) / 2 < 1.5 * plain  # the two added images count for much among so few
    assert low < share.mean() < high
    same = np.repeat(before[:1], 4, axis=0), np.repeat(after[:1], 4, axis=0)
    four_times = robustness(*same, Conditions(TWO, (28, 28)))
    assert four_times["mean"]["drop_ci95"] == four_times["cells"][0]["drop_ci95"]  # no new images


def test_the_mean_intervals_cover_what_they_promise() -> None:
    random, covered, trials = np.random.default_rng(1), 0, 400
    conditions = Conditions(TWO, (28, 28))
    for _ in range(trials):
        hardness = random.random(300)  # an image that is hard under one condition is so under all
        before = hardness[None] + 0.1 * random.standard_normal((4, 300)) < 0.8
        after = before & (random.random((4, 300)) < 0.95)
        low, high = robustness(before, after, conditions)["mean"]["drop_ci95"]
        share = 0.05 * 0.7997  # of the images that were right, on average
        covered += low <= share <= high
    assert 0.92 < covered / trials <= 1


def test_the_sessions_images_are_corrupted_before_they_are_prepared() -> None:
    session: Any = Records()
    data, preprocess = images(60, 28), Preprocess(channels=1, mean=(0.5,), std=(0.5,))
    told: list[str] = []
    conditions = Conditions.of(replace_with(("contrast",), (5,)), data, preprocess)
    right = conditions.answers(session, data, preprocess, told.append)
    assert right.shape == (1, 60)
    assert right.all()
    assert told == ["contrast at severity 5"]
    seen = np.concatenate(session.given)[:, 0] * 0.5 + 0.5
    inside = (data.images[..., 0] / 255).std(axis=(1, 2))
    assert seen.std(axis=(1, 2)) == pytest.approx(0.15 * inside, rel=0.02)


def replace_with(names: tuple[Any, ...], severities: tuple[int, ...]) -> Robustness:
    return Robustness(corruptions=names, severities=severities)


def test_large_images_are_brought_to_the_models_size_first() -> None:
    session: Any = Records()
    wanted = replace_with(("gaussian_noise",), (5,))
    large = replace(images(4, 256), images=np.full((4, 256, 256, 1), 128, np.uint8))
    to_32, to_512 = Preprocess(size=(32, 32), channels=1), Preprocess(size=(512, 512), channels=1)
    conditions = Conditions.of(wanted, large, to_32)
    assert (conditions.size, conditions.strengths) == ((32, 32), "CIFAR-10-C")
    conditions.answers(session, large, to_32, lambda stage: None)
    assert session.given[0].std() == pytest.approx(0.10, rel=0.05)  # not averaged away by the resizing
    assert Conditions.of(wanted, large, to_512).size == (256, 256)


@pytest.mark.parametrize(
    ("rule", "where"),
    [
        ({"corruption": "mean"}, "top1 under corruptions, mean: drop"),
        ({"corruption": "contrast"}, "top1 under contrast: drop"),
        ({"corruption": "mean", "confidence": "bound"}, "top1 under corruptions, mean: upper end"),
    ],
)
def test_a_gate_holds_the_drop_under_corruptions(rule: dict[str, Any], where: str) -> None:
    both = np.ones(200, bool)
    clean = replace(quality(both, both, DIGEST, "images"), robustness=found())
    body: dict[str, Any] = {"data": {"source": "embedded"}, "robustness": TWO.model_dump(mode="json")}
    strict = build_recipe({**body, "gates": [{"metric": "top1", "max_drop": 0.02, **rule}]})
    with pytest.raises(GateError, match=r"exceeds max_drop 0\.0200") as failed:
        gate(strict, clean)
    assert str(failed.value).startswith(where)
    gate(build_recipe({**body, "gates": [{"metric": "top1", "max_drop": 0.3, **rule}]}), clean)
    gate(build_recipe({**body, "gates": [{"metric": "top1", "max_drop": 0.0}]}), clean)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"robustness": {}}, "robustness: it needs labelled images"),
        ({"robustness": {"corruptions": ["jpg"]}}, 'robustness.corruptions[0]: "jpg" is not one of'),
        (
            {"robustness": {"severities": [6]}},
            "robustness.severities[0]: 6 is not a whole number from 1 to 5",
        ),
        ({"robustness": {"severities": [3, 3]}}, "robustness.severities: each only once: 3, 3"),
        ({"gates": ["mean"]}, "gates[0].corruption: mean is not measured: add robustness: {}"),
        (
            {"gates": ["contrast"], "robustness": {"corruptions": ["gaussian_blur"]}},
            "gates[0].corruption: contrast is not measured; measured are mean, gaussian_blur",
        ),
    ],
)
def test_a_recipe_that_measures_nothing_is_refused(body: dict[str, Any], expected: str) -> None:
    gates = [{"metric": "top1", "max_drop": 0.1, "corruption": name} for name in body.get("gates", [])]
    data = None if body == {"robustness": {}} else {"source": "embedded"}
    with pytest.raises(RecipeError) as refused:
        build_recipe({**body, "gates": gates, "data": data})
    assert expected in str(refused.value)


@pytest.fixture(scope="module")
def pruned(factories: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("robust") / "vit"
    paring.convert(
        f"py:{factories}:vit",
        folder,
        transforms=[{"token_prune": {"keep_ratio": 0.5, "blocks": [1]}}],
        verify={"batch_sizes": [1], "seeds": [0]},
        data={"source": "embedded", "limit": 20, "channels": 1},
        robustness={"corruptions": ["gaussian_noise", "jpeg_compression"], "severities": [1, 5]},
    )
    return folder


def test_the_manifests_hold_it(pruned: Path) -> None:
    manifest = read_manifest(pruned)
    assert manifest.quality is not None
    told = manifest.quality["robustness"]
    assert [(c["corruption"], c["severity"]) for c in told["cells"]] == [
        ("gaussian_noise", 1), ("gaussian_noise", 5), ("jpeg_compression", 1), ("jpeg_compression", 5),
    ]  # fmt: skip
    assert told["image_size"] == [28, 28]
    baseline = read_manifest(pruned.with_name("vit-baseline")).quality
    assert baseline is not None
    alone = baseline["robustness"]
    assert alone["mean"] == {"after": told["mean"]["before"]}
    assert [c["after"] for c in alone["cells"]] == [c["before"] for c in told["cells"]]
    assert all("drop" not in cell for cell in [*alone["cells"], *alone["corruptions"]])


def test_inspect_shows_it(paring_command: Callable[..., Any], pruned: Path) -> None:
    for folder in (pruned, pruned.with_name("vit-baseline")):
        ran = paring_command("inspect", folder)
        assert ran.code == 0
        assert "robust accuracy: top-1 on corrupted images (CIFAR-10-C's strengths, 28x28)" in ran.out
        assert "mean of jpeg_compression" in ran.out


def test_convert_takes_corruptions_from_the_command_line(
    paring_command: Callable[..., Any], tmp_path: Path
) -> None:
    line = ("convert", "-m", "embedded", "--data", "embedded", "-o", tmp_path / "x", "--dry-run")
    ran = paring_command(*line, "--corruption", "contrast", "--corruption", "gaussian_blur")
    assert '"contrast",\n      "gaussian_blur"' in ran.out
    assert paring_command(*line, "--corruption", "all").out.count("_blur") == 2
    assert paring_command(*line, "--corruption", "blur").code == 2
