"""Compile kernels for CUDA and read what `ptxas` made of them. Nothing here runs: no GPU is needed.

TVM writes CUDA source; `nvcc` compiles it to a cubin for one architecture and says, for each kernel, how
many registers a thread takes, how much shared memory a block, and what spilled to local memory.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm
from tvm import te
from tvm.s_tir import Schedule
from tvm.target import Target

from paring_exporters.tvm.binary_attention import AttentionShape, attention_definition
from paring_exporters.tvm.binary_pack import words
from paring_exporters.tvm.cuda_schedules import bind_elements, schedule_attention, tile_sum
from paring_exporters.tvm.cuda_shift import shift_dot, shift_float
from paring_exporters.tvm.matadd import matadd
from paring_exporters.tvm.popcount import popcount_scores
from paring_exporters.tvm.target import check_version
from paring_runtimes.errors import ExportError

ARCHITECTURES = ("sm_80", "sm_90")
_USUAL_NVCC = "/usr/local/cuda/bin/nvcc"
_KERNEL = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
_SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


@dataclass(frozen=True)
class KernelUse:
    """What a kernel takes on one architecture: compiled, not run."""

    kernel: str
    architecture: str
    registers: int  # of a thread
    shared_bytes: int  # of a block, static
    spill_store_bytes: int  # of a thread
    spill_load_bytes: int
    stack_bytes: int


def find_nvcc() -> str | None:
    """Return the path of `nvcc`, or None."""
    return shutil.which("nvcc") or (_USUAL_NVCC if Path(_USUAL_NVCC).is_file() else None)


def cuda_source(function: Any, architecture: str) -> str:
    """Return the CUDA source that TVM writes for a PrimFunc that is bound to blocks and threads.

    Raises:
        ExportError: TVM refused the function.
    """
    check_version()
    target = Target({"kind": "cuda", "arch": architecture}, host=Target("llvm"))
    try:
        compiled = tvm.compile(tvm.IRModule({"main": function}), target=target)
    except (RuntimeError, ValueError) as error:
        raise ExportError(f"TVM could not compile for {architecture}: {error}") from error
    module = getattr(compiled, "mod", compiled)
    return str(module.imports[0].inspect_source())


def compile_source(source: str, architecture: str) -> list[KernelUse]:
    """Compile CUDA source to a cubin and return what each kernel takes.

    Raises:
        ExportError: there is no `nvcc`, or it refused the source.
    """
    nvcc = find_nvcc()
    if nvcc is None:
        raise ExportError(f"CUDA: no nvcc on the path or at {_USUAL_NVCC}; NVIDIA's toolkit has it")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.cu"
        path.write_text(source)
        options = ["-O3", "-cubin", f"-arch={architecture}", "--ptxas-options=-v", "-o", f"{path}bin"]
        done = subprocess.run([nvcc, *options, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ExportError(f"nvcc refused a kernel for {architecture}: {done.stderr.strip()}")
    return parse_report(done.stdout + done.stderr)


def parse_report(text: str) -> list[KernelUse]:
    """Read the lines that `ptxas -v` prints."""
    found = []
    for part in re.split(r"(?=Compiling entry function)", text):
        kernel, registers = _KERNEL.search(part), _REGISTERS.search(part)
        if not kernel or not registers:
            continue
        spills, shared = _SPILLS.search(part), _SHARED.search(part)
        stack, stores, loads = (int(number) for number in spills.groups()) if spills else (0, 0, 0)
        smem = int(shared.group(1)) if shared else 0
        name, architecture = kernel.groups()
        use = KernelUse(name, architecture, int(registers.group(1)), smem, stores, loads, stack)
        found.append(use)
    return sorted(found, key=lambda use: use.kernel)


def compile_report(functions: Mapping[str, Any], architecture: str) -> dict[str, list[KernelUse]]:
    """Compile every PrimFunc; return its kernels' needs by its name."""
    return {name: compile_source(cuda_source(f, architecture), architecture) for name, f in functions.items()}


def cuda_functions(shape: AttentionShape, rows: int, in_features: int, out_features: int) -> dict[str, Any]:
    """Return every kernel that this package has for CUDA, scheduled.

    Args:
        shape: of binary attention, of MatAdd (one matrix a head) and of the scores.
        rows, in_features, out_features: of shift-linear.
    """
    linear = (rows, in_features, out_features)
    return {
        "popcount scores, overlap": _scores(shape, "overlap"),
        "popcount scores, Hamming": _scores(shape, "hamming"),
        "MatAdd": _matadd(shape),
        "binary attention, linear": attention(shape, "linear", "bool", False),
        "binary attention, linear, from fp32, normalised": attention(shape, "linear", "float32", True),
        "binary attention, quadratic": attention(shape, "quadratic", "packed", False),
        "shift-linear 4 bit, fp32": _shift(shift_float(*linear, 4)),
        "shift-linear 5 bit, fp32": _shift(shift_float(*linear, 5)),
        "shift-linear 4 bit, int8": _shift(shift_dot(*linear)),
    }


def attention(shape: AttentionShape, form: str, source: str, normalise: bool) -> Any:
    """Return binary attention scheduled for CUDA; arguments as of `binary_attention.attention_function`."""
    return _scheduled(attention_definition(shape, form, source, normalise, tables=False), schedule_attention)


def _scores(shape: AttentionShape, kind: str) -> Any:
    q, k = (te.placeholder(shape.packed, "uint32", name=name) for name in ("q", "k"))

    def bind(schedule: Any) -> None:
        schedule.compute_inline(schedule.get_sblock("scores_keys"))
        bind_elements(schedule, "scores")

    return _scheduled(([q, k], popcount_scores(q, k, kind)), bind)


def _matadd(shape: AttentionShape) -> Any:
    heads = shape.batch * shape.heads
    bits = te.placeholder((heads, shape.tokens, words(shape.dim)), "uint32", name="bits_in")
    values = te.placeholder((heads, shape.dim, shape.dim), "float32", name="values")
    return _scheduled(
        ([bits, values], matadd(bits, values)), lambda s: tile_sum(s, "matadd", copied="values")
    )


def _shift(definition: tuple[list[Any], Any]) -> Any:
    return _scheduled(definition, lambda schedule: tile_sum(schedule, "sums", made="weight", store="y"))


def _scheduled(definition: tuple[list[Any], Any], schedule_it: Callable[[Any], None]) -> Any:
    inputs, output = definition
    schedule = Schedule(te.create_prim_func([*inputs, output]))
    schedule_it(schedule)
    return schedule.mod["main"]
