"""The encoder transforms that work on the patches' grid: counts, identity, maps, refusals, batch mates."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from models import FAMILIES, build, timm_vit
from sound_and_video import ENCODERS, build_encoder, sample
from torch import nn

from paring.transforms import (
    adjacent_merge,
    discover,
    frame_merge,
    token_merge,
    token_pool,
    token_prune,
    window_merge,
)
from paring.transforms._encoder import Tokens, find, open_encoder
from paring.transforms.token_map import tokens_per_layer, trace
from paring.transforms.traits import MECHANISMS, STAGES

OURS = {
    "window_merge": (window_merge, window_merge.Config(r=2, window=(2, 2), block=2)),
    "window_merge in raster order": (window_merge, window_merge.Config(order="raster", block=2)),
    "token_pool": (token_pool, token_pool.Config(block=2)),
    "token_pool, uneven": (token_pool, token_pool.Config(window=(3, 2), block=2)),
}


def reference(model: Any, pixels: torch.Tensor, block: int, reduce: Callable[..., Any]) -> torch.Tensor:
    """A timm ViT whose tokens `reduce` shortens after a block, without proportional attention."""
    x = model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(pixels))))
    for number, layer in enumerate(model.blocks, start=1):
        x = layer(x)
        if number == block:
            x = torch.cat([x[:, :1], reduce(x[:, 1:])], 1)
    return model.forward_head(model.norm(x))


@pytest.mark.parametrize("block", [1, 3, 6])
def test_window_merging_equals_the_model_cut_open_by_hand(block: int) -> None:
    """The 8x8 patches hold 2x2 windows of 3x3; the most alike one merges, on the block's *output*."""
    model = build("timm ViT")
    changed = window_merge.apply(copy.deepcopy(model), window_merge.Config(r=1, block=block))

    def reduce(x: torch.Tensor) -> torch.Tensor:
        rows = []
        for patches in x:
            grid = patches.reshape(8, 8, -1)
            windows = [
                [(i + a) * 8 + j + b for a in range(3) for b in range(3)] for i in (0, 3) for j in (0, 3)
            ]
            unit = grid.flatten(0, 1) / grid.flatten(0, 1).norm(dim=-1, keepdim=True)
            scores = [(unit[w] @ unit[w].T).triu(1).sum().item() for w in windows]
            best = windows[scores.index(max(scores))]
            rest = [i for i in range(64) if i not in best]
            rows.append(torch.cat([patches[best].mean(0, keepdim=True), patches[rest]]))
        return torch.stack(rows)

    pixels = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        expected = reference(model, pixels, block, reduce)
        torch.testing.assert_close(changed(pixels), expected, atol=1e-5, rtol=1e-4)


def test_pooling_equals_the_model_cut_open_by_hand() -> None:
    model = build("timm ViT")
    config = token_pool.Config(block=2, proportional_attention=False)
    changed = token_pool.apply(copy.deepcopy(model), config)

    def reduce(x: torch.Tensor) -> torch.Tensor:
        image = x.transpose(1, 2).reshape(len(x), -1, 8, 8)
        return nn.functional.avg_pool2d(image, 2).flatten(2).transpose(1, 2)

    pixels = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected = reference(model, pixels, 2, reduce)
        torch.testing.assert_close(changed(pixels), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("method", OURS)
def test_every_image_family(name: str, method: str) -> None:
    transform, config = OURS[method]
    model = build(name)
    assert transform.check(model, config) == []
    transform.apply(model, config)
    pixels = torch.randn(2, 3, 32, 32)
    prefix = find(model).prefix
    left = {"window_merge": 58, "token_pool": 16, "token_pool, uneven": 12}.get(method, 48)
    assert tokens_per_layer(model, pixels) == [64 + prefix] * 2 + [left + prefix] * 4
    with torch.inference_mode():
        outputs, found = trace(model, pixels)
        alone = torch.cat([model(image[None]) for image in pixels])
    torch.testing.assert_close(outputs, alone, atol=1e-5, rtol=1e-4)  # no batch mate matters
    assert found.stage_names == ("block 2",)
    for owner in found.owner[:, 0]:
        assert sorted(owner.unique().tolist()) == list(range(prefix, prefix + left))


SOUND_AND_VIDEO = [
    ("AST", adjacent_merge, adjacent_merge.Config(keep_ratio=0.75), (14, 10)),
    ("AST", token_pool, token_pool.Config(window=(1, 2)), (14, 8)),
    ("AST", window_merge, window_merge.Config(r=1, window=(2, 2)), (14, 11)),
    ("Whisper encoder", adjacent_merge, adjacent_merge.Config(keep_ratio=0.8), (30, 24)),
    (
        "Whisper encoder",
        adjacent_merge,
        adjacent_merge.Config(keep_ratio=0.5, blocks=(1, 2, 3)),
        (30, 15, 8, 4),
    ),
    ("Whisper classifier", token_pool, token_pool.Config(window=(4,)), (30, 8)),
    ("VideoMAE", frame_merge, frame_merge.Config(keep_ratio=0.75), (36, 27)),
    ("VideoMAE", token_pool, token_pool.Config(window=(2, 2, 2)), (36, 8)),
    ("VideoMAE", token_pool, token_pool.Config(), (36, 16)),  # rows and columns of every frame
    ("VideoMAE", window_merge, window_merge.Config(share=0.5), (36, 20)),
    ("VideoMAE, first token", frame_merge, frame_merge.Config(keep_ratio=0.5), (36, 18)),
]


@pytest.mark.parametrize(("name", "transform", "config", "left"), SOUND_AND_VIDEO)
def test_sound_and_video(name: str, transform: Any, config: Any, left: tuple[int, ...]) -> None:
    model, prefix = build_encoder(name), ENCODERS[name][3]
    assert transform.check(model, config) == []
    before = copy.deepcopy(model)
    transform.apply(model, config)
    x = sample(name, 3)
    counts = [count + prefix for count in (*left, *[left[-1]] * (4 - len(left)))]
    assert tokens_per_layer(model, x) == counts
    with torch.inference_mode():
        outputs, found = trace(model, x)
        alone = torch.cat([model(one[None]) for one in x])
        assert not torch.equal(outputs.flatten()[:5], before(x).flatten()[:5])
    torch.testing.assert_close(outputs, alone, atol=1e-5, rtol=1e-4)
    for owner in found.owner[:, -1]:
        assert sorted(owner.unique().tolist()) == list(range(prefix, prefix + left[-1]))


@pytest.mark.parametrize(
    ("name", "transform", "config"),
    [
        ("timm ViT", window_merge, window_merge.Config(share=0.0)),
        ("timm ViT", token_pool, token_pool.Config(window=(1, 1))),
        ("VideoMAE", frame_merge, frame_merge.Config(keep_ratio=1.0)),
        ("Whisper encoder", adjacent_merge, adjacent_merge.Config(keep_ratio=1.0, blocks=(1, 3))),
    ],
)
def test_nothing_to_do_changes_nothing(name: str, transform: Any, config: Any) -> None:
    model = build(name) if name in FAMILIES else build_encoder(name)
    x = torch.randn(2, 3, 32, 32) if name in FAMILIES else sample(name, 2)
    changed = transform.apply(copy.deepcopy(model), config)
    with torch.inference_mode():
        torch.testing.assert_close(changed(x), model(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("transform", "config"),
    [
        (window_merge, window_merge.Config(share=1.0, proportional_attention=True)),
        (token_pool, token_pool.Config(window=(2, 3))),
    ],
)
def test_identical_patches_reduce_without_loss(transform: Any, config: Any) -> None:
    """A constant image without positions: all patches are one, and log(size) makes up for their number."""
    torch.manual_seed(0)
    model = timm_vit(pos_embed="none").eval()
    changed = transform.apply(copy.deepcopy(model), config)
    pixels = torch.full((1, 3, 32, 32), 0.7)
    with torch.inference_mode():
        torch.testing.assert_close(changed(pixels), model(pixels), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "transform", "config", "left"), SOUND_AND_VIDEO)
def test_every_step_conserves_mass(name: str, transform: Any, config: Any, left: tuple[int, ...]) -> None:
    model = transform.apply(build_encoder(name), config)
    trunk = find(model)
    step = next(step for block in trunk.opened() for step in block.steps())
    count = math.prod(trunk.grid) + trunk.prefix
    x, size = torch.randn(2, count, 48), torch.randint(1, 4, (2, count)).float()
    found = step(Tokens(x, size))
    assert found.x.shape[1] == left[1] + trunk.prefix
    torch.testing.assert_close(found.size.sum(1), size.sum(1))
    mass = (found.x * found.size[..., None]).sum(1)
    torch.testing.assert_close(mass, (x * size[..., None]).sum(1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.x[:, : trunk.prefix], x[:, : trunk.prefix])


def test_pooling_twice_is_on_the_pooled_grid() -> None:
    model = token_pool.apply(build("timm ViT"), token_pool.Config(block=2))
    token_pool.apply(model, token_pool.Config(block=4))
    assert tokens_per_layer(model, torch.randn(1, 3, 32, 32)) == [65, 65, 17, 17, 5, 5]


def test_windows_merge_on_a_pooled_grid() -> None:
    model = token_pool.apply(build("timm ViT"), token_pool.Config(block=2))
    window_merge.apply(model, window_merge.Config(r=1, block=3))
    assert tokens_per_layer(model, torch.randn(1, 3, 32, 32)) == [65, 65, 17, 9, 9, 9]


def test_tome_goes_on_after_windows() -> None:
    model = window_merge.apply(build("timm ViT"), window_merge.Config(share=1.0, block=2))
    config = token_merge.Config(schedule=(0, 0, 0, 5, 5, 5))
    assert token_merge.check(model, config) == []
    token_merge.apply(model, config)
    with torch.inference_mode():
        assert model(torch.randn(2, 3, 32, 32)).shape == (2, 7)
    assert tokens_per_layer(model, torch.randn(1, 3, 32, 32)) == [65, 65, 33, 28, 23, 18]


def test_another_image_size_needs_its_grid() -> None:
    model = timm_vit(dynamic_img_size=True).eval()
    assert token_pool.check(model, token_pool.Config(grid=(6, 10))) == []
    token_pool.apply(model, token_pool.Config(grid=(6, 10)))
    with torch.inference_mode():
        assert model(torch.randn(2, 3, 24, 40)).shape == (2, 7)
        with pytest.raises(ValueError, match="got 64 patches, which are no grid of 6 x 10"):
            model(torch.randn(2, 3, 32, 32))


REFUSED: list[tuple[Callable[[], nn.Module], Any, Any, str]] = [
    (lambda: build("timm ViT"), window_merge, window_merge.Config(r=5), "4 windows of"),
    (lambda: build("timm ViT"), window_merge, window_merge.Config(window=(9, 9)), "0 windows of"),
    (lambda: build("timm ViT"), window_merge, window_merge.Config(window=(3,)), "must be rows and columns"),
    (lambda: build("timm ViT"), window_merge, window_merge.Config(block=7), "blocks 1 to 6"),
    (lambda: build("timm ViT"), frame_merge, frame_merge.Config(), "2 axes; 3 are needed"),
    (lambda: build("timm ViT"), token_pool, token_pool.Config(window=(2, 2, 2)), "more axes"),
    (lambda: build_encoder("VideoMAE"), adjacent_merge, adjacent_merge.Config(), "3 axes; 1 or 2"),
    (lambda: build_encoder("Whisper encoder"), token_pool, token_pool.Config(), "more axes"),
    (lambda: build_encoder("Whisper encoder"), window_merge, window_merge.Config(), "1 axes; 2 or 3"),
    (lambda: build_encoder("AST"), adjacent_merge, adjacent_merge.Config(blocks=(1, 2)), "one block"),
    (lambda: build_encoder("AST"), adjacent_merge, adjacent_merge.Config(blocks=(1, 1)), "different numbers"),
    (lambda: nn.Conv2d(3, 4, 3), token_pool, token_pool.Config(), "no vision transformer"),
    (
        lambda: token_merge.apply(build("timm ViT"), token_merge.Config(r=2)),
        window_merge,
        window_merge.Config(),
        "no known grid after block 1",
    ),
    (
        lambda: token_pool.apply(build("timm ViT"), token_pool.Config(block=4)),
        window_merge,
        window_merge.Config(block=2),
        "a step after block 4 counts on",
    ),
    (
        lambda: window_merge.apply(build("timm ViT"), window_merge.Config(block=3)),
        token_merge,
        token_merge.Config(r=2),
        "a step after block 3 counts on",
    ),
    (
        lambda: window_merge.apply(build("timm ViT"), window_merge.Config(block=3)),
        token_prune,
        token_prune.Config(blocks=(3, 5)),
        "a step after block 3 counts on",
    ),
]


@pytest.mark.parametrize(("make", "transform", "config", "message"), REFUSED)
def test_what_does_not_fit_is_refused(
    make: Callable[[], nn.Module], transform: Any, config: Any, message: str
) -> None:
    assert message in " ".join(transform.check(make(), config))


def test_patches_taken_out_of_their_grid_are_named() -> None:
    model = window_merge.apply(build("timm ViT"), window_merge.Config(block=3))
    token_merge.apply(model, token_merge.Config(r=2))
    with pytest.raises(ValueError, match="MergeWindows got 58 patches"):
        model(torch.randn(1, 3, 32, 32))


def test_a_model_without_a_grid_is_told_to_give_it() -> None:
    model = build("timm ViT")
    open_encoder(model).grid = None
    assert "give the field grid" in token_pool.check(model, token_pool.Config())[0]
    assert token_pool.check(model, token_pool.Config(grid=(8, 8))) == []


def test_the_traits_are_the_surveys() -> None:
    for name in ("window_merge", "token_pool", "frame_merge", "adjacent_merge", "token_merge", "token_prune"):
        traits = discover()[name].TRAITS
        assert traits.mechanism in MECHANISMS
        assert traits.stage in STAGES
        assert traits.static_shape
        assert not traits.query_dependent
