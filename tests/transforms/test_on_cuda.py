"""Transforms on a GPU against the same model on the CPU. Sums are fp32 on both, in other orders.

Where a model chooses (tokens, experts, bits), the closest choice can fall the other way: then single samples
differ by more than rounding, so that a share of the samples is what is asked for.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from language_models import build_language
from models import build
from torch import nn

from paring.transforms import additive_attention, primitive_mixture, shift_linear, token_merge, token_prune
from paring.transforms._decoder import open_decoder
from paring.transforms._encoder.tokens import take

pytestmark = pytest.mark.gpu
COUNT, TOLERANCE = 64, 1e-3  # samples; of the largest logit


@pytest.fixture(autouse=True)
def fp32() -> Iterator[None]:
    """Convolutions without TF32, as on the CPU."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def both(model: nn.Module, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the model answers on the CPU and on the GPU, both as CPU tensors."""
    with torch.inference_mode():
        here = model(*inputs)
        there = copy.deepcopy(model).cuda()(*(one.cuda() for one in inputs))
    assert there.is_cuda
    return here, there.cpu()


def share_of_equal(here: torch.Tensor, there: torch.Tensor) -> float:
    """Samples whose logits are all within the tolerance."""
    within = ((here - there).abs() <= TOLERANCE * here.abs().max()).all(-1)
    return float(within.float().mean())


def pixels() -> torch.Tensor:
    return torch.randn(COUNT, 3, 32, 32, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(
    ("method", "options", "least"),
    [
        (token_prune, {"keep_ratio": 0.5, "blocks": (2, 4)}, 0.95),
        (token_merge, {"r": 6}, 0.95),
        (shift_linear, {}, 1.0),
        (shift_linear, {"bits": 5, "terms": 2}, 1.0),
        (additive_attention, {}, 0.9),
        (primitive_mixture, {}, 0.9),
    ],
    ids=["token_prune", "token_merge", "shift_linear", "shift_linear, two terms", "additive", "mixture"],
)
def test_answers_are_those_of_the_cpu(method: ModuleType, options: dict[str, Any], least: float) -> None:
    model = build("timm ViT")
    before = copy.deepcopy(model)
    changed = method.apply(model, method.Config(**options)).eval()
    here, there = both(changed, pixels())
    assert share_of_equal(here, there) >= least
    # The transform is there: the original answers otherwise.
    assert share_of_equal(here, before(pixels()).detach()) < 0.5


@pytest.mark.parametrize("method", [additive_attention, shift_linear, primitive_mixture])
def test_training_forms_answer_as_what_they_freeze_to(method: ModuleType) -> None:
    model = method.apply(build("timm ViT"), method.Config()).eval().cuda()
    images = pixels().cuda()
    with torch.inference_mode():
        expected = model(images)
    trained = method.trainable(model).eval()
    found = trained(images)
    assert share_of_equal(expected, found.detach()) >= 0.95
    found.square().mean().backward()
    gradients = [one.grad for one in trained.parameters() if one.grad is not None]
    assert gradients
    assert all(bool(one.isfinite().all()) for one in gradients)


def test_rows_are_taken_and_their_gradient_put_back() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 7, 5, generator=generator)
    index = torch.stack([torch.randperm(7, generator=generator)[:4] for _ in range(3)])
    weights = torch.randn(3, 4, 5, generator=generator)
    results = []
    for device in ("cpu", "cuda"):
        given = x.clone().to(device).requires_grad_()
        taken = take(given, index.to(device))
        (taken * weights.to(device)).sum().backward()
        assert given.grad is not None
        results.append((taken.detach().cpu(), given.grad.cpu()))
    for here, there in zip(*results, strict=True):
        torch.testing.assert_close(here, there, rtol=0, atol=0)


def test_a_decoder_generates_the_same_tokens() -> None:
    decoder = open_decoder(build_language("Llama"))
    prompt = torch.randint(3, 97, (2, 9), generator=torch.Generator().manual_seed(3))
    here, there = (greedy(copy.deepcopy(decoder).to(on), prompt.to(on), 24) for on in ("cpu", "cuda"))
    assert here[0].tolist() == there[0].tolist()
    assert len(set(here[0].flatten().tolist())) > 4
    torch.testing.assert_close(here[1], there[1], rtol=1e-3, atol=1e-3)


def greedy(decoder: nn.Module, ids: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The next `count` tokens [B, count] and their logits [B, count, V], on the CPU."""
    past: list[Any] = []
    said, scores = [], []
    mask = torch.ones_like(ids)
    places = mask.cumsum(1) - 1
    with torch.inference_mode():
        for _ in range(count):
            logits, past = decoder(ids, mask, places, past)
            scores.append(logits[:, -1:].cpu())
            ids = logits[:, -1:].argmax(-1)
            said.append(ids.cpu())
            mask = torch.cat([mask, torch.ones_like(ids)], 1)
            places = places[:, -1:] + 1
    return torch.cat(said, 1), torch.cat(scores, 1)
