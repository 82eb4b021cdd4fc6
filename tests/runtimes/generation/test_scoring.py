"""Continuations are scored as the model itself would, in both forms and behind a filter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tiny_lm import POSITIONS, save_artifact

from paring_runtimes import EngineError, GenerativeSession, InputError, load
from paring_runtimes.generation.in_place_cache import InPlaceCache
from paring_runtimes.generation.scoring import log_probabilities

FORMS = ("in_place", "concat")
PROMPT = "the number is"
CONTINUATIONS = [" seven", " eight hundred and twelve", "!", " seven", " eight", " eight hundred", " e"]
K = 8


@pytest.fixture(scope="module")
def filtering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GenerativeSession]:
    with load(save_artifact(tmp_path_factory.mktemp("filter") / "lm", filter_k=K), threads=1) as opened:
        yield opened


def recomputed(session: GenerativeSession, prompt: list[int], following: list[int]) -> float:
    """The sum of log p by one call of the graph on the whole sequence, without a cache."""
    row = np.array([prompt + following])
    feeds = {
        "input_ids": row,
        "attention_mask": np.ones_like(row),
        "position_ids": np.arange(row.size)[None],
    }
    feeds |= {
        spec.name: np.zeros((1, spec.shape[1], 0, spec.shape[3]), np.float32)
        for spec in session.inputs
        if spec.name.startswith("past")
    }
    logits = session.run(feeds, ["logits"])["logits"][0].astype(np.float64)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    places = np.arange(len(prompt) - 1, row.size - 1)
    return float(logs[places, following].sum())


@pytest.mark.parametrize("form", FORMS)
def test_it_is_what_the_model_says_without_a_cache(session: GenerativeSession, form: str) -> None:
    ids = session.tokenizer.encode(PROMPT)
    found = session.score(PROMPT, CONTINUATIONS, cache=form)
    for text, value in zip(CONTINUATIONS, found.log_likelihoods, strict=True):
        expected = recomputed(session, ids, session.tokenizer.encode(text))
        assert value == pytest.approx(expected, abs=1e-4)
    assert found.log_likelihoods[0] == found.log_likelihoods[3]
    assert len(set(found.log_likelihoods)) == 6
    assert found.token_counts == tuple(len(text) for text in CONTINUATIONS)
    assert (found.prompt_length, found.kept) == (len(ids), None)
    assert found.prompt_ms > 0


def test_what_is_generated_greedily_is_the_likeliest(session: GenerativeSession) -> None:
    (answer,) = session.generate(PROMPT, max_new_tokens=1)
    every = session.score(PROMPT, [[token] for token in range(session.model.vocab_size)])
    assert int(np.argmax(every.log_likelihoods)) == answer.token_ids[0]
    assert np.exp(every.log_likelihoods).sum() == pytest.approx(1)


@pytest.mark.parametrize("form", FORMS)
def test_behind_a_filter_the_kept_tokens_are_the_prompt(filtering: GenerativeSession, form: str) -> None:
    prompt = "a prompt of many more letters than stay"
    for options in ({}, {"filter_k": 12, "pin_last": 3}, {"filter_k": 3}):
        found = filtering.score(prompt, CONTINUATIONS, cache=form, **options)
        (generated,) = filtering.generate(prompt, max_new_tokens=1, cache=form, **options)
        assert found.kept == generated.kept
        assert len(found.kept) == options.get("filter_k", K)
        assert found.kept_text == generated.kept_text
        assert 0 < found.filter_ms < found.prompt_ms
        ids = filtering.tokenizer.encode(found.kept_text)
        alone = filtering.score(ids, CONTINUATIONS, filter=False, cache=form)
        assert found.log_likelihoods == alone.log_likelihoods


def test_shared_beginnings_are_read_once(session: GenerativeSession, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    step = InPlaceCache.step
    monkeypatch.setattr(InPlaceCache, "step", lambda self, tokens: steps.append(1) or step(self, tokens))
    session.score(PROMPT, ["abcd", "abce", "abx", "ab", "z"])
    assert len(steps) == 3  # a, b, c
    long = session.score("x", ["a" * 100 + last for last in "bcd"])
    assert len(steps) == 3 + 100
    assert long.token_counts == (101, 101, 101)


def test_the_last_token_needs_no_position(session: GenerativeSession) -> None:
    prompt = [5] * (POSITIONS - 2)
    assert session.score(prompt, ["abc"]).token_counts == (3,)
    with pytest.raises(InputError, match="4 tokens, and behind this prompt the model has positions for 3"):
        session.score(prompt, ["abc", "abcd"])


@pytest.mark.parametrize(
    ("continuations", "message"),
    [
        ("abc", "continuations: expected texts or lists"),
        ([], "at least one"),
        (["a", ""], r"continuations\[1\]: empty"),
        ([[1, 999]], r"continuations\[0\]: token id 999 is not among"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    session: GenerativeSession, continuations: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        session.score(PROMPT, continuations)
    with pytest.raises(InputError, match="expected one prompt, given 2"):
        session.score(["a", "b"], ["c"])


def test_logits_that_are_not_finite_are_refused() -> None:
    impossible = log_probabilities(np.array([0.0, -np.inf], np.float32))
    assert impossible.tolist() == [0.0, -np.inf]
    for wrong in ([0.0, np.nan], [0.0, np.inf], [-np.inf, -np.inf]):
        with pytest.raises(EngineError, match="not finite"), np.errstate(invalid="ignore"):
            log_probabilities(np.array(wrong, np.float32))
