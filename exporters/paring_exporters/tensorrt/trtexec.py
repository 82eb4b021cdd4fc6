"""The same build as a command of NVIDIA's `trtexec`, word by word."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

_HARDWARE = {"same_compute_capability": "sameComputeCapability", "ampere_plus": "ampere+"}


def command(
    model: str,
    plan: str,
    profiles: Sequence[Mapping[str, Mapping[str, Sequence[int]]]],
    options: Mapping[str, Any],
    timing_cache: str,
) -> str:
    """The command line that builds `plan` from `model` as `builder.build_engine` does."""
    words = [
        f"--onnx={model}",
        f"--saveEngine={plan}",
        f"--timingCacheFile={timing_cache}",
        "--skipInference",
    ]
    if options["release"].partition(".")[0] == "10":
        words.append("--stronglyTyped")  # 11 knows no other
    words.append(f"--builderOptimizationLevel={options['builder_level']}")
    words.append("--profilingVerbosity=detailed")
    for index, ranges in enumerate(profiles):
        if len(profiles) > 1:
            words.append(f"--profile={index}")
        for kind in ("min", "opt", "max"):
            shapes = ",".join(f"{name}:{'x'.join(map(str, one[kind]))}" for name, one in ranges.items())
            words.append(f"--{kind}Shapes={shapes}")
    words += _flags(options)
    binary = "tensorrt_rtx" if options["library"] == "tensorrt_rtx" else "trtexec"
    return f"{binary} {shlex.join(words)}"


def _flags(options: Mapping[str, Any]) -> list[str]:
    found = []
    if options["workspace_mib"] is not None:
        found.append(f"--memPoolSize=workspace:{options['workspace_mib']}M")
    if not options["tf32"]:
        found.append("--noTF32")
    if options["version_compatible"]:
        found.append("--versionCompatible")
        if not options["lean_runtime"]:
            found.append("--excludeLeanRuntime")
    if options["hardware"] != "none":
        found.append(f"--hardwareCompatibilityLevel={_HARDWARE[options['hardware']]}")
    if options["refit"] == "all":
        found.append("--refit")
    if options["strip"]:
        found.append("--stripWeights")
    if options["weight_streaming"]:
        found.append("--allowWeightStreaming")
    return found
