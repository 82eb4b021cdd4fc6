"""Run the CUDA kernels of a kit on this machine's GPU: right, to the bit where sums are exact, and how fast.

    python tools/check/run_cuda_kernels.py KIT [--json FILE] [--repeats 60]

Needs `nvcc`, NumPy and CuPy; times PyTorch's fp16 and fp32 beside it, where it is installed. Each kernel is
compiled for this GPU and compared with integers or float64 on two sets of random inputs. Times are of CUDA
events around one call, all sides in turn in one process, the second cache overwritten before each call. Exits
1 when an answer is wrong.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from cuda_references import Case, case

Calls = dict[str, Callable[[], Any]]
OURS = "kernel"
FLUSHED_BYTES = 256 << 20  # more than the second cache of any GPU
WARM_UPS = 3
NVCC = "/usr/local/cuda/bin/nvcc"
POISON = 255  # a byte: NaN in fp32, -1 in int32


def compile_kit(kit: Path, entries: list[dict[str, Any]], architecture: str, folder: Path) -> list[Path]:
    """Compile every source to a cubin, several at once."""
    nvcc = shutil.which("nvcc") or NVCC

    def one(entry: dict[str, Any]) -> Path:
        cubin = folder / f"{entry['file']}bin"
        command = [nvcc, "-O3", "-cubin", f"-arch={architecture}", "-o", str(cubin), str(kit / entry["file"])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"nvcc refused {entry['file']} ({entry['name']}): {done.stderr.strip()}")
        return cubin

    with ThreadPoolExecutor() as pool:
        return list(pool.map(one, entries))


class Loaded:
    """A kit's entry on the GPU: its kernels, its buffers."""

    def __init__(self, cupy: Any, entry: dict[str, Any], cubin: Path) -> None:
        self.cupy, self.entry = cupy, entry
        module = cupy.RawModule(path=str(cubin))
        self.kernels = [module.get_function(one["kernel"]) for one in entry["launches"]]
        *self.inputs, output = entry["parameters"]
        self.output = output["name"]
        self.buffers = {one["name"]: cupy.empty(one["shape"], one["dtype"]) for one in entry["parameters"]}
        names = {name for launch in entry["launches"] for name in launch["arguments"]}
        for name in names - self.buffers.keys():
            self.buffers[name] = cupy.empty(entry["scratch_bytes"], np.uint8)

    def fill(self, inputs: dict[str, np.ndarray]) -> None:
        """Put inputs in place, and into everything else what would show if it were left."""
        for name, buffer in self.buffers.items():
            if name in inputs:
                buffer.set(np.ascontiguousarray(inputs[name]))
            else:
                buffer.view(np.uint8).fill(POISON)

    def __call__(self) -> None:
        """Launch its kernels in order."""
        for kernel, launch in zip(self.kernels, self.entry["launches"], strict=True):
            arguments = tuple(self.buffers[name] for name in launch["arguments"])
            kernel((launch["blocks"],), tuple(launch["threads"]), arguments)

    def answer(self, given: Case) -> np.ndarray:
        self.fill(given.inputs)
        self()
        found: np.ndarray = self.buffers[self.output].get()
        return found


def torch_calls(entry: dict[str, Any]) -> Calls:
    """PyTorch's products of the same shapes, on random numbers; none where it is not installed."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return {}
    shapes = {one["name"]: one["shape"] for one in entry["parameters"]}
    operation, calls = entry["operation"], Calls()
    for name, dtype in (("torch fp16", torch.float16), ("torch fp32", torch.float32)):
        calls[name] = _product(torch, operation, shapes, dtype)
    if operation["kind"] == "attention":
        q, k, v = (torch.randn(shapes["v"], dtype=torch.float16, device="cuda") for _ in range(3))
        attention = torch.nn.functional.scaled_dot_product_attention
        calls["torch softmax fp16"] = lambda: attention(q, k, v)
    return calls


def _product(torch: Any, operation: Any, shapes: Any, dtype: Any) -> Callable[[], Any]:
    def made(*shape: int) -> Any:
        return torch.randn(shape, dtype=dtype, device="cuda")

    kind = operation["kind"]
    if kind == "scores":
        q, k = (made(*shapes["q"][:-1], operation["dim"]) for _ in "qk")
        return lambda: q @ k.mT
    if kind == "matadd":
        values = made(*shapes["values"])
        left = made(*shapes["bits_in"][:-1], values.shape[-2])
        return lambda: left @ values
    if kind == "attention":
        q, k, v = (made(*shapes["v"]) for _ in "qkv")
        return (lambda: q @ (k.mT @ v)) if operation["form"] == "linear" else (lambda: (q @ k.mT) @ v)
    rows, outputs = shapes["y"]
    inner = shapes["x"][1] * (4 if kind == "shift_int8" else 1)
    x, weight, bias = made(rows, inner), made(outputs, inner), made(outputs)
    return lambda: torch.nn.functional.linear(x, weight, bias)


def times(cupy: Any, calls: Calls, repeats: int) -> dict[str, np.ndarray]:
    """Microseconds of each call, [repeats], all in turn, each after the second cache was overwritten."""
    flush = cupy.empty(FLUSHED_BYTES, np.uint8)
    marks: dict[str, list[tuple[Any, Any]]] = {name: [] for name in calls}
    names = list(calls)
    for _ in range(WARM_UPS):
        for call in calls.values():
            call()
    for repeat in range(repeats):
        turn = repeat % len(names)
        for name in names[turn:] + names[:turn]:
            flush.fill(repeat % 251)
            start, stop = cupy.cuda.Event(), cupy.cuda.Event()
            start.record()
            calls[name]()
            stop.record()
            marks[name].append((start, stop))
    cupy.cuda.Device().synchronize()
    return {
        name: np.array([1e3 * cupy.cuda.get_elapsed_time(*both) for both in found])
        for name, found in marks.items()
    }


def spread(values: np.ndarray) -> list[float]:
    """Median, 5th and 95th percentile."""
    return [round(float(one), 3) for one in np.percentile(values, (50, 5, 95))]


def checked(cupy: Any, entry: dict[str, Any], cubin: Path, repeats: int) -> dict[str, Any]:
    """Run one entry: what it answers, and its times."""
    loaded = Loaded(cupy, entry, cubin)
    worst = {}
    for label, exact in (("integers", True), ("random", False)):
        given = case(entry, exact)
        worst[label] = given.worst(loaded.answer(given))
    found = times(cupy, {OURS: loaded, **torch_calls(entry)}, repeats)
    return {
        "name": entry["name"],
        "shapes": {one["name"]: one["shape"] for one in entry["parameters"]},
        "launches": len(entry["launches"]),
        "error_over_bound": worst,
        "right": max(worst.values()) <= 1,
        "us": {name: spread(values) for name, values in found.items()},
        "speed_up": {name: spread(v / found[OURS]) for name, v in found.items() if name != OURS},
    }


def machine(cupy: Any) -> dict[str, Any]:
    """What the figures are of."""
    about = cupy.cuda.runtime.getDeviceProperties(0)
    nvcc = subprocess.run([shutil.which("nvcc") or NVCC, "--version"], capture_output=True, text=True)
    return {
        "gpu": about["name"].decode(),
        "architecture": f"sm_{about['major']}{about['minor']}",
        "l2_bytes": about["l2CacheSize"],
        "nvcc": nvcc.stdout.strip().splitlines()[-1],
        "cupy": cupy.__version__,
        "driver": cupy.cuda.runtime.driverGetVersion(),
    }


def show(row: dict[str, Any]) -> None:
    shape = row["shapes"].get("v") or row["shapes"].get("x") or next(iter(row["shapes"].values()))
    worst = row["error_over_bound"]
    verdict = "right" if row["right"] else "WRONG"
    print(
        f"{row['name']}, {shape}: {verdict} (integers {worst['integers']:.2g}, random {worst['random']:.2g})"
    )
    print("    us " + "; ".join(f"{n} {m:g} ({a:g} to {b:g})" for n, (m, a, b) in row["us"].items()))
    if row["speed_up"]:
        print("    speed-up over " + "; ".join(
            f"{n} {m:g} ({a:g} to {b:g})" for n, (m, a, b) in row["speed_up"].items()
        ))  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kit", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repeats", type=int, default=60)
    arguments = parser.parse_args()
    try:
        cupy = importlib.import_module("cupy")
        about = machine(cupy)
    except ImportError:
        print("not run: cupy is not installed")
        return 2
    except Exception as error:  # CuPy's own error types are only there once it is imported
        print(f"not run: no CUDA GPU ({error})")
        return 2
    entries = json.loads((arguments.kit / "kit.json").read_text(encoding="utf-8"))["kernels"]
    print(f"run on {about['gpu']}, {about['nvcc']}; errors in units of their bound, at most 1 is right;")
    print("median (5th to 95th percentile); second cache overwritten before each call; TF32 off")
    with tempfile.TemporaryDirectory() as folder:
        cubins = compile_kit(arguments.kit, entries, about["architecture"], Path(folder))
        rows = []
        for entry, cubin in zip(entries, cubins, strict=True):
            rows.append(checked(cupy, entry, cubin, arguments.repeats))
            show(rows[-1])
    if arguments.json:
        text = json.dumps({"machine": about, "kernels": rows}, indent=1)
        arguments.json.write_text(text, encoding="utf-8")
    wrong = [row["name"] for row in rows if not row["right"]]
    print(
        f"{len(rows) - len(wrong)} of {len(rows)} right" + (f"; wrong: {', '.join(wrong)}" if wrong else "")
    )
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
