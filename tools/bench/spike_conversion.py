"""Accuracy over the steps T: `spike_convert` beside spikingjelly's ann2snn, one network, one set of images.

    python tools/bench/spike_conversion.py [--images 2000] [--recovered FOLDER] [--threads 2]

The network is embedded:fashion-cnn, the images are the first of Fashion-MNIST's test split; both sides are
calibrated on the same training images. spikingjelly 2.0 converts modules of nn.ReLU only, and no functional
pooling, so that it gets the network written with modules, the same weights. FOLDER is what `paring recover`
made of it with spike_convert (quantise-clip-floor-shift) and `compensate: false`; its biases are compensated
here for every T. No speed is measured.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from paring.assets.fashion_cnn import Block, FashionCNN
from paring.data import load_data
from paring.data._images import ImageData
from paring.recover.folder import read_recovery
from paring.sources import load_model
from paring.transforms import spike_convert
from paring.transforms._spikes import SpikingNetwork
from paring.transforms._spikes.compensation import compensated
from paring.transforms._spikes.training import TrainableNetwork

STEPS = (4, 8, 16, 32, 64)
FASHION = "idx:/usr/share/datasets/fashion-mnist"
CALIBRATION, BATCH = 128, 50
Answer = Callable[[torch.Tensor], dict[int, torch.Tensor]]


class ModuleBlock(Block):
    """A block whose functional ReLU is a module."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.inner = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.second(self.inner(self.first(x))) + self.short(x))


class ModuleCNN(FashionCNN):
    """The network, the same function and weights, of nothing but modules."""

    def __init__(self, original: FashionCNN) -> None:
        super().__init__()
        for name in ("middle", "last"):
            first = getattr(original, name).first[0]
            setattr(self, name, ModuleBlock(first.in_channels, first.out_channels))
        self.mean, self.flat = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.load_state_dict(original.state_dict())
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.flat(self.mean(self.last(self.pool(self.middle(self.stem(x)))))))


def ours(model: nn.Module, images: list[torch.Tensor], **fields: object) -> Answer:
    """A network for each T, since thresholds are searched for T."""

    def networks() -> Iterator[tuple[int, SpikingNetwork]]:
        for steps in STEPS:
            config = spike_convert.Config(steps=steps, **fields)  # type: ignore[arg-type]
            yield steps, spike_convert.calibrate(spike_convert.apply(model, config), images, model)

    made = dict(networks())
    return lambda x: {steps: network(x) for steps, network in made.items()}


def recovered(model: nn.Module, images: list[torch.Tensor], folder: Path) -> Answer:
    """The trained rates, with biases compensated for every T."""
    found = read_recovery(folder)
    (step,) = found.record["structure"]["transforms"]
    fields = step["spike_convert"]
    network = found.load_into(spike_convert.apply(model, spike_convert.Config(**fields)))
    assert isinstance(network, SpikingNetwork)
    means = TrainableNetwork(copy.deepcopy(network), network.levels, network.wanted.training).means(images)
    made = {}
    for steps in STEPS:
        made[steps] = over(copy.deepcopy(network), steps)
        compensated(made[steps], means, images)
    return lambda x: {steps: network(x) for steps, network in made.items()}


def over(network: SpikingNetwork, steps: int) -> SpikingNetwork:
    """The network with another T; its input is a constant current."""
    for module in (network, network.encoder, *network.neurons().values()):
        module.steps = steps  # type: ignore[assignment]
    return network


def theirs(model: FashionCNN, images: list[torch.Tensor], recipe: str) -> Answer:
    """spikingjelly's network, run step by step; the mean of the first T answers is that over T steps."""
    from spikingjelly.activation_based import functional
    from spikingjelly.activation_based.ann2snn import Converter
    from spikingjelly.activation_based.ann2snn.recipes import LocalThresholdBalancingRecipe, RateCodingRecipe

    recipes = {
        "max": lambda: RateCodingRecipe(images, "max"),
        "99.9%": lambda: RateCodingRecipe(images, "99.9%"),
        "99.9%, by channel, half threshold": lambda: RateCodingRecipe(
            images, "99.9%", channel_wise=True, half_threshold=True
        ),
        "local threshold balancing": lambda: LocalThresholdBalancingRecipe(images),
    }
    network = Converter(recipe=recipes[recipe]()).convert(ModuleCNN(model)).eval()

    def answer(x: torch.Tensor) -> dict[int, torch.Tensor]:
        functional.reset_net(network)
        total, found = torch.zeros(()), {}
        for step in range(1, max(STEPS) + 1):
            total = total + network(x)
            if step in STEPS:
                found[step] = total / step
        return found

    return answer


def measured(
    answer: Answer, pixels: torch.Tensor, labels: torch.Tensor, exact: torch.Tensor
) -> list[tuple[int, float, float]]:
    """T, accuracy, and the error of the answers relative to the network's."""
    parts = []
    with torch.inference_mode():
        for at in range(0, len(pixels), BATCH):
            parts.append(answer(pixels[at : at + BATCH]))
    rows = []
    for steps in STEPS:
        found = torch.cat([part[steps] for part in parts])
        error = (found - exact).square().mean().sqrt() / exact.square().mean().sqrt()
        rows.append((steps, float((found.argmax(1) == labels).float().mean()), float(error)))
    return rows


def read(spec: str, limit: int | None) -> ImageData:
    found = load_data(spec, limit=limit, size=None)
    assert isinstance(found, ImageData)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--recovered", type=Path)
    parser.add_argument("--side", action="append", help="only this side, by its name; repeatable")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    source = load_model("embedded:fashion-cnn")
    model, preprocess = source.model, source.preprocess
    assert isinstance(model, FashionCNN)
    assert preprocess is not None
    test = read(FASHION, None)
    pixels = torch.from_numpy(preprocess.apply(test.images[: arguments.images]))
    labels = torch.from_numpy(np.asarray(test.labels[: arguments.images])).long()
    calibration = read(f"{FASHION},train", CALIBRATION).images
    images = list(torch.from_numpy(preprocess.apply(calibration)).split(64))
    with torch.inference_mode():
        exact = torch.cat([model(part) for part in pixels.split(200)])
    accuracy = float((exact.argmax(1) == labels).float().mean())
    print(f"trained network: top-1 {accuracy:.4f} on {len(pixels)} test images", flush=True)
    sides: dict[str, Callable[[], Answer]] = {"ours": lambda: ours(model, images)}
    if arguments.recovered is not None:
        sides["ours, trained rates"] = lambda: recovered(model, images, arguments.recovered)
    sides |= {f"spikingjelly {name}": partial(theirs, model, images, name) for name in RECIPES}
    for name in arguments.side or sides:
        side = sides[name]
        for steps, top1, error in measured(side(), pixels, labels, exact):
            gap = 100 * (accuracy - top1)
            print(
                f"{name:50s} T {steps:3d}  top-1 {top1:.4f}  gap {gap:6.2f} points  error {error:.4f}",
                flush=True,
            )


RECIPES = ("max", "99.9%", "99.9%, by channel, half threshold", "local threshold balancing")

if __name__ == "__main__":
    main()
