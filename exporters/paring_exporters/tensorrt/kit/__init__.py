"""The build kit: what a machine with a GPU needs to build, verify and profile an engine.

Inside an artifact, in `tensorrt/`: `plan.json` (profiles, settings, tolerance), `samples.npz` (inputs, and
what PyTorch made of them), `trtexec.txt`, `build.py`, which does it, and `lib/`, what it imports. The ONNX
file lies beside the folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import paring_runtimes
from paring_runtimes import TensorSpec

from ..options import BuildOptions
from ..profiles import Profile
from ..trtexec import command

FOLDER = "tensorrt"
PLAN_FILE, SAMPLES, COMMAND, SCRIPT = "plan.json", "samples.npz", "trtexec.txt", "build.py"
ENGINE, CACHE = "engine.plan", "timing.cache"
SCHEMA = 1
# What of the runtime a kit carries: all that opens an artifact and runs an engine.
_RUNTIME = (
    "__init__.py", "artifact.py", "decode.py", "errors.py", "feeds.py", "load.py", "manifest.py",
    "session.py", "suggest.py", "engines/__init__.py", "engines/tensorrt.py", "cuda/*.py", "tensorrt/*.py",
)  # fmt: skip


def write_kit(
    folder: Path,
    model: Path,
    specs: tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]],
    profiles: list[Profile],
    options: BuildOptions,
    samples: Mapping[str, np.ndarray],
    tolerance: tuple[float, float],
    told: Mapping[str, Any],
) -> Path:
    """Write `folder`/tensorrt and return it.

    Args:
        folder: the artifact's.
        model: its ONNX file.
        specs: inputs and outputs.
        profiles: of the inputs; none where shapes are fixed.
        options: of the builder.
        samples: "NUMBER/NAME" -> array: inputs and outputs of a few calls.
        tolerance: atol and rtol that the engine's outputs are held to.
        told: what plan.json says besides (lint, schedule).
    """
    kit = folder / FOLDER
    kit.mkdir()
    plan = {
        "schema": SCHEMA,
        "model": f"../{model.name}",
        "inputs": [asdict(spec) for spec in specs[0]],
        "outputs": [asdict(spec) for spec in specs[1]],
        "profiles": profiles,
        "options": asdict(options),
        "engine": ENGINE,
        "timing_cache": CACHE,
        "samples": SAMPLES,
        "tolerance": {"atol": tolerance[0], "rtol": tolerance[1]},
        **told,
    }
    (kit / PLAN_FILE).write_text(json.dumps(plan, indent=1) + "\n", encoding="utf-8")
    np.savez_compressed(kit / SAMPLES, **dict(samples))  # type: ignore[arg-type]
    line = command(model.name, ENGINE, profiles, asdict(options), CACHE)
    (kit / COMMAND).write_text(f"{line}\n", encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name(SCRIPT), kit / SCRIPT)
    _copy_library(kit / "lib")
    return kit


def _copy_library(to: Path) -> None:
    root = Path(paring_runtimes.__file__).parent
    for pattern in _RUNTIME:
        for source in sorted(root.glob(pattern)):
            target = to / "paring_runtimes" / source.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    shutil.copyfile(Path(__file__).parents[1] / "builder.py", to / "builder.py")
