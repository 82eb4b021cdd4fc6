"""`filter.onnx`: the columns that PyTorch chooses, at any length, in memory that grows with the length."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from language_models import build_language

from paring.transforms._decoder import open_decoder
from paring.transforms._decoder.causal import causal_attention
from paring.transforms.gem_filter import Config, PromptFilter, UnpaddedFilter
from paring_exporters.language import DATA, ENTRY, FILTER, LanguageRequest, export, generation_facts
from paring_exporters.language.filter_parity import _margin, compare, lengths_for
from paring_runtimes import load

CONFIG = Config(k=20, layer=1, pin_first=1)


@pytest.fixture(scope="module", params=["Llama, tied", "Qwen2, windows", "GPT-2"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """The decoder and the folder of its export with a filter."""
    decoder = open_decoder(build_language(request.param))
    folder = tmp_path_factory.mktemp("filter")
    export(decoder, LanguageRequest(in_place=False, filter=CONFIG), folder)
    return decoder, folder


def prompts(length: int, batch: int = 3) -> torch.Tensor:
    return torch.randint(3, 97, (batch, length), generator=torch.Generator().manual_seed(length))


def places(graph: onnx.GraphProto) -> set[tuple[str, ...]]:
    """File, offset and length of the weights that lie outside of the graph."""
    told = [{e.key: e.value for e in weight.external_data} for weight in graph.initializer]
    return {tuple(one[key] for key in ("location", "offset", "length")) for one in told if one}


@pytest.mark.parametrize("length", [1, 19, 20, 21, 64, 127, 128])
@pytest.mark.parametrize("pins", [(0, 0), (2, 3), (0, 20)])
def test_columns_are_those_of_pytorch(exported, length: int, pins: tuple[int, int]) -> None:  # type: ignore[no-untyped-def]
    decoder, folder = exported
    ids, ends = prompts(length), [torch.tensor([number]) for number in pins]
    session = onnxruntime.InferenceSession(folder / FILTER)
    feeds = dict(zip(("input_ids", "pin_first", "pin_last"), (ids, *ends), strict=True))
    columns, scores = session.run(None, {name: value.numpy() for name, value in feeds.items()})
    config = Config(k=20, layer=1, pin_first=pins[0], pin_last=pins[1])
    with torch.inference_mode():
        expected, pooled = UnpaddedFilter(decoder, CONFIG)(ids, *ends)
        padded_form = PromptFilter(decoder, config)(ids, torch.ones_like(ids))
    assert np.array_equal(columns, expected.numpy())
    assert np.array_equal(columns, padded_form.numpy())
    np.testing.assert_allclose(scores, pooled.numpy(), atol=1e-5, rtol=1e-4)
    for row in columns.tolist():
        assert row == sorted(set(row))
        pinned = {*range(min(pins[0], length)), *range(max(0, length - pins[1]), length)}
        assert pinned <= set(row)


def test_weights_are_stored_once(exported) -> None:  # type: ignore[no-untyped-def]
    _, folder = exported
    entry, graph = (onnx.load(folder / name, load_external_data=False).graph for name in (ENTRY, FILTER))
    assert {location for location, _, _ in places(graph)} == {DATA}
    assert places(graph) < places(entry)
    assert [node.op_type for node in graph.node].count("Scan") == 1  # layer 0; of layer 1 only q and k


def test_attention_is_done_by_chunks(exported) -> None:  # type: ignore[no-untyped-def]
    """Scores exist inside the Scan alone, for 128 queries at a time."""
    _, folder = exported
    graph = onnx.load(folder / FILTER, load_external_data=False).graph
    assert "Softmax" not in {node.op_type for node in graph.node}
    (scan,) = [node for node in graph.node if node.op_type == "Scan"]
    body = next(item.g for item in scan.attribute if item.name == "body")
    assert "Softmax" in {node.op_type for node in body.node}
    assert body.input[0].type.tensor_type.shape.dim[2].dim_value == 128


@pytest.mark.parametrize("window", [None, 1, 7, 500])
def test_the_reference_attention_is_causal(window: int | None) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 6, 33, 8), torch.randn(2, 2, 33, 8), torch.randn(2, 2, 33, 8)
    found = causal_attention(query, key, value, 0.3, window)
    rows = torch.arange(33)
    hidden = rows[None] > rows[:, None]
    if window is not None:
        hidden |= rows[None] <= rows[:, None] - window
    scores = query @ key.repeat_interleave(3, 1).transpose(2, 3) * 0.3
    expected = scores.masked_fill(hidden, -torch.inf).softmax(-1) @ value.repeat_interleave(3, 1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_parity_sees_another_choice(exported) -> None:  # type: ignore[no-untyped-def]
    decoder, folder = exported
    with load(folder / FILTER) as session:
        cases, kept = compare(UnpaddedFilter(decoder, CONFIG), session, (1, 2), "fp32")
        other = UnpaddedFilter(decoder, Config(k=20, layer=0, pin_first=1))
        wrong, _ = compare(other, session, (1, 2), "fp32")
    assert all(case.passed and case.ties == 0 for case in cases)
    assert {case.length for case in cases} == {10, 20, 21, 49}
    assert {prompt.ids.shape[1] for prompt in kept} == {10, 20}
    assert not all(case.passed for case in wrong)


def test_the_margin_is_between_what_was_lost_and_won() -> None:
    scores = np.array([0.5, 1.0, 0.9, 0.2, 0.2])
    assert _margin(scores, np.array([1, 2, 3]), np.array([1, 2, 3])) == 0
    assert _margin(scores, np.array([1, 2]), np.array([0, 1])) == pytest.approx(0.4)
    assert _margin(scores, np.array([1, 3]), np.array([1, 4])) == 0  # a plateau
    assert _margin(scores, np.array([1, 2]), np.array([2, 1])) == np.inf
    assert lengths_for(20, 30) == [10, 20, 21, 30]


def test_the_manifest_tells_of_it(exported) -> None:  # type: ignore[no-untyped-def]
    decoder, _ = exported
    facts = generation_facts(decoder, "fp32", False, Config(k=7, pin_last=2))
    told = {"file": FILTER, "k": 7, "layer": 13 * facts["layers"] // 32, "pin_first": 0, "pin_last": 2}
    assert facts["filter"] == told
    assert "filter" not in generation_facts(decoder, "fp32", False)
