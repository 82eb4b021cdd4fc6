"""MustDrop's cache: composed places equal original ids followed through every stage."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from onnx_run import run

from paring.transforms._must_drop.cache import cache_places, compose, sequence_places, trim
from paring.transforms._must_drop.positions import (
    PAPER_COMPAT,
    PERSISTENT,
    next_position,
    surviving_positions,
)


def stages_of(counts: list[int], batch: int = 2) -> list[torch.Tensor]:
    """Random ascending places: each stage chooses among what the one before left."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.stack([torch.randperm(before, generator=generator)[:after].sort().values for _ in range(batch)])
        for before, after in pairwise(counts)
    ]


def test_composed_places_are_the_tracked_ids() -> None:
    counts = [30, 20, 12, 7, 4]
    stages = stages_of(counts)
    composed = compose(stages)
    for row in range(2):
        ids = list(range(30))
        for places in stages:
            ids = [ids[place] for place in places[row]]
        assert composed[0][row].tolist() == ids
    assert torch.equal(composed[-1], stages[-1])
    for (earlier, later), places in zip(pairwise(composed), stages[:-1], strict=True):
        assert torch.equal(places.gather(1, later), earlier)


@pytest.mark.parametrize("layers", [32, 40])
def test_every_layer_s_cache_ends_with_the_final_set(layers: int) -> None:
    """The released loop over 32 layers loses layers 32 to 39 of a 40-layer model: here none is lost."""
    counts, after = [30, 20, 12, 7, 4], [2, 6, 10, 14]
    stages = stages_of(counts)
    final = compose(stages)[0]
    ids, caches = torch.arange(30).expand(2, -1), []
    for layer in range(layers):  # a layer's cache holds the ids that it saw
        caches.append(ids[:, None, :, None].float().expand(-1, 3, -1, 2))
        if layer in after:
            ids = ids.gather(1, stages[after.index(layer)])
    plan = cache_places(stages, after, layers)
    assert len(plan) == layers
    for layer, (cache, places) in enumerate(zip(caches, plan, strict=True)):
        trimmed = trim(cache, places)
        if layer < 2:
            assert places is None
            assert trimmed.shape[2] == 30
        else:
            assert (places is None) == (layer > 14)
            assert torch.equal(trimmed[:, 1, :, 0].long(), final)


def test_no_stage_trims_nothing() -> None:
    assert cache_places([], [], 4) == [None] * 4


@pytest.mark.parametrize("after", [[2], [6, 2], [2, 40]])
def test_stages_that_do_not_fit_are_refused(after: list[int]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        cache_places(stages_of([9, 6, 3]), after, 32)


def test_sequence_places_keep_everything_outside_the_image() -> None:
    kept = torch.tensor([[0, 2], [1, 3]])
    found = sequence_places(kept, (2, 6), 9)
    assert found.tolist() == [[0, 1, 2, 4, 6, 7, 8], [0, 1, 3, 5, 6, 7, 8]]


def test_persistent_positions_are_the_original_ones() -> None:
    positions = torch.arange(9).expand(2, -1)
    places = torch.tensor([[0, 1, 4, 8], [0, 3, 5, 8]])
    again = torch.tensor([[0, 2, 3], [1, 2, 3]])
    assert torch.equal(surviving_positions(positions, places), places)
    twice = surviving_positions(surviving_positions(positions, places), again)
    assert torch.equal(twice, places.gather(1, again))
    assert surviving_positions(positions, places, PAPER_COMPAT).tolist() == [[0, 1, 2, 3]] * 2


def test_the_paper_s_next_position_can_sit_before_text_already_cached() -> None:
    """A 20-token prompt whose last text key was rotated at 19, in a layer whose cache was trimmed to 8."""
    assert next_position(20, 0, 8, PAPER_COMPAT) - 19 == -11
    assert next_position(20, 0, 8, PERSISTENT) - 19 == 1
    assert next_position(20, 3, 11, PERSISTENT) == 23


def test_composition_exports(tmp_path: Path) -> None:
    def trimmed(keys: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return trim(keys, cache_places([first, second], [0, 1], 3, whole=0)[0])

    stages = stages_of([12, 8, 3], batch=3)
    inputs = [torch.randn(3, 2, 12, 4), *stages]
    found = run(trimmed, [x[:2] for x in inputs], inputs, tmp_path)[0]
    assert torch.equal(torch.from_numpy(found), trimmed(*inputs))
