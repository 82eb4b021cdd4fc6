"""GemFilter around an opened decoder: what it chooses, and that the second pass is the model itself."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from language_models import build_language, llama
from onnx_run import run

from paring.transforms import gem_filter
from paring.transforms._decoder import open_decoder
from paring.transforms.gem_filter import Config, PromptFilter, filter_layer, layer_scores, recall_by_layer

LENGTH = 40


def prompts(batch: int = 2, seed: int = 1) -> torch.Tensor:
    return torch.randint(3, 97, (batch, LENGTH), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("k", [LENGTH, 4096])
def test_enough_room_gives_the_model_s_own_answer(k: int) -> None:
    model, ids = build_language("Llama"), prompts()
    with torch.inference_mode():
        expected = model(ids).logits
        logits, memory, columns = gem_filter.apply(model, Config(k=k))(ids, torch.ones_like(ids))
    assert torch.equal(ids.gather(1, columns), ids)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    assert all(own.key.shape[2] == LENGTH for own in memory)


@pytest.mark.parametrize("name", ["Llama", "Qwen2", "Phi-3", "GPT-2"])
@pytest.mark.parametrize("layer", [0, 1])
def test_the_second_pass_is_the_model_on_the_chosen_ids(name: str, layer: int) -> None:
    model, ids = build_language(name), prompts()
    filtered = gem_filter.apply(copy.deepcopy(model), Config(k=12, layer=layer))
    with torch.inference_mode():
        logits, memory, columns = filtered(ids, torch.ones_like(ids))
        expected = model(ids.gather(1, columns)).logits  # positions from 0 on
    assert (columns.diff(dim=1) > 0).all()
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    assert len(memory) == model.config.num_hidden_layers
    assert all(own.key.shape[2] == 12 for own in memory)


def test_scores_are_those_of_the_whole_model() -> None:
    """Queries and keys caught in transformers' attention, untruncated; then pooled and chosen by a loop."""
    from transformers.models.llama import modeling_llama

    torch.manual_seed(0)
    model, caught, ids = llama(attn_implementation="eager").eval(), [], prompts()
    original = modeling_llama.eager_attention_forward

    def catch(module: Any, query: Any, key: Any, *rest: Any, **options: Any) -> Any:
        caught.append((query, key))
        return original(module, query, key, *rest, **options)

    modeling_llama.eager_attention_forward = catch
    try:
        with torch.inference_mode():
            model(ids)
    finally:
        modeling_llama.eager_attention_forward = original
    decoder = open_decoder(model)
    with torch.inference_mode():
        found = layer_scores(decoder, ids, torch.ones_like(ids).bool(), range(len(caught)))
        columns = PromptFilter(decoder, Config(k=9, layer=1))(ids, torch.ones_like(ids))
    assert len(found) == len(caught) == model.config.num_hidden_layers
    for layer, (query, key) in enumerate(caught):
        for row in range(2):
            repeated = key[row].repeat_interleave(3, 0)  # [H, N, D]
            expected = torch.einsum("hd,hnd->n", query[row, :, -1], repeated)
            torch.testing.assert_close(found[layer][row], expected, atol=1e-4, rtol=1e-4)
            if layer == 1:
                padded = [0.0, 0.0, *expected.tolist(), 0.0, 0.0]
                smooth = [sum(padded[i : i + 5]) / 5 for i in range(LENGTH)]
                best = sorted(sorted(range(LENGTH), key=lambda i: -smooth[i])[:9])
                assert columns[row].tolist() == best


def test_padding_on_the_left_changes_nothing() -> None:
    model, ids = build_language("Llama"), prompts()
    filtered = gem_filter.apply(model, Config(k=10, layer=1, pin_first=2, pin_last=1))
    padded = torch.cat([torch.zeros(2, 7, dtype=torch.int64), ids], 1)
    mask = torch.ones_like(padded)
    mask[:, :7] = 0
    with torch.inference_mode():
        logits, _, columns = filtered(ids, torch.ones_like(ids))
        padded_logits, _, padded_columns = filtered(padded, mask)
    assert torch.equal(padded_columns - 7, columns)
    torch.testing.assert_close(padded_logits, logits, atol=1e-4, rtol=1e-4)


def test_a_row_shorter_than_k_keeps_all_it_has() -> None:
    model, ids = build_language("Llama"), prompts()
    mask = torch.ones_like(ids)
    mask[0, : LENGTH - 6] = 0  # six tokens
    filtered = gem_filter.apply(copy.deepcopy(model), Config(k=10, layer=1))
    with torch.inference_mode():
        logits, _, columns = filtered(ids, mask)
        expected = model(ids[:1, -6:]).logits
    assert columns[0, -6:].tolist() == list(range(LENGTH - 6, LENGTH))
    torch.testing.assert_close(logits[:1, -6:], expected, atol=1e-4, rtol=1e-4)


def test_pinned_tokens_stay() -> None:
    ids = prompts()
    config = Config(k=8, layer=1, pin_first=3, pin_last=4)
    columns = PromptFilter(open_decoder(build_language("Llama")), config)(ids, torch.ones_like(ids))
    for row in columns.tolist():
        assert row[:3] == [0, 1, 2]
        assert row[-4:] == list(range(LENGTH - 4, LENGTH))


def test_generation_goes_on_from_the_filtered_cache() -> None:
    model, ids = build_language("Llama"), prompts()
    filtered = gem_filter.apply(copy.deepcopy(model), Config(k=12, layer=1))
    with torch.inference_mode():
        logits, memory, columns = filtered(ids, torch.ones_like(ids))
        chosen = ids.gather(1, columns)
        expected = model.generate(chosen, max_new_tokens=3, do_sample=False, eos_token_id=None)[:, 12:]
        found = []
        for step in range(3):
            found.append(logits[:, -1:].argmax(-1))
            mask, place = torch.ones(2, 13 + step, dtype=torch.int64), torch.full((2, 1), 12 + step)
            logits, memory = filtered.decoder(found[-1], mask, place, memory)
    assert torch.equal(torch.cat(found, 1), expected)


def test_chunks_choose_the_same() -> None:
    decoder, ids = open_decoder(build_language("Llama")), prompts()
    whole = PromptFilter(decoder, Config(k=9, layer=1))(ids, torch.ones_like(ids))
    chunked = PromptFilter(decoder, Config(k=9, layer=1, chunk=7))(ids, torch.ones_like(ids))
    assert torch.equal(whole, chunked)


def test_recall_is_measured_for_every_layer() -> None:
    decoder = open_decoder(build_language("Llama"))
    config = Config(k=9)
    rows = list(prompts(3).split(1))
    found = recall_by_layer(decoder, rows, [(10, 14), (0, 4), (36, 40)], config)
    depth = len(decoder.layers)
    assert found.shape == (depth, 3)
    for layer in range(depth):
        columns = PromptFilter(decoder, Config(k=9, layer=layer))(rows[0], torch.ones_like(rows[0]))
        hit = sum(10 <= column < 14 for column in columns[0].tolist()) / 4
        assert found[layer, 0].item() == pytest.approx(hit)


@pytest.mark.parametrize(("depth", "layer"), [(32, 13), (30, 12), (3, 1)])
def test_the_default_layer_is_in_proportion_to_llama_s(depth: int, layer: int) -> None:
    assert filter_layer(Config(), depth) == layer


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(layer=9), "layer 9 does not exist"),
        (Config(kernel=4), "must be odd"),
        (Config(k=4, pin_first=3, pin_last=2), "5 tokens are pinned, but only 4 stay"),
    ],
)
def test_what_does_not_fit_is_refused(config: Config, message: str) -> None:
    assert message in gem_filter.check(build_language("Llama"), config)[0]


def test_another_model_is_refused() -> None:
    assert "no causal language model" in gem_filter.check(torch.nn.Linear(2, 2), Config())[0]


def test_both_passes_export(tmp_path: Path) -> None:
    filtered = gem_filter.apply(build_language("Llama"), Config(k=9, layer=1, pin_first=1))

    def both(ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits, _, columns = filtered(ids, torch.ones_like(ids))
        return logits, columns

    with torch.inference_mode():
        expected = both(prompts(3))
    logits, columns = run(both, [prompts(2)], [prompts(3)], tmp_path)
    assert torch.equal(torch.from_numpy(columns), expected[1])
    torch.testing.assert_close(torch.from_numpy(logits), expected[0], atol=1e-4, rtol=1e-4)
