"""A sweep of two dozen trials as a search leaves it, made without converting anything."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paring_profiles.imports import Results, import_results
from paring_profiles.report.pareto import Report, from_sweep
from paring_profiles.result import Machine
from paring_profiles.sweep import (
    MEASURES,
    Baseline,
    Measure,
    Objective,
    Sweep,
    SweepSettings,
    Trial,
    front,
    pack_answers,
)

MACHINE = Machine("A CPU", 8, 16, 34_000_000_000, "Linux-6.1.0-x86_64", "CPython 3.11", 0.2, False)
IMAGES = 2000
TIMED = "batch 1, onnxruntime 1.32.0, CPUExecutionProvider, 2 threads, candidates in turns"
LEDGER = "ledger, 45 nm, Eyeriss-like, batch 1, accounting full"
HOSTILE = "</script><img src=x onerror=\"document.title='owned'\">"


def measure(name: str, value: float, half: float = 0.0, round_: str = "", method: str = TIMED) -> Measure:
    named = MEASURES[name]
    return Measure(value, value - half, value + half, named.unit, named.provenance, method, round_)


def figures(
    latency: float, drop: float, size: float, energy: float, round_: str = "trial"
) -> dict[str, Measure]:
    return {
        "latency_p50_ms": measure("latency_p50_ms", 8.2 * latency, 0.2, round_),
        "throughput_per_s": measure("throughput_per_s", 122 / latency, 3, round_),
        "latency_relative": measure("latency_relative", latency, 0.012 * latency, round_),
        "size_bytes": measure("size_bytes", size, method="the artifact's files"),
        "peak_memory_bytes": measure("peak_memory_bytes", 3 * size, method="resident growth"),
        "accuracy": measure("accuracy", 0.812 - drop, 0.017, method="top-1 accuracy on 2000 images"),
        "drop": measure("drop", drop, 0.005, method="top-1 accuracy on 2000 images"),
        "energy_modelled_uj": measure("energy_modelled_uj", energy, method=LEDGER),
    }


def trial(number: int, answers: np.ndarray, rng: np.random.Generator) -> Trial:
    """Keep ratio and precision decide; the last three did not come to an end."""
    keep, precision = 0.4 + 0.1 * (number % 7), ("fp32", "int8", "int4")[number // 7 % 3]
    engine = "openvino" if number % 5 == 3 else "onnxruntime"
    params = {"dropping": "evit", "transforms.evit.keep_ratio": round(keep, 1), "export.precision": precision}
    steps = f'transforms=[{{"evit": {{"keep_ratio": {keep:.1f}, "blocks": [4, 7, 10]}}}}]'
    made = Trial(
        number=number,
        params={**params, "engine": engine},
        overrides=[steps, f'export.precision="{precision}"'],
        recipe_digest=f"{number:064d}",
        artifact=None,
        engine=engine,
        device="cpu",
        state="complete",
        worker="process 4711",
        seconds=41.5,
    )
    ended = {
        21: ("refused", "evit: model.blocks.3: no class token"),
        22: ("pruned", "12 pp lost on 200 images"),
        23: ("failed", "its process was killed: out of memory"),
    }
    if number in ended:
        return dataclasses.replace(made, state=ended[number][0], reason=ended[number][1], stage="convert")
    faster = {"fp32": 1.0, "int8": 0.62, "int4": 0.55}[precision]
    latency = faster * (0.35 + 0.65 * keep) * (1 + 0.05 * rng.standard_normal())
    lost = 0.04 * (1 - keep) ** 2 + {"fp32": 0.0, "int8": 0.003, "int4": 0.016}[precision]
    right = answers & (rng.random(IMAGES) > lost)
    size = {"fp32": 22.1e6, "int8": 5.9e6, "int4": 3.6e6}[precision]
    energy = {"fp32": 5200.0, "int8": 900.0, "int4": 830.0}[precision] * (0.3 + 0.7 * keep)
    drop = float(answers.mean() - right.mean())
    noise = ["the load was 2.1 before the measurement"] if number == 4 else []
    return dataclasses.replace(
        made, measures=figures(latency, drop, size, energy), right=pack_answers(right), noise=noise
    )


@pytest.fixture(scope="session")
def sweep() -> Sweep:
    """24 trials, 21 of them complete."""
    rng = np.random.default_rng(3)
    answers = rng.random(IMAGES) < 0.812
    trials = [trial(number, answers, rng) for number in range(24)]
    objectives = []
    for name, key in (("latency", "latency_relative"), ("accuracy", "drop"), ("size", "size_bytes")):
        named = MEASURES[key]
        objectives.append(Objective(name, key, True, named.title, named.unit, named.provenance))
    base = Baseline("", "onnxruntime", "cpu", figures(1.0, 0.0, 22.1e6, 5200.0), right=pack_answers(answers))
    settings = SweepSettings(1, 2, 100, 3.0, 0, "tpe", 24, 0.1, 200, 1800.0)
    recipe = {"model": "timm:vit_small_patch16_224", "transforms": [], "export": {"precision": "fp32"}}
    return Sweep(
        created="2026-01-02T03:04:05+00:00",
        updated="2026-01-02T04:04:05+00:00",
        state="complete",
        machine={"cpu": MACHINE},
        tools={"paring": "0.1.0", "onnxruntime": "1.32.0"},
        recipe=recipe,
        space={},
        points=63,
        objectives=objectives,
        settings=settings,
        baselines=[base],
        trials=trials,
        front=front(trials, [base], objectives, 0),
        left_out=["engine tvm: not installed"],
        seconds=1240.0,
    )


@pytest.fixture(scope="session")
def report(sweep: Sweep, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Its report, with what artifacts would have told."""
    return with_graphs(from_sweep(sweep, tmp_path_factory.mktemp("sweep")))


def with_graphs(found: Report) -> Report:
    """Tokens and modelled parts for every complete variant."""
    variants = []
    for one in found.variants:
        energy = one.figures.get("energy_modelled_uj")
        keep = float(one.params.get("transforms.evit.keep_ratio", 1.0))
        if energy is None:
            variants.append(one)
            continue
        counts = [max(2, round(197 * keep ** ((i > 3) + (i > 6) + (i > 9)))) for i in range(12)]
        shares = {"operations": 0.42, "dram": 0.31, "buffer": 0.15, "network": 0.04, "registers": 0.08}
        parts = {part: share * energy.value for part, share in shares.items()}
        gain = one.gain and dataclasses.replace(one.gain, ideal=12 * 197 / sum(counts))
        gain = gain and dataclasses.replace(gain, share=gain.realised / (gain.ideal or 1))
        variants.append(
            dataclasses.replace(
                one, tokens_per_layer=counts, modelled_uj=parts, modelled_method=LEDGER, gain=gain
            )
        )
    return dataclasses.replace(found, variants=variants)


@pytest.fixture(scope="session")
def hostile(sweep: Sweep) -> Callable[[], Report]:
    """The report of a sweep whose names, values and reasons are HTML and script."""

    def make() -> Report:
        params: dict[str, Any] = {"dropping": HOSTILE, "export.precision": "fp32", "engine": HOSTILE}
        trials = [
            dataclasses.replace(
                one, params=params, engine=HOSTILE, reason=one.reason and HOSTILE, noise=[HOSTILE]
            )
            for one in sweep.trials
        ]
        base = dataclasses.replace(sweep.baselines[0], device=HOSTILE)
        trials = [dataclasses.replace(one, device=HOSTILE) for one in trials]
        recipe = {"model": HOSTILE, "transforms": [], "export": {}}
        changed = dataclasses.replace(
            sweep, trials=trials, baselines=[base], recipe=recipe, notes=[HOSTILE], tools={HOSTILE: HOSTILE},
            machine={HOSTILE: MACHINE},
        )  # fmt: skip
        return from_sweep(changed, Path("nowhere"))

    return make


@pytest.fixture(scope="session")
def imported(tmp_path_factory: pytest.TempPathFactory) -> list[Results]:
    """A file of trtexec, with enough queries for an interval, and one of optimum-benchmark, a summary."""
    folder = tmp_path_factory.mktemp("imported")
    queries = [{"latencyMs": 2.75 + 0.01 * (n % 5), "computeMs": 2.0, "h2dMs": 0.5} for n in range(20)]
    (folder / "times.json").write_text(json.dumps(queries))
    latency = {"unit": "s", "values": None, "count": 11, "p50": 0.011}
    forward = {"latency": latency, "memory": {"unit": "MB", "max_ram": 900.5}, "energy": None}
    config = {
        "backend": {"name": "onnxruntime", "model": "bert", "device": "cpu"},
        "environment": {"cpu": " A CPU"},
    }
    told = {"config": config, "report": {"forward": {**forward, "throughput": None}}}
    (folder / "benchmark.json").write_text(json.dumps(told))
    return [
        import_results(folder / "times.json", "trtexec"),
        import_results(folder / "benchmark.json", "optimum-benchmark"),
    ]
