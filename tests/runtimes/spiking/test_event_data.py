"""Address events and encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paring_runtimes import InputError
from paring_runtimes.spiking import Events, Sensor, binned, encode, from_dense, latency, rate

SENSOR = Sensor(4, 6)


def recording(count: int = 50, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "t": np.sort(rng.integers(100, 5000, count)), "x": rng.integers(0, 6, count),
        "y": rng.integers(0, 4, count), "p": rng.integers(0, 2, count),
    }  # fmt: skip


def structured(fields: dict[str, np.ndarray]) -> np.ndarray:
    """As tonic gives them."""
    array = np.zeros(len(fields["t"]), [("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")])
    for name in fields:
        array[name] = fields[name]
    return array


def test_bins_hold_what_a_loop_puts_there(tmp_path: Path) -> None:
    one = recording()
    np.savez(tmp_path / "events.npz", **one)
    np.save(tmp_path / "events.npy", structured(one))
    first = one["t"][0]
    told = np.zeros((10, 1, 2, 4, 6), np.float32)
    for t, x, y, p in zip(*(one[k] for k in "txyp"), strict=True):
        told[(t - first) // 500, 0, p, y, x] += 1
    for form in (one, structured(one), tmp_path / "events.npz", str(tmp_path / "events.npy")):
        counted = binned(form, SENSOR, 500, 10, counts=True)
        counted.check()
        np.testing.assert_array_equal(counted.dense(), told)
        np.testing.assert_array_equal(binned(form, SENSOR, 500, 10).dense(), told > 0)
    merged = binned(one, Sensor(4, 6, 1), 500, 10, counts=True)
    np.testing.assert_array_equal(merged.dense(), told.sum(2, keepdims=True))


def test_a_batch_of_recordings_and_a_common_start() -> None:
    several = [recording(30, seed) for seed in range(3)]
    events = binned(several, SENSOR, 700, start_us=0)
    assert events.shape[:2] == (1 + max(int(one["t"].max()) for one in several) // 700, 3)
    for sample, one in enumerate(several):
        alone = binned(one, SENSOR, 700, events.steps, start_us=0)
        np.testing.assert_array_equal(events.dense()[:, sample], alone.dense()[:, 0])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"x": np.full(50, 6)}, "x goes from 6 to 6; the sensor has 0 to 5"),
        ({"y": np.full(50, -1)}, "y goes from -1"),
        ({"p": np.full(50, 2)}, "expected 0 and 1"),
        ({"t": np.zeros(3, int)}, "have 3, 50, 50 and 50"),
        ({"t": np.full(50, 0.5)}, "whole numbers"),
    ],
)
def test_what_does_not_fit_the_sensor_is_refused(change: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        binned(recording() | change, SENSOR, 500)


def test_other_wrong_recordings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no field 'p'"):
        binned({k: v for k, v in recording().items() if k != "p"}, SENSOR, 500)
    with pytest.raises(InputError, match="bin_us"):
        binned(recording(), SENSOR, 0)
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"bad.npz: not an"):
        binned(tmp_path / "bad.npz", SENSOR, 500)


def test_rate_draws_are_torchs() -> None:
    """The same seed, the same spikes as torch.rand gives: what a network was converted with."""
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).uniform(-3, 3, (2, 3, 5, 5)).astype(np.float32)
    for seed in (0, 7, 2**40 + 3):
        draws = torch.rand(9, 1, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
        fired = (torch.from_numpy(x).abs() / 2.0).unsqueeze(0) > draws
        told = fired.float() * torch.from_numpy(np.sign(x) * 2).unsqueeze(0)
        np.testing.assert_array_equal(rate(x, 9, 2.0, seed).dense(), told.numpy())


def test_codings_mean_what_they_code() -> None:
    x = np.array([[0.0, 0.25, -0.5, 1.0, 2.0]], np.float32)
    mean = rate(x, 4000, seed=1).dense().mean(0)
    np.testing.assert_allclose(mean, np.clip(x, -1, 1), atol=0.03)
    spikes = latency(x, 5)
    np.testing.assert_array_equal(spikes.dense().mean(0), np.clip(x, -1, 1))
    assert [np.flatnonzero(spikes.dense()[:, 0, k]).tolist() for k in range(5)] == [[], [3], [2], [0], [0]]
    np.testing.assert_array_equal(encode(x, "constant", 5), x)
    for wrong in ({"coding": "rat"}, {"steps": 0}, {"scale": 0.0}):
        with pytest.raises(InputError):
            encode(x, **({"coding": "rate", "steps": 5} | wrong))


def test_events_and_dense_arrays_are_one_thing() -> None:
    rng = np.random.default_rng(0)
    array = (rng.random((5, 2, 3, 4)) < 0.3) * rng.standard_normal((5, 2, 3, 4)).astype(np.float32)
    events = from_dense(array)
    np.testing.assert_array_equal(events.dense(), array)
    np.testing.assert_array_equal(events.between(1, 4).dense(), array[1:4])
    np.testing.assert_array_equal(events.scaled(2.0).dense(), array * 2)
    assert from_dense(array != 0).value is None


@pytest.mark.parametrize(
    ("start", "index", "value", "match"),
    [
        ([0, 1], [0], None, "3 rows' starts"),
        ([0, 2, 1], [0], None, "must not decrease"),
        ([0, 1, 1], [6], None, "has 6"),
        ([0, 1, 1], [0], [np.nan], "finite"),
    ],
)
def test_wrong_events_are_refused(start: Any, index: Any, value: Any, match: str) -> None:
    size = None if value is None else np.array(value, np.float32)
    events = Events((2, 1, 6), np.array(start, np.int64), np.array(index, np.int32), size)
    with pytest.raises(InputError, match=match):
        events.check()
