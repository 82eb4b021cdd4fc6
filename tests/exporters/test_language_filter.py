"""The filter's graphs: the columns that PyTorch chooses, at any length, read a chunk at a time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from language_models import build_language, qwen2

from paring.transforms._decoder import Decoder, open_decoder
from paring.transforms._decoder.causal import causal_attention
from paring.transforms._gem_filter import pooled
from paring.transforms.gem_filter import Config, PromptFilter, filter_layers, layer_scores
from paring_exporters.language import DATA, FILTER, LanguageRequest, export, generation_facts
from paring_exporters.language.filter_parity import _margin, choose, compare, expected, lengths_for
from paring_profiles import macs
from paring_profiles.generation.cost import filtering
from paring_runtimes.engines import Options, engines
from paring_runtimes.generation import in_place_cache
from paring_runtimes.generation.filter_layers import FilterLayers
from paring_runtimes.generation.language_model import LanguageModel, language_model_of

pytestmark = pytest.mark.slow

CONFIG = Config(k=20, layer=1, pin_first=1)
DEEP = Config(k=20, layer=2)


@pytest.fixture(scope="module", params=["Llama, tied", "Qwen2, windows", "GPT-2"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """The decoder and the folder of its export with a filter."""
    decoder = open_decoder(build_language(request.param))
    folder = tmp_path_factory.mktemp("filter")
    export(decoder, LanguageRequest(in_place=False, filter=CONFIG), folder)
    return decoder, folder


def test_layers_between_the_first_and_the_last_are_graphs_too(tmp_path: Path) -> None:
    decoder = open_decoder(qwen2(num_hidden_layers=3).eval())
    export(decoder, LanguageRequest(in_place=False, filter=DEEP), tmp_path)
    cases, _ = compare(decoder, DEEP, opened(decoder, tmp_path, DEEP), (2,), "fp32")
    assert cases
    assert all(case.passed for case in cases)


def prompts(length: int, batch: int = 3) -> torch.Tensor:
    return torch.randint(3, 97, (batch, length), generator=torch.Generator().manual_seed(length))


def opened(decoder: Decoder, folder: Path, config: Config = CONFIG) -> FilterLayers:
    facts = generation_facts(decoder, "fp32", False, config)
    model = language_model_of(folder, {"generation": facts}, dict.fromkeys(facts["filter"]["files"], ""))
    return FilterLayers(folder, model, engines()["onnxruntime"], Options())


@pytest.mark.parametrize("length", [1, 19, 20, 21, 64, 128])
@pytest.mark.parametrize("pins", [(0, 0), (2, 3), (0, 20)])
@pytest.mark.parametrize("chunk", [13, 512])
def test_columns_are_those_of_pytorch(  # type: ignore[no-untyped-def]
    exported, monkeypatch: pytest.MonkeyPatch, length: int, pins: tuple[int, int], chunk: int
) -> None:
    """However the prompt is cut; PyTorch reads it whole, in both of its forms."""
    decoder, folder = exported
    monkeypatch.setattr(in_place_cache, "CHUNK", chunk)
    ids = prompts(length)
    scores, columns = choose(opened(decoder, folder), ids.numpy(), CONFIG.k, pins)
    whole_scores, whole = expected(decoder, CONFIG, ids.numpy(), pins)
    with torch.inference_mode():
        config = Config(k=20, layer=1, pin_first=pins[0], pin_last=pins[1])
        padded_form = PromptFilter(decoder, config)(ids, torch.ones_like(ids))
    assert np.array_equal(columns, whole)
    assert np.array_equal(columns, padded_form.numpy())
    np.testing.assert_allclose(scores, whole_scores, atol=1e-5, rtol=1e-4)
    for row in columns.tolist():
        assert row == sorted(set(row))
        pinned = {*range(min(pins[0], length)), *range(max(0, length - pins[1]), length)}
        assert pinned <= set(row)


@pytest.mark.parametrize("layer", [0, 1])
def test_scoring_by_chunks_changes_nothing(layer: int) -> None:
    """Long rope's frequencies depend on how far the whole prompt reaches, not on the chunk."""
    decoder, ids = open_decoder(build_language("Phi-3, LongRoPE")), prompts(60)
    _, heads, width = decoder.cache_shape()
    chunks = list(ids.split(7, 1))
    with torch.inference_mode():
        for own in filter_layers(decoder, Config(layer=layer)):
            cache = [torch.zeros(3, heads, 64, width) for _ in range(1 if own.scores else 2)]
            for index, chunk in enumerate(chunks):
                places = torch.arange(7 * index, 7 * index + chunk.shape[1]).expand(3, -1)
                chunks[index], *cache = own(chunk, places, torch.full((3,), 60), cache)
        wanted = pooled(layer_scores(decoder, ids, None, [layer])[0])
    torch.testing.assert_close(chunks[-1][:, :60], wanted, atol=1e-5, rtol=1e-4)


def test_weights_are_stored_once(exported, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    decoder, folder = exported
    export(decoder, LanguageRequest(in_place=False), tmp_path)
    assert (folder / DATA).stat().st_size == (tmp_path / DATA).stat().st_size
    for layer in range(2):
        graph = onnx.load(folder / FILTER.format(layer), load_external_data=False).graph
        places = {e.value for w in graph.initializer for e in w.external_data if e.key == "location"}
        assert places == {DATA}


def counted(folder: Path, model: LanguageModel, layer: int, length: int) -> int:
    feeds = filtering(model, layer, length, 64)
    return macs.count(folder / FILTER.format(layer), {n: v.shape for n, v in feeds.items()}, feeds).total


def test_of_the_filter_layer_only_keys_and_one_query_are_computed(exported) -> None:  # type: ignore[no-untyped-def]
    _, folder = exported
    graphs = [onnx.load(folder / FILTER.format(layer), load_external_data=False).graph for layer in range(2)]
    kinds = [Counter(node.op_type for node in graph.node) for graph in graphs]
    assert [(kind["Attention"], kind["TensorScatter"]) for kind in kinds] == [(1, 2), (0, 1)]
    taken = [[value.name for value in graph.input] for graph in graphs]
    assert taken == [
        ["input_ids", "positions", "length", "cache.key", "cache.value"],
        ["hidden", "positions", "length", "cache.key"],
    ]
    decoder, _ = exported
    model = opened(decoder, folder).model
    long, short = (sum(counted(folder, model, layer, length) for layer in range(2)) for length in (50, 1))
    first, second = decoder.opened()[0], decoder.opened()[1].attention
    mlp = sum(weight.numel() for weight in first.mlp.parameters() if weight.dim() == 2)
    own = first.attention
    dense = sum(linear.weight.numel() for linear in (own.query, own.key, own.value, own.output))
    attention = 2 * 64 * own.query.weight.shape[0]
    assert long - short == 49 * (mlp + dense + attention + second.key.weight.numel())


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
    layers = opened(decoder, folder)
    cases, kept = compare(decoder, CONFIG, layers, (1, 2), "fp32")
    wrong, _ = compare(decoder, Config(k=20, layer=0, pin_first=1), layers, (1, 2), "fp32")
    assert all(case.passed and case.ties == 0 for case in cases)
    assert {case.length for case in cases} == set(lengths_for(20, decoder.max_positions))
    assert {prompt.ids.shape[1] for prompt in kept} == {10, 20}
    assert not all(case.passed for case in wrong)


def test_the_margin_is_between_what_was_lost_and_won() -> None:
    scores = np.array([0.5, 1.0, 0.9, 0.2, 0.2])
    assert _margin(scores, np.array([1, 2, 3]), np.array([1, 2, 3])) == 0
    assert _margin(scores, np.array([1, 2]), np.array([0, 1])) == pytest.approx(0.4)
    assert _margin(scores, np.array([1, 3]), np.array([1, 4])) == 0  # a plateau
    assert _margin(scores, np.array([1, 2]), np.array([2, 1])) == np.inf
    assert lengths_for(20, 30) == [10, 20, 21, 30]
    assert lengths_for(20, 4096)[-1] > in_place_cache.CHUNK


def test_the_manifest_tells_of_it(exported) -> None:  # type: ignore[no-untyped-def]
    decoder, _ = exported
    facts = generation_facts(decoder, "fp32", False, Config(k=7, pin_last=2))
    layer = 13 * facts["layers"] // 32
    told = {"k": 7, "layer": layer, "pin_first": 0, "pin_last": 2}
    told |= {"files": [FILTER.format(index) for index in range(layer + 1)]}
    told |= {"hidden_size": decoder.head.weight.shape[1]}
    assert facts["filter"] == told
    assert "filter" not in generation_facts(decoder, "fp32", False)
