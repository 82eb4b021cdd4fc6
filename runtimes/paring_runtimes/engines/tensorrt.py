"""TensorRT: runs engines (plans) on NVIDIA GPUs. The full runtime, the lean one, or TensorRT for RTX.

A plan holds machine code: open only those whose origin you trust. Before anything of it is loaded, the
plan's version is compared with the library's and the driver is asked for a GPU, so that either failure is an
error of one line and not the end of the process.

Settings, `provider_options={"cuda": {...}}`:

- `device`: the GPU's number, 0;
- `contexts`: how many threads may run at once, 2; each takes memory for the network's activations;
- `graphs`: whether bound runs are captured as CUDA graphs, true;
- `weight_streaming_budget`: bytes of weights that stay on the device, of engines built to stream them;
- `library`: `tensorrt`, `tensorrt_lean` or `tensorrt_rtx`, in place of the first that runs the plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paring_runtimes.cuda.driver import why_no_bindings, why_no_gpu
from paring_runtimes.engines import Options
from paring_runtimes.errors import EngineError, InputError, MissingExtraError
from paring_runtimes.suggest import near_miss
from paring_runtimes.tensorrt.library import EXTRA, MODULES, chosen, installed
from paring_runtimes.tensorrt.plan import plan_facts, plan_version

if TYPE_CHECKING:
    from paring_runtimes.tensorrt.session import TensorRTSession

NAME = "tensorrt"
FORMATS = {"tensorrt": ".plan"}


@dataclass(frozen=True)
class Settings:
    """The engine's own settings; see the module."""

    device: int = 0
    contexts: int = 2
    graphs: bool = True
    weight_streaming_budget: int | None = None
    library: str | None = None


def why_not() -> str | None:
    """Return None where engines run, otherwise one line: what is missing."""
    if not installed():
        return str(MissingExtraError("running a TensorRT engine", EXTRA))
    return why_no_bindings() or why_no_gpu()


def open_session(path: Path, options: Options) -> TensorRTSession:
    """Open a plan.

    Raises:
        MissingExtraError: no library of TensorRT, or not `cuda.bindings`, is installed.
        InputError: a provider or a setting that there is not.
        EngineError: it is no plan, of another version, or there is no GPU.
    """
    settings = _settings(options)
    family, built = plan_version(path)
    if not installed():
        raise MissingExtraError("running a TensorRT engine", EXTRA)
    facts = plan_facts(path)
    trt = chosen(path, family, built, facts, settings.library)
    if why_no_bindings():
        raise MissingExtraError("running a TensorRT engine", EXTRA)
    reason = why_no_gpu()
    if reason is not None:
        raise EngineError(f"{path}: {reason}")
    from paring_runtimes.cuda.calls import checked, cudart
    from paring_runtimes.tensorrt.opened import Opened
    from paring_runtimes.tensorrt.session import TensorRTSession

    checked(cudart().cudaSetDevice(settings.device))
    opened = Opened(trt, path, facts, settings.device, settings.weight_streaming_budget)
    version = f"{trt.__name__} {trt.__version__}"
    return TensorRTSession(opened, version, settings.contexts, settings.graphs, options.profile_to)


def _settings(options: Options) -> Settings:
    for name in options.providers or ():
        if name.lower() not in ("cuda", "cudaexecutionprovider", "tensorrt"):
            raise InputError(f"providers: no {name!r} in engine tensorrt; available: cuda")
    told: dict[str, Any] = {}
    for name, values in options.provider_options.items():
        if name.lower() != "cuda":
            raise InputError(f"provider_options: no {name!r} in engine tensorrt; available: cuda")
        told.update(values)
    _check_settings(told)
    return Settings(**told)


def _check_settings(told: Mapping[str, Any]) -> None:
    known = {one.name: one for one in fields(Settings)}
    for key, value in told.items():
        if key not in known:
            raise InputError(
                f"provider_options: no {key!r} in engine tensorrt{near_miss(key, known)}; {', '.join(known)}"
            )
        if key in ("device", "contexts", "weight_streaming_budget"):
            least = 1 if key == "contexts" else 0
            if type(value) is not int or value < least:
                raise InputError(
                    f"provider_options: {key}: expected a whole number from {least}, given {value!r}"
                )
        if key == "graphs" and type(value) is not bool:
            raise InputError(f"provider_options: graphs: expected true or false, given {value!r}")
        if key == "library" and value not in MODULES:
            raise InputError(f"provider_options: library: one of {', '.join(MODULES)}, given {value!r}")
