"""QueCC in a LLaVA: what it sees, against transformers' hidden states; what it refuses; that it trains."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from llava_files import SIDE, llava, llava_next, pixels
from safetensors.torch import save_file

from paring.recipe import build_recipe
from paring.transforming import described
from paring.transforms import fast_v, must_drop, pixel_unshuffle, query_compressor, window_merge
from paring.transforms._query_compressor import QueryCompressor
from paring.transforms._vision_language import VisionLanguage, open_vision_language
from paring.transforms.query_compressor import Config, levels_of

BEFORE, AFTER = torch.tensor([[1, 9, 12]]), torch.tensor([[8, 30, 11, 6, 22, 13]])
SMALL = {"heads": 4, "levels": (0, 1, 2)}


def opened(**options: Any) -> VisionLanguage:
    model = open_vision_language(llava(**options), (SIDE, SIDE))
    model.text_ids = lambda text: [5 + ord(letter) % 50 for letter in text]
    return model


def changed(model: VisionLanguage, config: Config) -> VisionLanguage:
    assert query_compressor.check(model, config) == []
    found = query_compressor.apply(copy.deepcopy(model), config)
    assert isinstance(found, VisionLanguage)
    return found


def compressor_of(model: VisionLanguage) -> QueryCompressor:
    assert model.compressor is not None
    return model.compressor


@pytest.mark.parametrize(
    ("tower", "features"),
    [("clip_vision_model", -2), ("siglip_vision_model", -2), ("dinov2", -2), ("clip_vision_model", [0, -2])],
)
def test_it_sees_transformers_hidden_states_and_the_question_alone(
    tower: str, features: int | list[int]
) -> None:
    theirs = llava(tower=tower, vision_feature_layer=features)
    model = changed(opened(tower=tower, vision_feature_layer=features), Config(stride=3, **SMALL))
    images, questions = pixels(2), torch.cat([AFTER, AFTER.flip(1)])
    with torch.inference_mode():
        states = theirs.model.vision_tower(images, output_hidden_states=True).hidden_states
        cut = 0 if "siglip" in tower else 1
        levels = torch.cat([states[level][:, cut:] for level in (0, 1, 2)], 2)
        selected = [features] if isinstance(features, int) else features
        x = torch.cat([states[layer][:, cut:] for layer in selected], 2)
        state = theirs.model.language_model(input_ids=questions).last_hidden_state[:, -1:]
        wanted = compressor_of(model)(x, levels, state)
        found = model.see(images, questions)
    assert model.image_tokens == 4
    assert found.keys is None
    torch.testing.assert_close(found.features, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("stride", "tokens"), [(6, 1), (4, 4), (3, 4), (2, 9)])
def test_tokens_of_a_stride(stride: int, tokens: int) -> None:
    model = changed(opened(), Config(stride=stride, **SMALL))
    assert model.image_tokens == tokens == model.see(pixels(1), AFTER).features.shape[1]
    assert model.image_rows() == [tokens] * 4


def test_the_question_s_padding_and_batch_mates_change_nothing() -> None:
    model, images = changed(opened(), Config(stride=3, **SMALL)), pixels(2)
    padded = torch.cat([AFTER, torch.full((1, 3), 2)], 1)
    longer = torch.arange(5, 14)[None]
    with torch.inference_mode():
        together = model.see(images, torch.cat([padded, longer]), torch.tensor([6, 9])).features
        alone = [model.see(images[:1], AFTER).features, model.see(images[1:], longer).features]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_a_constant_prompt_is_that_question_and_none_is_no_question() -> None:
    plain, images = opened(), pixels(2)
    asking = changed(plain, Config(stride=3, **SMALL))
    constant = changed(plain, Config(stride=3, text="constant", prompt="what is it", **SMALL))
    blind = changed(plain, Config(stride=3, text="none", **SMALL))
    assert plain.text_ids is not None
    ids = torch.tensor([plain.text_ids("what is it")])
    with torch.inference_mode():
        torch.testing.assert_close(
            constant.encode(images).features, asking.see(images, ids.expand(2, -1)).features
        )
        assert not torch.allclose(
            asking.see(images, AFTER.expand(2, -1)).features, constant.encode(images)[0]
        )
        assert not any(name.startswith("text") for name in compressor_of(blind).state_dict())
        assert torch.equal(blind.encode(images).features, blind.see(images, AFTER).features)
    with pytest.raises(ValueError, match="give it to see"):
        asking.encode(images)
    with pytest.raises(ValueError, match="do not depend on the question"):
        blind.question(AFTER)


def test_the_paper_s_levels_follow_the_depth() -> None:
    assert levels_of(opened(), Config()) == (1, 2)
    deep = opened()
    deep.tower.trunk.blocks.extend([deep.tower.trunk.blocks[0]] * 21)
    assert levels_of(deep, Config()) == (12, 16, 22, 23)


def test_it_trains_and_its_weights_come_back(tmp_path: Path) -> None:
    model = changed(opened(), Config(stride=3, **SMALL))
    own = compressor_of(model)
    inside = {name for name in model.state_dict() if name.startswith("compressor.")}
    assert inside == {f"compressor.{name}" for name in own.state_dict()}
    embeds = [model.embed(text).expand(2, -1, -1) for text in (BEFORE, AFTER)]
    features = model.see(pixels(2), AFTER.expand(2, -1)).features
    model.prefill(embeds[0], features, embeds[1]).logits.square().sum().backward()
    assert all(
        bool(p.grad is not None and p.grad.abs().sum() > 0)
        for n, p in own.named_parameters()
        if n != "key_in.bias"
    )  # shifts all logits of a query alike
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.add_(0.01)
    file = tmp_path / "compressor.safetensors"
    save_file(own.state_dict(), file)
    again = changed(opened(), Config(stride=3, weights=str(file), **SMALL))
    assert all(torch.equal(compressor_of(again).state_dict()[n], v) for n, v in own.state_dict().items())
    assert query_compressor.untrained(Config(weights=str(file))) == ""
    assert "RANDOM" in query_compressor.untrained(Config())
    assert not query_compressor.TRAITS.training_free


def test_wrong_weights_are_told_by_name(tmp_path: Path) -> None:
    plain = opened()
    state = dict(compressor_of(changed(plain, Config(stride=3, **SMALL))).state_dict())
    state["out.weights"] = state.pop("out.weight")
    state["mlp.0.bias"] = torch.zeros(5)
    file = tmp_path / "compressor.safetensors"
    save_file(state, file)
    told = " ".join(query_compressor.check(plain, Config(stride=3, weights=str(file), **SMALL)))
    assert "missing out.weight weights:" in told
    assert "unknown out.weights" in told
    assert "mlp.0.bias is (5,), and this compressor's is (32,)" in told
    (tmp_path / "none").write_text("no weights")
    for name, message in (("none", "is no safetensors file"), ("nowhere", "there is no file")):
        given = Config(stride=3, weights=str(tmp_path / name), **SMALL)
        assert message in " ".join(query_compressor.check(plain, given))


STEPS: list[tuple[list[tuple[Any, Any]], str]] = [
    ([(pixel_unshuffle, pixel_unshuffle.Config())], "windows of patches"),
    ([(window_merge, window_merge.Config(r=1))], "drops or joins patches"),
    ([(fast_v, fast_v.Config(layers=2))], "put them behind this one"),
    ([(query_compressor, Config(stride=3, **SMALL))], "a query compressor already"),
    ([(must_drop, must_drop.Config(layers=(3,), budgets=(9,), key_share=0.1))], "put them behind this one"),
]


@pytest.mark.parametrize(("steps", "message"), STEPS)
def test_steps_before_it_that_do_not_fit(steps: list[tuple[Any, Any]], message: str) -> None:
    model = opened()
    for method, config in steps:
        assert method.check(model, config) == []
        model = method.apply(model, config)
    assert message in " ".join(query_compressor.check(model, Config(stride=3, **SMALL)))


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (Config(stride=7, heads=4), {}, "more than the 6 x 6 patches"),
        (Config(heads=4, levels=(1, 3)), {}, "from 0 to 2"),
        (Config(heads=5), {}, "5 do not divide the inner width 24"),
        (Config(heads=4, text="constant"), {}, "needs one"),
        (Config(heads=4, prompt="hm"), {}, "leave it out"),
        (Config(heads=4), {"vision_feature_select_strategy": "full"}, "class token is among"),
    ],
)
def test_what_does_not_fit_is_refused(config: Config, options: dict[str, Any], message: str) -> None:
    assert message in " ".join(query_compressor.check(opened(**options), config))


def test_tiles_and_a_missing_tokenizer_are_refused() -> None:
    tiled = open_vision_language(llava_next())
    assert "seen in tiles" in " ".join(query_compressor.check(tiled, Config(stride=3, heads=4)))
    constant = Config(stride=3, text="constant", prompt="hm", **SMALL)
    told = query_compressor.check(open_vision_language(llava()), constant)
    assert "without a tokenizer" in " ".join(told)


def test_steps_behind_it_that_do_not_fit() -> None:
    model = changed(opened(), Config(stride=3, **SMALL))
    assert pixel_unshuffle.check(model, pixel_unshuffle.Config()) != []
    keys = must_drop.Config(layers=(0,), budgets=(3,), key_share=0.1)
    assert "which are no tokens" in " ".join(must_drop.check(model, keys))
    window_merge.apply(model, window_merge.Config(r=1))
    with pytest.raises(ValueError, match="counts on 6 x 6 patches, and the tower gives 28"):
        model.image_rows()


def test_a_manifest_names_the_file_of_weights_by_its_digest(tmp_path: Path) -> None:
    file = tmp_path / "compressor.safetensors"
    save_file(compressor_of(changed(opened(), Config(stride=3, **SMALL))).state_dict(), file)
    steps = [{"query_compressor": {"stride": 3, "weights": str(file)}}, {"query_compressor": {"stride": 3}}]
    known, random = described(build_recipe({"transforms": steps}).transforms)
    assert known["weights_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert "weights_sha256" not in random
    assert random["config"]["stride"] == 3
