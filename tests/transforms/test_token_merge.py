"""ToMe against a loop written from the paper, and its invariants."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import FAMILIES, build, timm_vit

from paring.transforms import token_merge, token_prune
from paring.transforms._encoder import Attended, Tokens
from paring.transforms.token_map import tokens_per_layer, trace
from paring.transforms.token_merge import Config, Matching, MergeTokens, match, merge


def merge_by_loop(
    x: torch.Tensor, metric: torch.Tensor, size: torch.Tensor, r: int, protected: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Bipartite soft matching of one sequence with plain loops: x [N, C], size [N]."""
    evens, odds = list(range(0, len(x), 2)), list(range(1, len(x), 2))
    best: dict[int, tuple[float, int]] = {}
    for a in evens:
        pairs = []
        for b in odds:
            cosine = torch.cosine_similarity(metric[a], metric[b], dim=0).item()
            pairs.append((cosine if a >= protected and b >= protected else -10.0, b))
        best[a] = max(pairs, key=lambda pair: pair[0])
    order = sorted(evens, key=lambda a: -best[a][0])
    sums = {i: x[i] * size[i] for i in range(len(x))}
    sizes = {i: size[i].item() for i in range(len(x))}
    for a in order[:r]:
        target = best[a][1]
        sums[target] = sums[target] + x[a] * size[a]
        sizes[target] += size[a].item()
    left = sorted(order[r:]) + odds
    return torch.stack([sums[i] / sizes[i] for i in left]), torch.tensor([sizes[i] for i in left])


@settings(max_examples=40, deadline=None)
@given(st.integers(6, 25), st.integers(0, 2), st.integers(0, 10_000))
def test_merging_equals_the_loop(count: int, protected: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, count, 5, generator=generator)
    keys = torch.randn(2, count, 2, 3, generator=generator)
    size = torch.randint(1, 4, (2, count), generator=generator).float()
    reducer = MergeTokens(protected, r=2)
    found = reducer(Tokens(x, size), Attended(keys, None))
    for sample in range(2):
        expected = merge_by_loop(x[sample], keys[sample].mean(1), size[sample], 2, protected)
        torch.testing.assert_close(found.x[sample], expected[0], atol=1e-5, rtol=1e-4)
        assert found.size is not None
        torch.testing.assert_close(found.size[sample], expected[1])


def test_size_and_mass_are_conserved() -> None:
    x, size = torch.randn(3, 17, 8), torch.randint(1, 5, (3, 17)).float()
    found = MergeTokens(1, r=6)(Tokens(x, size), Attended(torch.randn(3, 17, 2, 4), None))
    assert found.size is not None
    assert found.x.shape == (3, 11, 8)
    torch.testing.assert_close(found.size.sum(1), size.sum(1))
    torch.testing.assert_close(
        (found.x * found.size[..., None]).sum(1), (x * size[..., None]).sum(1), atol=1e-4, rtol=1e-4
    )


def test_protected_tokens_never_merge() -> None:
    keys = torch.ones(1, 12, 1, 4)  # every token is as similar as can be
    x = torch.arange(12.0).reshape(1, 12, 1)
    found = MergeTokens(2, r=5)(Tokens(x), Attended(keys, None))
    assert found.x[0, 0, 0] == 0.0
    assert 1.0 in found.x[0, :, 0].tolist()


def test_merged_duplicates_with_proportional_attention_equal_the_dense_model() -> None:
    """log(size) makes one token of size 2 count as the two equal tokens that it replaces."""
    from paring.transforms._encoder.block import Attention, BlockParts

    torch.manual_seed(0)
    linear = [torch.nn.Linear(8, 8) for _ in range(4)]
    norm = torch.nn.Identity()
    attention = Attention(BlockParts(norm, *linear, heads=2, scale=0.5, norm2=norm, mlp=norm))
    x = torch.randn(1, 4, 8)
    doubled = torch.cat([x, x[:, 2:3]], dim=1)
    size = torch.tensor([[1.0, 1.0, 2.0, 1.0]])
    dense, _ = attention(doubled, None, False)
    merged, _ = attention(x, size, False)
    torch.testing.assert_close(merged, dense[:, :4], atol=1e-5, rtol=1e-4)


def test_identical_patches_merge_without_loss() -> None:
    """A constant image without positions: all patches are one, so merging them changes nothing."""
    torch.manual_seed(0)
    model, merged = timm_vit(pos_embed="none").eval(), timm_vit(pos_embed="none").eval()
    merged.load_state_dict(model.state_dict())
    token_merge.apply(merged, Config(keep_ratio=0.4))
    pixels = torch.full((1, 3, 32, 32), 0.7)
    with torch.inference_mode():
        torch.testing.assert_close(merged(pixels), model(pixels), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_merges(name: str) -> None:
    model = build(name)
    pixels = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        before = model(pixels)
    assert token_merge.check(model, Config(r=4)) == []
    token_merge.apply(model, Config(r=4))
    with torch.inference_mode():
        after, found = trace(model, pixels)
    assert found is not None
    counts = tokens_per_layer(model, pixels)
    assert counts is not None
    assert [a - b for a, b in pairwise(counts)] == [4] * 5
    assert after.shape == before.shape
    assert not torch.equal(after, before)


def test_the_map_follows_every_patch() -> None:
    model = token_merge.apply(build("timm ViT"), Config(keep_ratio=0.5))
    pixels = torch.randn(2, 3, 32, 32)
    counts = tokens_per_layer(model, pixels)
    with torch.inference_mode():
        _, found = trace(model, pixels)
    assert found is not None
    assert counts is not None
    for sample in found.owner:
        for stage, count in zip(sample, counts, strict=True):
            assert set(stage.tolist()) == set(range(1, count))  # no patch is lost, no token is empty
        for earlier, later in pairwise(sample):
            for token in earlier.unique():  # what has merged stays together
                assert len(later[earlier == token].unique()) == 1


@pytest.mark.parametrize("keep_ratio", [0.3, 0.5, 0.7, 0.9, 1.0])
def test_keep_ratio_is_what_is_left(keep_ratio: float) -> None:
    model = token_merge.apply(build("timm ViT"), Config(keep_ratio=keep_ratio))
    counts = tokens_per_layer(model, torch.randn(1, 3, 32, 32))
    assert counts is not None
    assert abs((counts[-1] - 1) - keep_ratio * 64) <= 1.5


def test_r_is_bounded_by_half_of_the_patches() -> None:
    assert MergeTokens(1, r=100).count(65) == 33


def test_pruned_then_merged_model_runs() -> None:
    model = token_prune.apply(build("timm ViT"), token_prune.Config(keep_ratio=0.7, blocks=(2,)))
    token_merge.apply(model, Config(r=3))
    pixels = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert model(pixels).shape == (2, 7)
    assert tokens_per_layer(model, pixels) == [62, 42, 39, 36, 33, 30]


def test_match_never_uses_one_token_twice() -> None:
    found = match(torch.randn(4, 31, 6), 10, 1)
    for stay, merged in zip(found.stay, found.merged, strict=True):
        left = stay.flatten().tolist()
        assert sorted(left + merged.flatten().tolist()) == list(range(2, 31, 2))
        assert left == sorted(left)


def test_merge_takes_means_by_size() -> None:
    x, size = torch.tensor([[[1.0], [2.0], [3.0], [4.0]]]), torch.tensor([[1.0, 3.0, 1.0, 1.0]])
    found = Matching(torch.tensor([[[0]]]), torch.tensor([[[2]]]), torch.tensor([[[1]]]), None)
    merged, sizes = merge(x, size, found, 0)
    assert merged.flatten().tolist() == [1.0, 2.25, 4.0]
    assert sizes.flatten().tolist() == [1.0, 4.0, 1.0]


def test_two_amounts_are_refused() -> None:
    (reason,) = token_merge.check(build("timm ViT"), Config(r=3, keep_ratio=0.5))
    assert reason == "only one of r, schedule and keep_ratio can be given, not r and keep_ratio"


def test_the_default_is_the_papers_r_of_13_for_its_model() -> None:
    assert Config().keep_ratio == 0.2
    assert Config(r=3).keep_ratio is None
    tokens, merged = 197, []
    for reducer in token_merge._reducers(Config(), 1, 12):
        merged.append(reducer.pairs(tokens))
        tokens = reducer.count(tokens)
    assert merged == [13] * 12
    assert tokens == 1 + 40
    assert token_merge.check(build("timm ViT"), Config()) == []


def test_a_schedule_must_fit_the_depth() -> None:
    assert "6 blocks" in token_merge.check(build("timm ViT"), Config(schedule=(1, 2)))[0]
