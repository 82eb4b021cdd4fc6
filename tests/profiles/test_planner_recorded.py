"""Plans from profiles that were measured: what is taken from them, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from paring.cli import app
from paring_profiles import Profile, write
from paring_profiles.planner import choose_by_latency, fit, frontier_by_latency, read_profiles
from paring_profiles.report import plan as report
from paring_profiles.result import Candidate
from paring_runtimes.errors import ArtifactError, InputError

SIZES, TOKENS, TEXT = (5e8, 2e9, 8e9), (4, 16, 64), 12
METHOD = "ONNX Runtime 1.32.0, CPUExecutionProvider, 2 threads, in-place cache, and more"


def score(size: float, tokens: float) -> float:
    return float(1 - (0.5 * (size / 1e9) ** -0.2 * tokens**-0.1 + 0.15))


def latency_ms(size: float, tokens: float) -> float:
    return size / 1e9 * (TEXT + tokens)


@pytest.fixture
def grid(recorded: Profile) -> Profile:
    """Nine language models, each of its size and with its visual tokens, as `paring profile` records them."""
    like = recorded.candidates[0]

    def one(size: float, tokens: int) -> Candidate:
        timed = replace(
            like.latency[0], p50_ms=latency_ms(size, tokens), prompt_tokens=TEXT, phase="first_token",
            method=METHOD,
        )  # fmt: skip
        longer = replace(timed, prompt_tokens=10 * TEXT, p50_ms=1e6)  # a case that is not asked for
        decoding = replace(timed, phase="decode", p50_ms=1e-3)
        quality = {
            "metric": "VQA accuracy",
            "after": score(size, tokens),
            "data": "vqa:scenes",
            "data_digest": "1",
        }
        return replace(
            like, name=f"{size:.0e}-{tokens}", parameters=int(size), quality=quality,
            tokens_per_layer=[2 * tokens, tokens, 0], latency=[longer, decoding, timed],
        )  # fmt: skip

    return replace(recorded, candidates=[one(size, tokens) for size in SIZES for tokens in TOKENS])


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def save(profile: Profile, folder: str = "report") -> Path:
        return write(profile, tmp_path / folder / "profile.json").parent

    return save


def changed(profile: Profile, index: int, **fields: Any) -> Profile:
    every = list(profile.candidates)
    every[index] = replace(every[index], **fields)
    return replace(profile, candidates=every)


def test_a_profile_is_a_table(grid: Profile, save: Callable[..., Path]) -> None:
    folder = save(grid)
    table, length = read_profiles([folder], text_tokens=TEXT)
    assert length == TEXT
    assert table.device == "A CPU, ONNX Runtime 1.32.0, CPUExecutionProvider, 2 threads"
    keys = [(size, tokens) for size in SIZES for tokens in TOKENS]
    assert [(row.parameters, row.tokens) for row in table.rows] == keys
    assert [row.latency_ms for row in table.rows] == [latency_ms(*key) for key in keys]
    assert [row.score for row in table.rows] == [score(*key) for key in keys]
    answer = choose_by_latency(fit(table, resamples=20), table, 60.0)
    within = [key for key in keys if latency_ms(*key) <= 60]
    assert (answer.parameters, answer.tokens) == max(within, key=lambda key: score(*key))
    assert answer.name == f"{answer.parameters:.0e}-{answer.tokens}"


def test_candidates_may_lie_in_several_profiles(grid: Profile, save: Callable[..., Path]) -> None:
    first = save(replace(grid, candidates=grid.candidates[:4]), "first")
    second = save(replace(grid, candidates=grid.candidates[4:]), "second") / "profile.json"
    table, _ = read_profiles([first, second], text_tokens=TEXT)
    assert len(table.rows) == 9
    assert str(first / "profile.json") in table.name
    assert str(second) in table.name
    with pytest.raises(InputError, match="5e\\+08-4: in these profiles twice"):
        read_profiles([first, second, first], text_tokens=TEXT)
    other = replace(grid.machine, cpu="Another CPU")
    apart = save(replace(grid, candidates=grid.candidates[4:], machine=other), "apart")
    with pytest.raises(InputError, match=r"different devices \(A CPU, .*; Another CPU"):
        read_profiles([first, apart], text_tokens=TEXT)


def test_scores_of_a_file_come_before_those_of_the_manifest(
    grid: Profile, save: Callable[..., Path], tmp_path: Path
) -> None:
    folder = save(changed(grid, 1, quality=None, parameters=None, tokens_per_layer=None))
    csv = tmp_path / "scores.csv"
    csv.write_text("artifact,score,parameters,tokens\n5e+08-16,0.25,4e8,9\n5e+08-4,0.125,,\n")
    table, _ = read_profiles([folder], csv, TEXT)
    first, second = table.rows[:2]
    assert (first.score, first.parameters, first.tokens) == (0.125, 5e8, 4)
    assert (second.score, second.parameters, second.tokens) == (0.25, 4e8, 9)
    assert str(csv) in table.name


@pytest.mark.parametrize(("text", "said"), [
    ("artifact,score\nnone,0.5\n", "none not in the profiles; they hold 5e"),
    ("artifact,score\n5e+08-4,0.5\n5e+08-4,0.6\n", "line 3, artifact: '5e.08-4' was there before"),
    ("artifact,score\n5e+08-4,50\n", "line 2, score: expected 0 to 0.999999, given '50'"),
    ("artifact,score,tokens\n5e+08-4,0.5,0\n", "line 2, tokens: expected 1 to"),
    ("name,score\n5e+08-4,0.5\n", "line 1: expected the columns artifact, score and, where known, param"),
])  # fmt: skip
def test_bad_scores_are_named_by_line_and_column(
    grid: Profile, save: Callable[..., Path], tmp_path: Path, text: str, said: str
) -> None:
    csv = tmp_path / "scores.csv"
    csv.write_text(text)
    with pytest.raises(InputError, match=said):
        read_profiles([save(grid)], csv, TEXT)


@pytest.mark.parametrize(("fields", "said"), [
    ({"quality": None}, r"profile.json, 2e\+09-4: .* not measured; .* --scores: artifact,score .* 2e\+09-4,"),
    ({"parameters": None}, "expected its parameters; give a column `parameters` in --scores"),
    ({"tokens_per_layer": None}, "reads visual tokens; give a column `tokens` in --scores"),
    ({"latency": []}, "no time to the first token at batch size 1"),
    ({"quality": {"metric": "VQA accuracy", "after": 0.5, "data": "vqa:others", "data_digest": "2"}},
     "scores of different questions .*vqa:scenes.*vqa:others"),
])  # fmt: skip
def test_what_a_candidate_lacks_is_told(
    grid: Profile, save: Callable[..., Path], fields: dict[str, Any], said: str
) -> None:
    index = SIZES.index(2e9) * len(TOKENS)
    with pytest.raises(InputError, match=said):
        read_profiles([save(changed(grid, index, **fields))], text_tokens=TEXT)


def test_perplexity_is_no_score(grid: Profile, save: Callable[..., Path]) -> None:
    quality = {"metric": "perplexity", "after": 8.5}
    every = [replace(one, quality=quality) for one in grid.candidates]
    with pytest.raises(InputError, match="expected a share of right answers, but its quality is perplexity"):
        read_profiles([save(replace(grid, candidates=every))], text_tokens=TEXT)


def test_one_length_of_prompts_is_taken(grid: Profile, save: Callable[..., Path], tmp_path: Path) -> None:
    folder = save(grid)
    for wanted in (None, 50):
        with pytest.raises(InputError, match=f"--text-tokens .*: {TEXT}, {10 * TEXT}"):
            read_profiles([folder], text_tokens=wanted)
    single = [replace(one, latency=one.latency[1:]) for one in grid.candidates]
    assert read_profiles([save(replace(grid, candidates=single))])[1] == TEXT
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_profiles([tmp_path / "nowhere"])


def test_measured_times_are_never_beside_modelled_ones(
    grid: Profile, save: Callable[..., Path], tmp_path: Path
) -> None:
    table, length = read_profiles([save(grid)], text_tokens=TEXT)
    law = fit(table, resamples=20)
    others = frontier_by_latency(law, table)
    plan = report.Plan(table, law, choose_by_latency(law, table, 60.0), length, None, others)
    paths = report.write(plan, tmp_path / "plan")
    told = json.loads(paths.json.read_text())
    assert told["cost"] == {"provenance": "measured", "device": table.device}
    for one in (told["answer"], *told["others"]):
        assert one["flops"] is None
        assert one["latency_ms"] > 0
    for text in (paths.html.read_text(), paths.markdown.read_text(), report.headline(plan)):
        assert "first token (measured)" in text.replace("\u00a0", " ")
        assert "FLOPs" not in text


def test_the_command(grid: Profile, save: Callable[..., Path], tmp_path: Path) -> None:
    folder, runner = str(save(grid)), CliRunner()
    asked = ["plan", "--profile", folder, "--budget-latency", "60", "--text-tokens", str(TEXT)]
    done = runner.invoke(app(), [*asked, "-o", str(tmp_path / "plan")])
    assert done.exit_code == 0, done.output
    assert "ms to the first token (measured) on A CPU, ONNX Runtime 1.32.0" in done.output
    assert "what other budgets buy" in done.output
    assert (tmp_path / "plan" / "plan.html").is_file()
    for wrong in (["--budget-flops", "1e12"], ["--budget-latency", "60", "--size", "1e9"]):
        assert runner.invoke(app(), ["plan", "--profile", folder, *wrong]).exit_code == 2
