"""Runs a network as a chip would: placed, rounded to the chip's bits, every event counted, then priced.

Everything but the accuracy is modelled; the accuracy is that of the rounded network on the images given.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil, log2
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paring_profiles.statistics import wilson
from paring_runtimes.errors import InputError
from paring_runtimes.nir import Graph, NirRefused, read, write
from paring_runtimes.spiking import Counts, Events, Placement, SpikingSession, encoders, open_spiking

from .chip import Chip
from .load import Load, load_of
from .mapper import Placed, place
from .network import Network, network
from .pricing import Energy, Latency, energy, latency
from .rival import Rival, against_dense
from .rounding import LARGEST_INPUT, Rounded, input_unit, rounded

BATCH = 50
TIMED = 8  # inferences that are run one by one, for the slowest core of each step


@dataclass(frozen=True)
class Coding:
    """How images become T inputs; see `paring_runtimes.spiking.encoders`."""

    name: str = "constant"
    scale: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Point:
    """What T steps give.

    Attributes:
        steps: T.
        accuracy, accuracy_ci95: after rounding; None without labels.
        unrounded: accuracy of the same network before rounding.
        load: what was done.
        energy, latency: on the chip.
        rival: against the dense network, on one process.
    """

    steps: int
    accuracy: float | None
    accuracy_ci95: tuple[float, float] | None
    unrounded: float | None
    load: Load
    energy: Energy
    latency: Latency
    rival: Rival


@dataclass(frozen=True)
class Simulation:
    """A network on a chip, by number of steps.

    Attributes:
        chip, placed, rounding: as they were made; `rounding` for the most steps.
        coding: of the inputs.
        samples: images.
        points: in order of T.
        raster: by layer that sends, the events of the first image at the most steps.
        seen_bits: by layer, bits of a signed membrane that held the largest seen at the most steps, in as
            many images as are timed. Membranes are looked at after their reset.
    """

    chip: Chip
    placed: Placed
    rounding: Rounded
    coding: Coding
    samples: int
    points: tuple[Point, ...]
    raster: dict[str, Events]
    seen_bits: dict[str, int]


def simulate(
    graph_file: Path,
    chip: Chip,
    images: NDArray[np.float32],
    labels: NDArray[Any] | None,
    steps: Sequence[int],
    coding: Coding,
    threads: int | None = None,
    say: Callable[[str], None] = lambda stage: None,
) -> Simulation:
    """Simulate a NIR graph on a chip.

    Args:
        graph_file: of the graph, with one input and one output.
        chip: to be simulated.
        images: [N, ...], as the graph's input takes them.
        labels: [N] classes; None leaves accuracies out.
        steps: every T to run, each from reset neurons.
        coding: of the images.
        threads: of the runtime; None takes every core.
        say: is told what is going on.

    Raises:
        ChipRefused: the network does not fit, or holds what the chip does not run.
        InputError: steps below 1, no images, images of another shape, or a graph that is wrong.
        EngineError: the runtime cannot run it.
    """
    _check(steps, images)
    try:
        graph = read(graph_file)
        found = network(graph, chip.title)
    except NirRefused as error:
        raise InputError(f"{graph_file}: {str(error).removeprefix(f'{graph_file}: ')}") from None
    name = _only(graph_file, "input", found.flat.inputs)
    _only(graph_file, "output", found.flat.outputs)
    if images.shape[1:] != found.inputs[name]:
        raise InputError(
            f"{graph_file}: takes {list(found.inputs[name])}, the images are {list(images.shape[1:])}"
        )
    say("placing")
    placed = place(found, chip)
    runner = _Runner(graph_file, graph, found, chip, placed, name, coding, threads)
    points = []
    for count in sorted(set(steps)):
        say(f"running: {count} steps")
        points.append(runner.point(images, labels, count))
    assert runner.rounding is not None
    return Simulation(
        chip, placed, runner.rounding, coding, len(images), tuple(points), runner.raster, runner.seen_bits
    )


def _check(steps: Sequence[int], images: NDArray[np.float32]) -> None:
    wrong = [count for count in steps if count < 1]
    if wrong or not steps:
        told = ", ".join(str(count) for count in wrong) or "none"
        raise InputError(f"steps: {told}; expected whole numbers of at least 1, such as 4,8,16,32")
    if not len(images):
        raise InputError("no images: at least one is needed")


def _only(graph_file: Path, what: str, names: Sequence[str]) -> str:
    if len(names) != 1:
        raise InputError(f"{graph_file}: {len(names)} {what}s ({', '.join(names)}); expected one")
    return names[0]


class _Runner:
    """Runs one network for several T."""

    def __init__(
        self,
        graph_file: Path,
        graph: Graph,
        found: Network,
        chip: Chip,
        placed: Placed,
        name: str,
        coding: Coding,
        threads: int | None,
    ) -> None:
        self.graph_file, self.graph, self.network, self.chip = graph_file, graph, found, chip
        self.placed, self.name, self.coding, self.threads = placed, name, coding, threads
        self.rounding: Rounded | None = None
        self.raster: dict[str, Events] = {}
        self.seen_bits: dict[str, int] = {}
        cores = {key: core for key, core in placed.core_of.items() if not _read_out(found, key)}
        self.placement = Placement(cores, len(placed.cores))

    def point(self, images: NDArray[np.float32], labels: NDArray[Any] | None, steps: int) -> Point:
        """Run T steps of every image, before and after rounding."""
        unit = self._unit(images, steps)
        self.rounding = rounded(self.network, self.chip, {self.name: unit}, self.graph.metadata)
        with _opened(self.rounding.graph, self.threads) as session:
            right, counts = self._run(session, images, labels, steps, unit)
            self.raster = self._traced(session, images[:1], steps, unit)
            self.seen_bits = self._membranes(session, images[:TIMED], steps, unit)
            timed = [
                self._one(session, images[i : i + 1], steps, unit) for i in range(min(TIMED, len(images)))
            ]
        load = load_of(self.placed, counts, len(images), timed)
        time = latency(self.placed, load)
        accuracy = unrounded = None
        if labels is not None:
            accuracy = float(right.mean())
            with open_spiking(self.graph_file, threads=self.threads) as session:
                unrounded = float(self._run(session, images, labels, steps, None)[0].mean())
        return Point(
            steps=steps,
            accuracy=accuracy,
            accuracy_ci95=None if accuracy is None else wilson(accuracy, len(images)),
            unrounded=unrounded,
            load=load,
            energy=energy(self.chip, load, time),
            latency=time,
            rival=against_dense(self.placed, load),
        )

    def _unit(self, images: NDArray[np.float32], steps: int) -> float:
        if self.coding.name == "constant":
            return input_unit(images)
        if self.coding.name == "rate":
            return self.coding.scale
        return float(self.coding.scale * steps / LARGEST_INPUT)

    def _feed(self, images: NDArray[np.float32], steps: int, unit: float | None) -> Events | NDArray[Any]:
        """What a session takes; in whole numbers of `unit` where one is given."""
        coding = self.coding
        found = encoders.encode(images, coding.name, steps, coding.scale, coding.seed)
        if unit is None:
            return found
        if not isinstance(found, Events):
            return np.asarray(np.round(found / unit), np.float32)
        if found.value is None:
            return found
        whole = np.round(found.value / unit).astype(np.float32)
        return replace(found, value=None if bool((whole == 1).all()) else whole)

    def _run(
        self,
        session: SpikingSession,
        images: NDArray[np.float32],
        labels: NDArray[Any] | None,
        steps: int,
        unit: float | None,
    ) -> tuple[NDArray[np.bool_], list[Counts]]:
        right, counts = [], []
        output = session.outputs[0].name
        for first in range(0, len(images), BATCH):
            chosen = slice(first, first + BATCH)
            result = session.run(self._feed(images[chosen], steps, unit), steps)
            answers = result.outputs[output].mean(axis=0).reshape(result.batch, -1).argmax(axis=1)
            right.append(answers == (-1 if labels is None else labels[chosen]))
            counts.append(result.counts)
        return np.concatenate(right), counts

    def _one(self, session: SpikingSession, image: NDArray[np.float32], steps: int, unit: float) -> Counts:
        """Counts by core of one image."""
        return session.run(self._feed(image, steps, unit), steps, self.placement).counts

    def _membranes(
        self, session: SpikingSession, images: NDArray[np.float32], steps: int, unit: float
    ) -> dict[str, int]:
        """Step by step: the bits that the largest membrane needs, by layer."""
        fed = self._feed(images, steps, unit)
        largest: dict[str, float] = {}
        session.reset()
        for step in range(steps):
            session.step(fed.between(step, step + 1) if isinstance(fed, Events) else fed)
            for name, membrane in session.save().membranes.items():
                largest[name] = max(largest.get(name, 0.0), float(np.abs(membrane).max(initial=0.0)))
        return {name: ceil(log2(value + 1)) + 1 for name, value in largest.items()}

    def _traced(
        self, session: SpikingSession, image: NDArray[np.float32], steps: int, unit: float
    ) -> dict[str, Events]:
        """Every layer's events for one image."""
        names = {layer.sends: layer.name for layer in self.network.layers.values() if layer.spiking}
        result = session.run(self._feed(image, steps, unit), steps, trace=tuple(names))
        return {names[sends]: events for sends, events in result.traces.items()}


def _read_out(found: Network, name: str) -> bool:
    return name in found.flat.outputs


@contextmanager
def _opened(graph: Graph, threads: int | None) -> Iterator[SpikingSession]:
    """A session of a graph that is no file yet."""
    with tempfile.TemporaryDirectory(prefix="paring-") as folder:
        file = Path(folder, "rounded.nir")
        write(file, graph)
        with open_spiking(file, threads=threads) as session:
            yield session
