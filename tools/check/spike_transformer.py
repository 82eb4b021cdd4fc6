"""Is the spiking ViT its quantised network? Agreement against T, when it falls silent, and operations.

    python tools/check/spike_transformer.py [--images 2000] [--levels 16] [--steps 32] [--recovered FOLDER]

The network is embedded, the images are the first of Fashion-MNIST's test split; thresholds are fitted to 128
training images, or come with the weights of FOLDER, made by `paring recover` with spike_transformer of as
many levels and steps. Four things are told: accuracies; how often the spiking network names the quantised
one's class after T steps, and how far its answers lie off, relative to the largest; in float64, how many
neurons do not end at their quantiser's code (--exact images); and the operations of an image (--counted
images). No speed is measured.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from paring.data import load_data
from paring.data._images import ImageData
from paring.recover.folder import read_recovery
from paring.sources import load_model
from paring.transforms import spike_transformer
from paring.transforms._spikes.bipolar import SpikingTrunk, find, quantised
from paring.transforms._spikes.bipolar.ledger import Ledger, counted, merged
from paring.transforms._spikes.bipolar.settling import Watching, elsewhere

FASHION = "idx:/usr/share/datasets/fashion-mnist"
CALIBRATION = 128


def read(spec: str, limit: int | None) -> ImageData:
    found = load_data(spec, limit=limit, size=None)
    assert isinstance(found, ImageData)
    return found


def trunk_of(model: nn.Module) -> SpikingTrunk:
    found = find(model)
    assert isinstance(found, SpikingTrunk)
    return found


@torch.inference_mode()
def answers(model: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    return torch.cat([model(part) for part in pixels.split(200)])


@torch.inference_mode()
def by_step(
    model: nn.Module, pixels: torch.Tensor, batch: int, wanted: torch.Tensor
) -> tuple[torch.Tensor, list[int]]:
    """The answers after every step, [T, B, classes], and each image's last step with a spike."""
    trunk, parts, last, start = trunk_of(model), [], [], time.monotonic()
    for number, part in enumerate(pixels.split(batch)):
        watching = Watching(trunk.steps)
        with trunk.running(watching, each=True):
            parts.append(model(part).unflatten(0, (trunk.steps, -1)))
        last += watching.last()
        if number % 50 == 49:
            end = torch.cat([part[-1] for part in parts]).argmax(1)
            other = int((end != wanted[: len(end)].argmax(1)).sum())
            print(
                f"  {len(last)} images, {other} of another class, {time.monotonic() - start:.0f} s",
                flush=True,
            )
    return torch.cat(parts, 1), last


def curve(each: torch.Tensor, wanted: torch.Tensor, labels: torch.Tensor) -> None:
    steps = sorted({*(t for t in (1, 2, 4, 8) if t < len(each)), *range(12, len(each) + 1, 4), len(each)})
    for t in steps:
        found = each[t - 1]
        same = float((found.argmax(1) == wanted.argmax(1)).float().mean())
        top1 = float((found.argmax(1) == labels).float().mean())
        off = (found - wanted).abs().amax(1) / wanted.abs().amax(1)
        print(
            f"T {t:3d}  same class {same:8.3%}  top-1 {top1:.4f}  off: median {float(off.median()):.1e},"
            f" largest {float(off.max()):.1e}; below 1e-5 (rounding) {float((off < 1e-5).float().mean()):.1%}"
        )


@torch.inference_mode()
def exact(model: nn.Module, pixels: torch.Tensor) -> None:
    """Every neuron's tracer against its quantiser's code, in float64."""
    whole = copy.deepcopy(model).double()
    trunk, wrong, count, off = trunk_of(whole), 0, 0, 0.0
    entering: list[torch.Tensor] = []
    trunk.register_forward_pre_hook(lambda _, given: entering.append(given[0]))
    other = quantised(copy.deepcopy(whole))
    for part in pixels.double().split(2):
        off = max(off, float((whole(part) - other(part)).abs().max()))
        found, of = elsewhere(trunk, entering.pop())
        wrong, count = wrong + found, count + of
    print(
        f"float64, {len(pixels)} images: {wrong} of {count:,} neurons end elsewhere than at their code after"
        f" {trunk.steps} steps; answers off by at most {off:.1e}"
    )


def operations(model: nn.Module, pixels: torch.Tensor, whole_macs: int) -> None:
    found: Ledger = merged([counted(model, part)[0] for part in pixels.split(2)])
    kinds: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0, 0.0])
    for path, work in found.layers.items():
        fields = (work.dense_macs, work.synops, work.macs, work.function_values)
        for at, value in enumerate(fields):
            kinds[path.split(".")[2]][at] += value
    print(f"operations of an image, {found.images} images, T = {found.steps}, over all blocks:")
    print(
        f"{'operation':12s} {'MACs, one pass':>15s} {'synops':>15s} {'MACs on reals':>14s} {'functions':>12s}"
    )
    for kind, (dense, synops, macs, functions) in kinds.items():
        print(f"{kind:12s} {dense:15,.0f} {synops:15,.0f} {macs:14,.0f} {functions:12,.0f}")
    dense, synops = found.total("dense_macs"), found.total("synops")
    print(f"{'all':12s} {dense:15,.0f} {synops:15,.0f}")
    print(f"outside of the blocks, once: {whole_macs - dense:,.0f} MACs (patches, head)")
    print(f"spikes for each neuron and step {found.rate:.4f}; {sum(found.spikes.values()):,.0f} an image")
    print(found.verdict)


def macs(model: nn.Module, shape: tuple[int, ...]) -> int:
    from paring.transforms._spikes.coverage import coverage

    return coverage(model, shape).macs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--skip", type=int, default=0, help="images before the first")
    parser.add_argument("--levels", type=int, default=16)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--exact", type=int, default=32)
    parser.add_argument("--counted", type=int, default=32)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--recovered", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    source = load_model("embedded")
    model, preprocess = source.model, source.preprocess
    assert model is not None
    assert preprocess is not None
    test = read(FASHION, None)
    chosen = slice(arguments.skip, arguments.skip + arguments.images)
    pixels = torch.from_numpy(preprocess.apply(test.images[chosen]))
    labels = torch.from_numpy(np.asarray(test.labels[chosen])).long()
    calibration = torch.from_numpy(preprocess.apply(read(f"{FASHION},train", CALIBRATION).images))
    original, dense = answers(model, pixels), macs(model, tuple(pixels.shape[1:]))
    config = spike_transformer.Config(arguments.steps, arguments.levels)
    spikes = spike_transformer.calibrate(spike_transformer.apply(model, config), [calibration])
    if arguments.recovered is not None:
        spikes = read_recovery(arguments.recovered).load_into(spikes)
    wanted = answers(quantised(copy.deepcopy(spikes)), pixels)
    for name, given in (("original", original), ("quantised", wanted)):
        top1 = float((given.argmax(1) == labels).float().mean())
        print(f"{name:10s} top-1 {top1:.4f} on {len(pixels)} images")
    print(f"levels {arguments.levels}; spikes against the quantised network, float32:", flush=True)
    each, last = by_step(spikes, pixels, arguments.batch, wanted)
    curve(each, wanted, labels)
    silent = float(np.mean(np.array(last) < len(each)))
    print(
        f"the last spike falls at step {np.median(last):.0f} (median), {np.percentile(last, 99):.0f} (99 %),"
        f" {max(last)} (largest) of {len(each)}; silent before the end: {silent:.1%} of the images"
    )
    if arguments.exact:
        exact(spikes, pixels[: arguments.exact])
    if arguments.counted:
        operations(spikes, pixels[: arguments.counted], dense)


if __name__ == "__main__":
    main()
