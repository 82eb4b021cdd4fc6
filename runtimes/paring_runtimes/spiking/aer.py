"""Event cameras and their kin: (t, x, y, p) become time-binned events.

Address events as tonic (https://tonic.readthedocs.io) gives them, structured arrays with fields t, x, y
and p; `.npz` and `.npy` files of the same; or four arrays. Times are in microseconds, polarity is 0 or 1
(or -1 and 1, or False and True).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from paring_runtimes.errors import InputError
from paring_runtimes.spiking.events import Events

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NAMES = {
    "t": ("t", "ts", "time", "timestamp", "timestamps"),
    "x": ("x",),
    "y": ("y",),
    "p": ("p", "polarity", "pol"),
}
Recording: TypeAlias = "NDArray[Any] | Mapping[str, NDArray[Any]] | str | Path"


@dataclass(frozen=True)
class Sensor:
    """What an event's address means.

    Attributes:
        height, width: pixels; y is below height, x below width.
        polarities: 2 keeps on and off apart, as channels off, on; 1 puts them together.
    """

    height: int
    width: int
    polarities: int = 2

    @property
    def shape(self) -> tuple[int, int, int]:
        """(polarities, height, width): what a network's Input takes."""
        return (self.polarities, self.height, self.width)


@dataclass(frozen=True)
class Addresses:
    """Checked events in order of time: t in us (int64), and the flat index in `Sensor.shape` (int32)."""

    t_us: NDArray[np.int64]
    index: NDArray[np.int32]


def addresses(recording: Recording, sensor: Sensor) -> Addresses:
    """Check a recording against a sensor.

    Args:
        recording: a structured array, a mapping of arrays, or the path of an .npy or .npz file of either.
        sensor: the addresses' range.

    Raises:
        InputError: fields are missing, of different lengths, no whole numbers or beyond the sensor.
    """
    if sensor.polarities not in (1, 2) or min(sensor.shape) < 1:
        raise InputError(f"sensor: {sensor}; expected sizes of at least 1 and 1 or 2 polarities")
    where, found = _fields(recording)
    t, x, y, p = (_whole(where, key, found[key]) for key in _NAMES)
    if not len(t) == len(x) == len(y) == len(p):
        raise InputError(f"{where}: t, x, y, p have {len(t)}, {len(x)}, {len(y)} and {len(p)} entries")
    for key, values, size in (("x", x, sensor.width), ("y", y, sensor.height)):
        if len(values) and (values.min() < 0 or values.max() >= size):
            raise InputError(
                f"{where}: {key} goes from {values.min()} to {values.max()}; the sensor has 0 to {size - 1}"
            )
    if len(p) and (p.min() < -1 or p.max() > 1):
        raise InputError(f"{where}: p goes from {p.min()} to {p.max()}; expected 0 and 1, or -1 and 1")
    if len(t) and t.min() < 0:
        raise InputError(f"{where}: t begins at {t.min()} us; expected times from 0 on")
    channel = (p > 0) if sensor.polarities == 2 else np.zeros(len(p), np.int64)
    index = (channel * sensor.height + y) * sensor.width + x
    order = np.argsort(t, kind="stable")
    return Addresses(t[order], index[order].astype(np.int32))


def binned(
    recordings: Recording | Sequence[Recording],
    sensor: Sensor,
    bin_us: int,
    steps: int | None = None,
    start_us: int | None = None,
    counts: bool = False,
) -> Events:
    """Return recordings, one a sample, as events of time bins.

    Args:
        recordings: one, or a list for a batch.
        sensor: the addresses' range; the events' shape is (T, B, polarities, height, width).
        bin_us: how long a step is, us.
        steps: T; None takes as many as the longest recording needs. Later events are left out.
        start_us: where step 1 begins; None takes each recording's first event.
        counts: a pixel's event is as large as how often it fired in the bin; otherwise 1.

    Raises:
        InputError: as `addresses`, or a bin width or number of steps below 1.
    """
    if type(bin_us) is not int or bin_us < 1:
        raise InputError(f"bin_us: {bin_us!r}; expected a whole number of at least 1 us")
    if steps is not None and (type(steps) is not int or steps < 1):
        raise InputError(f"steps: {steps!r}; expected a whole number of at least 1")
    alone = isinstance(recordings, (np.ndarray, Mapping, str, Path))
    samples = cast("list[Recording]", [recordings] if alone else list(cast("list[Recording]", recordings)))
    if not samples:
        raise InputError("recordings: none")
    found = [addresses(sample, sensor) for sample in samples]
    placed = []
    for sample in found:
        first = (int(sample.t_us[0]) if len(sample.t_us) else 0) if start_us is None else start_us
        kept = sample.t_us >= first
        placed.append(((sample.t_us[kept] - first) // bin_us, sample.index[kept]))
    length = steps or max(1, *(int(step.max(initial=0)) + 1 for step, _ in placed))
    return in_rows(placed, length, sensor.shape, counts)


def in_rows(
    samples: Sequence[tuple[NDArray[np.int64], NDArray[np.int32]]],
    steps: int,
    shape: tuple[int, ...],
    counts: bool,
) -> Events:
    """Return (step, index) of each sample as `Events`; the same pixel twice in a bin becomes one event."""
    batch, size = len(samples), int(np.prod(shape))
    keys = []
    for sample, (step, index) in enumerate(samples):
        kept = step < steps
        keys.append((step[kept] * batch + sample) * size + index[kept])
    unique, times = np.unique(np.concatenate(keys), return_counts=True)
    start = np.searchsorted(unique, np.arange(steps * batch + 1) * size).astype(np.int64)
    value = times.astype(np.float32) if counts and (times > 1).any() else None
    return Events((steps, batch, *shape), start, (unique % size).astype(np.int32), value)


def _fields(recording: Recording) -> tuple[str, dict[str, NDArray[Any]]]:
    where, given = "events", recording
    if isinstance(given, (str, Path)):
        where = str(given)
        try:
            given = np.load(given, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"{where}: not an .npy or .npz file of numbers: {error}") from None
        if not isinstance(given, np.ndarray):
            given = {name: given[name] for name in given.files}
            if len(given) == 1:
                (given,) = given.values()  # a structured array in an .npz
    names = list(given) if isinstance(given, Mapping) else list(given.dtype.names or ())
    found = {}
    for key, spellings in _NAMES.items():
        name = next((one for one in names if one.lower() in spellings), None)
        if name is None:
            raise InputError(f"{where}: no field {key!r}; it has {names or given.dtype}")  # type: ignore[union-attr]
        found[key] = np.asarray(given[name])
    return where, found


def _whole(where: str, key: str, values: NDArray[Any]) -> NDArray[np.int64]:
    if values.ndim != 1 or values.dtype.kind not in "iufb":
        raise InputError(f"{where}: {key} is {values.dtype} {list(values.shape)}; expected a list of numbers")
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.floor(values)).all()):
        raise InputError(f"{where}: {key} holds other than whole numbers; times are in microseconds")
    return values.astype(np.int64)
