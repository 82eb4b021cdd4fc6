"""How often `paring profile` finds a difference where there is none, and misses one that was put in.

    python tools/bench/verdicts.py ARTIFACT --runs 20               # A/A and A/B, each in turn
    python tools/bench/verdicts.py ARTIFACT --runs 5 --load 2       # the same while two processes count

A/A profiles one artifact twice. A/B does so too, but each call of the second waits, busily, for a share of
its own time more (`--slowdown`). Both go through `paring_profiles.profile`, sessions opened anew each time.
What is printed of a run is its ratio (baseline / candidate), the interval, the verdict and whether it was
flagged noisy.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import paring_runtimes
from paring_profiles.measure import profile
from paring_profiles.result import Settings
from paring_profiles.statistics import wilson

LOAD = paring_runtimes.load


@dataclass(frozen=True)
class Run:
    """One profile: `kind` is "A/A" or "A/B"; the ratio is the artifact's time over its copy's."""

    kind: str
    ratio: float
    low: float
    high: float
    verdict: str
    noise: list[str]


class Slowed:
    """A session whose every call takes a share of its own time more."""

    def __init__(self, session: paring_runtimes.Session, slowdown: float) -> None:
        self._session, self._slowdown = session, slowdown

    def run(self, feeds: Any, *args: Any, **more: Any) -> Any:
        """Run, then count until the time is over."""
        begin = time.perf_counter_ns()
        found = self._session.run(feeds, *args, **more)
        end = begin + (time.perf_counter_ns() - begin) * (1 + self._slowdown)
        while time.perf_counter_ns() < end:
            pass
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def __enter__(self) -> Slowed:
        self._session.__enter__()
        return self

    def __exit__(self, *what: Any) -> None:
        self._session.__exit__(*what)


def measured(kind: str, artifact: Path, copy: Path, settings: Settings, slowdown: float) -> Run:
    """Profile an artifact against its copy, which is slowed in A/B."""

    def load(path: Any, **more: Any) -> Any:
        session = LOAD(path, **more)
        return Slowed(session, slowdown) if kind == "A/B" and path == copy else session

    with mock.patch.object(paring_runtimes, "load", load):
        found = profile([artifact, copy], settings, ["one", "other"])
    (pair,) = found.comparisons
    low, high = pair.latency_ratio_ci95
    return Run(kind, pair.latency_ratio, low, high, pair.verdict, found.noise)


@contextlib.contextmanager
def others(count: int) -> Iterator[None]:
    """`count` processes that count as fast as they can."""
    busy = [multiprocessing.get_context("spawn").Process(target=count_up, daemon=True) for _ in range(count)]
    for process in busy:
        process.start()
    time.sleep(2.0 if count else 0.0)
    try:
        yield
    finally:
        for process in busy:
            process.kill()


def count_up() -> None:
    """Keep a core busy."""
    while True:
        sum(range(100_000))


def told(runs: list[Run], kind: str, right: str) -> str:
    """How many of the runs were judged rightly, flagged, or judged wrongly."""
    of = [run for run in runs if run.kind == kind]
    good = sum(run.verdict == right for run in of)
    wrong = sum(run.verdict not in (right, "no difference shown") for run in of)
    noisy = sum(bool(run.noise) for run in of)
    low, high = wilson(good / len(of), len(of))
    return (
        f'{kind}: "{right}" in {good} of {len(of)} ({low:.0%} to {high:.0%}), another difference in {wrong}, '
        f"flagged noisy in {noisy}; ratios {min(r.ratio for r in of):.4f} to {max(r.ratio for r in of):.4f}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--slowdown", type=float, default=0.03)
    parser.add_argument("--load", type=int, default=0, help="processes that count meanwhile")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--json", type=Path, help="append every run to this file, a line each")
    given = parser.parse_args()
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as folder, others(given.load):
        copy = Path(shutil.copytree(given.artifact, Path(folder) / "copy"))
        for number in range(given.runs):
            settings = Settings(
                batch_sizes=(1,), threads=given.threads, min_seconds=given.seconds, seed=number, energy="none"
            )
            for kind in ("A/A", "A/B"):
                run = measured(kind, given.artifact, copy, settings, given.slowdown)
                runs.append(run)
                flag = f"  noisy: {run.noise[0]}" if run.noise else ""
                print(
                    f"{kind} {run.ratio:.4f} ({run.low:.4f}-{run.high:.4f}) {run.verdict}{flag}", flush=True
                )
                if given.json is not None:
                    with given.json.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(run.__dict__) + "\n")
    print(told(runs, "A/A", "no difference shown"))
    print(told(runs, "A/B", "slower"))


if __name__ == "__main__":
    main()
