"""EViT pruning against a loop written from the paper, and its invariants."""

from __future__ import annotations

import math

import pytest
import torch
from models import FAMILIES, build, timm_vit

from paring.transforms import token_prune
from paring.transforms._encoder import find
from paring.transforms.token_map import tokens_per_layer, trace
from paring.transforms.token_prune import Config, PruneTokens, fuse, rank


def reference(model: torch.nn.Module, pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """A timm ViT pruned image by image with plain loops. [1, 3, H, W] -> logits"""
    x = model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(pixels))))
    assert config.blocks is not None
    for number, block in enumerate(model.blocks, start=1):
        y = block.norm1(x)
        attention = block.attn
        count, heads = x.shape[1], attention.num_heads
        qkv = attention.qkv(y).reshape(1, count, 3, heads, -1).permute(2, 0, 3, 1, 4)
        weights = (qkv[0] @ qkv[1].transpose(-2, -1) * attention.scale).softmax(-1)
        mixed = (weights @ qkv[2]).transpose(1, 2).reshape(1, count, -1)
        x = x + block.ls1(attention.proj(mixed))
        if number in config.blocks:
            scores = weights[0, :, 0, 1:].mean(0).tolist()
            order = sorted(range(len(scores)), key=lambda i: -scores[i])
            kept = math.ceil(config.keep_ratio * len(scores))
            tokens = [x[0, 0]] + [x[0, 1 + i] for i in order[:kept]]
            rest = order[kept:]
            if config.inattentive != "drop":
                total = sum(scores[i] for i in rest) if config.inattentive == "fuse" else 1.0
                tokens.append(sum(x[0, 1 + i] * scores[i] for i in rest) / total)
            x = torch.stack(tokens)[None]
        x = x + block.ls2(block.mlp(block.norm2(x)))
    return model.forward_head(model.norm(x))


@pytest.mark.parametrize("inattentive", ["fuse", "fuse_sum", "drop"])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40)])
def test_pruning_equals_the_loop(inattentive: str, height: int, width: int) -> None:
    config = Config(keep_ratio=0.6, blocks=(2, 4), inattentive=inattentive)
    torch.manual_seed(0)
    options = {"img_size": (height, width), "init_values": 0.5}
    model, changed = timm_vit(**options).eval(), timm_vit(**options).eval()
    changed.load_state_dict(model.state_dict())
    token_prune.apply(changed, config)
    pixels = torch.randn(3, 3, height, width)
    with torch.inference_mode():
        expected = torch.cat([reference(model, image[None], config) for image in pixels])
        found = changed(pixels)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_pruned_to_the_counts_it_promises(name: str) -> None:
    model = build(name)
    assert token_prune.check(model, Config()) == []
    token_prune.apply(model, Config(keep_ratio=0.5, blocks=(2, 5)))
    pixels = torch.randn(2, 3, 32, 32)
    prefix = find(model).prefix
    with torch.inference_mode():
        _, found = trace(model, pixels)
    counts = [64 + prefix] + [32 + 1 + prefix] * 3 + [17 + 1 + prefix] * 2
    assert tokens_per_layer(model, pixels) == counts
    assert found is not None
    assert found.owner.shape == (2, 2, 64)
    assert found.owner.amax() == counts[1] - 1


def test_keep_ratio_one_changes_nothing() -> None:
    model, same = build("timm ViT"), build("timm ViT")
    token_prune.apply(same, Config(keep_ratio=1.0))
    pixels = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(same(pixels), model(pixels), atol=1e-5, rtol=1e-4)


def test_outputs_do_not_depend_on_batch_mates() -> None:
    model = token_prune.apply(build("timm ViT"), Config(keep_ratio=0.5))
    pixels = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        together, alone = model(pixels), torch.cat([model(image[None]) for image in pixels])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_the_map_says_what_was_kept() -> None:
    model = token_prune.apply(build("timm ViT"), Config(keep_ratio=0.5, blocks=(2, 4)))
    with torch.inference_mode():
        _, found = trace(model, torch.randn(2, 3, 32, 32))
    assert found is not None
    assert found.fused == (33, 18)
    for sample in found.owner:
        kept = [owner for owner in sample[0].tolist() if owner != 33]
        assert sorted(kept) == list(range(1, 33))  # 32 patches alone, the others fused into token 33
        assert (sample[0] == 33).sum() == 32


def test_dropped_patches_are_lost_for_good() -> None:
    config = Config(keep_ratio=0.5, blocks=(2, 4), inattentive="drop")
    model = token_prune.apply(build("timm ViT"), config)
    with torch.inference_mode():
        _, found = trace(model, torch.randn(1, 3, 32, 32))
    assert found is not None
    first, second = found.owner[0] < 0
    assert first.sum() == 32
    assert second.sum() == 48
    assert bool((second | ~first).all())


def test_equal_scores_stay_in_order() -> None:
    assert rank(torch.tensor([[1.0, 2.0, 2.0, 1.0, 2.0]]))[1].tolist() == [[1, 2, 4, 0, 3]]


def test_fuse_is_a_weighted_mean_or_sum() -> None:
    x, weights = torch.tensor([[[1.0, 2.0], [5.0, 0.0]]]), torch.tensor([[[0.1, 0.3]]])
    torch.testing.assert_close(fuse(x, weights, True), torch.tensor([[[4.0, 0.5]]]))
    torch.testing.assert_close(fuse(x, weights, False), torch.tensor([[[1.6, 0.2]]]))


@pytest.mark.parametrize(("keep_ratio", "patches", "kept"), [(0.7, 196, 138), (0.7, 10, 7), (0.01, 5, 1)])
def test_kept_is_the_ceiling(keep_ratio: float, patches: int, kept: int) -> None:
    assert PruneTokens(keep_ratio, "drop", 1).kept(patches) == kept


def test_a_model_without_class_token_is_refused() -> None:
    model = timm_vit(class_token=False, global_pool="avg")
    assert "no class token" in token_prune.check(model, Config())[0]


def test_blocks_beyond_the_depth_are_refused() -> None:
    assert "blocks 1 to 6" in token_prune.check(build("timm ViT"), Config(blocks=(2, 7)))[0]
