"""`paring doctor`: what is installed, what works, and the command that mends what does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import typer

from .output import Json, print_json, table


@dataclass(frozen=True)
class Finding:
    """One part of paring on this machine."""

    part: str
    state: str  # "works", "missing", "broken", "conflict"
    detail: str
    mend: str | None


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command()(doctor)


def doctor(json: Json = False) -> None:
    """Check every optional part by using it, and say how to mend what does not work."""
    from .output import stages

    with stages(json) as progress:
        findings = []
        for check in CHECKS:
            progress(f"checking {check.__name__.strip('_').replace('_', ' ')}")
            findings.append(check())
    if json:
        print_json([asdict(finding) for finding in findings])
        return
    rows = [[f.part, f.state, f.detail, f.mend or ""] for f in findings]
    table("paring doctor", ("part", "state", "detail", "mend"), rows)


def _try(part: str, extra: str, module: str, use: Callable[[], str]) -> Finding:
    """Import `module` and use it: installed is not the same as working."""
    if find_spec(module) is None:
        return Finding(part, "missing", f"{module} is not installed", f"pip install 'paring[{extra}]'")
    try:
        return Finding(part, "works", use(), None)
    except Exception as error:
        first = str(error).strip().splitlines() or [type(error).__name__]
        mend = f"pip install --force-reinstall 'paring[{extra}]'"
        return Finding(part, "broken", f"{type(error).__name__}: {first[0]}", mend)


def _pytorch() -> Finding:
    def use() -> str:
        import torch

        total = float((torch.ones(2, 2) @ torch.ones(2, 2)).sum())
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA GPU"
        return f"torch {torch.__version__}, computes ({total:g}), {gpu}"

    return _try("transforms", "torch", "torch", use)


def _timm_models() -> Finding:
    def use() -> str:
        import_module("timm.models.vision_transformer")
        return f"timm {version('timm')}, torchvision {version('torchvision')}"

    return _try("timm models", "torch", "timm", use)


def _transformers_models() -> Finding:
    def use() -> str:
        import_module("transformers.models.vit.modeling_vit")
        import_module("optimum.exporters.tasks")
        return f"transformers {version('transformers')}, optimum {version('optimum')}"

    return _try("transformers models", "torch", "transformers", use)


def _gguf_models() -> Finding:
    def use() -> str:
        import_module("gguf").dequantize  # noqa: B018 - what reading a file needs
        import_module("accelerate")
        return f"gguf {version('gguf')}, accelerate {version('accelerate')}"

    return _try("GGUF models", "gguf", "gguf", use)


def _onnx_export() -> Finding:
    def use() -> str:
        for name in ("onnx", "onnxscript", "onnxslim"):
            import_module(name)
        return f"onnx {version('onnx')}, onnxscript {version('onnxscript')}, onnxslim {version('onnxslim')}"

    return _try("ONNX export", "onnx", "onnx", use)


def _onnx_runtime() -> Finding:
    both = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]
    if len(both) == 2:
        return Finding(
            "ONNX Runtime",
            "conflict",
            "onnxruntime and onnxruntime-gpu are both installed; they own the same module",
            "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'paring[ort]'  (or [ort-gpu])",
        )

    def use() -> str:
        import onnxruntime

        providers = ", ".join(onnxruntime.get_available_providers())
        return f"onnxruntime {onnxruntime.__version__}: {providers}"

    return _try("ONNX Runtime", "ort", "onnxruntime", use)


def _text_generation() -> Finding:
    def use() -> str:
        import_module("jinja2.sandbox")
        library = import_module("tokenizers")
        library.Tokenizer(library.models.BPE({"a": 0}, [])).encode("a")
        return f"tokenizers {version('tokenizers')}, jinja2 {version('jinja2')}"

    return _try("text generation", "llm", "tokenizers", use)


def _spiking_networks() -> Finding:
    def use() -> str:
        h5py, numba = import_module("h5py"), import_module("numba")
        with h5py.File("doctor", "w", driver="core", backing_store=False) as file:
            file["spikes"] = [0, 1]
        compiled = numba.njit(lambda spikes: spikes + 1)(1)
        return f"numba {numba.__version__} compiles ({compiled}), h5py {h5py.__version__}"

    return _try("spiking networks", "spikes", "numba", use)


def _reports() -> Finding:
    def use() -> str:
        for name in ("jinja2", "matplotlib", "scipy.stats", "PIL", "cpuinfo"):
            import_module(name)
        return f"matplotlib {version('matplotlib')}, scipy {version('scipy')}"

    return _try("profiles and reports", "report", "matplotlib", use)


def _tensorrt() -> Finding:
    """Any of its libraries. Each is imported, no more: made without a driver, it ends the process."""
    from paring_runtimes.engines import tensorrt
    from paring_runtimes.tensorrt.library import installed

    here = installed()

    def use() -> str:
        found = ", ".join(f"{name} {_version_of(name)}" for name in here)
        why_not = tensorrt.why_not()
        return f"{found}; " + ("runs engines" if why_not is None else f"runs none here: {why_not}")

    return _try("TensorRT", "tensorrt", here[0] if here else "tensorrt", use)


def _tvm() -> Finding:
    return _try("TVM", "tvm", "tvm", lambda: f"tvm {_version_of('tvm')}")


def _openvino() -> Finding:
    def use() -> str:
        devices = ", ".join(import_module("openvino").Core().available_devices)
        return f"openvino {version('openvino')}, devices {devices}"

    return _try("OpenVINO", "openvino", "openvino", use)


def _energy_meters() -> Finding:
    """Every meter, present or not: `pip` mends few of them."""
    from paring_profiles.meters import meters

    every = meters()
    present = [f"{name} measures {found.covers}" for name, found in every.items() if found.why_not is None]
    absent = [f"{name}: {found.why_not}" for name, found in every.items() if found.why_not is not None]
    detail = "\n".join([*present, *absent]) if present else "\n".join(["energy is not measured", *absent])
    mends = [f"{name}: {found.mend}" for name, found in every.items() if found.mend is not None]
    state = "works" if present else "missing"
    return Finding("energy meters", state, detail, "\n".join(mends) or None)


def _optuna() -> Finding:
    return _try("sweeps", "sweep", "optuna", lambda: f"optuna {_version_of('optuna')}")


def _ray() -> Finding:
    return _try("sweeps over a cluster", "ray", "ray", lambda: f"ray {_version_of('ray')}")


def _version_of(module: str) -> str:
    return str(import_module(module).__version__)


def _installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


CHECKS: tuple[Callable[[], Finding], ...] = (
    _pytorch,
    _timm_models,
    _transformers_models,
    _gguf_models,
    _onnx_export,
    _onnx_runtime,
    _text_generation,
    _spiking_networks,
    _reports,
    _tensorrt,
    _tvm,
    _openvino,
    _energy_meters,
    _optuna,
    _ray,
)
