"""FastV's rule against a loop."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from onnx_run import run

from paring.transforms._fast_v import kept_count, received, select


@pytest.mark.parametrize("last_row", [True, False])
def test_the_least_attended_half_goes(last_row: bool) -> None:
    attention = torch.randn(2, 3, 12, 12).softmax(-1)
    found = select(received(attention, (2, 9), last_row))
    for row in range(2):
        rows = [11] if last_row else range(12)
        scores = [sum(attention[row, h, i, j].item() for h in range(3) for i in rows) for j in range(2, 9)]
        best = sorted(range(7), key=lambda j: -scores[j])[:4]
        assert found[row].tolist() == sorted(best)


@pytest.mark.parametrize(("tokens", "ratio", "kept"), [(576, 0.5, 288), (576, 0.75, 144), (7, 0.0, 7)])
def test_how_many_stay(tokens: int, ratio: float, kept: int) -> None:
    assert kept_count(tokens, ratio) == kept
    assert select(torch.rand(2, tokens), ratio).shape == (2, kept)


def test_equal_scores_go_by_index() -> None:
    assert select(torch.ones(1, 6)).tolist() == [[0, 1, 2]]


def test_the_rule_exports(tmp_path: Path) -> None:
    def chosen(attention: torch.Tensor) -> torch.Tensor:
        return select(received(attention, (2, 9)))

    example, x = torch.rand(2, 3, 5, 12), torch.rand(3, 3, 5, 12)
    assert torch.equal(torch.from_numpy(run(chosen, [example], [x], tmp_path)[0]), chosen(x))
