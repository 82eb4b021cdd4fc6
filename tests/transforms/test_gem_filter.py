"""GemFilter's selection against its definition, head by head, and its checks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from onnx_run import run

from paring.transforms._gem_filter import (
    choose_layer,
    gem_filter,
    last_query_scores,
    needle_recall,
    pooled,
    prefill_speedup,
    select,
)

PLATEAU = torch.tensor([[0.0, 0, 10, 0, 0, 0, 0, 6]])


def scores_by_loop(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """query [H, D], key [H_kv, N, D]: raw products, keys repeated for each head of a group."""
    group = query.shape[0] // key.shape[0]
    total = torch.zeros(key.shape[1])
    for head in range(query.shape[0]):
        for place in range(key.shape[1]):
            total[place] += torch.dot(query[head], key[head // group, place])
    return total


@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (6, 2), (3, 1)])
def test_scores_equal_the_loop(heads: int, groups: int) -> None:
    query, key = torch.randn(2, heads, 8), torch.randn(2, groups, 13, 8)
    expected = torch.stack([scores_by_loop(q, k) for q, k in zip(query, key, strict=True)])
    torch.testing.assert_close(last_query_scores(query, key), expected, atol=1e-5, rtol=1e-4)


def test_grouped_keys_equal_repeated_keys() -> None:
    query, key = torch.randn(2, 6, 8), torch.randn(2, 2, 50, 8)
    repeated = last_query_scores(query, key.repeat_interleave(3, 1))
    torch.testing.assert_close(last_query_scores(query, key), repeated, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("chunk", [1, 7, 50, 64])
def test_chunks_of_keys_change_nothing(chunk: int) -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randint(-8, 9, (2, 4, 16), generator=generator).float()  # small integers: exact sums
    key = torch.randint(-8, 9, (2, 2, 50, 16), generator=generator).float()
    assert torch.equal(last_query_scores(query, key, chunk), last_query_scores(query, key))
    assert torch.equal(gem_filter(query, key, 9, chunk=chunk), gem_filter(query, key, 9))


def test_chunks_keep_the_fp32_copy_of_the_keys_small() -> None:
    """The largest tensor made is a chunk's, not the prompt's."""
    made: list[int] = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.dtype == torch.float32:
                made.append(result.numel())
            return result

    query, key = torch.randn(1, 4, 64).half(), torch.randn(1, 2, 4096, 64).half()
    with Watch():
        last_query_scores(query, key, chunk=256)
    assert max(made) <= max(256 * 2 * 64, 4096)


def test_fp16_sums_do_not_overflow() -> None:
    query, key = torch.full((1, 32, 128), 16.0).half(), torch.full((1, 8, 6, 128), 16.0).half()
    scores = last_query_scores(query, key)
    assert scores.dtype == torch.float32
    assert (scores == 32 * 128 * 256).all()  # 1,048,576: far beyond fp16's 65,504


def test_the_worked_pooling_example() -> None:
    found = pooled(PLATEAU)
    torch.testing.assert_close(found, torch.tensor([[2, 2, 2, 2, 2, 1.2, 1.2, 1.2]]))
    assert select(found, 5).tolist() == [[0, 1, 2, 3, 4]]
    assert select(found, 3).tolist() == [[0, 1, 2]]  # a plateau is a tie: the lower index first
    assert select(found, 7).tolist() == [[0, 1, 2, 3, 4, 5, 6]]


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="odd"):
        pooled(PLATEAU, 4)


@pytest.mark.parametrize("k", [8, 9, 1000])
def test_enough_room_keeps_every_token_in_order(k: int) -> None:
    assert select(torch.randn(2, 8), k).tolist() == [list(range(8))] * 2


def test_places_ascend_and_are_the_highest() -> None:
    scores = torch.randn(3, 200)
    found = select(scores, 20)
    for row in range(3):
        assert found[row].tolist() == sorted(scores[row].topk(20).indices.tolist())


@pytest.mark.parametrize("factor", [1e-3, 0.5, 37.0])
def test_a_scale_changes_nothing(factor: float) -> None:
    query, key = torch.randn(2, 4, 8), torch.randn(2, 4, 100, 8)
    assert torch.equal(gem_filter(query * factor, key, 12), gem_filter(query, key, 12))


def test_pinned_ranges_stay() -> None:
    scores = torch.zeros(1, 20)
    scores[0, 8:12] = 5.0
    assert select(scores, 6).tolist() == [[0, 1, 8, 9, 10, 11]]
    assert select(scores, 6, [(0, 2), (-2, None)]).tolist() == [[0, 1, 8, 9, 18, 19]]


def test_more_pins_than_room_are_refused() -> None:
    with pytest.raises(ValueError, match="6 tokens are pinned, but only 5 stay"):
        select(torch.zeros(1, 20), 5, [(0, 4), (-2, None)])


def test_a_sample_does_not_depend_on_its_batch_mates() -> None:
    query, key = torch.randn(3, 4, 8), torch.randn(3, 2, 60, 8)
    together = gem_filter(query, key, 10)
    for row in range(3):
        assert torch.equal(gem_filter(query[row : row + 1], key[row : row + 1], 10)[0], together[row])


def test_recall_says_which_layer_finds_the_needle() -> None:
    places = torch.tensor([[0, 1, 2, 3], [10, 11, 12, 20]])
    assert needle_recall(places, (10, 14)).tolist() == [0.0, 0.75]
    recall = torch.tensor([[0.1, 0.3], [1.0, 0.9], [1.0, 1.0], [0.5, 1.0]])
    assert choose_layer(recall) == 1
    assert choose_layer(recall, wanted=0.99) == 2
    assert choose_layer(recall[[0, 3]], wanted=0.99) == 1  # none does: the best


def test_the_speed_up_is_bounded_by_the_layers_that_run() -> None:
    assert prefill_speedup(32, 13, 10**9, 1024) == pytest.approx(32 / 14, rel=1e-4)  # 2.29
    assert prefill_speedup(32, 13, 1000, 1024) < 1  # a prompt shorter than k only pays


def test_scores_match_the_logits_of_a_real_layer() -> None:
    """Queries and keys after rotation, caught in an untruncated Llama: softmax undone, they are the same."""
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.models.llama import modeling_llama

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "vocab_size": 50}
    config = LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, attn_implementation="eager")
    model, caught = LlamaForCausalLM(config).eval(), []
    original = modeling_llama.eager_attention_forward

    def catch(module, query, key, *args, **kwargs):  # type: ignore[no-untyped-def]
        caught.append((query, key))
        return original(module, query, key, *args, **kwargs)

    modeling_llama.eager_attention_forward = catch
    try:
        with torch.inference_mode():
            attentions = model(torch.randint(0, 50, (2, 24)), output_attentions=True).attentions
    finally:
        modeling_llama.eager_attention_forward = original
    query, key = caught[1]
    logits = attentions[1][:, :, -1].log()  # the last token sees every key: logits but for a constant a head
    logits = (logits - logits.mean(-1, keepdim=True)).sum(1) * config.head_dim**0.5
    found = last_query_scores(query[:, :, -1], key)
    torch.testing.assert_close(found - found.mean(-1, keepdim=True), logits, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("chunk", [None, 16])
def test_the_selection_exports(chunk: int | None, tmp_path: Path) -> None:
    def chosen(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return gem_filter(query, key, 9, pinned=[(0, 2)], chunk=chunk)

    example, inputs = ([torch.randn(b, 4, 8), torch.randn(b, 2, 40, 8)] for b in (2, 3))
    found = run(chosen, example, inputs, tmp_path)[0]
    assert torch.equal(torch.from_numpy(found), chosen(*inputs))


def test_ties_export_by_index(tmp_path: Path) -> None:
    found = run(lambda s: select(pooled(s), 4), [torch.zeros(2, 8)], [PLATEAU.expand(3, -1)], tmp_path)[0]
    assert found.tolist() == [[0, 1, 2, 3]] * 3
