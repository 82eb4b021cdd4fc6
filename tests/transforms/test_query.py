"""Query-guided reduction against a loop."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from onnx_run import run

from paring.transforms._query import query_scores, reduce_by_query


def test_scores_are_the_largest_cosine_with_the_text() -> None:
    x, text = torch.randn(2, 9, 5), torch.randn(2, 3, 5)
    found = query_scores(x, text)
    for row in range(2):
        for token in range(9):
            cosines = [torch.cosine_similarity(x[row, token], word, dim=0).item() for word in text[row]]
            assert found[row, token].item() == pytest.approx(max(cosines), abs=1e-6)


def test_one_text_vector_is_a_text_of_one() -> None:
    x, text = torch.randn(2, 9, 5), torch.randn(2, 5)
    assert torch.equal(query_scores(x, text), query_scores(x, text[:, None]))


def test_padding_of_the_text_does_not_score() -> None:
    x, text = torch.randn(1, 9, 5), torch.randn(1, 4, 5)
    valid = torch.tensor([[1, 1, 0, 0]])
    torch.testing.assert_close(query_scores(x, text, valid), query_scores(x, text[:, :2]))


def test_the_text_decides_what_stays() -> None:
    x = torch.eye(6)[None]
    for wanted in range(6):
        scores = query_scores(x, x[:, wanted])
        assert reduce_by_query(x, scores, 1)[1].tolist() == [[wanted]]


def test_the_rest_fuses_by_softmax() -> None:
    x, scores = torch.randn(1, 4, 3), torch.tensor([[0.1, 0.9, 0.3, 0.8]])
    found, places = reduce_by_query(x, scores, 2, temperature=0.5)
    assert places.tolist() == [[1, 3]]
    a, b = math.exp(0.1 / 0.5), math.exp(0.3 / 0.5)
    expected = (x[0, 0] * a + x[0, 2] * b) / (a + b)
    torch.testing.assert_close(found[0], torch.stack([x[0, 1], x[0, 3], expected]))
    assert reduce_by_query(x, scores, 2, fuse_rest=False)[0].shape == (1, 2, 3)


@pytest.mark.parametrize("keep", [4, 9])
def test_keeping_all_is_identity(keep: int) -> None:
    x = torch.randn(2, 4, 3)
    assert torch.equal(reduce_by_query(x, torch.rand(2, 4), keep)[0], x)


def test_equal_scores_go_by_index() -> None:
    assert reduce_by_query(torch.randn(1, 5, 2), torch.ones(1, 5), 3)[1].tolist() == [[0, 1, 2]]


def test_keeping_none_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        reduce_by_query(torch.randn(1, 5, 2), torch.ones(1, 5), 0)


def test_reduction_exports(tmp_path: Path) -> None:
    def reduced(x: torch.Tensor, text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return reduce_by_query(x, query_scores(x, text), 5)

    example, inputs = ([torch.randn(b, 16, 6), torch.randn(b, 3, 6)] for b in (2, 3))
    for theirs, ours in zip(run(reduced, example, inputs, tmp_path), reduced(*inputs), strict=True):
        torch.testing.assert_close(torch.from_numpy(theirs), ours, atol=1e-5, rtol=1e-4)
