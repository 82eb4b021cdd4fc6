"""Whole simulations of small networks, counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paring_profiles.neuromorphic.chip import chip
from paring_profiles.neuromorphic.simulate import Coding, simulate
from paring_runtimes.errors import InputError
from paring_runtimes.nir import Graph, write
from paring_runtimes.nir import nodes as nir

from .conftest import dense_graph

CONSTANT = Coding()


def stored(folder: Path, *weights: np.ndarray) -> Path:
    file = folder / "graph.nir"
    write(file, dense_graph(*weights))
    return file


def test_counts_by_hand(tmp_path: Path) -> None:
    # Currents of 0.5 and 1: neuron 0 spikes at every second step, neuron 1 at each; 2 and 1 behind.
    file = stored(tmp_path, np.array([[0.5], [1.0]]), np.array([[1.0, -1.0], [1.0, 0.0]]))
    found = simulate(
        file, chip("loihi"), np.ones((3, 1), np.float32), np.array([0, 1, 1]), [4], CONSTANT, threads=1
    )
    (point,) = found.points
    assert point.load.spikes == {"n0": 2 + 4}
    assert point.load.synops == {"fc0": 0, "fc1": 2 * 2 + 4 * 1}
    assert point.load.macs == {"fc0": 2, "fc1": 0}  # a constant input is multiplied once
    # Outputs: 2 - 4 and 2 + 0: class 1, which two of three labels are.
    assert point.accuracy == pytest.approx(2 / 3)
    assert point.unrounded == pytest.approx(2 / 3)
    assert point.load.messages == 6
    assert point.load.core_synops.sum() == 3 * 8
    # Two neurons of two compartments each, and two that are read: looked at in every step.
    assert point.load.chip_active == 4 * (2 * 2 + 2)
    assert found.raster["n0"].dense()[:, 0].tolist() == [[0, 1], [1, 1], [0, 1], [1, 1]]
    assert point.energy.missing == ("multiply-accumulates",)


def test_real_values_are_multiplied_spikes_are_not(tmp_path: Path) -> None:
    file = stored(tmp_path, np.full((4, 5), 0.3), np.ones((2, 4)))
    images = np.tile(np.array([1.0, 0, 0, 1.0, 0], np.float32), (2, 1))
    (as_current,) = simulate(file, chip("generic_45nm"), images, None, [8], CONSTANT, threads=1).points
    assert as_current.load.macs["fc0"] == 20
    assert as_current.load.synops["fc0"] == 0
    (as_spikes,) = simulate(file, chip("generic_45nm"), images, None, [8], Coding("rate"), threads=1).points
    assert as_spikes.load.macs["fc0"] == 0
    assert as_spikes.load.synops["fc0"] == 8 * 2 * 4  # a one spikes at every step
    assert as_spikes.load.spikes["input"] == 16
    assert as_spikes.accuracy is None
    assert "multiply-accumulates" not in [part for part, cost in as_spikes.energy.parts.items() if cost.value]


def test_latency_coding_fires_each_pixel_once(tmp_path: Path) -> None:
    file = stored(tmp_path, np.full((2, 3), 0.1), np.ones((2, 2)))
    images = np.array([[1.0, 0.5, 0.0]], np.float32)
    (point,) = simulate(file, chip("generic_45nm"), images, None, [5], Coding("latency"), threads=1).points
    assert point.load.spikes["input"] == 2


def test_more_steps_come_nearer_to_the_rate(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(64, 16)), rng.normal(size=(10, 64))
    images = rng.random((60, 16)).astype(np.float32)
    labels = (np.clip(images @ first.T, 0, 1) @ second.T).argmax(axis=1)  # what rates stand for
    found = simulate(
        stored(tmp_path, first, second), chip("loihi"), images, labels, [64, 2], CONSTANT, threads=1
    )
    short, long = found.points
    assert (short.steps, long.steps) == (2, 64)
    assert short.accuracy is not None
    assert long.accuracy is not None
    assert long.accuracy > 0.85 > short.accuracy
    assert long.load.total_synops > 20 * short.load.total_synops
    assert long.latency.total is not None
    assert short.latency.total is not None
    assert long.latency.total.value > 20 * short.latency.total.value


def test_few_bits_cost_accuracy(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    first, second = rng.normal(size=(64, 32)) ** 3, rng.normal(size=(10, 64)) ** 3
    images = rng.random((80, 32)).astype(np.float32)
    labels = (np.clip(images @ first.T, 0, 1) @ second.T).argmax(axis=1)
    file = stored(tmp_path, first, second)
    scores = {
        name: simulate(file, chip(name), images, labels, [64], CONSTANT, threads=1).points[0]
        for name in ("generic_45nm", "truenorth")
    }
    fine, coarse = scores["generic_45nm"], scores["truenorth"]
    assert fine.unrounded == coarse.unrounded
    assert fine.accuracy is not None
    assert coarse.accuracy is not None
    assert coarse.accuracy < fine.accuracy - 0.1  # ternary weights


@pytest.mark.parametrize("steps", [[0], [8, -1], []])
def test_no_steps_are_refused(tmp_path: Path, steps: list[int]) -> None:
    file = stored(tmp_path, np.ones((2, 2)), np.ones((2, 2)))
    with pytest.raises(InputError, match=r"steps: .*expected whole numbers of at least 1, such as 4,8,16,32"):
        simulate(file, chip("loihi"), np.ones((1, 2), np.float32), None, steps, CONSTANT)


def test_images_of_another_shape_are_refused(tmp_path: Path) -> None:
    file = stored(tmp_path, np.ones((2, 2)), np.ones((2, 2)))
    with pytest.raises(InputError, match=r"graph\.nir: takes \[2\], the images are \[3\]"):
        simulate(file, chip("loihi"), np.ones((1, 3), np.float32), None, [4], CONSTANT)
    with pytest.raises(InputError, match="no images"):
        simulate(file, chip("loihi"), np.ones((0, 2), np.float32), None, [4], CONSTANT)


def test_neurons_with_hard_reset_run_too(tmp_path: Path) -> None:
    nodes = {
        "input": nir.Input((1,)),
        "fc": nir.Linear(np.array([[0.4]], np.float32)),
        "n": nir.IF(np.ones(1, np.float32), np.ones(1, np.float32), np.zeros(1, np.float32)),
        "output": nir.Output((1,)),
    }
    file = tmp_path / "hard.nir"
    write(file, Graph(nodes, (("input", "fc"), ("fc", "n"), ("n", "output"))))
    found = simulate(file, chip("loihi"), np.ones((1, 1), np.float32), None, [9], CONSTANT, threads=1)
    assert found.points[0].load.spikes == {"n": 3}  # 0.4, 0.8, 1.2 and back to 0


def test_the_largest_membranes_are_seen(tmp_path: Path) -> None:
    # A current of -1 to the second neuron: after 9 steps its membrane is -9 currents.
    file = stored(tmp_path, np.array([[1.0], [-1.0]]), np.array([[1.0, 1.0]]))
    found = simulate(file, chip("generic_45nm"), np.ones((2, 1), np.float32), None, [9], CONSTANT, threads=1)
    whole = round(1 / found.rounding.layers["n0"].unit)
    assert whole > 1
    assert found.seen_bits == {"n0": int(np.ceil(np.log2(9 * whole + 1))) + 1}
