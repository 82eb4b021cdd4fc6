"""An open spiking network: run over T steps, step by step with state, or fed with a stream of events."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from paring_runtimes.errors import EngineError, InputError, MissingExtraError
from paring_runtimes.manifest import TensorSpec
from paring_runtimes.nir.nodes import Threshold
from paring_runtimes.spiking.counts import Counts, Placement, SpikingResult
from paring_runtimes.spiking.events import Events, from_dense, joined
from paring_runtimes.spiking.signals import Constant, Dense, Signal, as_dense, one_step
from paring_runtimes.spiking.told import told_by
from paring_runtimes.suggest import near_miss

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paring_runtimes.spiking.execute import Executor
    from paring_runtimes.spiking.network import Network

Given: TypeAlias = "NDArray[Any] | Events"

_ROWS = 256  # steps times samples of a chunk: what its sums fill stays in the second-level cache
_CHUNK_BYTES = 64 * 2**20  # most that a chunk's currents may take where they must be written out


@dataclass(frozen=True)
class State:
    """A session's state, by name and in the nodes' own shapes: may be kept, sent, restored.

    Attributes:
        membranes: by neuron node, float32 [B, ...].
        currents: by neuron node with a synaptic current, float32 [B, ...].
        late: by node, what it sent at the last step, float32 [B, ...]; nodes that close cycles.
        past: by Delay node, float32 [steps, B, N].
        batch: B.
    """

    membranes: dict[str, NDArray[np.float32]]
    currents: dict[str, NDArray[np.float32]]
    late: dict[str, NDArray[np.float32]]
    past: dict[str, NDArray[np.float32]]
    batch: int


class SpikingSession:
    """A NIR graph, open. Made by `open_spiking`; a context manager; calls from several threads take turns.

    Attributes:
        path: the file.
        inputs, outputs: Input and Output nodes; the first dimension is the batch.
        nodes: every node's kind by name, in the order in which they run.
        told: what the file's metadata says: steps, coding, scale, seed.
    """

    def __init__(self, network: Network, path: Path, threads: int) -> None:
        from paring_runtimes.spiking.workers import Workers

        self._network, self._threads = network, threads
        self._workers = Workers(threads)
        self._executor: Executor | None = None
        self._lock = threading.RLock()
        self.path = path
        tasks = network.plan.tasks
        self.inputs, self.outputs = (
            tuple(TensorSpec(name, "float32", ("batch", *tasks[name].shape)) for name in names)
            for names in (network.plan.inputs, network.plan.outputs)
        )
        self.nodes = {name: type(task.node).__name__ for name, task in tasks.items()}
        self.told = told_by(path, network.metadata)

    @property
    def steps(self) -> int | None:
        """T as the file's metadata tells it; None where it does not."""
        return self.told.steps

    def neuron_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every neuron node, without the batch: what a `Placement` speaks of."""
        return {name: neurons.layout.shape for name, neurons in self._network.neurons.items()}

    def run(
        self,
        inputs: Given | Mapping[str, Given],
        steps: int | None = None,
        placement: Placement | None = None,
        trace: Sequence[str] = (),
        keep_state: bool = False,
        count: bool = True,
    ) -> SpikingResult:
        """Run T steps from reset neurons.

        Args:
            inputs: for the one input, or by name: `Events`; numbers [T, B, ...]; or [B, ...], the same at
                every step. Numbers [T, B, ...] that are all 0 or 1 are taken as events; others are real
                values, multiplied and counted as such.
            steps: T; needed where no input tells it and the file does not.
            placement: counts by core too.
            trace: spiking nodes whose events to return.
            keep_state: go on from where the last call ended.
            count: False leaves the counts empty; not together with a placement or a trace.

        Raises:
            InputError: inputs, placement or trace do not fit.
            EngineError: the session is closed.
        """
        from paring_runtimes.spiking.recorder import Recorder

        with self._lock:
            given = {name: self._signal(name, one) for name, one in self._named(inputs).items()}
            length, batch = self._size(given, steps)
            executor = self._ready(batch, not keep_state)
            if not count and (placement is not None or trace):
                raise InputError("count: placement and trace need it")
            recorder = Recorder(self._network, length, placement, tuple(trace)) if count else None
            chunk = self._chunk_steps(batch, length)
            parts: dict[str, list[NDArray[np.float32]]] = {spec.name: [] for spec in self.outputs}
            for first in range(0, length, chunk):
                last = min(length, first + chunk)
                if recorder is not None:
                    recorder.first = first
                now = {name: _between(signal, first, last) for name, signal in given.items()}
                for name, array in executor.chunk(now, last - first, recorder).items():
                    parts[name].append(array)
            outputs = {name: np.concatenate(arrays) for name, arrays in parts.items()}
            if recorder is None:
                return SpikingResult(outputs, Counts(), length, batch)
            traces = {name: joined(found) for name, found in recorder.kept.items()}
            return SpikingResult(outputs, recorder.counts, length, batch, traces)

    def step(self, inputs: Given | Mapping[str, Given]) -> dict[str, NDArray[np.float32]]:
        """Go one step on: [B, ...] (or `Events` of one step) in, every output [B, ...] out.

        Raises:
            InputError: inputs do not fit, or another batch than the state's.
            EngineError: the session is closed.
        """
        with self._lock:
            named = self._named(inputs)
            given = {
                name: self._signal(name, one if isinstance(one, Events) else np.asarray(one)[None])
                for name, one in named.items()
            }
            for name, signal in given.items():
                if isinstance(signal, Constant):
                    raise InputError(f"input {name!r}: step takes [B, ...]; given one dimension less")
            length, batch = self._size(given, None)
            if length != 1:
                raise InputError(f"step takes events of one step; given {length}")
            executor = self._ready(batch, False)
            return {name: array[0] for name, array in executor.chunk(given, 1, None).items()}

    def reset(self) -> None:
        """Put every membrane back to its start; the next call may have another batch."""
        with self._lock:
            self._executor = None

    def save(self) -> State:
        """Return a copy of the state.

        Raises:
            EngineError: nothing was run since the last reset.
        """
        with self._lock:
            if self._executor is None:
                raise EngineError(f"{self.path}: nothing to save: no step was run since the last reset")
            return _saved(self._executor)

    def restore(self, state: State) -> None:
        """Go on from a saved state.

        Raises:
            InputError: the state is of another network.
        """
        from paring_runtimes.spiking.execute import Executor

        with self._lock:
            executor = Executor(self._network, self._workers, state.batch)
            _restore(executor, state)
            self._executor = executor

    def warm_up(self) -> None:
        """Compile what the first run would: some 9 s on a new machine, half a second once numba cached it.

        Runs one step of no events, of one event and of real values; a state is kept.
        """
        with self._lock:
            kept = self._executor
            for array in (np.zeros, np.ones, np.random.default_rng(0).random):
                self._executor = None
                for lead in ((2, 1), (1,)):
                    shapes = {spec.name: (*lead, *spec.shape[1:]) for spec in self.inputs}
                    self.run(
                        {name: np.asarray(array(shape), np.float32) for name, shape in shapes.items()}, 2
                    )
            self._executor = kept

    def close(self) -> None:
        """End the threads. The session cannot be used any more."""
        with self._lock:
            self._workers.close()
            self._executor = None
            self._threads = 0

    def __enter__(self) -> SpikingSession:
        """Return the session itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the session."""
        self.close()

    def __repr__(self) -> str:
        return f"<SpikingSession {str(self.path)!r}, {len(self.nodes)} nodes>"

    def _ready(self, batch: int, fresh: bool) -> Executor:
        from paring_runtimes.spiking.execute import Executor

        if not self._threads:
            raise EngineError(f"{self.path}: this session is closed; open it again")
        if self._executor is None or fresh:
            self._executor = Executor(self._network, self._workers, batch)
        if self._executor.batch != batch:
            raise InputError(
                f"the state holds {self._executor.batch} samples, and {batch} are given; call reset() first"
            )
        self._executor.begin()
        return self._executor

    def _named(self, inputs: Given | Mapping[str, Given]) -> dict[str, Given]:
        names = [spec.name for spec in self.inputs]
        if not isinstance(inputs, Mapping):
            if len(names) != 1:
                raise InputError(f"inputs: expected a mapping with {', '.join(map(repr, names))}")
            return {names[0]: inputs}
        for name in inputs:
            if name not in names:
                raise InputError(f"no input {name!r}{near_miss(name, names)}; expected {', '.join(names)}")
        if len(inputs) != len(names):
            missing = [name for name in names if name not in inputs]
            raise InputError(f"inputs: {', '.join(map(repr, missing))} missing")
        return dict(inputs)

    def _signal(self, name: str, given: Given) -> Signal:
        """Check one input and tell what kind of signal it is."""
        feature = self._network.plan.tasks[name].shape
        if isinstance(given, Events):
            if given.shape[2:] != feature:
                raise InputError(f"input {name!r}: events of samples {given.shape[2:]}; expected {feature}")
            given.check()
            return given
        array = np.asarray(given)
        if array.dtype.kind not in "fiub":
            raise InputError(f"input {name!r}: expected numbers, given {array.dtype}")
        lead = array.ndim - len(feature)
        if lead not in (1, 2) or array.shape[lead:] != feature or 0 in array.shape:
            raise InputError(
                f"input {name!r}: expected [T, B, ...] or [B, ...] of samples {feature}, given {array.shape}"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(f"input {name!r}: holds NaN or infinite numbers")
        values = np.ascontiguousarray(array, np.float32)
        if lead == 1:
            return Constant(values)
        return from_dense(values) if ((values == 0) | (values == 1)).all() else Dense(values)

    def _size(self, given: Mapping[str, Signal], steps: int | None) -> tuple[int, int]:
        """Return T and B, on which all inputs must agree."""
        lengths, batches = set[int](), set[int]()
        for signal in given.values():
            shape = signal.shape if isinstance(signal, Events) else signal.array.shape
            batches.add(shape[0] if isinstance(signal, Constant) else shape[1])
            if not isinstance(signal, Constant):
                lengths.add(shape[0])
        if len(batches) > 1:
            raise InputError(f"inputs: batches of {sorted(batches)} samples; expected one size")
        told = lengths | (set() if steps is None else {steps})
        if len(told) > 1:
            raise InputError(f"inputs and steps speak of {sorted(told)} steps; expected one number")
        length = next(iter(told), None) or self.steps
        if length is None:
            raise InputError("steps: how many? The inputs are constant, and the file does not say")
        if type(length) is not int or length < 1:
            raise InputError(f"steps: {length!r}; expected a whole number of at least 1")
        return length, batches.pop()

    def _chunk_steps(self, batch: int, steps: int) -> int:
        written = self._network.bytes_written_out() * batch
        most = max(1, _ROWS // batch)
        return min(steps, most, max(1, _CHUNK_BYTES // written) if written else most)


def open_spiking(
    path: str | os.PathLike[str],
    *,
    threads: int | None = None,
    dt: float | None = None,
    fuse_resets: bool = True,
) -> SpikingSession:
    """Open a NIR file, or an artifact's folder of the format "nir".

    Args:
        path: the file, or the folder.
        threads: how many compute; None takes every core that this process may use.
        dt: length of one step in the file's unit of time; None takes what the file's metadata says, else
            1e-4 where a time constant is below 1 (snnTorch's and SpikingJelly's), else 1.
        fuse_resets: run the loop integrator, threshold, feedback as one neuron with soft reset.

    Raises:
        EngineError: no such file, or it cannot be run; says which node and why.
        InputError: a wrong argument.
        MissingExtraError: numba or h5py is not installed.
    """
    where = Path(path)
    if where.is_dir():
        from paring_runtimes.artifact import read_manifest

        where = where / read_manifest(where).entry
    if threads is not None and (type(threads) is not int or threads < 1):
        raise InputError(f"threads: expected a whole number of at least 1, given {threads!r}")
    try:
        import numba  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtraError("running a spiking network", "spikes") from None
    from paring_runtimes.spiking.network import open_network

    count = threads or _usable_cores()
    return SpikingSession(open_network(where, dt, fuse_resets), where, count)


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _between(signal: Signal, first: int, last: int) -> Signal:
    if isinstance(signal, Events):
        return signal.between(first, last)
    return signal if isinstance(signal, Constant) else Dense(signal.array[first:last])


def _saved(executor: Executor) -> State:
    membranes, currents = {}, {}
    for name, state in executor.states.items():
        neurons = executor.network.neurons[name]
        shape = (executor.batch, *neurons.layout.shape)
        membranes[name] = neurons.layout.flat(state.membrane).reshape(shape)
        if neurons.leaky:
            currents[name] = neurons.layout.flat(state.synapse).reshape(shape)
    late = {name: as_dense(one_step(signal, 0), 1)[0].copy() for name, signal in executor.late.items()}
    past = {name: array.copy() for name, array in executor.past.items()}
    return State(membranes, currents, late, past, executor.batch)


def _restore(executor: Executor, state: State) -> None:
    for name, held in executor.states.items():
        neurons = executor.network.neurons[name]
        shape = (executor.batch, *neurons.layout.shape)
        pairs = [(state.membranes, held.membrane)] + [(state.currents, held.synapse)] * neurons.leaky
        for told, target in pairs:
            if name not in told or told[name].shape != shape:
                raise InputError(f"state: {name!r} needs float32 {list(shape)}: a state of another network")
            target[:] = neurons.layout.blocked(told[name].reshape(executor.batch, -1))
        held.hot[:] = neurons.at_threshold(held.membrane)
    for name, array in state.late.items():
        task = executor.network.plan.tasks.get(name)
        if task is None or array.shape != (executor.batch, *task.shape):
            raise InputError(f"state: {name!r} does not fit: a state of another network")
        spikes = isinstance(task.node, Threshold) or (name in executor.network.neurons)
        signal = array[None]
        executor.late[name] = (
            from_dense(signal) if spikes and ((signal == 0) | (signal == 1)).all() else Dense(signal)
        )
    for name, array in state.past.items():
        if name not in executor.past or array.shape != executor.past[name].shape:
            raise InputError(f"state: {name!r} does not fit: a state of another network")
        executor.past[name] = array.copy()
