"""The fit finds constants that made the times, refuses what it would extrapolate, survives its file."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from onnx import helper

from paring_profiles.calibrated import Point, fit, predict, read_model, work, write_model
from paring_profiles.calibrated.work import FEATURES
from paring_runtimes.errors import InputError

PER_CALL, PER_MAC, PER_BYTE, FIXED = 2e-6, 1e-11, 2e-10, 5e-5


@pytest.fixture
def onnx_model(onnx_file):
    def make(width):
        weights = np.random.default_rng(0).standard_normal((width, 48)).astype(np.float32)
        nodes = [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("Transpose", ["h"], ["t"], perm=[1, 0]),
            helper.make_node("MatMul", ["h", "t"], ["s"]),
            helper.make_node("Softmax", ["s"], ["y"]),
        ]
        return onnx_file(nodes, {"x": ["batch", width]}, ["y"], {"w": weights})

    return make


@pytest.fixture
def made():
    """Points whose operator times follow the constants, and a profile to name the machine."""
    return [point(f"v{i}", batch, 1e6 * (i + 1)) for i in range(8) for batch in (1, 2)]


def point(name, batch, macs, noise=1.0):
    done = {
        "product": {"calls": 10.0, "macs": macs * batch, "attention_macs": 0.0, "bytes": macs * batch / 20},
        "softmax": {"calls": 4.0, "macs": 0.0, "attention_macs": 0.0, "bytes": macs * batch / 50},
    }
    product = 10 * PER_CALL + macs * batch * PER_MAC
    softmax = 4 * PER_CALL + macs * batch / 50 * PER_BYTE
    spent = {"product": product, "softmax": softmax}
    return Point(name, batch, done, spent, noise * (0.9 * sum(spent.values()) + FIXED))


def fitted(points, recorded):
    return fit(points, recorded, "m", ["p.json"])


def test_constants_are_found(made, recorded):
    model = fitted(made, recorded)
    softmax = model.constants["softmax"]
    assert softmax["calls"] == pytest.approx(PER_CALL, rel=1e-3)
    assert softmax["bytes"] == pytest.approx(PER_BYTE, rel=1e-3)
    assert model.scale == pytest.approx(0.9, rel=1e-3)
    assert model.fixed_s == pytest.approx(FIXED, rel=1e-2)
    assert model.p90_error < 1e-3
    assert (model.variants, len(model.held_out)) == (8, 16)


def test_the_error_is_that_of_variants_that_were_left_out(made, recorded):
    """One variant, at both of its batch sizes, takes twice as long: its own fold shows it."""
    odd = made[:-2] + [point("v7", batch, 8e6, noise=2.0) for batch in (1, 2)]
    model = fitted(odd, recorded)
    worst = max(model.held_out, key=lambda one: one.error)
    assert worst.variant == "v7"
    assert worst.error == pytest.approx(0.5, abs=0.1)


def test_too_few_variants(made, recorded):
    with pytest.raises(InputError, match="at least 6 variants, given 5"):
        fitted(made[:10], recorded)


def test_extrapolation_is_refused(made, recorded, onnx_model):
    model = fitted(made, recorded)
    beyond = model.outside(point("big", 1, 1e9).done)
    assert beyond[0] == "product macs 1,000,000,000, fitted from 1,000,000 to 16,000,000"
    assert model.outside(point("fits", 1, 5e6).done) == []
    told = predict(model, onnx_model(64), 3)
    assert told.milliseconds is None
    assert "it would extrapolate: " in told.refused


def test_a_model_within_the_range_is_predicted_with_its_error(made, recorded, onnx_model):
    path = onnx_model(64)
    (done,) = work(path, {"x": (3, 64)})
    ranges = {kind: dict.fromkeys(FEATURES, (0.0, 1000000000.0)) for kind in done}
    model = dataclasses.replace(fitted(made, recorded), ranges=ranges, median_error=0.04)
    told = predict(model, path, 3)
    assert told.milliseconds == pytest.approx(1e3 * model.seconds(done))
    assert (told.refused, told.median_error, told.variants) == (None, 0.04, 8)


def test_work_is_told_by_kind(onnx_model):
    (done,) = work(onnx_model(64), {"x": (3, 64)})
    product = done["product"]
    assert (product["macs"], product["attention_macs"]) == (3 * 64 * 48, 3 * 3 * 48)
    assert done["softmax"]["bytes"] == 2 * 3 * 3 * 4


def test_a_file_and_back(made, recorded, tmp_path):
    model = fitted(made, recorded)
    assert read_model(write_model(model, tmp_path / "m.yaml")) == model
    (tmp_path / "bad.yaml").write_text("kind: something\n")
    with pytest.raises(InputError, match="fitted latency model"):
        read_model(tmp_path / "bad.yaml")
