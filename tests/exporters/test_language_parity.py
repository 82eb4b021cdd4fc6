"""The comparison of language models itself: what passes, what fails, and what the failure says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from language_models import build_language

from paring.transforms._decoder import Decoder, open_decoder
from paring_exporters.language.parity import LanguageParity, Prompt, compare, prompts, reference


class Replay:
    """The decoder's own answers, changed by `change(logits, step)`."""

    def __init__(self, decoder: Decoder, change) -> None:  # type: ignore[no-untyped-def]
        self.decoder, self.change, self.step_number = decoder, change, 0

    def prompt(self, prompt: Prompt) -> np.ndarray:
        self.answers = list(reference(self.decoder, prompt, 3))
        return self.change(self.answers[0].copy(), 0)

    def step(self, ids: np.ndarray) -> np.ndarray:
        assert (ids == self.answers[self.step_number].argmax(1)).all()
        self.step_number += 1
        return self.change(self.answers[self.step_number].copy(), self.step_number)


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return open_decoder(build_language("Llama"))


def result(decoder: Decoder, change, precision: str = "fp32") -> LanguageParity:  # type: ignore[no-untyped-def]
    inputs = prompts(decoder.vocabulary, (1, 3), (6,), (0,))
    return compare(decoder, {"graph": lambda: Replay(decoder, change)}, inputs, 3, precision)


def test_equal_answers_pass(decoder: Decoder) -> None:
    found = result(decoder, lambda logits, step: logits)
    assert found.passed
    assert found.failure() is None
    assert (found.samples, found.max_abs, found.top1_agreement) == (16, 0.0, 1.0)
    assert found.as_dict()["tolerance"] == {"atol": 1e-5, "rtol": 1e-4}


def test_a_row_is_judged_by_its_largest_logit(decoder: Decoder) -> None:
    def off(share: float):  # type: ignore[no-untyped-def]
        def change(logits: np.ndarray, step: int) -> np.ndarray:
            logits[:, 5] += 1e-5 + share * 1e-4 * np.abs(logits).max(1)
            return logits

        return change

    assert result(decoder, off(0.9)).passed
    assert not result(decoder, off(1.1)).passed


def test_fp16_allows_for_its_layers(decoder: Decoder) -> None:
    found = result(decoder, lambda logits, step: logits, "fp16")
    assert (found.atol, found.rtol) == (0.0025, pytest.approx(0.001 * 2**0.5))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_a_number_fails(decoder: Decoder, bad: float) -> None:
    def change(logits: np.ndarray, step: int) -> np.ndarray:
        logits[-1, 3] = bad if step == 1 else logits[-1, 3]
        return logits

    assert not result(decoder, change).passed


def test_the_failure_names_graph_case_and_step(decoder: Decoder) -> None:
    message = str(result(decoder, lambda logits, step: logits + (step == 2)).failure())
    assert "graph, case seed 0, batch 1, length 6, step 2: max abs 1" in message
    assert "1e-05" in message


def test_prompts_have_rows_of_differing_length() -> None:
    found = prompts(50, (1, 5), (4, 9), (0, 1))
    assert len(found) == 8
    assert [int(n) for n in found[-1].lengths] == [9, 8, 6, 5, 3]
    assert all(prompt.lengths.min() >= 1 for prompt in found)
    assert not np.array_equal(found[0].ids, found[1].ids)


def test_the_reference_leaves_padding_out(decoder: Decoder) -> None:
    ids = np.array([[9, 9, 9, 11, 12]])
    padded = list(reference(decoder, Prompt("", ids, np.array([2])), 2))
    alone = list(reference(decoder, Prompt("", ids[:, 3:], np.array([2])), 2))
    for one, other in zip(padded, alone, strict=True):
        torch.testing.assert_close(torch.from_numpy(one), torch.from_numpy(other), atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("bad", "said"), [(np.nan, "nan"), (np.inf, "inf")])
def test_a_logit_that_is_not_finite_fails_and_is_placed(decoder: Decoder, bad: float, said: str) -> None:
    def change(logits: np.ndarray, step: int) -> np.ndarray:
        if step == 2:
            logits[0, 7] = bad
        return logits

    failure = result(decoder, change).failure()
    assert failure is not None
    assert f"step 2: logits [step, row, token] {said} at [2, 0, 7] where PyTorch has" in failure
