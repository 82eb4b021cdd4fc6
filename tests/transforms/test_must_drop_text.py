"""MustDrop's key set and dual-attention filter, in both forms, against loops and the worked example."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from onnx_run import run

from paring.transforms._must_drop import calibration
from paring.transforms._must_drop.dual_attention import (
    budget_scores,
    dual_scores,
    keep_budget,
    passes,
    survivors,
)
from paring.transforms._must_drop.keys import key_count, key_set, remap

TOY = torch.tensor([[[0.30, 0.05, 0.02, 0.01], [0.10, 0.04, 0.12, 0.01]]])


def filter_by_loop(attention: torch.Tensor, g: float, i: float, keys: set[int]) -> list[int]:
    """Which columns of A [T, n] stay."""
    columns = attention.T.tolist()
    total = sum(sum(column) for column in columns)
    dropped = [
        j for j, column in enumerate(columns) if sum(column) < g * total and max(column) < i and j not in keys
    ]
    return [j for j in range(len(columns)) if j not in dropped]


def attention_of(batch: int, rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    logits = 3 * torch.randn(batch, rows, columns, generator=torch.Generator().manual_seed(seed))
    return logits.softmax(-1)


def test_the_worked_example() -> None:
    c, m = dual_scores(TOY)
    torch.testing.assert_close(c, torch.tensor([[0.40, 0.09, 0.14, 0.02]]))
    torch.testing.assert_close(m, torch.tensor([[0.30, 0.05, 0.12, 0.01]]))
    assert survivors(passes(c, m, 0.25, 0.1))[0].tolist() == [0, 2]
    assert keep_budget(budget_scores(c, m, 0.25, 0.1), 2).tolist() == [[0, 2]]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("g", "i"), [(0.001, 0.001), (0.0012, 0.001), (0.011, 0.01), (0.03, 0.2), (0.1, 0.3)]
)
def test_both_forms_equal_the_loop(seed: int, g: float, i: float) -> None:
    attention = attention_of(3, 4, 40, seed)
    keys = torch.tensor([[1, 30], [0, 2], [38, 39]])
    c, m = dual_scores(attention)
    kept = survivors(passes(c, m, g, i, keys))
    scores = budget_scores(c, m, g, i, keys)
    for row in range(3):
        expected = filter_by_loop(attention[row], g, i, set(keys[row].tolist()))
        assert kept[row].tolist() == expected
        budget = keep_budget(scores[row : row + 1], len(expected), keys=2)
        assert budget[0].tolist() == expected  # a budget of the thresholds' own count chooses as they do
        assert ((scores[row] >= 1).nonzero()[:, 0]).tolist() == expected


def test_the_score_reaches_one_exactly_at_the_thresholds() -> None:
    """c = g * sum c stays: the rule drops what is strictly below."""
    c, m = torch.tensor([[0.25, 0.75]]), torch.tensor([[0.0, 0.75]])
    assert passes(c, m, 0.25, 0.5).tolist() == [[True, True]]
    assert budget_scores(c, m, 0.25, 0.5)[0, 0] == 1


@pytest.mark.parametrize(("g", "i"), [(1.0, 0.0), (0.0, 1.0)])
def test_a_threshold_of_zero_drops_nothing(g: float, i: float) -> None:
    """The released command line's defaults, (1.0, 0), mean no pruning."""
    c, m = dual_scores(attention_of(2, 3, 10))
    c[0, 3] = m[0, 3] = 0.0
    assert passes(c, m, g, i).all()
    scores = budget_scores(c, m, g, i, torch.tensor([[9], [9]]))
    assert keep_budget(scores, 10).tolist() == [list(range(10))] * 2
    assert keep_budget(scores, 2).tolist() == [[0, 9]] * 2  # keys before anything else


def test_keys_always_survive() -> None:
    c, m = dual_scores(attention_of(2, 3, 20))
    keys = torch.stack([m.argsort(1)[0, :3], m.argsort(1)[1, :3]])  # the least attended ones
    for row, kept in enumerate(survivors(passes(c, m, 0.9, 0.9, keys))):
        assert set(keys[row].tolist()) <= set(kept.tolist())
    kept = keep_budget(budget_scores(c, m, 0.9, 0.9, keys), 3, keys=3)
    assert torch.equal(kept, keys.sort(1).values)


def test_equal_scores_go_by_index_and_places_ascend() -> None:
    scores = torch.tensor([[1.0, 2.0, 2.0, 1.0, 2.0]])
    assert keep_budget(scores, 2).tolist() == [[1, 2]]
    assert keep_budget(scores, 4).tolist() == [[0, 1, 2, 4]]


@pytest.mark.parametrize(("keep", "keys"), [(2, 3), (6, 0), (0, 0)])
def test_budgets_that_cannot_hold_are_refused(keep: int, keys: int) -> None:
    with pytest.raises(ValueError, match="cannot keep"):
        keep_budget(torch.rand(1, 5), keep, keys)


def test_a_sample_does_not_depend_on_its_batch_mates() -> None:
    attention = attention_of(3, 4, 30)
    c, m = dual_scores(attention)
    together = keep_budget(budget_scores(c, m, 0.05, 0.1), 9)
    for row in range(3):
        c, m = dual_scores(attention[row : row + 1])
        assert torch.equal(keep_budget(budget_scores(c, m, 0.05, 0.1), 9)[0], together[row])


def test_padding_rows_count_for_nothing() -> None:
    attention = attention_of(2, 5, 12)
    valid = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    c, m = dual_scores(attention, valid)
    alone = dual_scores(attention[:1, :3])
    torch.testing.assert_close((c[:1], m[:1]), alone)


@pytest.mark.parametrize(("patches", "count"), [(576, 47), (577 - 8 * 64 - 1, 6), (25, 2), (1, 1), (10, 1)])
def test_the_key_set_is_the_ceiling(patches: int, count: int) -> None:
    assert key_count(patches) == count
    assert key_set(torch.rand(2, patches)).shape == (2, count)  # [B, K] for one key too


def test_the_key_set_is_what_the_class_token_attends_to() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.3, 0.9], [0.5, 0.5, 0.5, 0.4]])
    assert key_set(scores, 0.5).tolist() == [[1, 3], [0, 1]]


def test_keys_are_found_again_among_the_survivors() -> None:
    kept = torch.tensor([[0, 3, 4, 7, 9], [1, 2, 5, 8, 9]])
    keys = torch.tensor([[3, 9], [1, 8]])
    found = remap(keys, kept)
    assert found.tolist() == [[1, 4], [0, 3]]
    assert torch.equal(kept.gather(1, found), keys)


def test_stages_follow_the_original_ids() -> None:
    """Four stages with remapped keys: what stays is what a list of ids says."""
    generator = torch.Generator().manual_seed(5)
    keys = key_set(torch.rand(2, 60, generator=generator))
    first = keys
    ids = [list(range(60)) for _ in range(2)]
    for stage, keep in enumerate((40, 25, 12, 6)):
        count = len(ids[0])
        c, m = dual_scores(attention_of(2, 4, count, stage))
        places = keep_budget(budget_scores(c, m, 0.05, 0.2, keys), keep, keys.shape[1])
        ids = [[row[place] for place in places[b]] for b, row in enumerate(ids)]
        keys = remap(keys, places)
        for b in range(2):
            assert ids[b] == sorted(ids[b])
            assert [ids[b][key] for key in keys[b]] == first[b].tolist()


def test_budgets_from_the_counts_of_samples() -> None:
    counts = torch.tensor([[300, 200, 90, 80], [310, 150, 100, 60], [280, 190, 70, 65]])
    assert calibration.budgets(counts) == [310, 200, 100, 80]
    assert calibration.budgets(counts, 0.5) == [300, 190, 90, 65]
    assert calibration.budgets(counts, 0.5, at_least=70) == [300, 190, 90, 70]
    assert calibration.budgets(torch.tensor([[5, 9]])) == [5, 5]  # a later stage has no more to keep


def test_average_tokens_is_over_the_layers() -> None:
    """LLaVA's 32 layers: 0 to 2 see all, then 4, 4, 4 and 17 layers see what each stage left."""
    expected = (3 * 576 + 4 * 300 + 4 * 200 + 4 * 110 + 17 * 80) / 32
    assert calibration.average_tokens(576, [300, 200, 110, 80], [2, 6, 10, 14], 32) == expected
    assert calibration.average_tokens(576, [576] * 4, [2, 6, 10, 14], 40) == 576


def test_the_budget_form_exports(tmp_path: Path) -> None:
    def stage(attention: torch.Tensor, class_scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        keys = key_set(class_scores)
        scores = budget_scores(*dual_scores(attention), 0.05, 0.1, keys)
        kept = keep_budget(scores, 9, keys.shape[1])
        return kept, remap(keys, kept)

    example, inputs = ([attention_of(b, 5, 20, b), torch.rand(b, 20)] for b in (2, 3))
    found = run(stage, example, inputs, tmp_path)
    for theirs, ours in zip(found, stage(*inputs), strict=True):
        assert torch.equal(torch.from_numpy(theirs), ours)
