"""Runs NIR graphs in the simulators that read NIR, step by step, and prints who agrees with whom.

    python tools/check/nir_readers.py [--file graph.nir] [--newer FOLDER] [--json]

Every graph, two trained networks among them, runs in paring's own reader (the reference), snnTorch, Norse,
Sinabs and SpikingJelly, each through its own NIR reader, in a process of its own. What a reader cannot do is
a row, never the end of the table.

The extra `dev` installs snnTorch and SpikingJelly; the other two are for this check alone:

    pip install "nir==1.0.4" norse==1.1.0 sinabs==3.1.3

Simulators ask for different releases of `nir`: Sinabs for 1.0.4 at most, SpikingJelly for 1.0.7 at least.
With

    pip install --no-deps --target FOLDER nir==1.0.7 nirtorch==2.6

`--newer FOLDER` runs each reader with those too.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import io
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nir_trained import Trained, trained

from paring_runtimes.nir import Graph, Node, read, write
from paring_runtimes.nir import nodes as nir

READERS = ("snntorch", "norse", "sinabs", "spikingjelly")
STEPS, NEURONS, INPUTS = 60, 12, 8
IMAGES = 100
DT = 1e-4  # seconds, of the graphs with time constants: fixed in snnTorch
TIMEOUT_S = 600
CLOSE = 1e-4  # how far outputs that are no spikes may lie apart


@dataclass(frozen=True)
class Case:
    """One graph, its inputs [T, B, ...] and its step; `labels` [B] of trained networks."""

    name: str
    graph: Graph
    inputs: np.ndarray
    dt: float
    labels: np.ndarray | None = None


@dataclass(frozen=True)
class Row:
    """What one reader made of one graph. `first` is the first differing step, from 1; 0 where none is."""

    case: str
    reader: str
    nir: str
    outcome: str  # "equal", "differs", "cannot"
    first: int = 0
    differing: float = 0.0  # of all neurons and steps
    ours: float = 0.0  # mean output
    theirs: float = 0.0
    note: str = ""


def cases(files: list[Path], networks: list[Trained]) -> list[Case]:
    """The graphs: each kind of neuron behind a linear layer and a convolution, equality, networks, files."""
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 0.6, (NEURONS, INPUTS)).astype(np.float32)
    bias = rng.uniform(0, 0.2, NEURONS).astype(np.float32)
    spikes = (rng.random((STEPS, 1, INPUTS)) < 0.4).astype(np.float32)
    kernel = rng.normal(0, 0.5, (4, 2, 3, 3)).astype(np.float32)
    images = (rng.random((STEPS, 1, 2, 6, 6)) < 0.4).astype(np.float32)
    convolution = nir.Conv2d(kernel, bias[:4], (1, 1), (1, 1), (1, 1), 1, (6, 6))
    found = []
    for kind, neuron, dt in _neurons():
        for layer, given, shape in (
            (nir.Affine(weight, bias), spikes, (NEURONS,)),
            (convolution, images, (4, 6, 6)),
        ):
            told = "linear" if isinstance(layer, nir.Affine) else "conv"
            graph = _chain(given.shape[2:], {"layer": layer}, neuron(shape), shape, dt)
            found.append(Case(f"{kind}, {told}", graph, given, dt))
    pooled = {
        "conv": convolution,
        "pool": nir.AvgPool2d((2, 2), (2, 2), (0, 0)),
        "flat": nir.Flatten(0, -1, (4, 3, 3)),
    }
    whole = _chain((2, 6, 6), pooled, _hard((36,)), (36,), 1.0)
    return [
        *found,
        Case("IF behind conv, pool, flatten", whole, images, 1.0),
        *_equality(),
        *map(_of_network, networks),
        *map(_of_file, files),
    ]


def _neurons() -> list[tuple[str, Callable[[tuple[int, ...]], dict[str, Node]], float]]:
    return [("IF", _hard, 1.0), ("soft reset", _soft, 1.0), ("LIF", _leaky, DT), ("CubaLIF", _current, DT)]


def _hard(shape: tuple[int, ...]) -> dict[str, Node]:
    return {"neuron": nir.IF(np.ones(shape, np.float32), _below(shape, 1.0))}


def _soft(shape: tuple[int, ...]) -> dict[str, Node]:
    ones = np.ones(shape, np.float32)
    return {
        "neuron_membrane": nir.I(ones),
        "neuron": nir.Threshold(_below(shape, 1.0)),
        "neuron_reset": nir.Scale(-ones),
    }


def _leaky(shape: tuple[int, ...]) -> dict[str, Node]:
    ones = np.ones(shape, np.float32)
    return {"neuron": nir.LIF(10 * DT * ones, ones, 0 * ones, _below(shape, 0.1))}


def _current(shape: tuple[int, ...]) -> dict[str, Node]:
    ones = np.ones(shape, np.float32)
    tau_syn, tau_mem = 4 * DT * ones, 8 * DT * ones
    return {
        "neuron": nir.CubaLIF(
            tau_syn,
            tau_mem,
            tau_mem / np.float32(DT),
            0 * ones,
            _below(shape, 2.0),
            None,
            tau_syn / np.float32(DT),
        )
    }


def _below(shape: tuple[int, ...], threshold: float) -> np.ndarray:
    """As the exporter writes a threshold at which equality fires."""
    return np.full(shape, np.nextafter(np.float32(threshold), np.float32(0)), np.float32)


def _equality() -> list[Case]:
    """Membranes that reach the threshold exactly: a quarter a step, threshold 1."""
    weight, ones = np.eye(4, dtype=np.float32), np.ones(4, np.float32)
    inputs = np.tile(np.array([0.25, 0.5, 1.0, 0.125], np.float32), (24, 1, 1))
    exact = {"neuron": nir.IF(ones, ones)}
    layer = {"layer": nir.Affine(weight, 0 * ones)}
    return [
        Case("IF at equality, as exported", _chain((4,), layer, _hard((4,)), (4,), 1.0), inputs, 1.0),
        Case("IF at equality, v_threshold = 1", _chain((4,), layer, exact, (4,), 1.0), inputs, 1.0),
    ]


def _chain(
    taken: tuple[int, ...],
    layers: dict[str, Node],
    neuron: dict[str, Node],
    given: tuple[int, ...],
    dt: float,
) -> Graph:
    nodes = {"input": nir.Input(taken), **layers, **neuron, "output": nir.Output(given)}
    names = ["input", *layers, *(name for name in neuron if name != "neuron_reset"), "output"]
    edges = list(itertools.pairwise(names))
    if "neuron_reset" in neuron:
        edges += [("neuron", "neuron_reset"), ("neuron_reset", "neuron_membrane")]
    return Graph(nodes, tuple(edges), {"dt": dt})


def _of_network(network: Trained) -> Case:
    steps = int(network.graph.metadata["steps"])
    inputs = np.broadcast_to(network.images, (steps, *network.images.shape)).copy()
    return Case(network.name, network.graph, inputs, 1.0, network.labels)


def _of_file(path: Path) -> Case:
    from paring_exporters.nir_graph.network import NirNetwork

    graph = read(path)
    network = NirNetwork(graph)
    shape = network.shapes[network.flat.inputs[0]][0]
    images = np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)
    steps = network.steps or STEPS
    return Case(path.name, graph, np.broadcast_to(images, (steps, 1, *shape)).copy(), network.dt)


def reference(case: Case) -> np.ndarray:
    """[T, B, ...] of paring's own reader."""
    import torch

    from paring_exporters.nir_graph.network import NirNetwork

    network = NirNetwork(case.graph)
    with torch.inference_mode():
        outputs, _ = network.run({network.flat.inputs[0]: torch.from_numpy(case.inputs)})
    return outputs[network.flat.outputs[0]].numpy()


def run(found: list[Case], reader: str, newer: Path | None, folder: Path) -> list[Row]:
    """All graphs in one reader, in a process of its own."""
    for number, case in enumerate(found):
        write(folder / f"{number}.nir", case.graph)
        np.savez(folder / f"{number}.npz", inputs=case.inputs, dt=case.dt)
        for old in (folder / f"{number}.npy", folder / f"{number}.txt"):
            old.unlink(missing_ok=True)
    search = [str(newer)] if newer else []
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*search, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, __file__, "--worker", reader, str(folder), str(len(found))]
    try:
        ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        end = (ran.stderr.strip().splitlines() or ["no message"])[-1]
    except subprocess.TimeoutExpired:
        end = f"no answer in {TIMEOUT_S} s"
    version, rows = _version(newer), []
    for number, case in enumerate(found):
        answer, said = folder / f"{number}.npy", folder / f"{number}.txt"
        if answer.is_file():
            theirs = np.load(answer, allow_pickle=False)
            rows.append(_compared(case, reader, version, reference(case), theirs))
        else:
            note = said.read_text() if said.is_file() else end
            rows.append(Row(case.name, reader, version, "cannot", note=note[:160]))
    return rows


def _compared(case: Case, reader: str, version: str, ours: np.ndarray, theirs: np.ndarray) -> Row:
    if ours.size != theirs.size:
        told = f"gives {list(theirs.shape)}, expected {list(ours.shape)}"
        return Row(case.name, reader, version, "cannot", note=told)
    apart = ~np.isclose(theirs.reshape(ours.shape), ours, rtol=CLOSE, atol=CLOSE)
    by_step = apart.reshape(len(ours), -1).any(1)
    first = int(by_step.argmax()) + 1 if by_step.any() else 0
    outcome = "differs" if first else "equal"
    means, note = (float(ours.mean()), float(theirs.mean())), ""
    if case.labels is not None:
        rates = [one.reshape(ours.shape).mean(0).reshape(ours.shape[1], -1) for one in (ours, theirs)]
        right = [float((one.argmax(1) == case.labels).mean()) for one in rates]
        note = f"accuracy {right[0]:.1%} / {right[1]:.1%}, {len(case.labels)} images"
    return Row(case.name, reader, version, outcome, first, float(apart.mean()), *means, note)


def _version(newer: Path | None) -> str:
    if newer is None:
        return importlib.metadata.version("nir")
    found = next(iter(importlib.metadata.distributions(name="nir", path=[str(newer)])), None)
    return "?" if found is None else found.version


def work(reader: str, folder: Path, count: int) -> None:
    """In the process of its own: read each graph, run it, save [T, B, ...], or the reader's last word."""
    import nir as package
    import torch

    for number in range(count):
        given = np.load(folder / f"{number}.npz", allow_pickle=False)
        try:
            graph = package.read(folder / f"{number}.nir")
            with contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
                outputs = _WORKERS[reader](graph, torch.from_numpy(given["inputs"]), float(given["dt"]))
            np.save(folder / f"{number}.npy", outputs.detach().cpu().float().numpy())
        except Exception as error:  # whatever a reader raises is its row
            told = f"{type(error).__name__}: {error}".strip()
            (folder / f"{number}.txt").write_text(" ".join(told.split()))


def _stepwise(network: Any, inputs: Any) -> Any:
    import torch

    state, found = None, []
    for step, x in enumerate(inputs):
        result = network(x) if step == 0 else network(x, state)
        value, state = result if isinstance(result, tuple) else (result, state)
        while isinstance(value, tuple):  # some neurons give (spikes, membrane)
            value = value[0]
        found.append(value)
    return torch.stack(found)


def _snntorch(graph: Any, inputs: Any, dt: float) -> Any:
    from snntorch.import_nir import import_from_nir

    return _stepwise(import_from_nir(graph), inputs)


def _norse(graph: Any, inputs: Any, dt: float) -> Any:
    from norse.torch.utils.import_nir import from_nir

    return _stepwise(from_nir(graph, dt=dt), inputs)


def _sinabs(graph: Any, inputs: Any, dt: float) -> Any:
    import torch
    from sinabs.nir import from_nir

    # Sinabs counts time constants in steps and gets tensors of them.
    for node in graph.nodes.values():
        for key in ("tau", "v_threshold", "r", "v_leak"):
            if hasattr(node, key):
                value = torch.as_tensor(np.asarray(getattr(node, key)))
                setattr(node, key, value / dt if key == "tau" else value)
    steps, batch = inputs.shape[:2]
    network = from_nir(graph, batch_size=batch, num_timesteps=steps)
    result = network(inputs.transpose(0, 1).flatten(0, 1))  # the batch first, then time
    values = result[0] if isinstance(result, tuple) else result
    return values.unflatten(0, (batch, steps)).transpose(0, 1)


def _spikingjelly(graph: Any, inputs: Any, dt: float) -> Any:
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    return _stepwise(import_from_nir(graph, dt=dt), inputs)


_WORKERS: dict[str, Callable[[Any, Any, float], Any]] = {
    "snntorch": _snntorch,
    "norse": _norse,
    "sinabs": _sinabs,
    "spikingjelly": _spikingjelly,
}


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = ["| graph | reader | nir | spikes | first differing step | differing | mean, ours / theirs | |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        numbers = ["", "", ""]
        if row.outcome != "cannot":
            numbers = [str(row.first or ""), f"{row.differing:.1%}", f"{row.ours:.4f} / {row.theirs:.4f}"]
        cells = [row.case, row.reader, row.nir, row.outcome, *numbers, row.note.replace("|", "/")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--file", type=Path, action="append", default=[], help="a graph of your own, too")
    parser.add_argument("--newer", type=Path, help="a folder with another release of nir and nirtorch")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rows = list[Row]()
    with tempfile.TemporaryDirectory() as folder:
        found = cases(asked.file, trained(Path(folder), IMAGES))
        for reader, newer in itertools.product(READERS, [None, *([asked.newer] if asked.newer else [])]):
            rows += run(found, reader, newer, Path(folder))
            print(f"{reader}, nir {_version(newer)}: done", file=sys.stderr)
    names = [case.name for case in found]
    rows.sort(key=lambda row: names.index(row.case))
    print(json.dumps([asdict(row) for row in rows], indent=1) if asked.json else table(rows))


if __name__ == "__main__":
    main()
