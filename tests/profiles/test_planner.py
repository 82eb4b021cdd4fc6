"""The published table's fit is known from an independent solution; laws made up here are found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paring_profiles.planner import (
    Budget,
    Law,
    Measured,
    Table,
    choose,
    choose_by_latency,
    fit,
    frontier,
    frontier_by_latency,
    published,
    read_table,
)
from paring_profiles.planner.table import published_exponents
from paring_profiles.report import plan as report
from paring_runtimes.errors import InputError


@pytest.fixture(scope="module")
def known():
    return fit(published(), resamples=200)


def made_up(law: Law, latency: bool = False) -> Table:
    rows = [
        Measured(size, tokens, 1 - float(law.error(size, tokens)), size / 1e9 * tokens if latency else None)
        for size in (5e8, 2e9, 8e9)
        for tokens in (1, 4, 16, 64, 256)
    ]
    return Table("made up", tuple(rows))


def test_the_published_table_gives_its_known_solution(known) -> None:
    law = known.law
    assert (law.a, law.alpha, law.beta) == pytest.approx((0.591, 0.071, 0.0151), abs=5e-4)
    assert law.d == pytest.approx(0, abs=1e-6)
    assert known.sum_of_squares == pytest.approx(3.8e-4, abs=5e-6)


def test_the_published_exponents_lie_in_the_intervals(known) -> None:
    alpha, beta = published_exponents("reasoning")
    for value, name in ((alpha, "alpha"), (beta, "beta")):
        low, high = known.interval(name)
        assert low <= value <= high


def test_a_law_is_found_again() -> None:
    law = Law(0.5, 0.2, 0.1, 0.15)
    found = fit(made_up(law), resamples=20).law
    assert (found.a, found.alpha, found.beta, found.d) == pytest.approx((0.5, 0.2, 0.1, 0.15), abs=1e-4)


def test_without_text_one_token_is_best_and_with_fifty_about_fourteen(known) -> None:
    every = tuple(range(1, 577))
    for flops in (1e11, 1e12):
        assert choose(known, Budget(flops, 0, tokens=every)).tokens == 1
        best = choose(known, Budget(flops, 50, tokens=every)).tokens
        # V* = Q beta / (alpha - beta), of the fitted exponents
        law = known.law
        assert best == pytest.approx(50 * law.beta / (law.alpha - law.beta), abs=1)


def test_an_answer_spends_the_budget_and_says_how_far_it_reaches(known) -> None:
    answer = choose(known, Budget(1e12, 50))
    assert answer.flops == pytest.approx(1e12)
    assert answer.parameters == pytest.approx(1e12 / (2 * (50 + answer.tokens)))
    assert answer.outside == {"parameters": pytest.approx(answer.parameters / 7e9)}
    assert answer.error_ci95[0] < answer.error < answer.error_ci95[1]


def test_only_models_that_exist() -> None:
    law = fit(published(), resamples=50)
    answer = choose(law, Budget(1e12, 50, sizes=(5e8, 7e9)))
    assert answer.parameters == 7e9
    assert answer.flops <= 1e12
    with pytest.raises(InputError, match=r"pay for none of the models; the smallest .* takes 5.1e\+10"):
        choose(law, Budget(1e10, 50, sizes=(5e8, 7e9)))


def test_more_budget_never_gives_more_error(known) -> None:
    answers = frontier(known, Budget(1e11, 50))
    errors = [answer.error for answer in answers]
    assert errors == sorted(errors, reverse=True)
    assert [answer.flops for answer in answers] == pytest.approx([1e10, 10**10.5, 1e11, 10**11.5, 1e12])
    assert len(frontier(known, Budget(1e11, 50, sizes=(5e8, 7e9)))) == 3  # a tenth pays for none


def test_every_budget_of_latency_has_its_choice() -> None:
    law = Law(0.5, 0.2, 0.1, 0.15)
    table = made_up(law, latency=True)
    answers = frontier_by_latency(fit(table, resamples=5), table)
    times, errors = [a.latency_ms for a in answers], [a.error for a in answers]
    assert times == sorted(set(times))
    assert errors == sorted(set(errors), reverse=True)
    assert all(a.flops is None for a in answers)
    assert times[0] == 0.5
    assert (answers[-1].parameters, answers[-1].tokens) == (8e9, 256)


def test_a_budget_of_latency_chooses_among_what_was_timed() -> None:
    law = Law(0.5, 0.2, 0.1, 0.15)
    table = made_up(law, latency=True)
    answer = choose_by_latency(fit(table, resamples=50), table, 8.0)
    within = [row for row in table.rows if (row.latency_ms or 0) <= 8.0]
    best = max(within, key=lambda row: row.score)
    assert (answer.parameters, answer.tokens, answer.latency_ms) == (
        best.parameters,
        best.tokens,
        best.latency_ms,
    )
    with pytest.raises(InputError, match=r"no model within 0.1 ms; the fastest takes 0.5 ms"):
        choose_by_latency(fit(table, resamples=5), table, 0.1)
    with pytest.raises(InputError, match="needs a latency_ms measured"):
        choose_by_latency(fit(table, resamples=5), made_up(law), 8.0)


def test_the_bootstrap_is_wider_for_noisier_scores() -> None:
    law, random = Law(0.5, 0.2, 0.1, 0.15), np.random.default_rng(0)

    def width(noise: float) -> float:
        rows = tuple(
            Measured(row.parameters, row.tokens, row.score + noise * float(random.standard_normal()))
            for row in made_up(law).rows
        )
        low, high = fit(Table("noisy", rows), resamples=100).interval("beta")
        return high - low

    assert width(0.02) > 2 * width(0.002)


@pytest.mark.parametrize(("text", "said"), [
    ("parameters,tokens\n1,2\n", "line 1: expected the columns parameters, tokens, score"),
    ("parameters,tokens,score,colour\n", "line 1: expected the columns"),
    ("parameters,tokens,score\n1e9,4,0.5\n1e9,four,0.5\n", "line 3, tokens: expected 1 to 1e"),
    ("parameters,tokens,score\n1e9,4,50\n", "line 2, score: expected 0 to 0.999999, given '50'"),
])  # fmt: skip
def test_a_bad_table_is_named_by_line_and_column(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_table(path)


def test_too_few_scores_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("parameters,tokens,score\n1e9,4,0.5\n1e9,8,0.6\n")
    with pytest.raises(InputError, match="given 2 of 1 sizes and 2 counts"):
        fit(read_table(path))


def test_the_report_is_whole(known, tmp_path: Path) -> None:
    budget = Budget(1e12, 50)
    plan = report.Plan(published(), known, choose(known, budget), 50, budget, frontier(known, budget))
    paths = report.write(plan, tmp_path / "plan")
    page = paths.html.read_text()
    assert page.count("<svg") == 2
    assert "Extrapolated: its parameters lie" in page
    assert "What other budgets buy" in page
    assert "0.077" in paths.markdown.read_text()
    assert paths.markdown.read_text().count("FLOPs a prompt (modelled)") == 6
    assert report.as_dict(plan)["provenance"] == "modelled"
