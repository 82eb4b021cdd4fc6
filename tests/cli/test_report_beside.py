"""A real spiking artifact, simulated on a chip, and shown in the report of the sweep that made it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

for package in ("h5py", "numba", "matplotlib"):
    pytest.importorskip(package)

from paring.cli import app  # noqa: E402
from paring_profiles.result import Machine  # noqa: E402
from paring_profiles.sweep import (  # noqa: E402
    Baseline,
    Measure,
    Objective,
    Sweep,
    SweepSettings,
    Trial,
    front,
    write_sweep,
)
from paring_runtimes.artifact import hash_files, new_artifact, write_manifest  # noqa: E402
from paring_runtimes.manifest import Manifest, TensorSpec  # noqa: E402
from paring_runtimes.nir import Graph, write  # noqa: E402
from paring_runtimes.nir import nodes as nir  # noqa: E402

MACHINE = Machine("A CPU", 2, 4, 8_200_000_000, "Linux-6.1.0-x86_64", "CPython 3.11", 0.1, False)


def spiking(folder: Path) -> None:
    """An artifact of one layer of neurons between two of weights."""
    rng = np.random.default_rng(0)
    nodes: dict[str, Any] = {
        "input": nir.Input((1, 28, 28)),
        "flatten": nir.Flatten(0, -1, (1, 28, 28)),
        "first": nir.Linear(rng.normal(size=(20, 784)).astype(np.float32)),
        "hidden": nir.IF(np.ones(20, np.float32), np.full(20, 9.0, np.float32)),
        "last": nir.Linear(rng.normal(size=(10, 20)).astype(np.float32)),
        "output": nir.Output((10,)),
    }
    names = list(nodes)
    with new_artifact(folder) as draft:
        write(draft / "graph.nir", Graph(nodes, tuple(pairwise(names))))
        pixels = TensorSpec("input", "float32", ("batch", 1, 28, 28))
        scores = TensorSpec("output", "float32", ("batch", 10))
        write_manifest(draft, Manifest("nir", "graph.nir", (pixels,), (scores,), hash_files(draft)))


def ran(*arguments: object) -> str:
    done = CliRunner().invoke(app(), [str(one) for one in arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def swept(folder: Path, artifacts: list[str]) -> None:
    """A sweep whose trials left those artifacts."""
    objective = Objective("latency", "latency_relative", True, "latency", "x baseline", "measured")

    def figures(value: float) -> dict[str, Measure]:
        return {
            "latency_relative": Measure(value, value - 0.01, value + 0.01, "x baseline", "measured", "timed")
        }

    trials = [
        Trial(n, {"steps": 4 + n}, [], None, name, "nir", "cpu", "complete", measures=figures(0.5 + 0.2 * n))
        for n, name in enumerate(artifacts)
    ]
    base, when = Baseline("", "onnxruntime", "cpu", figures(1.0)), "2026-01-02T03:04:05+00:00"
    settings = SweepSettings(1, 1, 10, 0.1, 0, "grid", 2, None, 200, 60.0)
    found = Sweep(
        when, when, "complete", {"cpu": MACHINE}, {}, {"model": "py:small"}, {}, 2, [objective], settings,
        [base], trials, front(trials, [base], [objective], 0),
    )  # fmt: skip
    write_sweep(found, folder)


def test_a_simulated_artifact_is_drawn_in_its_variants_section(tmp_path: Path) -> None:
    sweep, out = tmp_path / "sweep", tmp_path / "report"
    spiking(sweep / "spiking")
    swept(sweep, ["spiking", "other"])
    chip = ("--chip", "loihi", "--data", "embedded", "--limit", 8, "--steps", "4", "--threads", 1)
    ran("simulate", sweep / "spiking", *chip, "-o", tmp_path / "loihi")
    beside = tmp_path / "loihi" / "simulation.json"
    ran("report", sweep, "-o", out, "--beside", beside)
    page = (out / "index.html").read_text()
    own = page.partition('id="variant-0"')[2].partition("</article>")[0]
    told = json.loads(beside.read_text())
    assert told["headline"].startswith("Loihi, modelled: ")
    assert "Spikes of one image" in own
    assert told["headline"].replace("\N{NO-BREAK SPACE}", " ") in own.replace("\N{NO-BREAK SPACE}", " ")
    events = sum(len(layer["steps"]) for layer in told["spikes"]["layers"])
    dots = own.partition('class="spikes')[2].partition("</svg>")[0]
    assert events > 0
    assert dots.count("M") - dots.count('d="M76 ') == events
    assert "Spikes of one image" not in page.partition('id="variant-1"')[2].partition("</article>")[0]
    assert "simulation.html, holds their constants" in page
    assert "No number in this report is modelled" not in page
