"""TensorRT and TensorRT for RTX: built, verified, run from threads, as graphs, on the device, refitted."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import Check
from ._model import agree, converted, pixels
from ._needs import bindings, first, gpu, packages, torch_cuda

LIBRARIES = ("tensorrt", "tensorrt_rtx")
CALLS = 200


def built(library: str) -> dict[str, Any]:
    """The exporter builds an engine that computes what PyTorch does; every profile takes its batches."""
    import paring_runtimes

    folder = converted(library)
    with paring_runtimes.load(folder) as session:
        worst = max(agree(_run(session, pixels(batch)), batch) for batch in (1, 5, 32))
        told = session.engine
    return {"engine": told, "bytes": (folder / "engine.plan").stat().st_size, "max_abs": worst}


def refused(library: str) -> dict[str, Any]:
    """Shapes outside of every profile, and a plan of another version, are errors of one line."""
    import paring_runtimes
    from paring_runtimes.errors import EngineError, InputError

    folder = converted(library)
    with paring_runtimes.load(folder) as session:
        _expect(InputError, "outside", lambda: _run(session, pixels(33)))
    with tempfile.TemporaryDirectory() as scratch:
        plan = bytearray((folder / "engine.plan").read_bytes())
        plan[24] = 9
        other = Path(scratch) / "engine.plan"
        other.write_bytes(plan)
        _expect(EngineError, "built with TensorRT 9", lambda: paring_runtimes.load(other))
        cut = Path(scratch) / "cut.plan"
        cut.write_bytes((folder / "engine.plan").read_bytes()[: len(plan) // 2])
        _expect(EngineError, str(cut), lambda: paring_runtimes.load(cut))
    return {"refusals": 3}


def threads(library: str) -> dict[str, Any]:
    """Eight threads share two contexts; every answer is right."""
    import paring_runtimes

    errors: list[BaseException] = []
    with paring_runtimes.load(converted(library), provider_options={"cuda": {"contexts": 2}}) as session:

        def one(seed: int) -> None:
            try:
                for batch in (1, 3, 2):
                    agree(_run(session, pixels(batch, seed)), batch, seed)
            except BaseException as error:
                errors.append(error)

        pool = [threading.Thread(target=one, args=(seed,)) for seed in range(8)]
        for thread in pool:
            thread.start()
        for thread in pool:
            thread.join()
    if errors:
        raise errors[0]
    return {"threads": 8, "contexts": 2}


def graphs(library: str) -> dict[str, Any]:
    """Bound runs as CUDA graphs answer as without, and cost less."""
    import paring_runtimes

    times = {}
    for name, graphs_on in (("graph", True), ("calls", False)):
        settings = {"cuda": {"graphs": graphs_on}}
        with paring_runtimes.load(converted(library), provider_options=settings) as session:
            name_in = session.inputs[0].name
            bound = session.bind({name_in: pixels(1)})
            for seed in (1, 2):
                bound.inputs[name_in][...] = pixels(1, seed)
                agree(bound.run()["logits"], 1, seed)
            times[f"{name}_p50_us"] = _median_us(bound.run)
    return times


def on_device(library: str) -> dict[str, Any]:
    """PyTorch's tensors go in and out where they lie."""
    import torch

    import paring_runtimes

    with paring_runtimes.load(converted(library)) as session:
        tensor = torch.from_numpy(pixels(4)).cuda()
        found = session.run_on_device({session.inputs[0].name: tensor})["logits"]
        theirs = torch.from_dlpack(found)
        assert theirs.is_cuda
        assert theirs.data_ptr() == found.address
        worst = agree(theirs.cpu().numpy(), 4)
        agree(session.run_on_device({session.inputs[0].name: pixels(4)})["logits"].numpy(), 4)
    return {"max_abs": worst}


def layers(library: str) -> dict[str, Any]:
    """A session's own profile tells the milliseconds of every layer."""
    import paring_runtimes

    folder = converted(library)
    with (
        tempfile.TemporaryDirectory() as scratch,
        paring_runtimes.load(folder, profile_to=Path(scratch) / "layers") as session,
    ):
        agree(_run(session, pixels(8)), 8)
        told = json.loads(session.end_profiling().read_text())["layers_ms"]
    assert told
    return {"layers": len(told), "sum_ms": sum(told.values())}


def stripped(library: str) -> dict[str, Any]:
    """An engine without weights is smaller, and answers right once they are put in at loading."""
    import paring_runtimes

    folder = converted(library, strip=True)
    with paring_runtimes.load(folder) as session:
        worst = agree(_run(session, pixels(2)), 2)
    sizes = [(one / "engine.plan").stat().st_size for one in (folder, converted(library))]
    assert sizes[0] < sizes[1]
    return {"stripped_bytes": sizes[0], "whole_bytes": sizes[1], "max_abs": worst}


def streamed(library: str) -> dict[str, Any]:
    """With no weights kept on the device the answers are the same."""
    import paring_runtimes

    folder = converted(library, weight_streaming=True)
    options = {"cuda": {"weight_streaming_budget": 0}}
    with paring_runtimes.load(folder, provider_options=options) as session:
        return {"max_abs": agree(_run(session, pixels(2)), 2)}


def by_kit(library: str) -> dict[str, Any]:
    """The build kit alone, in a process of its own: builds, verifies, times an engine of fixed shape too."""
    kit = converted(library)
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "engine"
        command = [sys.executable, str(kit / "tensorrt" / "build.py"), "--out", str(out), "--seconds", "1"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
        if done.returncode:
            raise AssertionError(f"exit code {done.returncode}: {done.stderr[-800:]}")
        rows = json.loads((out / "profile.json").read_text())
        import paring_runtimes

        with paring_runtimes.load(out) as session:
            agree(_run(session, pixels(3)), 3)
    return {"dynamic_penalty": [round(row["dynamic_penalty"], 3) for row in rows]}


def lean() -> dict[str, Any]:
    """A version-compatible engine runs on the lean runtime alone."""
    import paring_runtimes

    folder = converted("tensorrt", version_compatible=True)
    options = {"cuda": {"library": "tensorrt_lean"}}
    with paring_runtimes.load(folder, provider_options=options) as session:
        assert session.engine.startswith("tensorrt_lean")
        return {"engine": session.engine, "max_abs": agree(_run(session, pixels(5)), 5)}


def by_data() -> dict[str, Any]:
    """An output whose length only the data decide, through an output allocator."""
    from dataclasses import asdict

    import onnx
    import tensorrt
    from onnx import TensorProto, helper

    import paring_runtimes
    from paring_exporters.tensorrt.builder import build_engine
    from paring_exporters.tensorrt.options import BuildOptions

    values = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in
              (("x", TensorProto.FLOAT, [64]), ("where", TensorProto.INT64, [1, "n"]))]  # fmt: skip
    graph = helper.make_graph([helper.make_node("NonZero", ["x"], ["where"])], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    with tempfile.TemporaryDirectory() as scratch:
        file, plan = Path(scratch) / "m.onnx", Path(scratch) / "m.plan"
        onnx.save(model, file)
        plan.write_bytes(build_engine(tensorrt, file, [], asdict(BuildOptions())).plan)
        lengths = []
        with paring_runtimes.load(plan) as session:
            for count in (3, 40, 0, 64):
                x = np.zeros(64, np.float32)
                x[np.random.default_rng(count).permutation(64)[:count]] = 1
                found = session.run({"x": x})["where"]
                np.testing.assert_array_equal(found, np.array(np.nonzero(x)))
                lengths.append(found.shape[1])
    return {"lengths": lengths}


def _run(session: Any, array: np.ndarray) -> np.ndarray:
    found: np.ndarray = session.run({session.inputs[0].name: array})["logits"]
    return found


def _median_us(run: Callable[[], Any]) -> float:
    times = []
    for _ in range(CALLS):
        start = time.perf_counter_ns()
        run()
        times.append((time.perf_counter_ns() - start) / 1e3)
    return float(np.median(times))


def _expect(kind: type[Exception], said: str, call: Callable[[], Any]) -> None:
    try:
        call()
    except kind as error:
        if said not in str(error) or "\n" in str(error):
            raise AssertionError(f"not what was expected: {error}") from error
    else:
        raise AssertionError(f"no {kind.__name__}")


def _needs(library: str) -> str | None:
    python = ("torch", "timm", "onnx", "onnxscript", "onnxslim", "onnxruntime")
    return first(gpu(), bindings(), packages(library, *python))


def _needs_torch(library: str) -> str | None:
    return first(_needs(library), torch_cuda())


_EACH = {
    "built and verified": built, "refuses what it should": refused, "threads": threads, "CUDA graphs": graphs,
    "times of layers": layers, "stripped and refitted": stripped, "weights streamed": streamed,
    "build kit": by_kit,
}  # fmt: skip
CHECKS = (
    *(
        Check(f"{library}: {name}", functools.partial(_needs, library), functools.partial(run, library))
        for library in LIBRARIES
        for name, run in _EACH.items()
    ),
    *(
        Check(f"{library}: arrays on the device", functools.partial(_needs_torch, library),
              functools.partial(on_device, library))
        for library in LIBRARIES
    ),
    Check("tensorrt: lean runtime", lambda: first(_needs("tensorrt"), packages("tensorrt_lean")), lean),
    Check("tensorrt: output of a length that data decide", functools.partial(_needs, "tensorrt"), by_data),
)  # fmt: skip
