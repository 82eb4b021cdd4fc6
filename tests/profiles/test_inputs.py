from __future__ import annotations

import numpy as np
import pytest

from paring_profiles import inputs
from paring_runtimes.errors import InputError
from paring_runtimes.manifest import TensorSpec

IMAGE = TensorSpec("pixels", "float32", ("batch", 3, "side", "side"))
MASK = TensorSpec("attention_mask", "int64", ("batch", 5))


def test_the_batch_fills_its_symbolic_size_everywhere():
    shapes = inputs.concrete_shapes([IMAGE, MASK], 4, {"side": 32}, "m.onnx")
    assert shapes == {"pixels": (4, 3, 32, 32), "attention_mask": (4, 5)}


def test_a_missing_size_is_named():
    with pytest.raises(InputError, match=r"m\.onnx: input 'pixels'.*'side'.*dims"):
        inputs.concrete_shapes([IMAGE], 4, {}, "m.onnx")


def test_a_fixed_batch_takes_only_itself():
    spec = TensorSpec("x", "float32", (8, 10))
    assert inputs.concrete_shapes([spec], 8, {}, "m.onnx") == {"x": (8, 10)}
    with pytest.raises(InputError, match=r"fixed at 8.*batch size 1 was asked for; ask for 8"):
        inputs.concrete_shapes([spec], 1, {}, "m.onnx")


def test_values_follow_the_seed_and_the_position():
    specs = [TensorSpec("a", "float32", (2, 3)), TensorSpec("b", "float32", (2, 3))]
    shapes = {"a": (2, 3), "b": (2, 3)}
    one, again, other = (inputs.make(specs, shapes, seed) for seed in (0, 0, 1))
    assert np.array_equal(one["a"], again["a"])
    assert not np.array_equal(one["a"], other["a"])
    assert not np.array_equal(one["a"], one["b"])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "int32", "uint8", "bool"])
def test_dtypes(dtype):
    made = inputs.fill(TensorSpec("x", dtype, (500,)), (500,), np.random.default_rng(0))
    assert made.dtype == np.dtype(dtype)
    assert made.shape == (500,)


def test_values_are_valid_for_what_reads_them():
    rng = np.random.default_rng(0)
    tokens = inputs.fill(TensorSpec("ids", "int64", (500,)), (500,), rng)
    assert set(tokens.tolist()) == {0, 1}
    assert inputs.fill(MASK, (2, 5), rng).tolist() == [[1] * 5] * 2
    image = inputs.fill(TensorSpec("x", "uint8", (5000,)), (5000,), rng)
    assert (image.min(), image.max()) == (0, 255)
    floats = inputs.fill(TensorSpec("x", "float32", (5000,)), (5000,), rng)
    assert abs(float(floats.std()) - 1) < 0.05
