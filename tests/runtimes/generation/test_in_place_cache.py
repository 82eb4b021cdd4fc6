"""No step copies the cache: each buffer is one array, bound as the graph's input and output."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tiny_lm import LAYERS, VOCAB

from paring_runtimes.engines import NativeSession, Options
from paring_runtimes.engines.onnxruntime import open_session
from paring_runtimes.generation import in_place_cache
from paring_runtimes.generation.in_place_cache import InPlaceCache, reading_plan
from paring_runtimes.generation.language_model import LanguageModel, language_model
from paring_runtimes.manifest import Manifest

PROMPTS = [[1, 2, 3, 4, 5], [9, 8]]


class Recorder:
    """A native session that keeps what was bound, by address."""

    def __init__(self, inner: NativeSession) -> None:
        self._inner = inner
        self.outputs = inner.outputs
        self.bound: list[tuple[dict[str, int], dict[str, int]]] = []

    def bind(self, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]):
        self.bound.append(tuple({n: a.ctypes.data for n, a in side.items()} for side in (inputs, outputs)))
        return self._inner.bind(inputs, outputs)


@pytest.fixture
def model(artifact: Path) -> LanguageModel:
    from paring_runtimes import read_manifest

    manifest: Manifest = read_manifest(artifact)
    return language_model(artifact, manifest)


@pytest.fixture
def native(artifact: Path) -> Recorder:
    return Recorder(open_session(artifact / "in_place.onnx", Options(threads=1)))


def addresses(cache: InPlaceCache) -> dict[str, int]:
    return {name: buffer.ctypes.data for name, buffer in cache.buffers.items()}


def test_the_buffers_stay_where_they_are(native: Recorder, model: LanguageModel) -> None:
    cache = InPlaceCache(native, model, 2)
    cache.prefill(PROMPTS)
    before = addresses(cache)
    assert len(before) == 2 * LAYERS
    for token in range(30):
        cache.step([token, token])
    assert addresses(cache) == before
    assert len(native.bound) == 2  # the prefill, and one binding for all the steps
    for inputs, outputs in native.bound:
        for i in range(LAYERS):
            for kind in ("key", "value"):
                address = before[f"cache.{i}.{kind}"]
                assert inputs[f"cache.{i}.{kind}"] == outputs[f"updated.{i}.{kind}"] == address


def test_a_step_writes_one_row_and_nothing_else(native: Recorder, model: LanguageModel) -> None:
    cache = InPlaceCache(native, model, 2)
    cache.prefill(PROMPTS)
    before = {name: buffer.copy() for name, buffer in cache.buffers.items()}
    cache.step([3, 4])
    for name, buffer in cache.buffers.items():
        changed = (buffer != before[name]).any(axis=(1, 3))
        assert [np.flatnonzero(row).tolist() for row in changed] == [[5], [2]]


def test_the_engine_writes_into_memory_that_it_was_lent(artifact: Path, model: LanguageModel) -> None:
    # Not through our binding: ONNX Runtime's own account of where its output lies.
    inner = onnxruntime.InferenceSession(artifact / "in_place.onnx", providers=["CPUExecutionProvider"])
    lent = {n: np.zeros(model.cache_shape(1, 64), np.float32) for n in model.cache_names("cache")}
    values = {n: onnxruntime.OrtValue.ortvalue_from_numpy(a) for n, a in lent.items()}
    binding = inner.io_binding()
    for name, value in values.items():
        binding.bind_ortvalue_input(name, value)
        binding.bind_ortvalue_output(name.replace("cache", "updated"), value)
    for name in ("input_ids", "positions", "slots"):
        binding.bind_cpu_input(name, np.zeros((1, 1), np.int64))
    binding.bind_cpu_input("last", np.zeros(1, np.int64))
    binding.bind_output("logits")
    inner.run_with_iobinding(binding)
    outputs = binding.get_outputs()[: len(values)]  # in the order in which they were bound
    for source, value in zip(values.values(), outputs, strict=True):
        assert value.data_ptr() == source.data_ptr()
        assert source.numpy()[:, :, 0].any()
        assert not source.numpy()[:, :, 1:].any()


def test_growing_keeps_what_was_held(native: Recorder, model: LanguageModel) -> None:
    cache, small = InPlaceCache(native, model, 2, new_tokens=100), InPlaceCache(native, model, 2)
    for each in (cache, small):
        each.prefill(PROMPTS)
    assert cache.buffers["cache.0.key"].shape[2] == 128
    assert small.buffers["cache.0.key"].shape[2] == 64
    old = small.buffers["cache.0.key"]
    for token in range(80):
        expected, found = cache.step([token, token]).copy(), small.step([token, token])
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert small.buffers["cache.0.key"].shape[2] == 128
    np.testing.assert_array_equal(small.buffers["cache.0.key"][:, :, :60], old[:, :, :60])
    np.testing.assert_allclose(small.buffers["cache.1.value"], cache.buffers["cache.1.value"], atol=1e-4)


def test_the_capacity_grows_with_what_is_read() -> None:
    assert list(reading_plan(5, 1)) == [(0, 5, 64)]
    assert list(reading_plan(512, 1)) == [(0, 512, 576)]
    assert list(reading_plan(1300, 128)) == [(0, 512, 512), (512, 512, 1024), (1024, 276, 1472)]
    assert list(reading_plan(60, 100_000)) == [(0, 60, 320)]
    for start, tokens, capacity in reading_plan(20_000, 300):
        assert start + tokens <= capacity <= (start + tokens) * 5 // 4 + 300


@pytest.mark.parametrize("chunk", [1, 2, 3, 5])
def test_a_prompt_read_in_parts_is_the_whole(
    native: Recorder, model: LanguageModel, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    prompts = [*PROMPTS, [7], [3] * 5, [4, 5, 6]]
    whole = InPlaceCache(native, model, 5)
    expected = whole.prefill(prompts)
    monkeypatch.setattr(in_place_cache, "CHUNK", chunk)
    parts = InPlaceCache(native, model, 5)
    np.testing.assert_allclose(parts.prefill(prompts), expected, atol=1e-4)
    tokens = [1, 2, 3, 4, 5]
    np.testing.assert_allclose(parts.step(tokens), whole.step(tokens), atol=1e-4)


def test_a_finished_row_stays_while_others_go_on(native: Recorder, model: LanguageModel) -> None:
    cache, alone = InPlaceCache(native, model, 2), InPlaceCache(native, model, 1)
    cache.prefill(PROMPTS)
    alone.prefill(PROMPTS[1:])
    for token in range(90):
        found = cache.step([None, token])
        np.testing.assert_allclose(found[1:], alone.step([token]), atol=1e-4)
    assert cache.lengths.tolist() == [5, 92]
    assert found.shape == (2, VOCAB)
