"""An opened decoder computes what transformers computes: logits and cache, prompt and steps."""

from __future__ import annotations

import copy

import pytest
import torch
from language_models import LANGUAGE, build_language, llama, rope

from paring.transforms._decoder import (
    Reducer,
    Seen,
    Tokens,
    attention_rows,
    find,
    open_decoder,
    raw_scores,
    why_not,
    write_rows,
)
from paring.transforms._decoder.memory import Growing, InPlace, KeyValue

LENGTHS = (9, 4, 1)  # real tokens of each row
STEPS = 4


def prompt(width: int = max(LENGTHS)) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids, mask and positions [3, width], padded on the left."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(3, 97, (len(LENGTHS), width), generator=generator)
    mask = torch.stack([torch.arange(width) >= width - length for length in LENGTHS]).long()
    return ids, mask, (mask.cumsum(1) - 1).clamp(min=0)


def stepped(mask: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mask and positions of one more token."""
    return torch.cat([mask, torch.ones_like(mask[:, :1])], 1), positions[:, -1:] + 1


def real_rows(mask: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Of [B, T, ...] those that are no padding."""
    return values[mask.bool()]


@pytest.mark.parametrize("name", LANGUAGE)
def test_logits_and_cache_equal_transformers(name: str) -> None:
    model = build_language(name)
    decoder = open_decoder(copy.deepcopy(model))
    ids, mask, positions = prompt()
    cache, past = None, []
    with torch.inference_mode():
        for _ in range(STEPS):
            expected = model(
                ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
            logits, past = decoder(ids, mask, positions, past)
            cache, seen = expected.past_key_values, mask[:, -ids.shape[1] :]
            torch.testing.assert_close(
                real_rows(seen, logits), real_rows(seen, expected.logits), atol=1e-5, rtol=1e-4
            )
            for index, own in enumerate(past):
                layer = cache.layers[index]
                for actual, wanted in zip(own, (layer.keys, layer.values), strict=True):
                    held = min(wanted.shape[2], actual.shape[2])  # a window forgets, ours does not
                    shown = mask[:, -held:]
                    torch.testing.assert_close(
                        real_rows(shown, actual[:, :, -held:].transpose(1, 2)),
                        real_rows(shown, wanted[:, :, -held:].transpose(1, 2)),
                        atol=1e-5,
                        rtol=1e-4,
                    )
            ids = logits[:, -1:].argmax(-1)
            mask, positions = stepped(mask, positions)
    assert logits.std() > 1e-3


def test_longrope_changes_its_frequencies_where_transformers_does() -> None:
    model = build_language("Phi-3, LongRoPE")
    decoder = open_decoder(copy.deepcopy(model))
    ids = torch.randint(3, 97, (1, 15))
    cache, past = None, []
    with torch.inference_mode():
        for end in range(15, 19):  # the limit is 16
            places, mask = torch.arange(end - ids.shape[1], end)[None], torch.ones(1, end, dtype=torch.int64)
            expected = model(ids, position_ids=places, past_key_values=cache, use_cache=True)
            logits, past = decoder(ids, mask, places, past)
            torch.testing.assert_close(logits, expected.logits, atol=1e-5, rtol=1e-4)
            ids, cache = logits[:, -1:].argmax(-1), expected.past_key_values


@pytest.mark.parametrize("name", ["Llama", "Mistral, window", "Phi-3", "GPT-2"])
def test_in_place_equals_the_growing_cache(name: str) -> None:
    decoder = open_decoder(build_language(name))
    left, mask, positions = prompt()
    layers, heads, width = decoder.cache_shape()
    count, last = left.shape[1], torch.tensor(LENGTHS) - 1
    shift = count - torch.tensor(LENGTHS)
    order = (torch.arange(count) + shift[:, None]) % count  # from left to right padding
    ids, slots = left.gather(1, order), torch.arange(count).expand(len(LENGTHS), -1)
    empty = torch.full((len(LENGTHS), heads, 16, width), 7.0)
    cache = [KeyValue(empty.clone(), empty.clone()) for _ in range(layers)]
    with torch.inference_mode():
        wanted, past = decoder(left, mask, positions)
        found, cache = decoder.in_place(ids, slots, slots, last, cache)
        for _ in range(STEPS):
            torch.testing.assert_close(found, wanted[:, -1], atol=1e-5, rtol=1e-4)
            mask, positions = stepped(mask, positions)
            token, last = found.argmax(-1)[:, None], last + 1
            wanted, past = decoder(token, mask, positions, past)
            where, zero = last[:, None], torch.zeros_like(last)
            found, cache = decoder.in_place(token, where, where, zero, cache)


class KeepBest(Reducer):
    """Keeps the tokens that the last one attends to most, itself included."""

    def __init__(self, keep: int) -> None:
        super().__init__()
        self.keep = keep

    def forward(self, seen: Seen) -> torch.Tensor:
        batch, count = seen.tokens.positions.shape
        rows = torch.full((batch, 1), count - 1)
        scores = attention_rows(seen, rows)[:, 0].masked_fill(~seen.tokens.valid, -1)
        scores[:, -1] = 2
        return scores.topk(self.count(count)).indices.sort(1).values

    def count(self, tokens: int) -> int:
        return min(self.keep, tokens)


def test_dropped_tokens_are_masked_from_the_next_layer_on() -> None:
    """Dropping equals the whole model with the dropped tokens masked in later layers."""
    decoder = open_decoder(build_language("Llama"))
    ids = prompt()[0]
    mask = torch.ones_like(ids)
    positions = torch.arange(ids.shape[1]).expand_as(ids)
    decoder.opened()[0].reducers.append(KeepBest(4))
    tokens = Tokens(decoder.embedding(ids, positions), positions, mask.bool())
    with torch.inference_mode():
        found = decoder.run(tokens, Growing((), mask.bool()), reduce=True)
        (kept,) = found.kept
        seen = torch.zeros_like(mask).scatter(1, kept, 1).bool()
        wanted = decoder.run(tokens, Growing((), [mask.bool(), seen]), reduce=False)
        assert [own.key.shape[2] for own in found.memory] == [9, 4]
        assert torch.equal(found.tokens.positions, kept)
        index = kept[..., None].expand(-1, -1, 48)
        torch.testing.assert_close(found.tokens.x, wanted.tokens.x.gather(1, index), atol=1e-5, rtol=1e-4)
        # A step over caches of several lengths, appended or in place.
        step = Tokens(
            decoder.embedding(ids[:, :1], positions[:, -1:] + 1), positions[:, -1:] + 1, mask[:, :1] > 0
        )
        one = torch.ones(3, 1, dtype=torch.bool)
        after = decoder.run(step, Growing(found.memory, [one.expand(-1, n + 1) for n in (9, 4)]), False)
        full = decoder.run(
            step, Growing(wanted.memory, [torch.cat([m > 0, one], 1) for m in (mask, seen)]), False
        )
        torch.testing.assert_close(after.tokens.x, full.tokens.x, atol=1e-5, rtol=1e-4)
        padded = [KeyValue(*(torch.cat([v, v[:, :, :2]], 2) for v in own)) for own in found.memory]
        slots = [torch.full((3, 1), n) for n in (9, 4)]
        in_place = decoder.run(step, InPlace(padded, slots), False)
        torch.testing.assert_close(in_place.tokens.x, full.tokens.x, atol=1e-5, rtol=1e-4)


def test_scores_are_those_of_a_loop_over_heads() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 6, 5, 8), torch.randn(2, 2, 5, 8)
    x, places = torch.zeros(2, 5, 4), torch.arange(5).expand(2, -1)
    tokens = Tokens(x, places, torch.tensor([[True] * 5, [False, True, True, True, True]]))
    from paring.transforms._decoder.reducing import chunk_bias

    seen = Seen(query, key, chunk_bias(tokens, None), 0.3, tokens)
    rows = torch.tensor([[4, 1], [3, 4]])
    raw, soft = raw_scores(seen, rows), attention_rows(seen, rows)
    for b in range(2):
        for r in range(2):
            at = int(rows[b, r])
            each = torch.stack([query[b, h, at] @ key[b, h // 3].T for h in range(6)])
            torch.testing.assert_close(raw[b, :, r], each)
            hidden = (torch.arange(5) > at) | ~tokens.valid[b]
            weights = (each * 0.3).masked_fill(hidden, -torch.inf).softmax(-1)
            torch.testing.assert_close(soft[b, r], weights.mean(0))


def test_rows_are_written_from_each_rows_own_start() -> None:
    cache = torch.zeros(2, 1, 5, 3)
    rows = torch.arange(12.0).reshape(2, 1, 2, 3) + 1
    written = write_rows(cache, rows, torch.tensor([1, 3]))
    assert torch.equal(written[0, 0, 1:3], rows[0, 0])
    assert torch.equal(written[1, 0, 3:5], rows[1, 0])
    assert int((written == 0).sum()) == 18
    assert not cache.any()


def test_frequencies_that_depend_on_history_are_refused_by_name() -> None:
    (reason,) = why_not(llama(**rope("dynamic")))
    assert "'dynamic'" in reason
    with pytest.raises(ValueError, match="dynamic"):
        open_decoder(llama(**rope("dynamic")))


def test_another_model_is_named() -> None:
    assert "no causal language model found in Linear" in why_not(torch.nn.Linear(2, 2))[0]


def test_opening_twice_changes_nothing() -> None:
    decoder = open_decoder(build_language("Llama"))
    assert open_decoder(decoder) is decoder
    assert find(decoder) is decoder


def test_frequencies_stay_in_fp32_when_the_model_is_halved() -> None:
    decoder = open_decoder(build_language("Llama")).half()
    assert decoder.rotary is not None
    assert decoder.rotary.frequencies.dtype == torch.float32
    assert decoder.head.weight.dtype == torch.float16
