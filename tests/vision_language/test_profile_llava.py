"""A small LLaVA and its MustDrop, measured side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("transformers")

from llava_files import llava_folder, picture
from typer.testing import CliRunner

from paring.cli import app
from paring.pipeline import convert
from paring.recipe import build_recipe
from paring_profiles import Profile, Settings, profile
from paring_profiles.report import headline, html, markdown
from paring_profiles.result import Answered, Stage
from paring_runtimes.errors import InputError

pytestmark = pytest.mark.slow  # two conversions, most of a minute
IMAGE, LEFT, TEXT, LAYERS = 36, 20, 12, 4
BUDGETS = (10, 4)
ROW_BYTES = 2 * 8 * 4  # key-value heads, width, fp32


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    base = tmp_path_factory.mktemp("profiled")
    source = llava_folder(base / "tiny")
    drop = {"layers": [0, 2], "budgets": list(BUDGETS), "key_share": 0.1, "trim_cache": True, "whole": 1}
    steps = [{"window_merge": {"r": 2}}, {"must_drop": drop}]
    verify = {"batch_sizes": [1], "prompt_lengths": [5], "seeds": [0], "steps": 2}
    convert(build_recipe({"model": f"hf:{source}", "transforms": steps, "verify": verify}), base / "all")
    return [base / "all-baseline", base / "all"]


@pytest.fixture(scope="module")
def found(folders: list[Path]) -> Profile:
    quick = Settings(
        threads=1, min_runs=2, min_seconds=0, prompt_tokens=(TEXT,), new_tokens=5, batch_sizes=(2,)
    )
    return profile(folders, quick, names=["whole", "dropped"])


def answered(found: Profile) -> tuple[Answered, Answered]:
    whole, dropped = (candidate.answered[0] for candidate in found.candidates)
    return whole, dropped


def test_the_encoder_is_timed_apart(found: Profile) -> None:
    for candidate in found.candidates:
        times = {lat.phase: lat.samples_ms for lat in candidate.latency}
        assert set(times) == {"first_token", "encoder", "prefill", "decode"}
        for whole, *parts in zip(times["first_token"], times["encoder"], times["prefill"], strict=True):
            assert whole == pytest.approx(sum(parts), rel=0.05, abs=0.2)  # and what makes the cache
    assert {c.phase for c in found.comparisons} == {"first_token", "encoder", "prefill", "decode"}


def test_each_layer_s_cache_is_what_the_graphs_gave(found: Profile) -> None:
    whole, dropped = answered(found)
    assert whole.read_tokens == TEXT + IMAGE
    assert whole.cache_rows == [TEXT + IMAGE] * LAYERS
    assert dropped.read_tokens == TEXT + LEFT
    assert dropped.cache_rows == [TEXT + LEFT] + [TEXT + BUDGETS[1]] * (LAYERS - 1)
    for own in (whole, dropped):
        assert own.cache_bytes == sum(own.cache_rows) * 2 * ROW_BYTES * 2
    assert dropped.stages == [
        Stage("window_merge", "in the tower, after block 1", "image", IMAGE, LEFT),
        Stage("must_drop", "after layer 0", "image", LEFT, BUDGETS[0]),
        Stage("must_drop", "after layer 2", "image", *BUDGETS),
    ]


def test_fewer_tokens_are_fewer_multiply_accumulates(found: Profile) -> None:
    whole, dropped = answered(found)
    assert found.candidates[1].macs_unknown == []
    for phase in ("encoder", "prefill", "first_token"):
        assert dropped.macs[phase] < whole.macs[phase]
    assert whole.macs["first_token"] == whole.macs["encoder"] + whole.macs["prefill"]


def test_the_report_shows_encoder_and_stages(found: Profile) -> None:
    page, text = html.render(found), markdown.render(found)
    for expected in ("Vision encoder, median", "in the tower, after block 1", f"{TEXT + BUDGETS[1]} to"):
        assert expected in page
        assert expected in text
    assert f"after an image and {TEXT} prompt tokens" in headline(found)


def test_inspect_and_run(folders: list[Path], tmp_path: Path) -> None:
    shown = CliRunner().invoke(app(), ["inspect", str(folders[1])], catch_exceptions=False).stdout
    for expected in ("image encoder: encoder.onnx", "must_drop after layer 2: 10 -> 4", f"{LEFT} tokens"):
        assert expected in shown
    refused = CliRunner().invoke(app(), ["run", str(folders[1]), "--random"])
    assert isinstance(refused.exception, InputError)


def test_a_picture_may_be_given(folders: list[Path], tmp_path: Path) -> None:
    from PIL import Image

    file = tmp_path / "picture.png"
    Image.fromarray(picture(1, 50, 70)).save(file)
    quick = Settings(threads=1, min_runs=1, min_seconds=0, prompt_tokens=(4,), new_tokens=2, image=str(file))
    assert profile(folders[1:], quick).settings.image == str(file)
