"""How much of the MAC saving of token transforms arrives as speed: both sides exported the same way, in turn.

    python tools/bench/token_speedup.py [MODEL ...]

Prints, for each model, transform and batch size, the ideal speed-up (MAC ratio), the measured one with
its 95 % interval, and realised / ideal.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import paring

MODELS = ("timm:vit_small_patch16_224", "timm:vit_base_patch16_224")
TRANSFORMS = {
    "token_prune 0.7 at 4, 7, 10": {"token_prune": {"keep_ratio": 0.7, "blocks": [4, 7, 10]}},
    "token_merge r = 13": {"token_merge": {"r": 13}},
}


def main() -> None:
    with TemporaryDirectory() as folder:
        for model in sys.argv[1:] or MODELS:
            paths, names = [], ["baseline"]
            for index, (name, step) in enumerate(TRANSFORMS.items()):
                done = paring.convert(model, Path(folder) / f"{index}", transforms=[step], overwrite=True)
                paths += [done.baseline, done.artifact] if index == 0 else [done.artifact]
                names.append(name)
            found = paring.profile(
                paths, names=names, batch_sizes=(1, 8), threads=2, min_runs=64, max_seconds=150
            )
            for ratio in found.comparisons:
                low, high = ratio.latency_ratio_ci95
                print(
                    f"{model} {ratio.candidate}, batch {ratio.batch_size}: ideal {ratio.mac_ratio:.3f},"
                    f" measured {ratio.latency_ratio:.3f} ({low:.3f} to {high:.3f}), realised"
                    f" {ratio.realised:.3f}",
                    flush=True,
                )
            for sentence in found.noise:
                print(f"  noise: {sentence}")


if __name__ == "__main__":
    main()
