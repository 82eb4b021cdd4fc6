"""Exported language models: what optimum, ONNX Runtime and PyTorch make of the same prompt."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from language_models import build_language

from paring.transforms._decoder import Decoder, open_decoder
from paring_exporters.language import DATA, ENTRY, IN_PLACE, LanguageRequest, export, generation_facts
from paring_exporters.language.buffers import Buffers

# optimum takes the heads of a Phi-3 for its key heads, so that it cannot run a grouped one.
MODELS = ("Llama, tied", "Qwen2, windows", "Phi-3, ungrouped", "GPT-2")
TOLERANCE = {"fp32": (1e-5, 1e-4), "fp16": (0.0025, 0.001)}


@pytest.fixture(scope="module", params=MODELS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """The transformers model, its decoder and the folder of its export."""
    model = build_language(request.param)
    decoder = open_decoder(copy.deepcopy(model))
    folder = tmp_path_factory.mktemp("language")
    export(decoder, LanguageRequest(), folder)
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    return model, decoder, folder


def left_padded() -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(3, 97, (3, 7), generator=torch.Generator().manual_seed(1))
    return ids, torch.stack([torch.arange(7) >= pad for pad in (0, 3, 6)]).long()


def test_optimum_generates_what_transformers_generates(exported) -> None:  # type: ignore[no-untyped-def]
    from optimum.onnxruntime import ORTModelForCausalLM

    model, _, folder = exported
    theirs = ORTModelForCausalLM.from_pretrained(folder, file_name=ENTRY)
    ids, mask = left_padded()
    options = {"max_new_tokens": 9, "do_sample": False, "attention_mask": mask, "eos_token_id": None}
    expected = model.generate(ids, **options)
    assert torch.equal(theirs.generate(ids, **options), expected)
    assert expected.shape == (3, 16)


def test_the_in_place_graph_writes_into_its_buffers(exported) -> None:  # type: ignore[no-untyped-def]
    _, decoder, folder = exported
    check_in_place(decoder, folder, "fp32")


def check_in_place(decoder: Decoder, folder: Path, precision: str) -> None:
    """Ragged prompts, then steps; the cache of the buffers is that of PyTorch, and nothing else moves."""
    ids, lengths, capacity = torch.randint(3, 97, (3, 6)), torch.tensor([6, 2, 4]), 16
    facts = generation_facts(decoder, precision, True)
    layers, heads, width = decoder.cache_shape()
    assert (facts["layers"], facts["kv_heads"], facts["head_dim"]) == (layers, heads, width)
    session = onnxruntime.InferenceSession(folder / IN_PLACE)
    buffers = Buffers(session, facts, batch=3, capacity=capacity)
    for value in buffers.cache.values():
        value.fill(3)
    slots, last = torch.arange(6).expand(3, -1), lengths - 1
    cache = [torch.full((3, heads, capacity, width), 3.0) for _ in range(2 * layers)]
    atol, rtol = TOLERANCE[precision]
    from paring_exporters.language.graphs import paired

    for _ in range(4):
        with torch.inference_mode():
            wanted, memory = decoder.in_place(ids, slots, slots, last, paired(cache))
        found = buffers.run(ids.numpy(), slots.numpy(), slots.numpy(), last.numpy())
        np.testing.assert_allclose(found, wanted.numpy(), atol=atol, rtol=rtol)
        cache = [value for own in memory for value in own]
        for name, value in zip(buffers.cache, cache, strict=True):
            np.testing.assert_allclose(buffers.cache[name], value.numpy(), atol=atol, rtol=rtol)
        lengths = lengths + 1
        ids, slots, last = wanted.argmax(-1)[:, None], lengths[:, None] - 1, torch.zeros(3).long()
    assert (buffers.cache["cache.0.key"][:, :, 10:] == 3).all()


def test_weights_are_stored_once_and_beside_the_graphs(exported) -> None:  # type: ignore[no-untyped-def]
    _, decoder, folder = exported
    weights = sum(p.numel() * 4 for p in decoder.parameters())
    tensors = sum(1 for _ in decoder.parameters())
    assert weights <= (folder / DATA).stat().st_size <= weights + tensors * 4096
    for name in (ENTRY, IN_PLACE):
        graph = onnx.load(folder / name, load_external_data=False).graph
        places = {e.value for w in graph.initializer for e in w.external_data if e.key == "location"}
        assert places == {DATA}
        assert (folder / name).stat().st_size < 60_000


def test_names_shapes_and_operators(exported) -> None:  # type: ignore[no-untyped-def]
    _, decoder, folder = exported
    growing = onnx.load(folder / ENTRY, load_external_data=False)
    in_place = onnx.load(folder / IN_PLACE, load_external_data=False)
    assert [(item.domain, item.version) for item in growing.opset_import] == [("", 20)]
    assert [(item.domain, item.version) for item in in_place.opset_import] == [("", 24)]
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for graph in (growing.graph, in_place.graph)
        for value in (*graph.input, *graph.output)
    }
    _, heads, width = decoder.cache_shape()
    assert shapes["attention_mask"] == ["batch_size", "total_sequence_length"]
    assert shapes["past_key_values.1.value"] == ["batch_size", heads, "past_sequence_length", width]
    assert shapes["cache.0.key"] == shapes["updated.0.key"] == ["batch_size", heads, "capacity", width]
    assert shapes["slots"] == ["batch_size", "sequence_length"]
    assert shapes["last"] == ["batch_size"]
    kinds = [node.op_type for node in in_place.graph.node]
    layers = decoder.cache_shape()[0]
    assert kinds.count("TensorScatter") == 2 * layers
    assert kinds.count("Attention") == layers
    assert str(Path(__file__).parents[2]).encode() not in (folder / ENTRY).read_bytes()


def test_fp16_agrees_with_the_fp32_decoder(tmp_path: Path) -> None:
    decoder = open_decoder(build_language("Llama, tied"))
    with torch.no_grad():
        for parameter in decoder.parameters():
            if parameter.ndim > 1:
                parameter.div_(3)
    export(decoder, LanguageRequest(precision="fp16"), tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / ENTRY)
    types = {value.name: value.type for value in (*session.get_inputs(), *session.get_outputs())}
    assert types["past_key_values.0.key"] == types["present.0.key"] == "tensor(float16)"
    assert types["logits"] == "tensor(float)"
    check_in_place(decoder, tmp_path, "fp16")
    ids, mask = left_padded()
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    _, heads, width = decoder.cache_shape()
    empty = np.zeros((3, heads, 0, width), np.float16)
    feeds = {name: empty for name in types if name.startswith("past")}
    own = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
    feeds |= {name: value.numpy() for name, value in own.items()}
    with torch.inference_mode():
        wanted, _ = decoder(ids, mask, positions)
    found = session.run(["logits"], feeds)[0]
    real = mask.bool().numpy()
    np.testing.assert_allclose(found[real], wanted.numpy()[real], atol=0.0025, rtol=0.001)
