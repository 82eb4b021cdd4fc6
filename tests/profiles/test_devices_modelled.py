"""Bounds worked out by hand, and what every device's file must say."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from paring_profiles.devices_modelled import (
    bounds,
    device,
    devices_modelled,
    read_device,
    relative_energy,
    roofline,
)
from paring_profiles.ledger import ledger
from paring_runtimes.errors import InputError

OWN = """
title: Small
about: made up
sources: {book: {title: A book, year: 2020}}
peak_tops:
  fp32: {value: 0.5, low: 0.5, high: 1, source: book, where: p. 1, basis: stated, checked: itself}
  int8: {value: 4, low: 4, high: 4, source: book, where: p. 1, basis: stated, checked: itself}
memory_gb_s: {value: 1, low: 1, high: 2, source: book, where: p. 2, basis: stated, checked: itself}
on_chip_mb: {value: 0.004, low: 0.004, high: 0.006, source: book, where: p. 2, basis: stated, checked: itself}
"""


@pytest.fixture
def found(onnx_file):
    """[10, 64] by [64, 48]: 30,720 terms, 12,288 bytes of weights, 4,480 of activations."""
    weights = np.random.default_rng(0).standard_normal((64, 48)).astype(np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="layer")
    return ledger(onnx_file([node], {"x": [10, 64]}, ["y"], {"w": weights}), {"x": (10, 64)})


@pytest.fixture
def small(tmp_path):
    (tmp_path / "small.yaml").write_text(OWN)
    return read_device(tmp_path / "small.yaml")


def test_a_bound_by_hand(found, small):
    """The upper ends count: 2 x 30,720 over 10^12; of 12,288 bytes, 6,000 stay on the chip."""
    one = roofline(found, small, "fp32")
    assert one.peak_ms == pytest.approx(1e3 * 61440 / 1e12)
    assert one.bandwidth_ms == pytest.approx(1e3 * (12288 - 6000) / 2e9)
    assert one.bound_ms == one.bandwidth_ms == pytest.approx(one.in_turn_ms)
    assert one.layers[0].limited_by == "bandwidth"


def test_int8_needs_a_quarter_of_the_bytes(found, small):
    """3,072 bytes of weights stay on the chip."""
    one = roofline(found, small, "int8")
    assert one.peak_ms == pytest.approx(1e3 * 61440 / 4e12)
    assert (one.bandwidth_ms, one.layers[0].limited_by) == (0, "peak")
    assert "may stay on the chip" in one.notes[0]


@pytest.mark.parametrize("name", devices_modelled())
def test_every_constant_says_where_it_is_from(name, found):
    one = device(name)
    for figure in one.constants().values():
        assert figure.where
        assert figure.checked
        assert one.sources[figure.source].link.startswith("https://")
    assert all(bound.bound_ms > 0 for bound in bounds(found, one))


def test_what_is_not_published_is_not_modelled(found):
    (one,) = bounds(found, device("hailo8"))
    assert one.bandwidth_ms is None
    assert "not modelled" in one.notes[0]
    assert relative_energy(found, device("h200_sxm")) is None


def test_ratios_of_energy_by_hand(found):
    parts = relative_energy(found, device("eyeriss"))
    assert parts["operations"] == 30720
    assert parts["dram"] == 200 * 64 * 48
    assert parts["registers"] == 30720 * 3


def test_a_name_that_is_near(found):
    with pytest.raises(InputError, match="h200_sxm"):
        device("h200")


def test_a_source_that_is_not_listed(tmp_path):
    path = tmp_path / "d.yaml"
    path.write_text(
        OWN.replace("value: 1, low: 1, high: 2, source: book", "value: 1, low: 1, high: 2, source: web")
    )
    with pytest.raises(InputError, match="memory_gb_s: source 'web' is none of book"):
        read_device(path)
