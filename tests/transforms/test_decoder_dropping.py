"""FastV and MustDrop in an opened decoder: against attention from transformers and a masked dense model."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from language_models import build_language, llama
from onnx_run import run
from torch import nn

from paring.transforms import fast_v, must_drop
from paring.transforms._decoder import Decoder, Growing, Tokens, open_decoder
from paring.transforms._decoder.memory import KeyValue
from paring.transforms._must_drop.stages import DropByThreshold, Rule

IMAGE = (3, 15)
LENGTH = 20
FAMILIES = ("Llama", "Qwen2", "GPT-2")


def deep_llama() -> nn.Module:
    torch.manual_seed(0)
    model = llama(num_hidden_layers=6, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    return model


def prompts(batch: int = 3, seed: int = 1) -> torch.Tensor:
    return torch.randint(3, 97, (batch, LENGTH), generator=torch.Generator().manual_seed(seed))


def masked_dense(decoder: Decoder, ids: torch.Tensor, layers: list[int], kept: list[torch.Tensor]) -> Any:
    """The decoder without dropping, in which what was dropped is masked from the following layer on.

    Returns its tokens, its caches and each layer's mask [B, L].
    """
    places = torch.arange(LENGTH).expand(len(ids), -1)
    visible, masks = torch.ones_like(ids, dtype=torch.bool), []
    left = places
    for layer in range(len(decoder.layers)):
        masks.append(visible)
        if layer in layers:
            left = left.gather(1, kept[layers.index(layer)])
            visible = torch.zeros_like(ids).scatter(1, left, 1).bool()
    tokens = Tokens(decoder.embedding(ids, places), places, torch.ones_like(visible))
    with torch.inference_mode():
        found = decoder.run(tokens, Growing((), masks), reduce=False)
    return found, masks, left


def step(
    decoder: Decoder, ids: torch.Tensor, past: list[KeyValue], masks: list[torch.Tensor]
) -> torch.Tensor:
    """One more token at the position after the prompt's; each layer sees its own mask [B, P] and itself."""
    batch = len(ids)
    place, one = torch.full((batch, 1), LENGTH), torch.ones(batch, 1, dtype=torch.bool)
    tokens = Tokens(decoder.embedding(ids[:, :1], place), place, one)
    with torch.inference_mode():
        whole = [torch.cat([mask, one], 1) for mask in masks]
        return decoder.run(tokens, Growing(past, whole), reduce=False).tokens.x


@pytest.mark.parametrize("rows", ["last", "all"])
def test_fast_v_keeps_what_transformers_attention_says(rows: str) -> None:
    model = deep_llama()
    ids = prompts()
    with torch.inference_mode():
        attention = model(ids, output_attentions=True).attentions[1].mean(1)  # of the second layer
    decoder = fast_v.apply(model, fast_v.Config(image=IMAGE, rows=rows))
    (kept,) = must_drop.prompted(decoder, ids).kept
    for row in range(3):
        asked = attention[row, -1:] if rows == "last" else attention[row]
        scores = asked.sum(0)[IMAGE[0] : IMAGE[1]].tolist()
        best = sorted(sorted(range(12), key=lambda j: -scores[j])[:6])
        assert kept[row].tolist() == [0, 1, 2, *(j + 3 for j in best), *range(15, 20)]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("method", ["fast_v", "must_drop"])
def test_dropping_equals_masking_from_the_next_layer_on(name: str, method: str) -> None:
    plain = open_decoder(build_language(name))
    if method == "fast_v":
        changed, layers = fast_v.apply(copy.deepcopy(plain), fast_v.Config(image=IMAGE, layers=1)), [0]
    else:
        config = must_drop.Config(image=IMAGE, layers=(0, 1), budgets=(7, 3))
        changed, layers = must_drop.apply(copy.deepcopy(plain), config), [0, 1]
    ids = prompts()
    found = must_drop.prompted(changed, ids)
    wanted, masks, left = masked_dense(plain, ids, layers, found.kept)
    index = left[..., None].expand(-1, -1, found.tokens.x.shape[2])
    torch.testing.assert_close(found.tokens.x, wanted.tokens.x.gather(1, index), atol=1e-4, rtol=1e-4)
    assert torch.equal(found.tokens.positions, left)
    whole = must_drop.prompted(plain, ids).tokens.x.gather(1, index)
    assert not torch.allclose(found.tokens.x, whole, atol=1e-2)  # dropping does change the answer
    after = step(
        changed,
        ids,
        found.memory,
        [m.new_ones(3, own.key.shape[2]) for m, own in zip(masks, found.memory, strict=True)],
    )
    torch.testing.assert_close(after, step(plain, ids, wanted.memory, masks), atol=1e-4, rtol=1e-4)


def rule_by_loop(attention: torch.Tensor, g: float, i: float, keys: set[int]) -> list[int]:
    """Places that stay, from text-to-image attention [T, n]."""
    sums, peaks = attention.sum(0).tolist(), attention.amax(0).tolist()
    total = sum(sums)
    return [j for j in range(len(sums)) if j in keys or not (sums[j] < g * total and peaks[j] < i)]


def test_must_drop_keeps_what_transformers_attention_says() -> None:
    """Rows are the text after the image only: the text before it is no query."""
    model, ids = deep_llama(), prompts()
    with torch.inference_mode():
        attention = model(ids, output_attentions=True).attentions[2].mean(1)[:, 15:, 3:15]
    for row in range(3):
        c, m = attention[row].sum(0), attention[row].amax(0)
        g, i = (c / c.sum()).quantile(0.5).item(), m.quantile(0.6).item()
        expected = rule_by_loop(attention[row], g, i, {4})
        config = must_drop.Config(IMAGE, (2,), (len(expected),), g, i, keys=(4,))
        assert 1 < len(expected) < 12
        decoder = must_drop.apply(copy.deepcopy(model), config)
        (kept,) = must_drop.prompted(decoder, ids[row : row + 1]).kept
        assert kept[0].tolist() == [0, 1, 2, *(j + 3 for j in expected), *range(15, 20)]


THRESHOLDS = {"global_threshold": 0.09, "individual_threshold": 0.06}


def test_a_calibrated_budget_chooses_as_the_thresholds_do() -> None:
    decoder = open_decoder(deep_llama())
    config = must_drop.Config(IMAGE, (0, 2, 4), keys=(0, 7), **THRESHOLDS)
    for row in prompts(4):
        budgets = must_drop.calibrate(decoder, [row[None]], config)
        assert 12 > budgets[0] >= budgets[1] >= budgets[2] >= 2
        thresholds = must_drop.apply(copy.deepcopy(decoder), replace(config, form="threshold"))
        wanted = must_drop.prompted(thresholds, row[None])
        fixed = must_drop.Config(IMAGE, (0, 2, 4), budgets, keys=(0, 7), **THRESHOLDS)
        found = must_drop.prompted(must_drop.apply(copy.deepcopy(decoder), fixed), row[None])
        for theirs, ours in zip(wanted.kept, found.kept, strict=True):
            assert torch.equal(theirs, ours)
        torch.testing.assert_close(found.tokens.x, wanted.tokens.x)


def test_calibration_leaves_the_decoder_as_it_was() -> None:
    decoder = open_decoder(deep_llama())
    config = must_drop.Config(IMAGE, (0, 2), **THRESHOLDS)
    with pytest.raises(RuntimeError):
        must_drop.calibrate(decoder, [torch.zeros(1, LENGTH)], config)  # ids that are no integers
    assert must_drop.reducing_layers(decoder) == []


def test_thresholds_have_no_count() -> None:
    with pytest.raises(NotImplementedError, match="depends on the values"):
        DropByThreshold(Rule(0.1, 0.1), 12).count(20)


@pytest.mark.parametrize(
    ("method", "config"),
    [
        (must_drop, must_drop.Config(IMAGE, (0, 2), (12, 12))),
        (fast_v, fast_v.Config(IMAGE, ratio=0.0)),
    ],
)
def test_keeping_all_changes_neither_logits_nor_cache(method: Any, config: Any) -> None:
    plain, ids = open_decoder(deep_llama()), prompts()
    changed = method.apply(copy.deepcopy(plain), config)
    mask, places = torch.ones_like(ids), torch.arange(LENGTH).expand(3, -1)
    with torch.inference_mode():
        found, expected = changed(ids, mask, places), plain(ids, mask, places)
    torch.testing.assert_close(found[0], expected[0])
    for ours, theirs in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(tuple(ours), tuple(theirs))


def test_keys_survive_every_stage() -> None:
    keys = (1, 6, 11)
    config = must_drop.Config(IMAGE, (0, 1, 3), (8, 5, 3), keys=keys)
    found = must_drop.prompted(must_drop.apply(deep_llama(), config), prompts())
    positions = found.tokens.positions
    assert positions.tolist() == [[0, 1, 2, 4, 9, 14, *range(15, 20)]] * 3


@pytest.mark.parametrize("whole", [0, 2])
def test_the_trimmed_cache_equals_masking_what_did_not_survive(whole: int) -> None:
    """A step over the output-aware cache: layers from `whole` on see the final survivors only."""
    plain = open_decoder(deep_llama())
    config = must_drop.Config(IMAGE, (1, 2, 4), (9, 6, 2))
    changed, ids = must_drop.apply(copy.deepcopy(plain), config), prompts()
    found = must_drop.prompted(changed, ids)
    cache = must_drop.trimmed(changed, found, whole)
    final = 8 + 2
    lengths = [own.key.shape[2] for own in cache]
    assert lengths == ([final] * 6 if whole == 0 else [20, 20, *[final] * 4])
    wanted, masks, left = masked_dense(plain, ids, [1, 2, 4], found.kept)
    survivors = torch.zeros_like(ids).scatter(1, left, 1).bool()
    seen = [mask if layer < whole else survivors for layer, mask in enumerate(masks)]
    ones = [torch.ones(3, length, dtype=torch.bool) for length in lengths]
    expected = step(plain, ids, wanted.memory, seen)
    torch.testing.assert_close(step(changed, ids, cache, ones), expected, atol=1e-4, rtol=1e-4)


def test_rows_do_not_depend_on_batch_mates() -> None:
    config = must_drop.Config(IMAGE, (0, 2), (6, 3))
    decoder, ids = must_drop.apply(deep_llama(), config), prompts()
    together = must_drop.prompted(decoder, ids)
    for row in range(3):
        alone = must_drop.prompted(decoder, ids[row : row + 1])
        assert torch.equal(alone.kept[1][0], together.kept[1][row])


def test_an_image_without_text_behind_it_is_refused() -> None:
    decoder = fast_v.apply(deep_llama(), fast_v.Config(image=(3, 20)))
    with pytest.raises(ValueError, match="text must follow the image"):
        must_drop.prompted(decoder, prompts())


REFUSED = [
    (fast_v, fast_v.Config(), "(start, stop)"),
    (fast_v, fast_v.Config(image=()), "(start, stop)"),
    (fast_v, fast_v.Config(IMAGE, layers=7), "from 0 to 5"),
    (must_drop, must_drop.Config(IMAGE), "from 0 to 5"),
    (must_drop, must_drop.Config(IMAGE, (2, 0), (5, 4)), "ascend"),
    (must_drop, must_drop.Config(IMAGE, (0, 2), (5,)), "one number a layer"),
    (must_drop, must_drop.Config(IMAGE, (0, 2), (5, 6)), "none greater"),
    (must_drop, must_drop.Config(IMAGE, (0, 2), (13, 6)), "none greater"),
    (must_drop, must_drop.Config(IMAGE, (0,), (2,), keys=(0, 1, 2)), "3 keys must stay"),
    (must_drop, must_drop.Config(IMAGE, (0,), (2,), keys=(12,)), "below 12"),
]


@pytest.mark.parametrize(("method", "config", "message"), REFUSED)
def test_what_does_not_fit_is_refused(method: Any, config: Any, message: str) -> None:
    assert message in " ".join(method.check(deep_llama(), config))


def test_learned_positions_are_not_numbered_anew() -> None:
    config = must_drop.Config(IMAGE, (0,), (5,), positions="paper_compat")
    assert "rotary positions" in must_drop.check(build_language("GPT-2"), config)[0]
    assert must_drop.check(build_language("Llama"), config) == []


def test_two_methods_on_one_image_are_refused() -> None:
    decoder = fast_v.apply(deep_llama(), fast_v.Config(IMAGE))
    assert "drop tokens already" in fast_v.check(decoder, fast_v.Config(IMAGE))[0]


@pytest.mark.parametrize(
    ("method", "config"),
    [
        (must_drop, must_drop.Config(IMAGE, (0, 1), (7, 3), keys=(2, 5))),
        (fast_v, fast_v.Config(IMAGE, layers=1)),
        (fast_v, fast_v.Config(IMAGE, layers=1, rows="all")),
    ],
)
def test_a_prompt_with_dropping_exports(method: Any, config: Any, tmp_path: Path) -> None:
    decoder = method.apply(build_language("Llama"), config)

    def prompt(ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        positions = torch.arange(LENGTH).expand(ids.shape[0], -1)
        valid = torch.ones_like(ids, dtype=torch.bool)
        tokens = Tokens(decoder.embedding(ids, positions), positions, valid)
        found = decoder.run(tokens, Growing((), valid), reduce=True)
        return decoder.logits(found.tokens.x), *found.kept

    with torch.inference_mode():
        expected = prompt(prompts(3))
    logits, *kept = run(prompt, [prompts(2)], [prompts(3)], tmp_path)
    for theirs, ours in zip(kept, expected[1:], strict=True):
        assert torch.equal(torch.from_numpy(theirs), ours)
    assert math.isclose(expected[0].shape[1], LENGTH - 12 + (3 if method is must_drop else 6))
    torch.testing.assert_close(torch.from_numpy(logits), expected[0], atol=1e-4, rtol=1e-4)
