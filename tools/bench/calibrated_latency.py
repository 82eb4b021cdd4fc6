"""Held-out error of the calibrated latency model, over variants of vision transformers on this CPU.

    python tools/bench/calibrated_latency.py make FOLDER      # write the artifacts, random weights
    python tools/bench/calibrated_latency.py measure FOLDER N # profile the N-th four of them
    python tools/bench/calibrated_latency.py fit FOLDER       # fit, cross-validate, print

`measure` is apart so that each group can run alone on a quiet machine, for about a minute.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import paring
from paring.recipe import build_recipe
from paring_profiles.calibrated import fit, points, write_model
from paring_profiles.report import write

SHORT = f"py:{Path(__file__).with_name('short_vits.py')}"
DEIT = "timm:deit_tiny_patch16_224"


def prune(keep: float) -> dict[str, Any]:
    return {"token_prune": {"keep_ratio": keep}}


def merge(keep: float) -> dict[str, Any]:
    return {"token_merge": {"keep_ratio": keep}}


VARIANTS: dict[str, tuple[str, dict[str, Any] | None]] = {
    "fashion": ("embedded", None),
    "fashion prune 0.7": ("embedded", prune(0.7)),
    "deit-tiny": (DEIT, None),
    "deit-tiny prune 0.9": (DEIT, prune(0.9)),
    "small": (f"{SHORT}:small", None),
    "small prune 0.7": (f"{SHORT}:small", prune(0.7)),
    "small merge 0.6": (f"{SHORT}:small", merge(0.6)),
    "small prune 0.5": (f"{SHORT}:small", prune(0.5)),
    "tiny prune 0.7": (f"{SHORT}:tiny", prune(0.7)),
    "tiny merge 0.7": (f"{SHORT}:tiny", merge(0.7)),
    "tiny prune 0.5": (f"{SHORT}:tiny", prune(0.5)),
    "deit-tiny merge 0.7": (DEIT, merge(0.7)),
}
EACH = 4
BATCHES = (1, 2, 4)


def artifact(folder: Path, name: str) -> Path:
    """Where a variant lies."""
    return folder / name.replace(" ", "-")


def make(folder: Path) -> None:
    for name, (model, step) in VARIANTS.items():
        where = artifact(folder, name)
        if where.exists():
            continue
        values = {
            "model": model,
            "transforms": [step] if step else [],
            "export": {"baseline": False},
            "verify": {"batch_sizes": (1, 3), "seeds": (0,)},
        }
        paring.convert(build_recipe(values), where)
        print(name, flush=True)


def measure(folder: Path, group: int) -> None:
    names = list(VARIANTS)[EACH * group : EACH * (group + 1)]
    found = paring.profile(
        [artifact(folder, name) for name in names],
        names=names, batch_sizes=BATCHES, threads=1, min_runs=10, min_seconds=1.0, max_seconds=20.0,
    )  # fmt: skip
    write(found, folder / f"profile-{group}")
    for sentence in found.noise:
        print(f"noise: {sentence}")


def show(folder: Path) -> None:
    profiles = sorted(folder.glob("profile-*/profile.json"))
    found, first = points(profiles)
    model = fit(found, first, "this machine", [str(path) for path in profiles])
    for one in model.held_out:
        print(
            f"{one.variant}, batch {one.batch_size}: measured {one.measured_ms:.2f} ms, held out predicted"
            f" {one.predicted_ms:.2f} ms, {one.error:.1%} off"
        )
    print(
        f"{model.variants} variants, {len(model.held_out)} points, {model.folds} folds by variant: median"
        f" error {model.median_error:.1%}, 90th percentile {model.p90_error:.1%}"
    )
    print(write_model(model, folder / "model.yaml"))


if __name__ == "__main__":
    what, where, *rest = sys.argv[1:]
    if what == "make":
        make(Path(where))
    elif what == "measure":
        measure(Path(where), int(rest[0]))
    elif what == "fit":
        show(Path(where))
