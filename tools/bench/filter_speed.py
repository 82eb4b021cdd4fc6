"""What GemFilter saves of the time to the first token of a long prompt: MACs and time, in turn, and memory.

    python tools/bench/filter_speed.py ARTIFACT [--tokens 8160] [--reduce 2 8 32] [--rounds 5] [--threads 2]
        [--memory 2040 4080 8160]

The prompt is random token ids, so what is kept means nothing; the work is the same for any. Each round asks
for one token with the whole prompt, then with 1/R of it, in an order shuffled anew. The ideal speed-up is the
MAC ratio of the graphs as they run, piece by piece and filter included. Then the peak memory (VmHWM) of a
fresh process for each way and each length of --memory, and what a further token of the prompt costs.
"""

from __future__ import annotations

import argparse
import functools
import os
import random
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import paring_runtimes
from paring_profiles import macs
from paring_profiles.generation.cost import filtering, in_place
from paring_profiles.noise import Watch
from paring_profiles.statistics import median_ci95, paired_ratio
from paring_runtimes import GenerativeSession
from paring_runtimes.generation.in_place_cache import reading_plan
from paring_runtimes.generation.language_model import LanguageModel

WHOLE = 1


def ask(session: GenerativeSession, tokens: int, reduce: int) -> float:
    """Seconds to the first token of a prompt of which 1 / `reduce` is read."""
    ids = np.random.default_rng(0).integers(0, session.model.vocab_size, tokens).tolist()
    told: dict[str, Any] = {"filter": False} if reduce == WHOLE else {"filter_k": tokens // reduce}
    begin = perf_counter()
    session.generate(ids, max_new_tokens=1, **told)
    return perf_counter() - begin


def cost(session: GenerativeSession, tokens: int, reduce: int) -> int:
    """MACs of what `ask` runs."""
    model, folder, total = session.model, session.path, 0
    assert model.filter is not None
    assert model.in_place is not None
    if reduce != WHOLE:
        for _, length, capacity in reading_plan(tokens, 1):
            for layer in range(len(model.filter.files)):
                total += _filter_macs(folder, model, layer, length, capacity)
    for _, length, capacity in reading_plan(tokens // reduce, 1):
        total += _model_macs(folder / model.in_place, model, length, capacity)
    return total


@functools.cache  # the ways share most pieces, and counting runs the graph
def _filter_macs(folder: Path, model: LanguageModel, layer: int, length: int, capacity: int) -> int:
    assert model.filter is not None
    return _macs(folder / model.filter.files[layer], filtering(model, layer, length, capacity))


@functools.cache
def _model_macs(path: Path, model: LanguageModel, length: int, capacity: int) -> int:
    return _macs(path, in_place(model, length, [capacity] * model.layers))


def _macs(path: Path, feeds: dict[str, Any]) -> int:
    return macs.count(path, {name: value.shape for name, value in feeds.items()}, feeds).total


def peak(artifact: Path, tokens: int, reduce: int, threads: int) -> float:
    """Peak resident memory of a fresh process that asks once, MiB."""
    command = [sys.executable, __file__, str(artifact), "--once", str(reduce), "--tokens", str(tokens)]
    command += ["--threads", str(threads)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(found.stdout)


def _own_peak() -> float:
    """MiB, from the kernel's mark of this program: `ru_maxrss` would begin with what the parent held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--tokens", type=int, default=8160)
    parser.add_argument("--reduce", type=int, nargs="+", default=[2, 8, 32])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", type=int, nargs="*", default=[2040, 4080, 8160])
    parser.add_argument("--once", type=int, help=argparse.SUPPRESS)
    told = parser.parse_args()
    session = paring_runtimes.load(told.artifact, threads=told.threads)
    assert isinstance(session, GenerativeSession)
    if told.once:
        ask(session, told.tokens, told.once)
        print(_own_peak())
        return
    ways = [WHOLE, *told.reduce]
    for reduce in ways:
        ask(session, 512, reduce)  # opens what is opened on demand
    times: dict[int, list[float]] = {reduce: [] for reduce in ways}
    with Watch() as watch:
        for _ in range(told.rounds):
            for reduce in random.sample(ways, len(ways)):
                times[reduce].append(ask(session, told.tokens, reduce))
            print("  seconds:", {f"1/{way}": round(own[-1], 2) for way, own in times.items()}, flush=True)
    costs = {reduce: cost(session, told.tokens, reduce) for reduce in ways}
    report(told, times, costs)
    for sentence in watch.sentences(told.threads, len(os.sched_getaffinity(0))):
        print(f"  noise: {sentence}")
    session.close()
    for reduce in ways:
        report_memory(told, reduce)


def report(told: argparse.Namespace, times: dict[int, list[float]], costs: dict[int, int]) -> None:
    """Print how long each way takes."""
    whole = np.array(times[WHOLE])
    for reduce, seconds in times.items():
        low, high = median_ci95(np.array(seconds), 0)
        line = f"1/{reduce} of {told.tokens} tokens: {np.median(seconds):.2f} s ({low:.2f} to {high:.2f})"
        line += f", {costs[reduce] / 1e9:.0f} GMACs"
        if reduce != WHOLE:
            ideal = costs[WHOLE] / costs[reduce]
            ratio, (low, high) = paired_ratio(whole, np.array(seconds), 0)
            line += f"; ideal {ideal:.3f}, measured {ratio:.3f} ({low:.3f} to {high:.3f})"
            line += f", realised {ratio / ideal:.3f} ({low / ideal:.3f} to {high / ideal:.3f})"
        print(line, flush=True)


def report_memory(told: argparse.Namespace, reduce: int) -> None:
    """Print the peaks of one way at each length."""
    peaks = [peak(told.artifact, tokens, reduce, told.threads) for tokens in told.memory]
    if not peaks:
        return
    shown = ", ".join(f"{mib:.0f} MiB at {tokens}" for mib, tokens in zip(peaks, told.memory, strict=True))
    line = f"1/{reduce}, peak memory: {shown} tokens"
    if len(peaks) > 1:
        grown = (peaks[-1] - peaks[0]) / (told.memory[-1] - told.memory[0])
        line += f"; {grown * 1024:.1f} KiB a token"
    print(line, flush=True)


if __name__ == "__main__":
    main()
