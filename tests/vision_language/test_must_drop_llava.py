"""MustDrop and FastV inside a LLaVA, against the language model alone and transformers' attention."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from llava_files import llava, opened, pixels

from paring.transforms import fast_v, must_drop, window_merge
from paring.transforms._decoder import Decoder, Growing, Tokens
from paring.transforms._must_drop.keys import key_set
from paring.transforms._vision_language import Prefilled, VisionLanguage, open_vision_language

TEXTS = (torch.tensor([[1, 9, 12], [1, 20, 7]]), torch.tensor([[8, 30, 11, 6], [22, 10, 5, 13]]))
BUDGETS = {"layers": (0, 2), "budgets": (12, 5)}


def read(model: VisionLanguage, images: torch.Tensor, before: int = 3) -> Prefilled:
    with torch.inference_mode():
        features, keys = model.encode(images)
        start, end = (model.embed(text[: len(images)]) for text in TEXTS)
        return model.prefill(start[:, :before], features, end, keys)


def with_config(model: VisionLanguage, method: Any, config: Any) -> VisionLanguage:
    assert method.check(model, config) == []
    changed = method.apply(copy.deepcopy(model), config)
    assert isinstance(changed, VisionLanguage)
    return changed


NO_OPS = [
    (window_merge, window_merge.Config(r=0)),
    (fast_v, fast_v.Config(ratio=0.0)),
    (must_drop, must_drop.Config(layers=(0, 2), budgets=(36, 36), key_share=0.08, trim_cache=True, whole=0)),
]


@pytest.mark.parametrize(("method", "config"), NO_OPS)
def test_keeping_all_changes_nothing(method: Any, config: Any) -> None:
    plain = opened()
    found = read(with_config(plain, method, config), pixels())
    wanted = read(plain, pixels())
    torch.testing.assert_close(found.logits, wanted.logits, atol=1e-5, rtol=1e-4)
    for ours, theirs in zip(found.memory, wanted.memory, strict=True):
        torch.testing.assert_close(tuple(ours), tuple(theirs), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("before", [0, 1, 3])
def test_the_prompt_says_where_the_image_is(before: int) -> None:
    """The same choice as in the language model alone, whose config says it; that one has its own oracle."""
    model, images = opened(), pixels()
    changed = with_config(model, must_drop, must_drop.Config(**BUDGETS))
    found = read(changed, images, before)
    given = must_drop.Config(image=(before, before + 36), **BUDGETS)
    decoder = must_drop.apply(copy.deepcopy(model.decoder), given)
    assert isinstance(decoder, Decoder)
    with torch.inference_mode():
        start, end = (model.embed(text) for text in TEXTS)
        x = torch.cat([start[:, :before], model.encode(images).features, end], 1)
        places = torch.arange(x.shape[1]).expand(2, -1)
        valid = torch.ones_like(places, dtype=torch.bool)
        wanted = decoder.run(Tokens(x, places, valid), Growing((), valid), reduce=True)
    for ours, theirs in zip(found.kept, wanted.kept, strict=True):
        assert torch.equal(ours, theirs)
    torch.testing.assert_close(found.logits, decoder.logits(wanted.tokens.x)[:, -1])


@pytest.mark.parametrize("strategy", ["default", "full"])
def test_keys_are_what_the_class_token_of_the_last_layer_attends_to(strategy: str) -> None:
    model, images = llava(attn_implementation="eager", vision_feature_select_strategy=strategy), pixels()
    with torch.inference_mode():
        vision = model.vision_tower.vision_model(images, output_attentions=True)
    scores = vision.attentions[-1].mean(1)[:, 0, 1:]
    parts = open_vision_language(model)
    parts.tower.key_share = 0.2
    with torch.inference_mode():
        keys = parts.encode(images).keys
    assert keys is not None
    assert keys.tolist() == (key_set(scores, 0.2) + (strategy == "full")).tolist()
    assert keys.shape == (2, parts.tower.keys()) == (2, 8)
    assert keys[0].tolist() != keys[1].tolist()


def test_each_prompt_keeps_its_own_keys() -> None:
    config = must_drop.Config(**{**BUDGETS, "budgets": (12, 8)}, key_share=0.2)
    changed = with_config(opened(), must_drop, config)
    images = pixels()
    with torch.inference_mode():
        keys = changed.encode(images).keys
    assert keys is not None
    first, second = read(changed, images).kept
    survivors = first.gather(1, second) - 3
    assert torch.equal(survivors[:, 3:11], keys)  # the budget leaves room for nothing else


def test_the_trimmed_cache_holds_the_final_survivors() -> None:
    model = opened()
    dropped = read(with_config(model, must_drop, must_drop.Config(**BUDGETS)), pixels())
    config = must_drop.Config(**BUDGETS, trim_cache=True, whole=1)
    changed = with_config(model, must_drop, config)
    found = read(changed, pixels())
    first, second = dropped.kept
    assert [own.key.shape[2] for own in found.memory] == [43, 12, 12, 12]
    assert [7 + rows for rows in changed.image_rows()] == [43, 12, 12, 12]
    for layer in (1, 2):
        index = second[:, None, :, None].expand(-1, 2, -1, 8)
        torch.testing.assert_close(found.memory[layer].key, dropped.memory[layer].key.gather(2, index))
    torch.testing.assert_close(tuple(found.memory[0]), tuple(dropped.memory[0]))
    torch.testing.assert_close(tuple(found.memory[3]), tuple(dropped.memory[3]))
    torch.testing.assert_close(found.logits, dropped.logits)
    assert first.shape[1] == 19


def test_windows_merge_before_the_keys_are_named() -> None:
    changed = with_config(opened(), window_merge, window_merge.Config(r=2))
    assert changed.image_tokens == 36 - 2 * 8
    changed = with_config(changed, must_drop, must_drop.Config(**BUDGETS, key_share=0.1))
    assert changed.tower.keys() == 2
    assert read(changed, pixels()).logits.shape == (2, 64)


@pytest.mark.parametrize(
    "steps",
    [
        [(window_merge, window_merge.Config(r=2))],
        [(fast_v, fast_v.Config(layers=1))],
        [(must_drop, must_drop.Config(**BUDGETS, key_share=0.1, trim_cache=True))],
    ],
)
def test_rows_do_not_depend_on_batch_mates(steps: Any) -> None:
    changed = opened()
    for method, config in steps:
        changed = with_config(changed, method, config)
    images = pixels()
    together, alone = read(changed, images), read(changed, images[:1])
    torch.testing.assert_close(together.logits[:1], alone.logits, atol=1e-5, rtol=1e-4)


REFUSED = [
    (fast_v, fast_v.Config(image=(3, 20)), {}, "leave the field image out"),
    (must_drop, must_drop.Config(layers=(0,), budgets=(37,)), {}, "none greater"),
    (must_drop, must_drop.Config(layers=(0,), budgets=(2,), key_share=0.5), {}, "18 keys must stay"),
    (must_drop, must_drop.Config(layers=(0,), budgets=(9,), key_share=0.1, keys=(1,)), {}, "two ways"),
    (
        must_drop,
        must_drop.Config(layers=(0,), budgets=(9,), key_share=0.1),
        {"tower": "siglip_vision_model"},
        "no class token",
    ),
    (
        must_drop,
        must_drop.Config(layers=(0,), budgets=(9,), key_share=0.1),
        {"vision_feature_layer": -1},
        "tower's last layer",
    ),
]


@pytest.mark.parametrize(("method", "config", "options", "message"), REFUSED)
def test_what_does_not_fit_is_refused(method: Any, config: Any, options: Any, message: str) -> None:
    assert message in " ".join(method.check(opened(**options), config))


def test_a_language_model_alone_has_no_keys_of_a_tower() -> None:
    config = must_drop.Config(image=(1, 9), layers=(0,), budgets=(4,), key_share=0.1)
    assert "need a vision-language model" in must_drop.check(opened().decoder, config)[0]
