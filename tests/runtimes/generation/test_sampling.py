"""Sampling against the exact distribution, against transformers' processors, and at its edges."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from paring_runtimes import EngineError
from paring_runtimes.generation.options import Options
from paring_runtimes.generation.sampling import choose, distribution, penalised

CHI_SQUARE_999 = {3: 16.27, 5: 20.52, 9: 27.88}  # 0.999 quantiles by degrees of freedom
DRAWS = 20_000


def draws_of(logits: np.ndarray, options: Options, count: int = DRAWS) -> np.ndarray:
    draw = np.random.default_rng(7)
    chosen = [choose(logits, (), options, draw) for _ in range(count)]
    return np.bincount(chosen, minlength=len(logits))


def chi_square(counts: np.ndarray, probabilities: np.ndarray) -> float:
    expected = probabilities * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax(temperature: float) -> None:
    logits = np.array([1.0, -0.5, 0.3, 2.0, 0.0, -1.0], np.float32)
    exact = np.exp(logits.astype(np.float64) / temperature)
    counts = draws_of(logits, Options(temperature=temperature))
    assert chi_square(counts, exact / exact.sum()) < CHI_SQUARE_999[5]
    wrong = np.exp(logits.astype(np.float64) / (temperature * 1.15))
    assert chi_square(counts, wrong / wrong.sum()) > CHI_SQUARE_999[5]  # the test can fail


def test_draws_follow_a_cut_distribution() -> None:
    logits = np.log(np.array([0.05, 0.30, 0.10, 0.25, 0.02, 0.28]))
    counts = draws_of(logits, Options(temperature=1.0, top_p=0.9))
    assert counts[[0, 4]].sum() == 0  # 0.30 + 0.28 + 0.25 = 0.83 is not enough, with 0.10 it is
    kept = np.array([0.30, 0.10, 0.25, 0.28])
    assert chi_square(counts[[1, 2, 3, 5]], kept / kept.sum()) < CHI_SQUARE_999[3]


def test_greedy_is_the_lowest_of_equals_and_draws_nothing() -> None:
    logits = np.array([0.0, 3.0, 1.0, 3.0, -np.inf], np.float16)
    draw = np.random.default_rng(0)
    before = draw.bit_generator.state
    assert choose(logits, (), Options(temperature=0.0), draw) == 1
    assert draw.bit_generator.state == before


def test_tokens_level_with_the_kth_stay() -> None:
    tokens, probabilities = distribution(np.array([1.0, 2.0, 1.0, 0.0]), Options(temperature=1.0, top_k=2))
    assert tokens.tolist() == [0, 1, 2]
    assert probabilities.sum() == pytest.approx(1)
    few, _ = distribution(np.array([1.0, 2.0, 1.0, 0.0]), Options(temperature=1.0, top_k=1))
    assert few.tolist() == [1]


def test_the_nucleus_is_the_smallest_that_is_enough() -> None:
    logits = np.log(np.array([0.5, 0.25, 0.125, 0.125]))
    for top_p, kept in ((0.3, [0]), (0.6, [0, 1]), (0.75, [0, 1]), (0.8, [0, 1, 2]), (1.0, [0, 1, 2, 3])):
        tokens, _ = distribution(logits, Options(temperature=1.0, top_p=top_p))
        assert tokens.tolist() == kept


def test_a_huge_logit_does_not_overflow() -> None:
    tokens, probabilities = distribution(np.array([1e4, 0.0, 9e3]), Options(temperature=0.01))
    assert tokens.tolist() == [0]
    assert probabilities.tolist() == [1.0]


def test_an_impossible_token_is_never_drawn() -> None:
    logits = np.array([-np.inf, 0.0, -np.inf, 0.0, -np.inf])
    assert draws_of(logits, Options(temperature=1.0), 500)[[0, 2, 4]].sum() == 0


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("bad", [[np.nan, 1.0], [1.0, np.nan], [np.inf, 1.0], [-np.inf, -np.inf]])
def test_logits_that_are_not_finite_are_refused(bad: list[float], temperature: float) -> None:
    with pytest.raises(EngineError, match="not finite"):
        choose(np.array(bad), (), Options(temperature=temperature), np.random.default_rng(0))


def test_a_penalty_makes_seen_tokens_less_likely() -> None:
    logits = np.array([2.0, -2.0, 1.5], np.float32)
    assert penalised(logits, [0, 1, 0], 2.0).tolist() == [1.0, -4.0, 1.5]
    assert logits.tolist() == [2.0, -2.0, 1.5]
    options = Options(repetition_penalty=2.0)
    assert choose(logits, [0], options, np.random.default_rng(0)) == 2


def test_it_is_what_transformers_computes() -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    logits = np.random.default_rng(3).standard_normal(300) * 3
    seen = [5, 17, 200]
    for penalty, temperature, top_k, top_p, min_p in product(
        (1.0, 1.3), (0.7, 1.6), (0, 1, 40), (0.3, 0.9, 1.0), (0.0, 0.05)
    ):
        config = transformers.GenerationConfig(
            do_sample=True, temperature=temperature, top_k=top_k, top_p=top_p,
            min_p=min_p or None, repetition_penalty=penalty,
        )  # fmt: skip
        model = transformers.GenerationMixin()
        processors = model._get_logits_processor(config, input_ids_seq_length=len(seen))
        scores = processors(torch.tensor([seen]), torch.tensor(logits[None]))
        expected = torch.softmax(scores, -1)[0].numpy()
        options = Options(
            temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=penalty
        )
        tokens, probabilities = distribution(penalised(logits, seen, penalty), options)
        found = np.zeros_like(expected)
        found[tokens] = probabilities
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
