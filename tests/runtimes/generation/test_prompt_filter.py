"""A filter shortens long prompts: the model's answer is that to the tokens that stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_lm import HIDDEN, POSITIONS, save_artifact

from paring_runtimes import ArtifactError, GenerativeSession, InputError, load
from paring_runtimes.engines import NativeSession
from paring_runtimes.generation import in_place_cache
from paring_runtimes.generation.filter_layers import FilterLayers, read_scores
from paring_runtimes.generation.in_place_cache import reading_plan
from paring_runtimes.generation.prompt_filter import best

K = 8
LONG = "a prompt of many more letters than stay"
OPTIONS = {"max_new_tokens": 12}
TOLD = {
    "files": ["filter.0.onnx", "filter.1.onnx"],
    "hidden_size": HIDDEN,
    "k": K,
    "layer": 1,
    "pin_first": 0,
    "pin_last": 0,
}


@pytest.fixture(scope="module")
def filtering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GenerativeSession]:
    with load(save_artifact(tmp_path_factory.mktemp("filter") / "lm", filter_k=K), threads=1) as opened:
        yield opened


def kept_by_hand(ids: list[int], first: int, last: int, k: int = K) -> list[int]:
    """The highest ids, and what is pinned."""
    pinned = {*range(first), *range(len(ids) - last, len(ids))}
    best = sorted(range(len(ids)), key=lambda place: (place not in pinned, -ids[place], place))
    return sorted(best[:k])


@pytest.mark.parametrize("form", ["in_place", "concat"])
@pytest.mark.parametrize(("first", "last"), [(None, None), (0, 0), (3, 4), (0, K)])
def test_the_answer_is_that_to_the_kept_tokens(
    filtering: GenerativeSession, form: str, first: int | None, last: int | None
) -> None:
    ids = filtering.tokenizer.encode(LONG)
    (found,) = filtering.generate(LONG, cache=form, pin_first=first, pin_last=last, **OPTIONS)
    columns = kept_by_hand(ids, 1 if first is None else first, last or 0)
    assert found.kept == tuple(columns)
    chosen = [ids[column] for column in columns]
    (expected,) = filtering.generate(chosen, filter=False, cache=form, **OPTIONS)
    assert found.token_ids == expected.token_ids
    assert found.prompt_length == len(ids)
    assert found.kept_text == "".join(LONG[column] for column in columns)
    assert found.filter_ms is not None
    assert 0 < found.filter_ms < found.first_token_ms


@pytest.mark.parametrize("k", [1, 3, K + 1, 20])
@pytest.mark.parametrize("last", [0, 1])
def test_a_call_may_keep_another_number(filtering: GenerativeSession, k: int, last: int) -> None:
    ids = filtering.tokenizer.encode(LONG)
    (found,) = filtering.generate(LONG, filter_k=k, pin_first=0, pin_last=last, **OPTIONS)
    assert found.kept == tuple(kept_by_hand(ids, 0, last, k))
    (own,) = filtering.generate(LONG, filter_k=K, pin_first=0, pin_last=last, **OPTIONS)
    assert own.kept == tuple(kept_by_hand(ids, 0, last))


def test_of_equal_scores_the_earlier_stays() -> None:
    scores = np.array([2.0, 1.0, 1.0, 3.0, 1.0, 1.0])
    assert best(scores, 3) == (0, 1, 3)
    assert best(scores, 4, (0, 2)) == (0, 3, 4, 5)
    assert best(scores, 9, (1, 1)) == (0, 1, 2, 3, 4, 5)


@pytest.mark.parametrize("prompt", ["x", LONG[:K]])
def test_a_prompt_of_k_tokens_is_left_alone(
    filtering: GenerativeSession, session: GenerativeSession, prompt: str
) -> None:
    (found,) = filtering.generate(prompt, filter=True, **OPTIONS)
    assert (found.kept, found.kept_text, found.filter_ms) == (None, None, None)
    assert found.token_ids == session.generate(prompt, **OPTIONS)[0].token_ids


def test_it_can_be_left_out(filtering: GenerativeSession, session: GenerativeSession) -> None:
    (found,) = filtering.generate(LONG, filter=False, **OPTIONS)
    assert found.kept is None
    assert found.token_ids == session.generate(LONG, **OPTIONS)[0].token_ids


def test_each_row_of_a_batch_is_filtered_alone(filtering: GenerativeSession) -> None:
    prompts = [LONG, "short", LONG[::-1]]
    together = filtering.generate(prompts, **OPTIONS)
    alone = [filtering.generate(prompt, **OPTIONS)[0] for prompt in prompts]
    assert [one.token_ids for one in together] == [one.token_ids for one in alone]
    assert [one.kept for one in together] == [one.kept for one in alone]
    assert together[1].kept is None


def test_a_stream_filters_when_it_begins(filtering: GenerativeSession) -> None:
    stream = filtering.stream(LONG, **OPTIONS)
    pieces = []
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            found = end.value
            break
    assert found.kept == filtering.generate(LONG, **OPTIONS)[0].kept
    assert "".join(pieces) == found.text


def test_the_answer_may_be_longer_where_fewer_tokens_are_read(filtering: GenerativeSession) -> None:
    prompt = [5] * POSITIONS
    (found,) = filtering.generate(prompt, max_new_tokens=3)
    assert found.finish_reason == "eos" or len(found.token_ids) == 3
    (whole,) = filtering.generate(prompt, max_new_tokens=3, filter=False)
    assert len(whole.token_ids) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pin_first": 5, "pin_last": 4}, "9 tokens are pinned, but only 8 stay"),
        ({"pin_last": 8}, "9 tokens are pinned, but only 8 stay"),  # the artifact pins the first
        ({"pin_first": -1}, "pin_first: expected None or a whole number"),
        ({"filter": 1}, "filter: expected None, True or False"),
        ({"filter_k": 0}, "filter_k: expected None or a whole number of at least 1"),
        ({"filter_k": 4, "pin_last": 4}, "5 tokens are pinned, but only 4 stay"),
    ],
)
def test_what_does_not_fit_is_refused(
    filtering: GenerativeSession, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        filtering.generate(LONG, **options)


@pytest.mark.parametrize("options", [{"filter": True}, {"filter_k": 3}, {"pin_first": 1}, {"pin_last": 0}])
def test_a_filter_that_is_not_there_is_missed(session: GenerativeSession, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="this artifact has no filter"):
        session.generate(LONG, **options)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({**TOLD, "files": ["filter.0.onnx", "none.onnx"]}, "filter.files: expected 2 of the files"),
        ({**TOLD, "files": ["filter.0.onnx"]}, "filter.files: expected 2 of the files"),
        ({**TOLD, "k": 0}, "filter.k: expected"),
        ({**TOLD, "pin_last": None}, "filter.pin_last: expected"),
        ({**TOLD, "file": "filter.onnx"}, "as older versions wrote it: convert again"),
        ("filter.onnx", "expected null or an object"),
    ],
)
def test_a_wrong_manifest_is_refused(new_artifact: Callable[..., Path], told: Any, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        load(new_artifact(filter_k=8, told={"filter": told}))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["filter.1.onnx", "filter.1.onnx"], "not layer 0 of a prompt filter .* hidden, input_ids"),
        (["filter.0.onnx", "in_place.onnx"], "not layer 1 of a prompt filter"),
        (["filter.0.onnx", "filter.0.onnx"], "not layer 1 of a prompt filter"),
    ],
)
def test_another_graph_is_refused(new_artifact: Callable[..., Path], files: list[str], message: str) -> None:
    told = {**TOLD, "files": files}
    with (
        load(new_artifact(filter_k=8, told={"filter": told})) as opened,
        pytest.raises(ArtifactError, match=message),
    ):
        opened.generate(LONG)


@pytest.mark.parametrize("chunk", [1, 7, 64, 512])
def test_chunks_keep_the_same(
    filtering: GenerativeSession, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    expected = [one.kept for one in filtering.generate([LONG, LONG[::-1]], **OPTIONS)]
    monkeypatch.setattr(in_place_cache, "CHUNK", chunk)
    assert [one.kept for one in filtering.generate([LONG, LONG[::-1]], **OPTIONS)] == expected


def test_a_layer_reads_the_whole_prompt_before_the_next_is_opened(filtering: GenerativeSession) -> None:
    """Each chunk is one run of each layer; buffers grow along."""
    chooser, ids = filtering.open_graphs().chooser, np.arange(1100)[None] % 100
    assert chooser is not None
    watched = Watched(chooser)
    scores = read_scores(watched, ids)
    assert scores.dtype == np.float32
    assert np.array_equal(scores, ids)
    assert watched.calls == [
        (layer, tokens, {f"cache.{part}": rows for part in chooser.facts.parts(layer)})
        for layer in (0, 1)
        for _, tokens, rows in reading_plan(1100, 1)
    ]


def test_chunks_of_long_prompts_are_shorter() -> None:
    """So that a head's scores of a chunk, [tokens, capacity], do not grow with the prompt."""
    plan = list(reading_plan(20000, 1))
    assert [start for start, _, _ in plan] == [0, *np.cumsum([tokens for _, tokens, _ in plan])[:-1]]
    assert sum(tokens for _, tokens, _ in plan) == 20000
    assert plan[0][1:] == (512, 512)
    assert all(tokens * (start + tokens) <= 512 * 4096 for start, tokens, _ in plan if tokens > 128)
    assert {tokens for start, tokens, _ in plan if start > 16384} == {128, 20000 % 128}


class Watched(FilterLayers):
    """A filter that writes down the layer, the tokens and the buffers' rows of each run."""

    def __init__(self, inner: FilterLayers) -> None:
        vars(self).update(vars(inner))
        self.calls: list[tuple[int, int, dict[str, int]]] = []

    def open(self, layer: int) -> NativeSession:
        native, calls = super().open(layer), self.calls

        class Bound:
            def bind(self, inputs: Any, outputs: Any) -> Callable[[], None]:
                rows = {name: value.shape[2] for name, value in inputs.items() if name.startswith("cache")}
                calls.append((layer, inputs["positions"].shape[1], rows))
                return native.bind(inputs, outputs)

        return Bound()  # type: ignore[return-value]
