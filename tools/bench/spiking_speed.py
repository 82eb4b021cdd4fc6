"""The event-driven runtime against snnTorch and SpikingJelly (multi-step), the same network, in turns.

    OMP_NUM_THREADS=2 python tools/bench/spiking_speed.py [--network mlp|cnn] [--figure spiking_speed.png]
        [--seconds 2] [--threads 2] [--batch 1]

Networks: 784-4096-4096-10, and conv 1->32->64 with average pools at 28x28. For every activity (0.1, 1, 10 and
50 %) random weights get thresholds at which that share of each layer's neurons fires at each of 100 steps,
and the same weights, thresholds and input spikes go to all sides. Each side answers [T, B, 10]; ours counts
spikes and synaptic operations meanwhile, as it always does. Before timing, the sides' spikes are compared.
In every round each side runs untimed until the threads of the side before it sleep, and is then timed.
Printed: medians, the ratio to ours with its 95 % interval, synaptic operations a second. Exits 1 where a goal
is missed: at 1 % activity 10 times snnTorch and twice SpikingJelly.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import snntorch
import torch
from spikingjelly.activation_based import functional, layer, neuron

from paring_profiles.latency import interleave, warm_up
from paring_profiles.noise import Watch
from paring_profiles.result import Settings
from paring_profiles.statistics import paired_ratio
from paring_runtimes.nir import Graph, write
from paring_runtimes.nir.nodes import IF, AvgPool2d, Conv2d, Flatten, Input, Linear, Output
from paring_runtimes.spiking import Events, SpikingSession, from_dense, open_spiking

STEPS = 100
ACTIVITIES = (0.001, 0.01, 0.1, 0.5)
OURS, SNNTORCH, SPIKINGJELLY = "paring", "snnTorch", "SpikingJelly"
GOALS = {SNNTORCH: 10.0, SPIKINGJELLY: 2.0}
GOAL_AT = 0.01
SETTLE_SECONDS = 0.1
Call = Callable[[], object]


def mlp() -> list[object]:
    """784-4096-4096-10."""
    return [(4096, 784), "fire", (4096, 4096), "fire", (10, 4096)]


def cnn() -> list[object]:
    """1x28x28: conv 32, pool, conv 64, pool, 10."""
    return [(32, 1, 3, 3), "fire", "pool", (64, 32, 3, 3), "fire", "pool", "flatten", (10, 64 * 7 * 7)]


def weighted(kinds: list[object]) -> list[object]:
    """Put random weights for the shapes."""
    rng = np.random.default_rng(0)
    return [
        (rng.standard_normal(k) / np.sqrt(np.prod(k[1:]))).astype(np.float32) if isinstance(k, tuple) else k
        for k in kinds
    ]


def graph_of(parts: list[object], shape: tuple[int, ...], thresholds: list[float]) -> Graph:
    """The NIR graph; thresholds of the neurons in order."""
    nodes: dict[str, object] = {"input": Input(shape)}
    levels = iter(thresholds)
    for number, part in enumerate(parts):
        name = f"n{number}"
        if isinstance(part, np.ndarray) and part.ndim == 4:
            bias = np.zeros(len(part), np.float32)
            nodes[name] = Conv2d(part, bias, (1, 1), (1, 1), (1, 1), 1, shape[1:])
            shape = (len(part), *shape[1:])
        elif isinstance(part, np.ndarray):
            nodes[name], shape = Linear(part), (len(part),)
        elif part == "fire":
            nodes[name] = IF(np.ones(shape, np.float32), np.full(shape, next(levels), np.float32))
        elif part == "pool":
            nodes[name] = AvgPool2d((2, 2), (2, 2), (0, 0))
            shape = (shape[0], shape[1] // 2, shape[2] // 2)
        else:
            nodes[name], shape = Flatten(0, -1), (int(np.prod(shape)),)
    nodes["output"] = Output(shape)
    names = list(nodes)
    return Graph(nodes, tuple(itertools.pairwise(names)))


def calibrated(
    parts: list[object], shape: tuple[int, ...], events: Events, activity: float, threads: int, file: Path
) -> list[float]:
    """Find thresholds, layer after layer, at which neurons fire as often as asked."""
    found: list[float] = []
    places = [k for k, part in enumerate(parts) if isinstance(part, str) and part == "fire"]
    for place in places:
        low, high = 1e-6, 1e3
        for _ in range(26):
            level = float(np.sqrt(low * high))
            write(file, graph_of(parts[: place + 1], shape, [*found, level]))
            with open_spiking(file, threads=threads) as session:
                result = session.run(events, trace=[f"n{place}"])
            spikes = result.traces[f"n{place}"]
            share = spikes.count / (len(spikes.start) - 1) / spikes.size
            low, high = (level, high) if share > activity else (low, level)
        # Membranes are sums of few weights, and the search ends at one of them: a little away from it
        # rounding decides nothing.
        found.append(float(np.sqrt(low * high)) * 1.001)
    return found


@dataclass(frozen=True)
class Sides:
    """What is compared: calls by name, and how many spikes each side's layers send."""

    calls: dict[str, Call]
    spikes: dict[str, list[int]]


def torch_layers(
    parts: list[object], thresholds: list[float], make: Callable[[float], torch.nn.Module], kinds: object
) -> list[torch.nn.Module]:
    """Return a framework's layers with the weights put in."""
    levels, found = iter(thresholds), []
    for part in parts:
        if isinstance(part, np.ndarray) and part.ndim == 4:
            found.append(kinds.Conv2d(part.shape[1], part.shape[0], 3, padding=1, bias=False))
        elif isinstance(part, np.ndarray):
            found.append(kinds.Linear(part.shape[1], part.shape[0], bias=False))
        else:
            one = {"fire": lambda: make(next(levels)), "pool": lambda: kinds.AvgPool2d(2, 2)}
            found.append(one.get(part, kinds.Flatten)())
        if isinstance(part, np.ndarray):
            found[-1].weight.data = torch.from_numpy(part)
    return found


def snntorch_side(parts: list[object], thresholds: list[float], x: torch.Tensor) -> tuple[Call, list[int]]:
    """As its tutorials run it: a loop over the steps, membranes kept by the layers."""

    def make(level: float) -> torch.nn.Module:
        kind = {"init_hidden": True, "reset_mechanism": "zero", "reset_delay": False}
        return snntorch.Leaky(beta=1.0, threshold=level, **kind)

    layers = torch_layers(parts, thresholds, make, torch.nn)
    network = torch.nn.Sequential(*layers).eval()
    fires = [one for one in layers if isinstance(one, snntorch.Leaky)]

    def call() -> torch.Tensor:
        for one in fires:
            one.reset_mem()
        with torch.inference_mode():
            return torch.stack([network(step) for step in x])

    return call, _counted(fires, call)


def spikingjelly_side(
    parts: list[object], thresholds: list[float], x: torch.Tensor
) -> tuple[Call, list[int]]:
    """Multi-step: each layer over all steps at once."""
    layers = torch_layers(
        parts, thresholds, lambda level: neuron.IFNode(v_threshold=level, v_reset=0.0), layer
    )
    network = torch.nn.Sequential(*layers).eval()
    functional.set_step_mode(network, "m")

    def call() -> torch.Tensor:
        functional.reset_net(network)
        with torch.inference_mode():
            return network(x)

    return call, _counted([one for one in layers if isinstance(one, neuron.IFNode)], call)


def _counted(fires: list[torch.nn.Module], call: Call) -> list[int]:
    """Run once and count what each layer of neurons sends."""
    totals = [0] * len(fires)

    def hook(number: int) -> Callable[..., None]:
        def add(module: object, inputs: object, output: torch.Tensor) -> None:
            totals[number] += int(output.sum())

        return add

    handles = [one.register_forward_hook(hook(number)) for number, one in enumerate(fires)]
    call()
    for handle in handles:
        handle.remove()
    return totals


def sides(parts: list[object], thresholds: list[float], session: SpikingSession, events: Events) -> Sides:
    """Build every side on the same spikes."""
    x = torch.from_numpy(events.dense())
    fires = [name for name, kind in session.nodes.items() if kind == "IF"]
    counts = session.run(events).counts
    theirs = {
        SNNTORCH: snntorch_side(parts, thresholds, x),
        SPIKINGJELLY: spikingjelly_side(parts, thresholds, x),
    }
    calls: dict[str, Call] = {OURS: lambda: session.run(events)}
    return Sides(
        calls | {name: call for name, (call, _) in theirs.items()},
        {OURS: [int(counts.spikes[name].sum()) for name in fires]}
        | {name: spikes for name, (_, spikes) in theirs.items()},
    )


def measure(calls: dict[str, Call], seconds: float) -> dict[str, np.ndarray]:
    """Return each side's medians, one a round, ms."""
    for call in calls.values():
        warm_up(call, 1.0)
    settings = Settings(min_runs=1, min_seconds=seconds, max_seconds=40.0)
    turns = interleave(list(calls.values()), settings, SETTLE_SECONDS)
    return {name: np.array(turn.rounds_ms) for name, turn in zip(calls, turns, strict=True)}


def tell(activity: float, found: Sides, times: dict[str, np.ndarray], synops: int) -> bool:
    """Print one activity; return whether the goals are met."""
    met = True
    rates = ", ".join(f"{name} {spikes}" for name, spikes in found.spikes.items())
    print(f"activity {activity:.1%}: {synops / 1e6:.2f} M synaptic operations; spikes of the layers: {rates}")
    for name, series in times.items():
        line = f"  {name:12} {np.median(series):9.3f} ms"
        if name == OURS:
            line += f"   {synops / np.median(series) / 1e6:.2f} G synaptic operations/s"
        else:
            ratio, (low, high) = paired_ratio(series, times[OURS], 0)
            missed = activity == GOAL_AT and ratio < GOALS[name]
            met &= not missed
            line += f"   {ratio:6.2f} times ours ({low:.2f} to {high:.2f})" + "  GOAL MISSED" * missed
        print(line, flush=True)
    return met


def draw(rows: dict[str, list[tuple[float, dict[str, float]]]], path: Path) -> None:
    """Draw time against activity, one panel a network."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(rows), figsize=(5 * len(rows), 4), squeeze=False)
    for axis, (name, points) in zip(axes[0], rows.items(), strict=True):
        for side in points[0][1]:
            axis.plot([a * 100 for a, _ in points], [t[side] for _, t in points], "o-", label=side)
        axis.set(
            xscale="log", yscale="log", xlabel="neurons that fire in a step (%)",
            ylabel=f"ms for {STEPS} steps", title=name,
        )  # fmt: skip
        axis.grid(alpha=0.3, which="both")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="upper center", ncols=3, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.93))
    figure.savefig(path, dpi=130)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=("mlp", "cnn"), action="append")
    parser.add_argument("--activity", type=float, action="append")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--seconds", type=float, default=2.0, help="timed seconds of each side and activity")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    missed, rows = False, {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.nir"
        for name in arguments.network or ("mlp", "cnn"):
            shape, parts = ((784,), weighted(mlp())) if name == "mlp" else ((1, 28, 28), weighted(cnn()))
            print(f"{name}, batch {arguments.batch}, {arguments.threads} threads")
            rows[name] = []
            for activity in arguments.activity or ACTIVITIES:
                rng = np.random.default_rng(1)
                events = from_dense(rng.random((STEPS, arguments.batch, *shape)) < activity)
                levels = calibrated(parts, shape, events, activity, arguments.threads, file)
                write(file, graph_of(parts, shape, levels))
                with open_spiking(file, threads=arguments.threads) as session:
                    found = sides(parts, levels, session, events)
                    with Watch() as watch:
                        times = measure(found.calls, arguments.seconds)
                    synops = session.run(events).counts.total_synops
                missed |= not tell(activity, found, times, synops)
                rows[name].append((activity, {side: float(np.median(t)) for side, t in times.items()}))
                for sentence in watch.sentences(arguments.threads, arguments.threads):
                    print(f"  noise: {sentence}")
    if arguments.figure is not None:
        draw(rows, arguments.figure)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
