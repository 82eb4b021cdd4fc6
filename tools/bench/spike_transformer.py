"""How much longer a spiking ViT takes than its network: wall-clock in PyTorch, all sides in turn.

    python tools/bench/spike_transformer.py [--steps 32] [--levels 16] [--rounds 15] [--threads 2]

The network is embedded; the sides are the original, the quantised form, and T steps of spikes, thresholds
fitted to packaged test images. Ratios are of medians of paired rounds, with 95 % intervals.
"""

from __future__ import annotations

import argparse
import copy
import time

import numpy as np
import torch

from paring.data import load_data
from paring.data._images import ImageData
from paring.sources import load_model
from paring.transforms import spike_transformer
from paring.transforms._spikes.bipolar import quantised
from paring_profiles.statistics import paired_ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--levels", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    source = load_model("embedded")
    model, preprocess = source.model, source.preprocess
    assert model is not None
    assert preprocess is not None
    data = load_data("embedded", limit=32, size=None)
    assert isinstance(data, ImageData)
    pixels = torch.from_numpy(preprocess.apply(data.images))
    config = spike_transformer.Config(arguments.steps, arguments.levels)
    spikes = spike_transformer.apply(copy.deepcopy(model), config)
    spikes = spike_transformer.calibrate(spikes, [pixels])
    sides = {
        "original": model.eval(),
        "quantised form": quantised(copy.deepcopy(spikes)),
        f"spikes, T = {arguments.steps}": spikes,
    }
    for batch in (1, 8):
        images, times = pixels[:batch], {name: [] for name in sides}
        with torch.inference_mode():
            for number in range(arguments.rounds + 1):
                for name, side in sides.items():
                    start = time.perf_counter()
                    side(images)
                    if number:  # the first is warm-up
                        times[name].append(1e3 * (time.perf_counter() - start))
        first = np.array(times["original"])
        for name, taken in times.items():
            low, middle, high = np.percentile(taken, (25, 50, 75))
            ratio, (least, most) = paired_ratio(np.array(taken), first, 0)
            print(
                f"batch {batch}: {name:16s} {middle:8.2f} ms ({low:.2f} to {high:.2f}, quartiles),"
                f" {ratio:.1f} times the original ({least:.1f} to {most:.1f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
