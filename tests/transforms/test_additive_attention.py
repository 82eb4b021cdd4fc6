"""Additive attention against a loop written from the paper, its invariants, and its training form."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from models import FAMILIES, build, timm_vit
from torch import nn

from paring.transforms import additive_attention, token_merge, token_prune
from paring.transforms._additive import AdditiveAttention, Binariser, adopting, binarisers, watching
from paring.transforms._encoder import find, open_encoder
from paring.transforms.additive_attention import Config, apply, calibrate, check, frozen, trainable

KINDS = [Config(), Config(form="quadratic"), Config(binarisation="ksh", bits=8, anchors=6)]
IDS = ["vanilla", "quadratic", "ksh"]


class BatchMean(Binariser):
    """The authors' thresholds: the mean over the whole batch, at run time."""

    def compared(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
        normalised = x / x.norm(dim=-1, keepdim=True)
        return normalised, normalised.mean(), 1.0


def pixels(count: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def answers(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(images)


def attention_of(model: nn.Module, number: int = 1) -> AdditiveAttention:
    trunk = find(model)
    assert trunk is not None
    found = trunk.opened()[number - 1].attention
    assert isinstance(found, AdditiveAttention)
    return found


def loop(attention: AdditiveAttention, x: torch.Tensor) -> torch.Tensor:
    """One sample [N, C], head by head and token by token -> [N, C]."""
    assert attention.query is not None
    count, heads = len(x), attention.heads
    query, key, value = (
        layer(x).reshape(count, heads, -1) for layer in (attention.query, attention.key, attention.value)
    )
    rows = []
    for i in range(count):
        parts = []
        for h in range(heads):
            bits = [
                (one[:, h] / one[:, h].norm(dim=-1, keepdim=True) > binariser.threshold[h]).float()
                for one, binariser in ((query, attention.binarise_query), (key, attention.binarise_key))
            ]
            out = 0.5 * value[i, h]
            for j in range(count):
                out = out + (bits[0][i] @ bits[1][j]) * value[j, h] / math.pi
            out = out / out.norm()
            taps = attention.local.weight[h, 0, :, 0]
            for tap in range(9):
                if 0 <= i + tap - 4 < count:
                    out = out + taps[tap] * value[i + tap - 4, h]
            parts.append(out)
        rows.append(torch.cat(parts))
    return attention.output(torch.stack(rows))


@pytest.mark.parametrize("form", ["linear", "quadratic"])
def test_a_block_computes_what_the_loop_does(form: str) -> None:
    model = apply(build("timm ViT"), Config(form=form))
    attention, x = attention_of(model), torch.randn(2, 11, 48)
    with torch.no_grad():
        attention.local.weight.normal_()
        found = attention(x, None, False)[0]
        expected = torch.stack([loop(attention, sample) for sample in x])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("config", KINDS, ids=IDS)
def test_answers_do_not_depend_on_batch_mates(config: Config) -> None:
    model = apply(build("timm ViT"), config)
    a, b = pixels(2), 2 * pixels(3, seed=1) + 1
    together = answers(model, torch.cat([a, b]))
    torch.testing.assert_close(
        together, torch.cat([answers(model, a), answers(model, b)]), atol=1e-5, rtol=1e-4
    )


def test_thresholds_over_the_whole_batch_make_answers_depend_on_batch_mates() -> None:
    model = apply(build("timm ViT"), Config())
    for number in range(1, 7):
        attention_of(model, number).binarise_query = BatchMean()
        attention_of(model, number).binarise_key = BatchMean()
    a, b = pixels(2), 2 * pixels(3, seed=1) + 1
    together = answers(model, torch.cat([a, b]))
    assert not torch.allclose(
        together, torch.cat([answers(model, a), answers(model, b)]), atol=1e-2, rtol=1e-2
    )


@pytest.mark.parametrize("config", KINDS, ids=IDS)
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_takes_it(name: str, config: Config) -> None:
    model = build(name)
    before = answers(model, pixels())
    assert check(model, config) == []
    after = answers(apply(model, config), pixels())
    assert after.shape == before.shape
    assert after.isfinite().all()
    assert not torch.allclose(after, before, atol=1e-3)


def test_only_the_chosen_blocks_change() -> None:
    assert check(build("timm ViT"), Config(blocks=(2, 5))) == []
    model = apply(build("timm ViT"), Config(blocks=(2, 5)))
    kinds = [isinstance(block.attention, AdditiveAttention) for block in find(model).opened()]
    assert kinds == [False, True, False, False, True, False]


@pytest.mark.parametrize("config", KINDS, ids=IDS)
def test_one_seed_gives_one_model(config: Config) -> None:
    first, second = (apply(build("timm ViT"), config) for _ in range(2))
    for (name, one), two in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(one, two), name


@pytest.mark.parametrize("config", KINDS, ids=IDS)
def test_the_training_form_answers_the_same_and_trains_everything(config: Config) -> None:
    model = apply(build("timm ViT"), config)
    expected = answers(model, pixels())
    model = trainable(model)
    found = model(pixels())
    torch.testing.assert_close(found.detach(), expected, atol=1e-5, rtol=1e-4)
    found.square().sum().backward()
    for number in range(1, 7):
        for name, parameter in attention_of(model, number).named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name
    torch.testing.assert_close(answers(frozen(model), pixels()), expected, atol=1e-6, rtol=1e-6)


def test_without_the_training_form_queries_get_no_gradient() -> None:
    model = apply(build("timm ViT"), Config())
    model(pixels()).sum().backward()
    attention = attention_of(model)
    assert attention.query is not None
    assert attention.query.weight.grad is None
    assert attention.value.weight.grad is not None


def test_thresholds_are_the_means_of_their_heads() -> None:
    model = calibrate(apply(build("timm ViT"), Config()), [pixels(2), pixels(2, seed=1)])
    trunk, seen = find(model), []
    handle = trunk.blocks[0].norm1.register_forward_hook(lambda module, inputs, found: seen.append(found))
    answers(model, torch.cat([pixels(2), pixels(2, seed=1)]))
    handle.remove()
    attention = attention_of(model)
    assert attention.query is not None
    query = attention.query(seen[0].clone()).reshape(4, 65, 3, 16)
    expected = (query / query.norm(dim=-1, keepdim=True)).mean((0, 1, 3))
    torch.testing.assert_close(attention.binarise_query.threshold.flatten(), expected.detach())


@pytest.mark.parametrize("config", KINDS, ids=IDS)
def test_calibration_brings_the_answers_nearer_to_the_originals(config: Config) -> None:
    original = build("timm ViT")
    wanted, unseen = original, pixels(8, seed=9)
    changed = apply(copy.deepcopy(original), config)
    before = (answers(changed, unseen) - answers(wanted, unseen)).square().mean()
    calibrate(changed, [pixels(16, seed=s) for s in range(4)], copy.deepcopy(original))
    after = (answers(changed, unseen) - answers(wanted, unseen)).square().mean()
    assert after < 0.7 * before


def test_projections_stay_where_they_may_not_be_fitted() -> None:
    original = build("timm ViT")
    changed = apply(copy.deepcopy(original), Config(refit=False))
    weights = attention_of(changed).output.weight.clone()
    thresholds = attention_of(changed).binarise_key.threshold.clone()
    calibrate(changed, [pixels(4)], copy.deepcopy(original))
    assert torch.equal(attention_of(changed).output.weight, weights)
    assert not torch.equal(attention_of(changed).binarise_key.threshold, thresholds)


def test_tokens_that_stand_for_several_count_as_their_duplicates() -> None:
    attention = attention_of(apply(build("timm ViT"), Config()))
    x, size = torch.randn(1, 5, 48), torch.tensor([[1.0, 3.0, 1.0, 2.0, 1.0]])
    repeated = x.repeat_interleave(size[0].long(), dim=1)
    with torch.no_grad():
        found = attention(x, size, False)[0]
        expected = attention(repeated, None, False)[0][:, [0, 1, 4, 5, 7]]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_it_goes_with_merging_before_and_after() -> None:
    for first, second in ((token_merge, additive_attention), (additive_attention, token_merge)):
        model = build("timm ViT")
        for method in (first, second):
            assert method.check(model, method.Config()) == []
            model = method.apply(model, method.Config())
        assert answers(model, pixels()).isfinite().all()


def test_blocks_that_score_by_the_class_token_are_left_to_softmax() -> None:
    model = token_prune.apply(build("timm ViT"), token_prune.Config(blocks=(2, 4)))
    reasons = check(model, Config())
    assert [reason[:7] for reason in reasons] == ["block 2", "block 4"]
    rest = Config(blocks=(1, 3, 5, 6))
    assert check(model, rest) == []
    assert answers(apply(model, rest), pixels()).isfinite().all()


def test_pruning_by_the_class_token_is_refused_where_there_is_no_softmax() -> None:
    model = apply(build("timm ViT"), Config(blocks=(1, 2)))
    (reason,) = token_prune.check(model, token_prune.Config(blocks=(2, 4)))
    assert "blocks [2]" in reason
    assert token_prune.check(model, token_prune.Config(blocks=(3, 4))) == []
    with pytest.raises(ValueError, match="no class token"):
        attention_of(model)(torch.randn(1, 5, 48), None, True)


def test_what_does_not_fit_is_said() -> None:
    model = build("timm ViT")
    assert "blocks 1 to 6" in check(model, Config(blocks=(7,)))[0]
    apply(model, Config(blocks=(1,)))
    assert "already" in check(model, Config())[0]


def test_a_query_key_norm_stays() -> None:
    model = timm_vit(qk_norm=True).eval()
    open_encoder(model)
    ordinary = find(model).opened()[0].attention
    attention = attention_of(apply(model, Config()))
    assert attention.query_norm is ordinary.query_norm


def test_only_bits_near_their_threshold_are_adopted() -> None:
    model = apply(build("timm ViT"), Config())
    images, own = pixels(2), list[torch.Tensor]()
    hooks = [
        b.register_forward_hook(lambda module, inputs, bits: own.append(bits)) for b in binarisers(model)
    ]
    with torch.inference_mode(), watching(model) as gaps:
        expected = model(images)
    for hook in hooks:
        hook.remove()
    nearest = torch.stack(gaps).min()
    opposite = [~bits for bits in own]
    with torch.inference_mode(), adopting(model, opposite, float(nearest) / 2):
        assert torch.equal(model(images), expected)
    with torch.inference_mode(), adopting(model, opposite, float(nearest) * 2):
        assert not torch.equal(model(images), expected)
