"""The comparison itself: what passes, what fails, what is a tie."""

from __future__ import annotations

import numpy as np
import pytest

from paring_exporters.parity import TOLERANCES, Case, cases, compare, signal_to_noise_db

CASE = Case("ones", np.ones((4, 1, 2, 2), np.float32))
EXPECTED = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 0.0], [7.0, 8.0]], np.float32)


def result(actual: np.ndarray, margin: np.ndarray | None = None, precision: str = "fp32"):  # type: ignore[no-untyped-def]
    return compare(lambda pixels: ({"y": EXPECTED}, margin), lambda pixels: {"y": actual}, [CASE], precision)


def test_both_tolerances_are_added() -> None:
    atol, rtol = TOLERANCES["fp32"]
    assert result(EXPECTED + (atol + rtol * EXPECTED) * 0.9).passed
    assert not result(EXPECTED + (atol + rtol * EXPECTED) * 1.2).passed


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("bad", "said"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_what_is_not_finite_fails_and_is_placed(bad: float, said: str) -> None:
    actual = EXPECTED.copy()
    actual[2, 1] = actual[3, 0] = bad
    found = result(actual)
    assert not found.passed
    assert found.max_abs == np.inf
    assert found.failure() == (
        f"case ones (batch 4, 2x2), output y: {said} at [2, 1] where PyTorch has 0, the first of 2"
    )


@pytest.mark.filterwarnings("error")
def test_pytorchs_own_nan_fails_and_equal_infinities_agree() -> None:
    for value, passes in ((np.nan, False), (-np.inf, True)):
        both = EXPECTED.copy()
        both[0, 1] = value
        given = [CASE]
        found = compare(lambda x, y=both: ({"y": y}, None), lambda x, y=both: {"y": y}, given, "fp32")
        assert found.passed is passes
        assert np.isfinite(found.max_abs) == passes
    assert "nan at [0, 1] where PyTorch has nan" in str(compare_nan().failure())


def compare_nan():  # type: ignore[no-untyped-def]
    both = np.where(EXPECTED == 2, np.nan, EXPECTED)
    return compare(lambda x: ({"y": both}, None), lambda x: {"y": both}, [CASE], "fp32")


def test_another_shape_fails() -> None:
    found = result(EXPECTED[:, :1])
    assert not found.passed
    assert found.top1_agreement == 0.0


def test_a_tie_is_counted_and_still_votes_for_top1() -> None:
    actual = EXPECTED.copy()
    actual[0] = actual[0, ::-1]
    found = result(actual, np.array([1e-7, 1.0, 1.0, 1.0]))
    assert found.passed
    assert found.ties == 1
    assert found.top1_agreement == 0.75
    assert found.max_abs == 0.0


def test_a_clear_decision_is_no_excuse() -> None:
    actual = EXPECTED.copy()
    actual[0] += 1
    assert not result(actual, np.array([0.1, 1.0, 1.0, 1.0])).passed


def test_too_many_ties_fail() -> None:
    found = result(EXPECTED + 1, np.full(4, 1e-8))
    assert not found.passed
    assert "ties" in str(found.failure())


def test_the_failure_names_case_output_and_tolerance() -> None:
    message = str(result(EXPECTED + 1).failure())
    assert "case ones (batch 4, 2x2), output y: max abs 1" in message
    assert "atol 1e-05 + rtol 0.0001" in message


def test_cases_cover_sizes_batches_seeds_and_hard_inputs() -> None:
    found = cases(3, [(8, 8), (8, 12)], [1, 3], [0, 1])
    shapes = {case.pixels.shape for case in found}
    assert shapes == {(1, 3, 8, 8), (3, 3, 8, 8), (1, 3, 8, 12), (3, 3, 8, 12)}
    assert len(found) == 8 + 4
    assert not found[-4].pixels.any()
    assert found[0].pixels.dtype == np.float32


def test_signal_to_noise() -> None:
    signal = np.ones(100)
    assert signal_to_noise_db(signal, signal + 0.1) == pytest.approx(20.0)
    assert signal_to_noise_db(signal, signal) == float("inf")


@pytest.mark.parametrize(
    ("own", "held"), [(0.0, 30.0), (10 ** (-31 / 20), 28.0), (10 ** (-40 / 20), 30.0), (0.3, 20.0)]
)
def test_a_rounded_model_is_held_to_what_rounding_costs(own: float, held: float) -> None:
    """`own`: the rounding's noise as a share of the signal."""
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((4, 50)).astype(np.float32)

    def noisy(share: float) -> np.ndarray:
        noise = rng.standard_normal(signal.shape)
        norms = np.linalg.norm(signal, axis=1, keepdims=True) / np.linalg.norm(noise, axis=1, keepdims=True)
        return (signal + share * norms * noise).astype(np.float32)

    unrounded = noisy(own)

    def judged(share: float):  # type: ignore[no-untyped-def]
        return compare(
            lambda pixels: ({"y": signal}, None),
            lambda pixels: {"y": noisy(share)},
            [CASE],
            "fp32",
            unrounded=lambda pixels: {"y": unrounded},
        )

    limit = 10 ** (-held / 20)
    assert judged(limit * 0.97).passed
    failed = judged(limit * 1.03)
    assert not failed.passed
    assert failed.min_snr_db == pytest.approx(held, abs=0.3)
    assert "signal-to-noise ratio below" in str(failed.failure())
