"""Language models measured phase by phase: what is timed, held, counted, and told."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("tokenizers")
sys.path.insert(0, str(Path(__file__).parent.parent / "runtimes" / "generation"))

import tiny_lm

import paring_runtimes
from paring.cli import app
from paring_profiles import Profile, Settings, compare, profile, read, write
from paring_profiles.generation.prompts import ask
from paring_profiles.generation.run import AnswerRun
from paring_profiles.report import headline, html, markdown
from paring_profiles.result import Stage
from paring_runtimes import GenerativeSession
from paring_runtimes.errors import InputError

K, NEW, SHORT, LONG = 20, 6, 12, 60
ROW_BYTES = tiny_lm.KV_HEADS * tiny_lm.HEAD_DIM * 4
TEXT = "The river turns south below the old mill and is slow there. "
QUICK = Settings(
    batch_sizes=(1, 2), threads=1, openings=4, min_runs=2, min_seconds=0.0, max_seconds=5.0,
    prompt_tokens=(SHORT, LONG), new_tokens=NEW,
)  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    base = tmp_path_factory.mktemp("profiled")
    plain = tiny_lm.save_artifact(base / "plain")
    filtered = tiny_lm.save_artifact(base / "filtered", filter_k=K)
    return [plain, filtered, tiny_lm.save_artifact(base / "growing", in_place=False)]


@pytest.fixture(scope="module")
def found(folders: list[Path]) -> Profile:
    return profile(folders, QUICK)


@pytest.fixture(scope="module")
def session(folders: list[Path]) -> Iterator[GenerativeSession]:
    with paring_runtimes.load(folders[0], threads=1) as opened:
        assert isinstance(opened, GenerativeSession)
        yield opened


def layer_macs(tokens: int, keys: int) -> int:
    """Of one layer: projections, feed-forward, and both products of attention over all keys."""
    hidden, groups = tiny_lm.HIDDEN, tiny_lm.KV_HEADS * tiny_lm.HEAD_DIM
    dense = 2 * hidden * hidden + 2 * hidden * groups + 2 * hidden * 64
    return tokens * dense + tiny_lm.HEADS * tokens * keys * 2 * tiny_lm.HEAD_DIM


HEAD_MACS = tiny_lm.HIDDEN * tiny_lm.VOCAB


def at(found: Profile, name: str, batch: int, tokens: int) -> Any:
    one = next(candidate for candidate in found.candidates if candidate.name == name)
    return next(a for a in one.answered if (a.batch_size, a.prompt_tokens) == (batch, tokens))


def test_every_phase_is_timed_in_every_case(found: Profile) -> None:
    timed = {candidate.name: {lat.case for lat in candidate.latency} for candidate in found.candidates}
    cases = [(batch, tokens) for batch in (1, 2) for tokens in (SHORT, LONG)]
    always = {(*case, phase) for case in cases for phase in ("first_token", "prefill", "decode")}
    assert timed["plain"] == timed["growing"] == always
    assert timed["filtered"] == always | {(batch, LONG, "filter") for batch in (1, 2)}
    for candidate in found.candidates:
        for lat in candidate.latency:
            steps = NEW - 1 if lat.phase == "decode" else 1
            assert len(lat.samples_ms) >= 2 * steps
            assert lat.throughput_per_s == pytest.approx(lat.batch_size / lat.p50_ms * 1e3)
            assert lat.p90_ms is not None or "64 needed" in lat.refused["p90_ms"]
    parts = {lat.case: np.array(lat.samples_ms) for lat in found.candidates[1].latency}
    whole = parts[(1, LONG, "first_token")]
    np.testing.assert_allclose(whole, parts[(1, LONG, "filter")] + parts[(1, LONG, "prefill")], atol=1e-3)


def test_what_the_cache_held(found: Profile) -> None:
    for batch in (1, 2):
        plain, filtered, growing = (at(found, n, batch, LONG) for n in ("plain", "filtered", "growing"))
        assert plain.cache_rows == growing.cache_rows == [LONG] * tiny_lm.LAYERS
        assert (plain.read_tokens, filtered.read_tokens) == (LONG, K)
        assert filtered.cache_rows == [K] * tiny_lm.LAYERS
        per_row = 2 * tiny_lm.LAYERS * ROW_BYTES * batch
        assert plain.cache_bytes == growing.cache_bytes == LONG * per_row
        assert filtered.cache_bytes == K * per_row
        assert plain.buffer_bytes == 128 * per_row  # 60 tokens and 5 more: over 64
        assert growing.buffer_bytes == (LONG + NEW - 1) * per_row
    assert at(found, "filtered", 1, LONG).stages == [
        Stage("gem_filter", "before the model, by layer 1", "prompt", LONG, K)
    ]
    assert at(found, "plain", 1, LONG).stages == []


def test_multiply_accumulates_of_each_phase(found: Profile) -> None:
    layers = tiny_lm.LAYERS
    for batch in (1, 2):
        plain, growing = (at(found, name, batch, SHORT) for name in ("plain", "growing"))
        assert plain.macs["prefill"] == batch * (layers * layer_macs(SHORT, 64) + HEAD_MACS)
        assert plain.macs["decode"] == batch * (layers * layer_macs(1, 64) + HEAD_MACS)
        assert growing.macs["prefill"] == batch * (layers * layer_macs(SHORT, SHORT) + SHORT * HEAD_MACS)
        assert growing.macs["decode"] == batch * (layers * layer_macs(1, SHORT + 1) + HEAD_MACS)
        filtered = at(found, "filtered", batch, LONG)
        assert filtered.macs["prefill"] == batch * (layers * layer_macs(K, 64) + HEAD_MACS)
        assert filtered.macs["filter"] == 0  # it only copies ids
        assert filtered.macs["first_token"] == filtered.macs["filter"] + filtered.macs["prefill"]
    assert all(candidate.macs_unknown == [] for candidate in found.candidates)
    ratio = next(c for c in found.comparisons if c.candidate == "filtered" and c.case == (1, LONG, "prefill"))
    assert ratio.mac_ratio == at(found, "plain", 1, LONG).macs["prefill"] / filtered.macs["prefill"] * batch
    assert ratio.realised == pytest.approx(ratio.latency_ratio / ratio.mac_ratio)


def test_the_same_tokens_as_generate(session: GenerativeSession) -> None:
    run = AnswerRun(session, 2, SHORT, QUICK)
    answer = run()
    session.model = replace(session.model, eos_token_ids=())
    wanted = session.generate(run.asked.prompts, max_new_tokens=NEW)
    assert [list(row) for row in zip(*answer.tokens, strict=True)] == [list(g.token_ids) for g in wanted]


def test_prompts_are_the_same_for_all_and_cut_from_a_text(session: GenerativeSession, tmp_path: Path) -> None:
    first, again, other = (ask(session, 2, SHORT, replace(QUICK, seed=s)).prompts for s in (0, 0, 1))
    assert first == again != other
    assert np.array(first).shape == (2, SHORT)
    (tmp_path / "text.txt").write_text(TEXT)
    told = ask(session, 1, 80, replace(QUICK, text=str(tmp_path / "text.txt"))).prompts
    assert session.tokenizer.decode(told[0]) == (TEXT * 2)[:80]


def test_profiles_are_kept_and_compared(found: Profile, tmp_path: Path) -> None:
    file = write(found, tmp_path / "profile.json")
    assert read(file) == found
    beside = compare([file, found])
    assert len(beside.rows) == 2 * sum(len(candidate.latency) for candidate in found.candidates)
    again = [c for c in beside.comparisons if c.candidate == "plain in profile 2" and c.phase == "decode"]
    assert [c.latency_ratio for c in again] == [1.0] * 4
    slower = replace(found, settings=replace(found.settings, new_tokens=9))
    refused = compare([found, slower]).comparisons[-1].refused
    assert refused is not None
    assert "new_tokens" in refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt_tokens": (126,)}, "reads 123 at most"),
        ({"prompt_tokens": (0,)}, "prompt_tokens: expected"),
        ({"new_tokens": 1}, "new_tokens: expected at least 2"),
        ({"text": "missing.txt"}, "missing.txt: not a text"),
    ],
)
def test_what_cannot_be_asked_is_refused(session: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        profile([session.path], replace(QUICK, **changes))


def test_language_models_are_not_measured_against_others(folders: list[Path], mlp: Any) -> None:
    with pytest.raises(InputError, match="no language model's artifact"):
        profile([folders[0], mlp(1, "m.onnx")], QUICK)


def test_the_report_tells_phases_caches_and_steps(found: Profile) -> None:
    page, text = html.render(found), markdown.render(found)
    for expected in (
        f"Batch 2, {LONG} prompt tokens", "Time to first token, median", "Prompt filter, median",
        "Decoding, a step, speed-up", "Tokens a second", "Key-value cache after the prompt",
        f"{K} tokens a layer", "before the model, by layer 1", "random ids", "Prefill, realised / ideal",
    ):  # fmt: skip
        assert expected in page
        assert expected in text
    assert found.candidates[0].energies or "| Energy an answer | – | not measured |" in text
    assert f"Key-value cache after {LONG} prompt tokens" in page
    assert f"to the first token after {LONG} prompt tokens at batch 1" in headline(found)
    assert "key-value cache" in headline(found)


def test_energy_is_of_the_answer_to_one_prompt(folders: list[Path], cpu_time_counter: None) -> None:
    found = profile(folders[:1], replace(QUICK, batch_sizes=(2,), prompt_tokens=(SHORT,), max_seconds=20.0))
    (told,) = found.candidates[0].energies
    assert told.place == (2, SHORT)
    assert 0 < told.mj < told.gross_mj
    assert told.calls >= len(told.rounds_mj) == 8
    text = markdown.render(found)
    assert "| Energy an answer, rapl | measured |" in text
    assert "not present" not in text


def test_perplexity_is_told_before_and_after(found: Profile) -> None:
    told = {
        "metric": "perplexity", "before": 20.0, "after": 20.4, "increase": 0.02, "samples": 9,
        "increase_ci95": [0.01, 0.03], "chunk_tokens": 32,
    }  # fmt: skip
    base, filtered, _ = found.candidates
    chosen = [c for c in found.comparisons if c.candidate == "filtered"]
    given = replace(found, candidates=[base, replace(filtered, quality=told)], comparisons=chosen)
    assert "perplexity without the filter 2.00 % higher (1.00 to 3.00)" in headline(given)
    text = markdown.render(given)
    assert "| Perplexity | measured | not measured | 20.4 (9 chunks) |" in text
    assert "2.00 % (1.00 to 3.00; from 20.0; chunks are read whole, without the filter)" in text


def test_the_kept_text_is_shown(folders: list[Path], tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    asked = replace(QUICK, batch_sizes=(1,), prompt_tokens=(40,), text=str(tmp_path / "text.txt"))
    made = profile(folders[1:2], asked)
    with paring_runtimes.load(folders[1]) as opened:
        (wanted,) = opened.generate(TEXT[:40], max_new_tokens=1)
    assert made.candidates[0].answered[0].kept_text == wanted.kept_text
    assert wanted.kept_text in markdown.render(made)
    assert "What the filter kept of the first prompt" in html.render(made)
    assert "to the first token" in headline(made)


def run(*arguments: object, code: int = 0) -> Any:
    done = CliRunner().invoke(app(), [str(a) for a in arguments])
    assert done.exit_code == code, done.output
    return done


def test_commands(folders: list[Path], tmp_path: Path) -> None:
    sizes = ["--prompt-tokens", 8, "--prompt-tokens", 30, "--new-tokens", 4, "--min-runs", 2, "--openings", 4]
    quick = [*sizes, "--min-seconds", 0, "--threads", 1]
    made = json.loads(run("profile", *folders[:2], *quick, "--json", "-o", tmp_path / "report").stdout)
    assert made["settings"]["prompt_tokens"] == [8, 30]
    assert {lat["prompt_tokens"] for lat in made["candidates"][0]["latency"]} == {8, 30}
    assert (tmp_path / "report" / "report.html").is_file()
    shown = run("compare", tmp_path / "report" / "profile.json").stdout
    assert "first token" in shown
    shown = run("profile", folders[1], *quick).stdout
    assert "gem_filter before the model" in shown
    shown = run("inspect", folders[1]).stdout
    for expected in (
        "2 layers",
        "2 key-value heads of 8",
        "context 128 tokens",
        "prompt filter: filter.0.onnx to filter.1.onnx",
    ):
        assert expected in shown
    refused = CliRunner().invoke(app(), ["run", str(folders[0]), "--random"])
    assert isinstance(refused.exception, InputError)
    assert "`paring generate` runs it" in str(refused.exception)
