"""Feed a session with events as they come: it takes a step whenever a time bin is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.errors import InputError
from paring_runtimes.spiking.aer import Sensor, addresses, in_rows
from paring_runtimes.spiking.session import SpikingSession

if TYPE_CHECKING:
    from numpy.typing import NDArray


class EventStream:
    """Pushes (t, x, y, p) into a session's state, one sample, bin after bin.

    ::

        stream = EventStream(session, Sensor(34, 34), bin_us=1000)
        for packet in camera:
            for output in stream.push(packet["t"], packet["x"], packet["y"], packet["p"]):
                print(output["output"])

    Attributes:
        steps: how many were taken.
    """

    def __init__(self, session: SpikingSession, sensor: Sensor, bin_us: int, counts: bool = False) -> None:
        """The session goes on from its state. See `aer.binned` for `counts`.

        Raises:
            InputError: the network's input is not the sensor's, or a bin below 1 us.
        """
        shapes = {spec.name: spec.shape[1:] for spec in session.inputs}
        if list(shapes.values()) != [sensor.shape]:
            raise InputError(f"sensor: {sensor.shape}, and the network takes {shapes}")
        if type(bin_us) is not int or bin_us < 1:
            raise InputError(f"bin_us: {bin_us!r}; expected a whole number of at least 1 us")
        self._session, self._sensor, self._bin_us, self._counts = session, sensor, bin_us, counts
        self._t, self._index = np.zeros(0, np.int64), np.zeros(0, np.int32)
        self._begin_us: int | None = None
        self.steps = 0

    def push(
        self, t: NDArray[Any], x: NDArray[Any], y: NDArray[Any], p: NDArray[Any]
    ) -> list[dict[str, NDArray[np.float32]]]:
        """Take some events, times in us; return the outputs of every bin that is over by then.

        The first event's time begins the first bin. Within a call the order is free; an event may not come
        from before a bin that is over.

        Raises:
            InputError: events that do not fit the sensor, or that come too late.
        """
        found = addresses({"t": t, "x": x, "y": y, "p": p}, self._sensor)
        if not len(found.t_us):
            return []
        if self._begin_us is None:
            self._begin_us = int(found.t_us[0])
        open_us = self._begin_us + self.steps * self._bin_us
        if found.t_us[0] < open_us:
            raise InputError(
                f"t: an event of {found.t_us[0]} us, and everything before {open_us} us is computed"
            )
        self._t = np.concatenate([self._t, found.t_us])
        self._index = np.concatenate([self._index, found.index])
        over = (int(self._t.max()) - self._begin_us) // self._bin_us
        return self._take(over - self.steps)

    def flush(self) -> list[dict[str, NDArray[np.float32]]]:
        """Compute the bin that is still open; return its outputs, or nothing where no event ever came."""
        return self._take(1) if self._begin_us is not None else []

    def _take(self, count: int) -> list[dict[str, NDArray[np.float32]]]:
        """Compute the next `count` bins."""
        if count < 1 or self._begin_us is None:
            return []
        step = (self._t - self._begin_us) // self._bin_us - self.steps
        now = step < count
        events = in_rows([(step[now], self._index[now])], count, self._sensor.shape, self._counts)
        result = self._session.run(events, keep_state=True, count=False)
        self._t, self._index = self._t[~now], self._index[~now]
        self.steps += count
        return [{name: array[k, 0] for name, array in result.outputs.items()} for k in range(count)]
