"""MustDrop's two forms and its two kinds of positions in a LLaVA, against oracles that know neither."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from llava_files import llava, pixels

from paring.transforms import must_drop
from paring.transforms._decoder import Growing, Tokens
from paring.transforms._decoder.memory import KeyValue
from paring.transforms._must_drop.stages import UNEXPORTABLE
from paring.transforms._vision_language import Prefilled, VisionLanguage, open_vision_language
from paring_exporters.language import LanguageRequest
from paring_exporters.vision_language import export
from paring_runtimes.errors import ExportError

BEFORE, AFTER = torch.tensor([[1, 9, 12]]), torch.tensor([[8, 30, 11, 6]])
LENGTH = 3 + 36 + 4
THRESHOLDS = {"layers": (0, 1, 2), "global_threshold": 0.03, "individual_threshold": 0.03}
KEEPING = {"layers": (0, 1), "global_threshold": 0.0, "individual_threshold": 0.0}


def dropping(model: VisionLanguage, **options: Any) -> VisionLanguage:
    config = must_drop.Config(**options)
    assert must_drop.check(model, config) == []
    changed = must_drop.apply(copy.deepcopy(model), config)
    assert isinstance(changed, VisionLanguage)
    return changed


def read(model: VisionLanguage, images: torch.Tensor) -> Prefilled:
    with torch.inference_mode():
        features, keys = model.encode(images)
        start, end = (model.embed(text).expand(len(images), -1, -1) for text in (BEFORE, AFTER))
        return model.prefill(start, features, end, keys)


def same(found: Prefilled, wanted: Prefilled) -> None:
    torch.testing.assert_close(found.logits, wanted.logits)
    for ours, theirs in zip(found.memory, wanted.memory, strict=True):
        torch.testing.assert_close(tuple(ours), tuple(theirs))


@pytest.fixture(scope="module")
def plain() -> VisionLanguage:
    return open_vision_language(llava())


@pytest.mark.parametrize("positions", ["persistent", "paper_compat"])
@pytest.mark.parametrize(
    "more", [{}, {"key_share": 0.1}, {"key_share": 0.08, "trim_cache": True, "whole": 1}]
)
def test_thresholds_choose_as_budgets_of_their_own_counts(
    plain: VisionLanguage, positions: str, more: dict[str, Any]
) -> None:
    given = {**THRESHOLDS, **more, "positions": positions}
    thresholds, counts = dropping(plain, **given, form="threshold"), []
    for seed in range(3):
        image = pixels(1, seed)
        wanted = read(thresholds, image)
        budgets = tuple(kept.shape[1] - 7 for kept in wanted.kept)
        assert 36 > budgets[0] >= budgets[1] >= budgets[2] >= 1
        counts.append(budgets)
        found = read(dropping(plain, **given, budgets=budgets), image)
        for ours, theirs in zip(found.kept, wanted.kept, strict=True):
            assert torch.equal(ours, theirs)
        same(found, wanted)
    assert len(set(counts)) > 1  # how many stay does depend on the image


def test_thresholds_may_leave_no_image_at_all(plain: VisionLanguage) -> None:
    none = {"layers": (0, 1), "global_threshold": 1.0, "individual_threshold": 1.0}
    found = read(dropping(plain, **none, form="threshold"), pixels(1))
    assert [kept.shape[1] for kept in found.kept] == [7, 7]
    assert found.logits.isfinite().all()


@pytest.mark.parametrize("positions", ["persistent", "paper_compat"])
def test_thresholds_of_zero_leave_the_model_as_it_was(plain: VisionLanguage, positions: str) -> None:
    changed = dropping(plain, **KEEPING, form="threshold", positions=positions)
    found, wanted = read(changed, pixels(1)), read(plain, pixels(1))
    assert [kept.shape[1] for kept in found.kept] == [LENGTH, LENGTH]
    same(found, wanted)
    torch.testing.assert_close(stepped(changed, found.memory), stepped(plain, wanted.memory))


def stepped(model: VisionLanguage, past: list[KeyValue], masks: Any = None, at: int = LENGTH) -> torch.Tensor:
    """Logits of one more token, which sees all of each layer's cache, or what its mask [1, P] lets it see."""
    one = torch.ones(1, 1, dtype=torch.bool)
    masks = masks or [torch.ones(1, own.key.shape[2], dtype=torch.bool) for own in past]
    with torch.inference_mode():
        tokens = Tokens(model.embed(torch.tensor([[9]])), torch.full((1, 1), at), one)
        whole = [torch.cat([mask, one], 1) for mask in masks]
        return model.decoder.logits(model.decoder.run(tokens, Growing(past, whole), reduce=False).tokens.x)


def prompt(model: VisionLanguage, image: torch.Tensor) -> torch.Tensor:
    """The embedded prompt [1, LENGTH, C]."""
    with torch.inference_mode():
        return torch.cat([model.embed(BEFORE), model.encode(image).features, model.embed(AFTER)], 1)


@pytest.mark.parametrize("form", ["budget", "threshold"])
def test_persistent_dropping_equals_a_masked_dense_model(plain: VisionLanguage, form: str) -> None:
    """Nothing leaves there: what was dropped is masked from the following layer on, at decode too."""
    image, budgets = pixels(1), (14, 6, 3) if form == "budget" else ()
    changed = dropping(plain, **THRESHOLDS, budgets=budgets, form=form)
    found = read(changed, image)
    places, left = torch.arange(LENGTH)[None], torch.arange(LENGTH)[None]
    visible, masks = torch.ones_like(places, dtype=torch.bool), []
    for layer in range(4):
        masks.append(visible)
        if layer in THRESHOLDS["layers"]:
            left = left.gather(1, found.kept[layer])
            visible = torch.zeros_like(places).scatter(1, left, 1).bool()
    assert left.shape[1] < LENGTH
    with torch.inference_mode():
        tokens = Tokens(prompt(plain, image), places, torch.ones_like(visible))
        dense = plain.decoder.run(tokens, Growing((), masks), reduce=False)
        logits = plain.decoder.logits(dense.tokens.x[:, -1:])[:, 0]
    torch.testing.assert_close(found.logits, logits, atol=1e-4, rtol=1e-4)
    expected = stepped(plain, dense.memory, masks)
    torch.testing.assert_close(stepped(changed, found.memory), expected, atol=1e-4, rtol=1e-4)


def rotated(states: torch.Tensor, positions: torch.Tensor, base: float = 10000.0) -> torch.Tensor:
    """RoPE written out for [H, S, D] at positions [S]."""
    half = states.shape[-1] // 2
    angle = positions[:, None].double() * base ** (-torch.arange(half).double() / half)
    cos, sin = angle.cos().float(), angle.sin().float()
    first, second = states[..., :half], states[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def by_hand(
    model: VisionLanguage, x: torch.Tensor, kept: list[torch.Tensor], layers: tuple[int, ...], renumber: bool
) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
    """One prompt x [S, C] and then one more token, position by position; logits after each.

    Where `renumber`, survivors are numbered from 0 and the new token sits at each layer's cache length.
    """
    decoder, caches = model.decoder, []
    new, places = model.embed(torch.tensor([[9]]))[0], torch.arange(len(x))
    for index, layer in enumerate(decoder.opened()):
        attention, cache = layer.attention, len(x)
        at = torch.cat([places, torch.tensor([cache if renumber else LENGTH])])
        whole = torch.cat([x, new])
        normed = layer.norm1(whole)
        split = [
            part(normed).reshape(len(whole), heads, -1).transpose(0, 1)
            for part, heads in (
                (attention.query, attention.heads),
                (attention.key, attention.key_heads),
                (attention.value, attention.key_heads),
            )
        ]
        query, key, value = rotated(split[0], at), rotated(split[1], at), split[2]
        groups = attention.heads // attention.key_heads
        scores = query @ key.repeat_interleave(groups, 0).transpose(1, 2) * attention.scale
        hidden = torch.ones(len(whole), len(whole)).triu(1).bool()
        mixed = scores.masked_fill(hidden, -torch.inf).softmax(-1) @ value.repeat_interleave(groups, 0)
        whole = whole + attention.output(mixed.transpose(0, 1).flatten(1))
        whole = whole + layer.mlp(layer.norm2(whole))
        x, new = whole[:-1], whole[-1:]
        caches.append((key[:, :-1], value[:, :-1]))
        if index in layers:
            chosen = kept[layers.index(index)][0]
            x, places = x[chosen], torch.arange(len(chosen)) if renumber else places[chosen]
    last = torch.stack([x[-1], new[0]])
    return decoder.logits(last[None])[0], caches


@pytest.mark.parametrize("positions", ["persistent", "paper_compat"])
def test_positions_are_those_written_out(plain: VisionLanguage, positions: str) -> None:
    image, layers = pixels(1), (0, 2)
    changed = dropping(plain, layers=layers, budgets=(12, 5), positions=positions)
    found = read(changed, image)
    with torch.inference_mode():
        x = prompt(plain, image)[0]
        logits, caches = by_hand(plain, x, found.kept, layers, positions == "paper_compat")
    torch.testing.assert_close(found.logits[0], logits[0], atol=1e-4, rtol=1e-4)
    for ours, (key, value) in zip(found.memory, caches, strict=True):
        torch.testing.assert_close(ours.key[0], key, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(ours.value[0], value, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(stepped(changed, found.memory)[0, 0], logits[1], atol=1e-4, rtol=1e-4)


def test_the_kinds_of_positions_differ(plain: VisionLanguage) -> None:
    given = {"layers": (0, 2), "budgets": (12, 5)}
    own, paper = (dropping(plain, **given, positions=kind) for kind in ("persistent", "paper_compat"))
    one, other = read(own, pixels(1)), read(paper, pixels(1))
    assert torch.equal(one.kept[0], other.kept[0])  # before anything is renumbered
    assert not torch.allclose(one.logits, other.logits, atol=1e-3)
    assert not torch.allclose(stepped(paper, one.memory), stepped(own, one.memory), atol=1e-3)


@pytest.mark.parametrize("positions", ["persistent", "paper_compat"])
def test_tokens_keep_their_places_and_only_the_paper_renumbers(plain: VisionLanguage, positions: str) -> None:
    changed = dropping(plain, layers=(0, 1, 2), budgets=(12, 5, 2), positions=positions)
    places, valid = torch.arange(LENGTH)[None], torch.ones(1, LENGTH, dtype=torch.bool)
    with torch.inference_mode():
        tokens = Tokens(prompt(plain, pixels(1)), places, valid)
        found = changed.decoder.run(tokens, Growing((), valid), reduce=True)
    for kept in found.kept:
        places = places.gather(1, kept)
    assert torch.equal(found.tokens.places, places)
    if positions == "persistent":
        assert torch.equal(found.tokens.positions, places)
    else:
        assert found.tokens.positions.tolist() == [list(range(9))]


@pytest.mark.parametrize("positions", ["persistent", "paper_compat"])
def test_four_prompts_at_once_are_four_prompts(plain: VisionLanguage, positions: str) -> None:
    given = {"layers": (0, 2), "budgets": (12, 5), "key_share": 0.1, "trim_cache": True}
    changed, images = dropping(plain, **given, positions=positions), pixels(4)
    together = read(changed, images)
    for row in range(4):
        alone = read(changed, images[row : row + 1])
        torch.testing.assert_close(together.logits[row : row + 1], alone.logits, atol=1e-4, rtol=1e-4)
        for ours, theirs in zip(together.kept, alone.kept, strict=True):
            assert torch.equal(ours[row : row + 1], theirs)


def test_thresholds_take_one_prompt(plain: VisionLanguage) -> None:
    changed = dropping(plain, **THRESHOLDS, form="threshold")
    with pytest.raises(ValueError, match="one prompt at a time, given 2"):
        read(changed, pixels(2))


def test_thresholds_are_not_exported(plain: VisionLanguage, tmp_path: Path) -> None:
    changed = dropping(plain, **THRESHOLDS, form="threshold")
    with pytest.raises(ExportError) as caught:
        export(changed, LanguageRequest(), tmp_path)
    assert str(caught.value) == UNEXPORTABLE
    assert "form: budget" in UNEXPORTABLE
    assert "paring must-drop-budgets" in UNEXPORTABLE
    assert not list(tmp_path.iterdir())


def test_thresholds_and_budgets_together_are_refused(plain: VisionLanguage) -> None:
    config = must_drop.Config(**THRESHOLDS, budgets=(9, 8, 7), form="threshold")
    assert "leave budgets out" in must_drop.check(plain, config)[0]


def test_a_recipe_with_thresholds_is_refused_before_anything_is_written(
    plain: VisionLanguage, tmp_path: Path
) -> None:
    from paring.recipe import build_recipe
    from paring.transforming import refuse_unexportable
    from paring_runtimes.errors import TransformRefused

    with pytest.raises(TransformRefused, match="must_drop: form: threshold keeps as many"):
        refuse_unexportable(build_recipe({"transforms": [{"must_drop": {"form": "threshold"}}]}))
    refuse_unexportable(build_recipe({"transforms": [{"must_drop": {}}]}))
