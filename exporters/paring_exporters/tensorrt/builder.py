"""Builds an engine from an ONNX file with TensorRT 10 or 11, or TensorRT for RTX; one adapter for all.

Only what all of them have is used: networks are strongly typed (11 knows no other), precision is the model's.
Needs TensorRT and the standard library alone: build kits carry this file as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HARDWARE = {
    "none": "NONE",
    "same_compute_capability": "SAME_COMPUTE_CAPABILITY",
    "ampere_plus": "AMPERE_PLUS",
}


class BuildError(RuntimeError):
    """TensorRT does not take the model or does not build it; the message holds its own reasons."""


@dataclass(frozen=True)
class Engine:
    """What a build gave.

    Attributes:
        plan: the serialised engine.
        timing_cache: the measured kernels, for the next build; empty where there is none.
        facts: what a runtime must know beside the plan, as `engine.json`.
    """

    plan: bytes
    timing_cache: bytes
    facts: dict[str, Any]


def build_engine(
    trt: Any,
    model: Path,
    profiles: Sequence[Mapping[str, Mapping[str, Sequence[int]]]],
    options: Mapping[str, Any],
    timing_cache: bytes = b"",
) -> Engine:
    """Build an engine. Ask for a driver first where the library needs one: without, it ends the process.

    Args:
        trt: the Python module, `tensorrt` or `tensorrt_rtx`.
        model: the ONNX file; its external data beside it.
        profiles: input -> {"min", "opt", "max"} -> shape, of each profile.
        options: the fields of `BuildOptions`.
        timing_cache: of an earlier build.

    Raises:
        BuildError: see the class.
    """
    log = _log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(model)):
        raise BuildError(f"{model.name}: {_parse_errors(parser) or log.said()}")
    config = builder.create_builder_config()
    _configure(trt, config, options)
    cache = _use_cache(config, timing_cache)
    for index, ranges in enumerate(profiles):
        _add_profile(builder, config, ranges, index, log)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BuildError(f"{model.name}: not built: {log.said()}")
    kept = bytes(cache.serialize()) if cache is not None else b""
    return Engine(bytes(plan), kept, engine_facts(trt, model, options))


def engine_facts(trt: Any, model: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """What stands in `engine.json` beside a plan."""
    return {
        "built_by": f"{trt.__name__} {trt.__version__}",
        "version_compatible": options["version_compatible"],
        "excludes_lean_runtime": not options["lean_runtime"],
        "stripped": model.name if options["strip"] else None,
    }


def _configure(trt: Any, config: Any, options: Mapping[str, Any]) -> None:
    config.builder_optimization_level = options["builder_level"]
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.hardware_compatibility_level = getattr(
        trt.HardwareCompatibilityLevel, HARDWARE[options["hardware"]]
    )
    if options["workspace_mib"] is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options["workspace_mib"] << 20)
    if not options["tf32"]:
        config.clear_flag(trt.BuilderFlag.TF32)
    for flag in flags(trt, options):
        config.set_flag(flag)


def flags(trt: Any, options: Mapping[str, Any]) -> list[Any]:
    """The builder's flags that the options ask for."""
    found = []
    if options["version_compatible"]:
        found.append(trt.BuilderFlag.VERSION_COMPATIBLE)
        if not options["lean_runtime"]:
            found.append(trt.BuilderFlag.EXCLUDE_LEAN_RUNTIME)
    if options["refit"] == "all":
        found.append(trt.BuilderFlag.REFIT)
    elif options["refit"] == "identical" or options["strip"]:
        found.append(trt.BuilderFlag.REFIT_IDENTICAL)
    if options["strip"]:
        found.append(trt.BuilderFlag.STRIP_PLAN)
    if options["weight_streaming"]:
        found.append(trt.BuilderFlag.WEIGHT_STREAMING)
    return found


def _use_cache(config: Any, earlier: bytes) -> Any:
    """Start from an earlier build's measurements, where they are of this GPU and release; otherwise anew."""
    cache = config.create_timing_cache(earlier)
    if cache is None:
        cache = config.create_timing_cache(b"")
    if cache is not None and not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def _add_profile(builder: Any, config: Any, ranges: Mapping[str, Any], index: int, log: Any) -> None:
    profile = builder.create_optimization_profile()
    for name, shapes in ranges.items():
        profile.set_shape(name, *(tuple(shapes[kind]) for kind in ("min", "opt", "max")))
    if config.add_optimization_profile(profile) != index:
        raise BuildError(f"profile {index} is refused: {log.said()}")


def _parse_errors(parser: Any) -> str:
    found = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        found.append(f"{error.node_name() or error.node_operator() or 'the graph'}: {error.desc()}")
    return "; ".join(found)


def _log(trt: Any) -> Any:
    """A logger that keeps what went wrong and prints nothing."""

    class Log(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.errors.append(" ".join(msg.split()))

        def said(self) -> str:
            return "; ".join(self.errors[-3:])[:600] or "TensorRT gave no reason"

    return Log()
