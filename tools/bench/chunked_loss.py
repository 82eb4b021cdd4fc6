"""The chunked cross-entropy against the plain one, forward and backward: time in turns, peak memory apart.

    python tools/bench/chunked_loss.py [--shape 2048x576 ...] [--vocabulary 131072] [--rounds 6] [--threads 2]
        [--dtype float32]

Plain is `cross_entropy(linear(hidden, weight), labels)`, which lets go of the logits as soon as it can. In
each round both sides compute loss and gradients of hidden and weight once, in an order drawn anew; the ratio
of their times is taken within rounds, and its median is printed with its 95 % interval (of fewer than six
rounds: its extremes), beside it that of processor time, which other processes disturb less. Peak memory is
the growth of the largest resident set (VmHWM) of a fresh process over what it has once the operands are
there: the gradients count. Exits 1 where a goal is missed: a fifth of the memory, 1.1 times the time,
gradients within 1e-5 of the largest.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy, linear

from paring.recover.chunked_loss import chunked_cross_entropy
from paring_profiles.latency import time_call
from paring_profiles.statistics import paired_ratio

SIDES = ("plain", "chunked")
LESS_MEMORY, MORE_TIME, CLOSE = 5.0, 1.1, 1e-5


class Operands:
    """Hidden [N, D] and weight [V, D] that give logits of some units, and labels, eight of them ignored."""

    def __init__(self, rows: int, width: int, vocabulary: int, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        self.hidden = torch.randn(rows, width).to(dtype).requires_grad_()
        self.weight = (torch.randn(vocabulary, width) * 2 / width**0.5).to(dtype).requires_grad_()
        self.labels = torch.randint(0, vocabulary, (rows,))
        self.labels[:: rows // 8] = -100

    def step(self, side: str) -> torch.Tensor:
        """Loss and gradients by one of the sides."""
        self.hidden.grad = self.weight.grad = None
        if side == "plain":
            loss = cross_entropy(linear(self.hidden, self.weight), self.labels)
        else:
            loss = chunked_cross_entropy(self.hidden, self.weight, self.labels)
        loss.backward()
        return loss.detach()


def furthest(operands: Operands) -> float:
    """The largest difference of the sides' gradients, relative to the largest gradient."""
    found = {}
    for side in SIDES:
        operands.step(side)
        found[side] = [operands.hidden.grad, operands.weight.grad]
    pairs = list(zip(*found.values(), strict=True))
    return max(float((own - other).abs().max() / own.abs().max()) for own, other in pairs)


def times_ms(operands: Operands, rounds: int) -> dict[str, np.ndarray]:
    """Of each side, [2, rounds]: time, and processor time of all threads."""
    order, found = list(SIDES), {side: [] for side in SIDES}
    shuffler = random.Random(0)
    for _ in range(rounds):
        shuffler.shuffle(order)
        for side in order:
            begin = time.process_time()
            wall = time_call(lambda side=side: operands.step(side))
            found[side].append((wall, 1e3 * (time.process_time() - begin)))
    return {side: np.array(values).T for side, values in found.items()}


def status_bytes(key: str) -> int:
    """A line of Linux's account of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024


def peak_here(side: str, operands: Operands) -> int:
    """Bytes that one step takes beyond its operands; only meaningful in a fresh process."""
    small = Operands(64, 64, 1024, operands.hidden.dtype)
    small.step(side)  # libraries take what they keep for good
    before = status_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    operands.step(side)
    return status_bytes("VmHWM") - before


def peak_apart(side: str, shape: str, told: argparse.Namespace) -> int:
    """As `peak_here`, in a process of its own."""
    command = [sys.executable, __file__, "--shape", shape, "--peak-of", side]
    for key in ("vocabulary", "threads", "dtype"):
        command += [f"--{key}", str(getattr(told, key))]
    return int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def operands_of(shape: str, told: argparse.Namespace) -> Operands:
    rows, width = (int(part) for part in shape.split("x"))
    return Operands(rows, width, told.vocabulary, getattr(torch, told.dtype))


def measure(shape: str, told: argparse.Namespace) -> bool:
    """Print one shape's figures; were all goals met?"""
    peaks = {side: peak_apart(side, shape, told) for side in SIDES}
    operands = operands_of(shape, told)
    apart = furthest(operands)  # a first call of each side, too
    times = times_ms(operands, told.rounds)
    ratios = [
        paired_ratio(own, other, 0) for own, other in zip(times["chunked"], times["plain"], strict=True)
    ]
    less = peaks["plain"] / peaks["chunked"]
    print(
        f"{shape}, vocabulary {told.vocabulary}, {told.dtype}, {told.threads} threads, {told.rounds} rounds"
    )
    for side in SIDES:
        wall, busy = np.median(times[side], axis=1) / 1e3
        print(f"  {side:8} {wall:7.2f} s, {busy:7.2f} s of processors, {peaks[side] / 1e6:8,.0f} MB")
    for what, (ratio, (low, high)) in zip(("time", "processor time"), ratios, strict=True):
        print(f"  {what}, chunked / plain {ratio:.3f} ({low:.3f} to {high:.3f})")
    print(f"  memory, plain / chunked {less:.2f}; gradients apart by {apart:.1e} of the largest", flush=True)
    return less >= LESS_MEMORY and ratios[0][0] <= MORE_TIME and apart <= CLOSE


def main() -> int:
    """Measure every shape."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", action="append", help="rows x width of hidden")
    parser.add_argument("--vocabulary", type=int, default=131072)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--peak-of", choices=SIDES, help="print the peak bytes of one side and end")
    told = parser.parse_args()
    torch.set_num_threads(told.threads)
    shapes = told.shape or ["2048x576", "2048x896", "4096x576", "4096x896"]
    if told.peak_of:
        print(peak_here(told.peak_of, operands_of(shapes[0], told)))
        return 0
    met = [measure(shape, told) for shape in shapes]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
