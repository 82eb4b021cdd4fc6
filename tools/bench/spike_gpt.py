"""What the embedded SpikeGPT costs: tokens a second, memory over 10,000 tokens, and what its spikes save.

    python tools/bench/spike_gpt.py ARTIFACT TEXT [--tokens 10000] [--rounds 5]

ARTIFACT is `paring convert -m embedded:spike-gpt -o ARTIFACT`; TEXT is prose to count operations on.

Speed: the session and PyTorch's own step generate the same greedy tokens in turn, on one thread; the ratio of
each round is printed as its median and range. Memory: resident bytes at every fifth of the tokens that a
fresh process writes. Both are measured.

Operations are counted by testing each tensor (`paring.transforms._spike_gpt.counting`). A matrix whose input
held anything but zeros and ones multiplies, and is charged 4.6 pJ for each product; one that reads spikes
adds, 0.9 pJ where there is one (45 nm, fp32: Horowitz 2014). Those energies are modelled: arithmetic only, no
movement of data. Below it stands the way by which 20 times fewer operations are reached on paper: every
product of the matrices is multiplied by the rate at which neurons fire, as if spikes fed them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

import paring_runtimes
from paring.sources import load_model
from paring.transforms._spike_gpt import SpikeGPT
from paring.transforms._spike_gpt.counting import Counted, counted
from paring_runtimes import GenerativeSession

MAC_PJ, ADD_PJ = 4.6, 0.9
PUBLISHED = 20.0
PROMPT = b"The file "
TURN = 400  # tokens of a round of timing
CONTEXT = 256  # of the text that is counted
FIFTHS = 5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("artifact", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--tokens", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-only", action="store_true", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.memory_only:
        memory(told.artifact, told.tokens)
        return
    model = load_model("embedded:spike-gpt").model
    assert isinstance(model, SpikeGPT)
    speed(told.artifact, model, told.rounds)
    own = [sys.executable, __file__, str(told.artifact), str(told.text), "--memory-only"]
    subprocess.run([*own, "--tokens", str(told.tokens)], check=True)
    operations(model, told.text)


def speed(artifact: Path, model: SpikeGPT, rounds: int) -> None:
    """Print tokens a second of the session and of PyTorch, and their ratio."""
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {"session": [], "PyTorch": []}
    with paring_runtimes.load(artifact, threads=1) as session:
        assert isinstance(session, GenerativeSession)
        for turn in range(rounds + 1):
            begin = time.perf_counter()
            (found,) = session.generate(list(PROMPT), max_new_tokens=TURN)
            between = time.perf_counter()
            same = greedy(model, TURN)
            if turn:
                seconds["session"].append(between - begin)
                seconds["PyTorch"].append(time.perf_counter() - between)
    agreed = float(np.mean(np.array(found.token_ids) == same))
    for name, own in seconds.items():
        rates = sorted(TURN / one for one in own)
        middle = statistics.median(rates)
        print(f"{name}: {middle:,.0f} tokens a second ({rates[0]:,.0f} to {rates[-1]:,.0f})")
    ratios = sorted(b / a for a, b in zip(*seconds.values(), strict=True))
    print(f"session / PyTorch: {statistics.median(ratios):.2f} x ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    print(f"the same token in {agreed:.1%} of {TURN}", flush=True)


@torch.inference_mode()
def greedy(model: SpikeGPT, count: int) -> list[int]:
    """Tokens that PyTorch's step writes after the prompt."""
    state, found = None, list[int]()
    for byte in PROMPT:
        logits, state = model.step(torch.tensor([byte]), state)
    while len(found) < count:
        found.append(int(logits.argmax()))
        logits, state = model.step(torch.tensor(found[-1:]), state)
    return found


def memory(artifact: Path, tokens: int) -> None:
    """Print resident memory along one answer of `tokens` tokens. Call it in a fresh process."""
    with paring_runtimes.load(artifact, threads=1) as session:
        assert isinstance(session, GenerativeSession)
        begin, written, seen = time.perf_counter(), 0, list[float]()
        for piece in session.stream(list(PROMPT), max_new_tokens=tokens, temperature=1.0, seed=0):
            written += len(piece)
            if written * FIFTHS >= tokens * (len(seen) + 1):
                seen.append(resident_mib())
        seen.append(resident_mib())
        spent = time.perf_counter() - begin
    shown = ", ".join(f"{one:.2f}" for one in seen)
    print(f"{tokens:,} tokens ({written:,} characters) in {spent:.1f} s; resident MiB along the way: {shown}")
    print(f"growth from the first fifth to the end: {seen[-1] - seen[0]:+.2f} MiB", flush=True)


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def operations(model: SpikeGPT, text: Path) -> None:
    """Print what was counted, and the two ways to account for it."""
    raw = np.frombuffer(text.read_bytes(), np.uint8)[: 16 * CONTEXT].astype(np.int64)
    found = counted(model, torch.from_numpy(raw[: len(raw) // CONTEXT * CONTEXT].reshape(-1, CONTEXT)))
    print(f"{found.tokens:,} tokens of {text.name}; all figures for a token:")
    for name, one in found.products.items():
        what = "spikes: adds" if one.binary else "real: MACs"
        print(f"  {name:28} {one.dense:>9,} products, input {one.active / one.dense:6.1%} not zero, {what}")
    for name, rate in found.rates.items():
        print(f"  {name:28} fires at {rate:.3f}")
    accounts(found)


def accounts(found: Counted) -> None:
    dense = found.dense * MAC_PJ
    tested = found.macs * MAC_PJ + (found.synops + found.spikes) * ADD_PJ
    print(f"tested tensors: {found.macs:,} MACs, {found.synops:,.0f} synaptic operations in matrices,")
    print(f"  {found.spikes:,.0f} spikes added to the residual stream; dense: {found.dense:,} MACs")
    print(f"  operations {found.dense / (found.macs + found.synops):.2f} x fewer;", end=" ")
    print(f"energy {tested / 1e6:.3f} of {dense / 1e6:.3f} uJ (modelled), {dense / tested:.2f} x less")
    print(f"  were zeros of real inputs skipped too: {found.dense / found.nonzero:.2f} x fewer products")
    rate = found.rate
    print(f"as published: products x firing rate {rate:.4f}: {1 / rate:.1f} x fewer operations,")
    print(
        f"  {MAC_PJ / (ADD_PJ * rate):.1f} x less energy; {PUBLISHED:.0f} x takes a rate of {1 / PUBLISHED}"
    )
    fed = sum(one.binary for one in found.products.values())
    print(
        f"  Of {len(found.products)} matrices {fed} read spikes, as tested; that account takes it that all do"
    )


if __name__ == "__main__":
    main()
