"""Opening an encoder changes no answer, whatever the family."""

from __future__ import annotations

import copy

import pytest
import torch
from models import FAMILIES, build, timm_vit

from paring.transforms._encoder import find, open_encoder, take, why_not


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("batch", [1, 3])
def test_an_opened_encoder_computes_what_the_model_computed(name: str, batch: int) -> None:
    model = build(name)
    pixels = torch.randn(batch, 3, 32, 32)
    opened = copy.deepcopy(model)
    open_encoder(opened)
    with torch.inference_mode():
        expected, found = model(pixels), opened(pixels)
    assert find(opened) is not None
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert expected.std() > 1e-3  # an answer that is constant would agree with anything


def test_opening_twice_changes_nothing() -> None:
    model = build("timm ViT")
    assert open_encoder(model) is open_encoder(model)


def test_a_model_without_an_encoder_is_named() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    assert "no vision transformer encoder found in Sequential" in why_not(model)[0]
    with pytest.raises(ValueError, match="Sequential"):
        open_encoder(model)


def test_blocks_of_another_kind_are_refused_with_their_path() -> None:
    from timm.models.vision_transformer import ResPostBlock

    (reason,) = why_not(timm_vit(block_fn=ResPostBlock))
    assert "blocks.0 is a ResPostBlock" in reason


def test_take_gathers_rows_of_each_sequence() -> None:
    x = torch.arange(24.0).reshape(2, 4, 3)
    index = torch.tensor([[3, 0], [1, 1]])
    assert torch.equal(take(x, index), torch.stack([x[0][[3, 0]], x[1][[1, 1]]]))


def test_take_has_a_gradient() -> None:
    x = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([[4, 0, 4], [1, 2, 3]])
    assert torch.autograd.gradcheck(lambda tokens: take(tokens, index), x)
