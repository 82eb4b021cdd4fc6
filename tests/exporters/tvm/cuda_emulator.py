"""Runs CUDA source on the CPU, a block at a time, a thread of the block a thread of C++. For small shapes.

It shows what the source computes, races apart; it says nothing of how it behaves or how fast it is on a GPU.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from paring_exporters.tvm.cuda_launch import Launch, launches

_PARAMETERS = r'extern "C" __global__ void .*?{}\(([^)]*)\);'
_PRELUDE = """
#include <barrier>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>
struct Index { int x, y, z; };
static thread_local Index threadIdx, blockIdx;
static std::unique_ptr<std::barrier<>> block_barrier;
#define __global__
#define __launch_bounds__(n)
#define __syncthreads() block_barrier->arrive_and_wait()
static int __popc(unsigned value) { return __builtin_popcount(value); }
static int __dp4a(int a, int b, int sum) {
  for (int i = 0; i < 4; ++i) sum += int(int8_t(a >> 8 * i)) * int(int8_t(b >> 8 * i));
  return sum;
}
static unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
  uint64_t bytes = uint64_t(high) << 32 | low;
  unsigned out = 0;
  for (int i = 0; i < 4; ++i) out |= unsigned(bytes >> 8 * (selector >> 4 * i & 7) & 255) << 8 * i;
  return out;
}
static unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
static int max(int a, int b) { return a > b ? a : b; }
static float max(float a, float b) { return a > b ? a : b; }
static int min(int a, int b) { return a < b ? a : b; }
"""
_LAUNCH = """
extern "C" void launch_NAME(void** a, int blocks, int nx, int ny) {
  block_barrier = std::make_unique<std::barrier<>>(nx * ny);
  std::vector<std::thread> threads;
  for (int y = 0; y < ny; ++y) for (int x = 0; x < nx; ++x) threads.emplace_back([=] {
    threadIdx = {x, y, 0};
    for (int block = 0; block < blocks; ++block) {
      blockIdx = {block, 0, 0};
      NAME(ARGUMENTS);
      block_barrier->arrive_and_wait();
    }
  });
  for (auto& thread : threads) thread.join();
}
"""


def run(function: Any, source: str, buffers: dict[str, np.ndarray], folder: Path) -> None:
    """Run every kernel of a PrimFunc's CUDA source in turn.

    Args:
        function: the scheduled PrimFunc, for its grids.
        source: what TVM wrote for it.
        buffers: arrays by the PrimFunc's buffer names; outputs are written. Others are made here.
        folder: for the compiler's files; a new folder in it for each run, as libraries are told by path.
    """
    kernels = launches(function, source)
    library = _compile(source, kernels, Path(tempfile.mkdtemp(dir=folder)))
    made: dict[str, np.ndarray] = dict(buffers)
    for kernel in kernels:
        for missing in (n for n in kernel.arguments if n not in made):
            made[missing] = np.zeros(1 << 20, np.uint8)
        pointers = (ctypes.c_void_p * len(kernel.arguments))(*(made[n].ctypes.data for n in kernel.arguments))
        getattr(library, f"launch_{kernel.kernel}")(pointers, kernel.blocks, *kernel.threads)


def _compile(source: str, kernels: list[Launch], folder: Path) -> ctypes.CDLL:
    (folder / "cuda.h").write_text("")
    text = (
        "#include <cstdint>\n#include <cmath>\n"
        + _PRELUDE
        + re.sub(r"__shared__ (alignas\(\d+\))", r"\1 static", source)
    )
    for name in (kernel.kernel for kernel in kernels):
        found = re.search(_PARAMETERS.format(name), source)
        assert found is not None
        types = [parameter.split("*")[0] + "*" for parameter in found.group(1).split(", ")]
        arguments = ", ".join(f"({kind})a[{i}]" for i, kind in enumerate(types))
        text += _LAUNCH.replace("NAME", name).replace("ARGUMENTS", arguments)
    (folder / "kernels.cpp").write_text(text)
    command = ["g++", "-std=c++20", "-O1", "-w", "-fno-strict-aliasing", "-shared", "-fPIC", "-pthread"]
    paths = [f"-I{folder}", "-o", f"{folder}/kernels.so", f"{folder}/kernels.cpp"]
    done = subprocess.run([*command, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(f"{folder}/kernels.so")
