"""Build the engine of this kit on this machine, compare it with what PyTorch computed, and time it.

    python build.py --out ENGINE [--timing-cache FILE] [--no-static] [--seconds 5]

ENGINE becomes an artifact: a folder with the engine, its manifest, its timing cache and `profile.json`, whole
or not at all. Needs an NVIDIA GPU with its driver, `tensorrt`, `cuda-bindings` and `numpy`; not PyTorch.

Exit codes: 0 done; 2 bad arguments; 3 something is missing here; 4 TensorRT refuses the model; 6 the engine
differs from PyTorch.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True  # the kit stays as it was
sys.path.insert(0, str(HERE / "lib"))

import numpy as np  # noqa: E402
from builder import BuildError, Engine, build_engine  # noqa: E402

from paring_runtimes.artifact import hash_files, new_artifact, write_manifest  # noqa: E402
from paring_runtimes.cuda.driver import why_no_bindings, why_no_gpu  # noqa: E402
from paring_runtimes.errors import OutputError, ParingError  # noqa: E402
from paring_runtimes.load import load  # noqa: E402
from paring_runtimes.manifest import Manifest, TensorSpec  # noqa: E402

MISSING, REFUSED, DIFFERS, BAD = 3, 4, 6, 2
WARM_UPS = 20


class Stop(Exception):
    """Ends the script with a message and a code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def main() -> int:
    """Read the command line, do it, and turn what stops it into an exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished engine")
    parser.add_argument("--timing-cache", type=Path, help="of an earlier build on this kind of GPU")
    parser.add_argument("--no-static", action="store_true", help="time no engines of fixed shapes beside it")
    parser.add_argument("--seconds", type=float, default=5.0, help="of timing, each shape and side")
    asked = parser.parse_args()
    try:
        run(asked)
    except Stop as stop:
        print(f"error: {stop}", file=sys.stderr)
        return stop.code
    except OutputError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD
    return 0


def run(asked: argparse.Namespace) -> None:
    """Build, compare, time, and put the folder in place."""
    plan = json.loads((HERE / "plan.json").read_text(encoding="utf-8"))
    trt = library(plan["options"]["library"])
    model = (HERE / plan["model"]).resolve()
    cache = asked.timing_cache or HERE / plan["timing_cache"]
    print(f"building with {trt.__name__} {trt.__version__}")
    began = time.perf_counter()
    engine = built(
        trt, model, plan["profiles"], plan["options"], cache.read_bytes() if cache.is_file() else b""
    )
    seconds = time.perf_counter() - began
    print(f"built in {seconds:.1f} s, {len(engine.plan) / 1e6:.1f} MB")
    with new_artifact(asked.out) as folder:
        write_engine(folder, engine, plan, model)
        found = compared(folder / plan["engine"], plan)
        print(f"parity passed: max abs {found['max_abs']:.3g} over {found['samples']} samples")
        times = [] if asked.seconds <= 0 else timed(folder, trt, model, plan, asked)
        (folder / "profile.json").write_text(json.dumps(times, indent=1) + "\n", encoding="utf-8")
        facts = {"tensorrt": {**engine.facts, "build_seconds": round(seconds, 1), "options": plan["options"]}}
        manifest = Manifest(
            format="tensorrt",
            entry=plan["engine"],
            inputs=specs(plan["inputs"]),
            outputs=specs(plan["outputs"]),
            files=hash_files(folder),
            export=facts,
            parity=found,
            tools={trt.__name__: trt.__version__},
            created=time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        )
        write_manifest(folder, manifest)
    print(f"engine    {asked.out}")


def library(name: str) -> Any:
    """TensorRT's module, on a machine where it can be used.

    Raises:
        Stop: no driver, no GPU, or a package is missing.
    """
    missing = [] if why_no_bindings() is None else ["cuda-bindings"]
    try:
        trt = importlib.import_module(name)
    except ImportError as error:
        trt = None
        missing.insert(0, f"{name} ({' '.join(str(error).split())})")
    gpu = why_no_gpu()
    if gpu is not None:
        missing.insert(0, gpu)
    if trt is None or missing:
        raise Stop(MISSING, f"the engine is not built: {'; '.join(missing)}. Nothing was written.")
    return trt


def built(trt: Any, model: Path, profiles: Any, options: Any, cache: bytes) -> Engine:
    """As `build_engine`; what TensorRT refuses ends the script."""
    try:
        return build_engine(trt, model, profiles, options, cache)
    except BuildError as error:
        raise Stop(REFUSED, f"{error}. Nothing was written.") from None


def write_engine(folder: Path, engine: Engine, plan: dict[str, Any], model: Path) -> None:
    """The plan, what stands beside it, the timing cache; the ONNX file where the plan has no weights."""
    (folder / plan["engine"]).write_bytes(engine.plan)
    dims = {one["name"]: [str(size) for size in one["shape"]] for one in plan["inputs"] + plan["outputs"]}
    facts = json.dumps({**engine.facts, "dimensions": dims}, indent=1)
    (folder / Path(plan["engine"]).with_suffix(".json")).write_text(facts + "\n", encoding="utf-8")
    if engine.timing_cache:
        (folder / plan["timing_cache"]).write_bytes(engine.timing_cache)
    if engine.facts["stripped"]:
        for file in model.parent.glob(f"{model.name}*"):
            shutil.copyfile(file, folder / file.name)


def specs(told: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    """Inputs or outputs of plan.json."""
    return tuple(TensorSpec(one["name"], one["dtype"], tuple(one["shape"])) for one in told)


def samples(plan: dict[str, Any]) -> list[dict[str, np.ndarray]]:
    """The stored calls, each with its inputs and outputs by name."""
    calls: dict[str, dict[str, np.ndarray]] = {}
    with np.load(HERE / plan["samples"]) as stored:
        for key in stored.files:
            number, _, name = key.partition("/")
            calls.setdefault(number, {})[name] = stored[key]
    return list(calls.values())


def compared(engine: Path, plan: dict[str, Any]) -> dict[str, Any]:
    """Run every stored call; the parity as a manifest holds it.

    Raises:
        Stop: an output leaves the tolerance.
    """
    atol, rtol = plan["tolerance"]["atol"], plan["tolerance"]["rtol"]
    inputs = [one["name"] for one in plan["inputs"]]
    worst, count = 0.0, 0
    try:
        with load(engine) as session:
            for call in samples(plan):
                found = session.run({name: call[name] for name in inputs})
                for name, array in found.items():
                    gap = np.abs(array.astype(np.float64) - call[name])
                    if not (gap <= atol + rtol * np.abs(call[name])).all():
                        where = f"output {name!r} of shape {list(array.shape)}: max abs {gap.max():.3g}"
                        raise Stop(DIFFERS, f"the engine differs from PyTorch: {where}. Nothing was written.")
                    worst, count = max(worst, float(gap.max())), count + len(array)
    except ParingError as error:
        raise Stop(DIFFERS, f"the engine does not run: {error}. Nothing was written.") from None
    return {"passed": True, "max_abs": worst, "samples": count, "tolerance": plan["tolerance"]}


def timed(folder: Path, trt: Any, model: Path, plan: dict[str, Any], asked: argparse.Namespace) -> list[Any]:
    """Latency at each profile's best shape, and of an engine of just that shape beside it, in turn."""
    rows: list[dict[str, Any]] = []
    for profile in plan["profiles"] or [fixed(plan["inputs"])]:
        shapes = {name: ranges["opt"] for name, ranges in profile.items()}
        sides = {"dynamic": folder / plan["engine"]}
        with tempfile.TemporaryDirectory() as scratch:
            if plan["profiles"] and not asked.no_static:
                alone = {name: dict.fromkeys(("min", "opt", "max"), shape) for name, shape in shapes.items()}
                engine = built(trt, model, [alone], {**plan["options"], "strip": False}, b"")
                (Path(scratch) / "static.plan").write_bytes(engine.plan)
                facts = json.dumps(engine.facts)
                (Path(scratch) / "static.json").write_text(facts, encoding="utf-8")
                sides["static"] = Path(scratch) / "static.plan"
            found = in_turn(sides, plan["inputs"], shapes, asked.seconds)
        row: dict[str, Any] = {"shapes": shapes, **found}
        if "static" in found:
            row["dynamic_penalty"] = found["dynamic"]["p50_ms"] / found["static"]["p50_ms"]
        print(json.dumps(row))
        rows.append(row)
    return rows


def fixed(inputs: list[dict[str, Any]]) -> dict[str, Any]:
    """What stands in for a profile where every shape is fixed."""
    return {one["name"]: {"opt": one["shape"]} for one in inputs}


def in_turn(sides: dict[str, Path], inputs: Any, shapes: Any, seconds: float) -> dict[str, dict[str, float]]:
    """Calls with copies from and to the host, the sides in turn in one process."""
    rng = np.random.default_rng(0)
    dtypes = {one["name"]: one["dtype"] for one in inputs}
    feeds = {name: rng.standard_normal(shape).astype(dtypes[name]) for name, shape in shapes.items()}
    sessions = {name: load(path) for name, path in sides.items()}
    bound = {name: session.bind(feeds) for name, session in sessions.items()}
    times: dict[str, list[float]] = {name: [] for name in sides}
    end = time.perf_counter() + seconds * len(sides)
    while time.perf_counter() < end or min(map(len, times.values())) < WARM_UPS * 2:
        for name, one in bound.items():
            start = time.perf_counter_ns()
            one.run()
            times[name].append((time.perf_counter_ns() - start) / 1e6)
    return {name: spread(found[WARM_UPS:]) for name, found in times.items()}


def spread(times: list[float]) -> dict[str, float]:
    """Quartiles, and the slowest hundredth."""
    marks = np.percentile(times, (25, 50, 75, 99))
    return dict(
        zip(("p25_ms", "p50_ms", "p75_ms", "p99_ms"), map(float, marks), strict=True), calls=len(times)
    )


if __name__ == "__main__":
    raise SystemExit(main())
