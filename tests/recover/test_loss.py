"""The parts of the loss against their formulas."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from paring.recipe._recover import Loss
from paring.recover._features import BlockOutputs, feature_loss
from paring.recover._loss import Distillation, divergence
from paring.transforms import discover
from paring.transforms._encoder import open_encoder

sys.path.insert(0, str(Path(__file__).parents[1] / "transforms"))
from models import FAMILIES, build


def test_divergence_is_that_of_softened_answers() -> None:
    answer, target = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    p, q = (target / 3).softmax(-1), (answer / 3).softmax(-1)
    expected = 9 * (p * (p / q).log()).sum(-1).mean()
    assert divergence(answer, target, 3.0).item() == pytest.approx(expected.item(), rel=1e-5)
    assert divergence(target, target, 3.0).item() == pytest.approx(0, abs=1e-6)


def test_features_of_unequal_length_are_compared_by_their_prefix() -> None:
    generator = torch.Generator().manual_seed(0)
    mine, other = torch.randn(2, 7, 4, generator=generator), torch.randn(2, 9, 4, generator=generator)
    by_prefix = (mine[:, :1] - other[:, :1]).square().mean() / other[:, :1].square().mean()
    assert torch.equal(feature_loss([mine], [other], 1), by_prefix)
    by_mean = (mine.mean(1) - other.mean(1)).square().mean() / other.mean(1).square().mean()
    assert feature_loss([mine], [other], 0).item() == pytest.approx(by_mean.item(), rel=1e-5)
    assert feature_loss([other], [other], 1).item() == 0
    assert feature_loss([torch.zeros_like(other)], [other], 1).item() == pytest.approx(1)


@pytest.mark.parametrize("name", FAMILIES)
def test_an_opened_encoder_gives_the_features_of_the_original(name: str) -> None:
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    plain, opened = build(name), build(name)
    open_encoder(opened)
    with BlockOutputs(plain) as theirs, BlockOutputs(opened) as own, torch.no_grad():
        plain(pixels), opened(pixels)
        there, here = theirs.take(), own.take()
        assert len(there) == len(here) > 0
        assert theirs.prefix == own.prefix
        assert feature_loss(here, there, own.prefix).item() < 1e-8
        assert own.take() == []
    plain(pixels)
    assert theirs.take() == []  # outside, nothing is kept


def test_a_distillation_names_and_weighs_its_parts() -> None:
    model, original = build("timm ViT", 1), build("timm ViT", 1)
    prune = discover()["token_prune"]
    model = prune.apply(model, prune.Config(keep_ratio=0.3, blocks=(2,)))
    pixels, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    with BlockOutputs(original) as theirs, BlockOutputs(model) as own:
        weights = Loss(logits=2.0, labels=3.0, features=0.5)
        extra = [lambda given: torch.tensor(7.0 if given is model else 0.0)]
        found = Distillation(original, model, weights, (theirs, own), extra)(model, pixels, labels)
    assert list(found) == ["logits", "labels", "features", "auxiliary"]
    with torch.no_grad():
        expected = 3 * cross_entropy(model(pixels), labels)
    assert found["labels"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert found["auxiliary"].item() == 7
    assert found["features"].item() > 0
    torch.stack(list(found.values())).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert all(p.grad is None for p in original.parameters())


def test_a_weight_of_zero_leaves_a_part_out() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    found = Distillation(model, model, Loss(logits=0.0))(model, torch.randn(2, 1, 2, 2), torch.tensor([0, 1]))
    assert list(found) == ["labels"]
