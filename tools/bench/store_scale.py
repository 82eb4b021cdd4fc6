"""Times the store of profiles when it holds many: `history`, and what reports and regressions read.

    python tools/bench/store_scale.py [--profiles 100000] [--store FILE] [--limit-s 1.0]

Each profile has two candidates with 121 samples each, and its own times; 50 names on 4 machines over a
year. Every question is asked five times, in turns, in one process with a fresh connection each; the
median is printed with the fastest and slowest. `history`, the scatter and `compare` are also asked five
times in processes of their own, imports apart: that is the first answer, with nothing warm but the system's
cache of the file. `paring history` is run as a command too, whose start is told apart. Exits 1 when any run
of those three is over the limit.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np

from paring_profiles.history import Limits, Selection, adding, history, query, regressions
from paring_profiles.history.database import writing
from paring_profiles.result import Candidate, Comparison, Latency, Machine, Profile, Settings

AT_ONCE = 1000  # profiles a transaction, only here: `paring profile` stores one
NAMES, MACHINES, SAMPLES, REPEATS = 50, 4, 121, 5
HELD = (
    "history, the newest 20",
    "rows of a scatter: the newest of each artifact",
    "rows of a report: the newest 200 of them",
    "compare --since 7d",
)
SECONDS_A_YEAR = 365 * 86400
NOW = datetime.now(timezone.utc)
RECIPES = [
    {
        "model": "timm:vit_small_patch14_dinov2.lvd142m",
        "transforms": [{"token_prune": {"keep_ratio": ratio / 100, "blocks": None, "inattentive": "fuse"}}],
        "export": {"format": "onnx", "opset": None, "precision": "fp32", "dynamic": ["batch"]},
        "verify": {"batch_sizes": [1, 8], "seeds": [0, 1], "atol": 1e-5, "rtol": 1e-4},
        "gates": [{"metric": "top1", "max_drop": 0.01, "confidence": "bound"}],
    }
    for ratio in range(30, 100)
]


def made(number: int, count: int, rng: np.random.Generator) -> Profile:
    """One profile of `count`, spread over a year."""
    created = NOW - timedelta(seconds=(count - number) * SECONDS_A_YEAR / count)
    name = f"vit-{number % NAMES}"
    machine = Machine(f"CPU {number % MACHINES}", 8, 16, 64 << 30, "Linux-6.1", "CPython 3.12", 0.1, True)
    base = candidate("baseline", 10.0 + number % NAMES, "b", rng)
    own = candidate(name, 5.0 + number % NAMES, f"{number // 500:x}", rng)
    ratio = base.latency[0].p50_ms / own.latency[0].p50_ms
    comparison = Comparison(base.name, name, 1, ratio, (ratio * 0.99, ratio * 1.01), 2.0, ratio / 2, "faster")
    tools = {"paring": "0.1.0", "onnxruntime": "1.32.0", "numpy": "2.4.6"}
    return Profile(
        created.isoformat(timespec="seconds"), machine, Settings(), tools, [base, own], [comparison], []
    )


def candidate(name: str, p50_ms: float, digest: str, rng: np.random.Generator) -> Candidate:
    """One case of `SAMPLES` calls."""
    samples = np.round(np.sort(p50_ms * rng.normal(1, 0.02, SAMPLES)), 6)
    p50, p90 = samples[SAMPLES // 2], samples[SAMPLES * 9 // 10]
    rng.shuffle(samples)
    quality = {"metric": "top-1 accuracy", "after": 0.84, "after_ci95": [0.82, 0.86], "samples": 2000}
    latency = Latency(
        1, samples.tolist(), 20, float(p50), (float(p50) * 0.99, float(p50) * 1.01), float(p90), None,
        float(samples.mean()), float(samples.std()), float(samples.min()), 1e3 / float(p50),
        {"p99_ms": "121 runs, 662 needed"}, method="onnxruntime 1.32.0, CPUExecutionProvider, 2 threads",
    )  # fmt: skip
    return Candidate(
        name, f"/models/{name}", "onnx", 88_000_000, 22_000_000, {"1": 4_600_000_000}, [], None,
        int(rng.integers(180_000_000, 200_000_000)), 300.0, [latency], {}, "timm:vit", [],
        random.choice(RECIPES), None, quality,
        artifact_digest=digest.rjust(64, "0"), engine="onnxruntime 1.32.0",
    )  # fmt: skip


def fill(store: Path, count: int) -> None:
    """Add `count` profiles."""
    rng, begin = np.random.default_rng(0), time.perf_counter()
    for first in range(0, count, AT_ONCE):
        with writing(store) as connection:
            for number in range(first, min(first + AT_ONCE, count)):
                adding.add(connection, made(number, count, rng), {"sweep": str(number // 1000)}, None)
    took = time.perf_counter() - begin
    size = store.stat().st_size
    print(f"{count:,} profiles, {2 * count:,} rows: {size / 1e6:,.0f} MB, made in {took:.0f} s", flush=True)
    single = []
    for turn in range(20):
        profile = dataclasses.replace(made(count, count, rng), noise=[f"turn {turn}"])
        start = time.perf_counter()
        with writing(store) as connection:
            adding.add(connection, profile, {}, None)
        single.append(time.perf_counter() - start)
    print(f"one profile more, flushed to disk: {1e3 * statistics.median(single):.1f} ms", flush=True)


def questions(store: Path) -> dict[str, Callable[[], object]]:
    """What is asked; those of `HELD` are held to the limit."""
    return {
        "history, the newest 20": lambda: history(store, Selection(limit=20)),
        "rows of a scatter: the newest of each artifact": lambda: query(store, Selection(latest=True)),
        "rows of a report: the newest 200 of them": lambda: query(store, Selection(latest=True, limit=200)),
        "history of one name and case": lambda: history(
            store, Selection(names=["vit-7"], case={"batch_size": 1}, limit=1000)
        ),
        "rows of one sweep (label)": lambda: query(store, Selection(labels={"sweep": "42"})),
        "rows of the last 30 days": lambda: query(store, Selection(since="30d")),
        "every row": lambda: query(store),
        "compare --since 7d": lambda: regressions(store, Selection(since="7d"), Limits()),
    }


def size_of(answer: object) -> int:
    """How many rows or changes an answer has."""
    return len(answer if isinstance(answer, list) else answer.changes)  # type: ignore[attr-defined]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--profiles", type=int, default=100_000)
    parser.add_argument("--store", type=Path, help="keep it here, or use the one that is here")
    parser.add_argument("--limit-s", type=float, default=1.0)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = told.store or Path(folder) / "history.sqlite"
        if not store.exists():
            fill(store, told.profiles)
        asked = questions(store)
        times: dict[str, list[float]] = {name: [] for name in asked}
        for _ in range(REPEATS):
            for name in random.sample(list(asked), len(asked)):
                answer: object = None  # or freeing the one before, of 200,000 rows, would count
                gc.collect()
                begin = time.perf_counter()
                answer = asked[name]()
                times[name].append(time.perf_counter() - begin)
                if len(times[name]) == REPEATS:
                    print(f"{name}: {size_of(answer):,} in", _text(times[name]), flush=True)
        first = {name: _first(store, name) for name in HELD}
        _command(store)
    return int(any(max(times[name] + first[name]) > told.limit_s for name in HELD))


def _first(store: Path, name: str) -> list[float]:
    """Seconds of the first answer of new processes, without their imports."""
    code = (
        f"import sys, time; sys.path.insert(0, {str(Path(__file__).parent)!r}); import store_scale;"
        f"from pathlib import Path; ask = store_scale.questions(Path({str(store)!r}))[{name!r}];"
        "begin = time.perf_counter(); ask(); print(time.perf_counter() - begin)"
    )
    took = [
        float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)
        for _ in range(REPEATS)
    ]
    print(f"{name}, first in its process: {_text(took)}", flush=True)
    return took


def _command(store: Path) -> None:
    """`paring history` whole, beside the start of Python and of what the command imports."""
    paring = [sys.executable, "-m", "paring"]
    lines = {
        "paring history": [*paring, "history", "--store", str(store)],
        "paring history --help": [*paring, "history", "--help"],
    }
    for name, line in lines.items():
        took = []
        for _ in range(REPEATS):
            begin = time.perf_counter()
            subprocess.run(line, check=True, capture_output=True, env=os.environ)
            took.append(time.perf_counter() - begin)
        print(f"{name}, a process of its own: {_text(took)}", flush=True)


def _text(times: list[float]) -> str:
    return f"{statistics.median(times):.4f} s ({min(times):.4f} to {max(times):.4f})"


if __name__ == "__main__":
    sys.exit(main())
