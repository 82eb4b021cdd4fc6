"""Cross-compile the embedded ViT for AArch64 and RISC-V, run the libraries under QEMU, compare with PyTorch.

    python tools/check/tvm_cross.py
    python tools/check/tvm_cross.py --machine riscv64 --work DIR

Three forms: untransformed, `token_prune`, and `shift_linear`, whose integer kernels are portable here.
Each library is opened by TVM's own runtime of that machine in the C++ example (`runtimes/examples/tvm_cpp`),
under user-mode QEMU: every instruction is emulated, so that the answers are real and the times are not.

Needs on Debian: apt install qemu-user g++-aarch64-linux-gnu (g++-riscv64-linux-gnu), and an index like PyPI,
from which AArch64's wheels of TVM are taken. For RISC-V there are none: `--tvm-source` names a checkout of
TVM's repository of the installed version, from which its runtime is compiled in some minutes; without one the
libraries are compiled and linked, and not run. `--work` keeps what was fetched and built.
"""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

import paring_runtimes
from paring.sources import load_model
from paring.transforms import shift_linear, token_prune
from paring_exporters.formats import tvm
from paring_exporters.parity import TOLERANCES, signal_to_noise_db
from paring_exporters.request import Request

EXAMPLE = Path(__file__).parents[2] / "runtimes" / "examples" / "tvm_cpp"
SITE = Path(sysconfig.get_paths()["purelib"])
WHEELS = ("apache-tvm", "apache-tvm-ffi")
BATCHES = (1, 3)
MIN_SNR_DB = 30.0


def missing(machine: str) -> str | None:
    """What the check lacks here, in one line."""
    for tool in (f"qemu-{machine}", f"{machine}-linux-gnu-g++"):
        if shutil.which(tool) is None:
            return f"{tool} is missing: apt install qemu-user g++-{machine}-linux-gnu"
    return None


def run(*command: object) -> str:
    done = subprocess.run([str(one) for one in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))[:200]}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def runtime_of(machine: str, work: Path, source: Path | None) -> Path | None:
    """A folder like site-packages with the machine's TVM runtime; None where there is none to be had."""
    site = work / f"site-{machine}"
    if not site.is_dir():
        if machine != "aarch64" and source is None:
            return None
        beside = site.with_name(f"{site.name}.part")
        shutil.rmtree(beside, ignore_errors=True)
        if source is None:
            fetch(machine, beside)
        else:
            build(machine, source, beside)
        beside.rename(site)
    return site


def fetch(machine: str, site: Path) -> None:
    """Unpack the machine's wheels of the installed versions."""
    wanted = [f"{name}=={importlib.metadata.version(name)}" for name in WHEELS]
    with tempfile.TemporaryDirectory() as folder:
        pip = (sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:")
        version = ("--python-version", f"{sys.version_info[0]}.{sys.version_info[1]}")
        run(*pip, "--platform", f"manylinux_2_28_{machine}", *version, "-d", folder, *wanted)
        for wheel in Path(folder).glob("*.whl"):
            zipfile.ZipFile(wheel).extractall(site)


def build(machine: str, source: Path, site: Path) -> None:
    """Compile TVM's runtime; that of tvm_ffi from the sources in its installed wheel."""
    for package in ("tvm", "tvm_ffi"):
        (site / package / "lib").mkdir(parents=True)
    for part in ("include", "3rdparty"):
        shutil.copytree(SITE / "tvm_ffi" / part, site / "tvm_ffi" / part)
    runtime, ffi, extra = source / "src/runtime", SITE / "tvm_ffi/src/ffi", "extra/contrib/sort/sort.cc"
    includes = (site / "tvm_ffi/include", site / "tvm_ffi/3rdparty/dlpack/include", SITE / "tvm_ffi/src")
    more = (source / "include", source / "src", source / "3rdparty/compiler-rt")
    found = [f"-I{one}" for one in (*includes, *more)]
    exports = ("-DTVM_FFI_EXPORTS", "-DTVM_RUNTIME_EXPORTS", "-DTVM_FFI_USE_LIBBACKTRACE=0")
    gcc = (f"{machine}-linux-gnu-g++", "-std=c++20", "-O1", "-fPIC", "-shared", *exports, *found)
    folders = [f"-L{site / package / 'lib'}" for package in ("tvm", "tvm_ffi")]
    last = (*folders, "-ldl", "-lpthread", "-latomic")
    files = [file for file in sorted(ffi.rglob("*.cc")) if "testing" not in file.parts]
    run(*gcc, *files, "-o", site / "tvm_ffi/lib/libtvm_ffi.so", *last)
    # At the top and in the folders of the virtual machine and of memory: no RPC, nothing of other devices.
    files = sorted([*runtime.glob("*.cc"), *runtime.glob("vm/*.cc"), *runtime.glob("memory/*.cc")])
    files = [file for file in files if not file.name.startswith("cuda")]
    run(*gcc, *files, "-o", site / "tvm/lib/libtvm_runtime.so", *last, "-ltvm_ffi")
    sort = (runtime / extra, "-o", site / "tvm/lib/libtvm_runtime_extra.so", *last)
    run(*gcc, *sort, "-ltvm_runtime", "-ltvm_ffi")


def forms() -> dict[str, nn.Module]:
    model = load_model("embedded").model
    return {
        "plain": model,
        "token_prune": token_prune.apply(copy.deepcopy(model), token_prune.Config(keep_ratio=0.7)),
        "shift_linear": shift_linear.apply(copy.deepcopy(model), shift_linear.Config()),
    }


def ramp(batch: int) -> np.ndarray:
    """What the example feeds."""
    count = batch * 30 * 30
    return (
        (np.arange(count) % 17 / np.float32(17) - np.float32(0.5))
        .astype(np.float32)
        .reshape(batch, 1, 30, 30)
    )


def check(name: str, model: nn.Module, machine: str, runner: tuple[object, ...] | None, folder: Path) -> bool:
    """Print how far the library is from PyTorch and from its twin of this CPU; whether that is near."""
    folder.mkdir(parents=True, exist_ok=True)
    request = Request(torch.randn(2, 1, 30, 30), target=machine, threads=2)
    made = tvm.export(copy.deepcopy(model), request, folder)
    if runner is None:
        print(f"{machine} {name:<12} compiled and linked, {made.entry.stat().st_size:,} bytes: not run")
        return True
    good, integers = True, "shift" in made.facts
    for batch in BATCHES:
        pixels = ramp(batch)
        _, _, *numbers = run(*runner, made.entry, batch, 1, 30, 30).splitlines()
        found = np.array([float(one) for one in numbers], np.float32).reshape(batch, -1)
        with torch.inference_mode():
            torch_says = model(torch.from_numpy(pixels)).numpy()
        with paring_runtimes.load(made.runnable) as session:
            twin = session.run({"pixel_values": pixels})["logits"]
        of_torch, of_twin = (float(np.abs(found - one).max()) for one in (torch_says, twin))
        ratio = signal_to_noise_db(torch_says, found)
        atol, rtol = TOLERANCES["fp32"]
        if integers:  # activations are rounded, in the twin too
            near = ratio >= MIN_SNR_DB and of_twin <= 1e-4
        else:
            near = np.allclose(found, torch_says, atol=atol, rtol=rtol)
        good = good and bool(near)
        print(
            f"{machine} {name:<12} batch {batch}: max abs difference {of_torch:.1e} from PyTorch"
            f" ({ratio:.1f} dB), {of_twin:.1e} from this CPU's twin{'' if near else ': TOO FAR'}",
            flush=True,
        )
    return good


def runner_of(machine: str, site: Path, scratch: Path) -> tuple[object, ...]:
    """The command that runs a library of the machine."""
    example = Path(shutil.copytree(EXAMPLE, scratch / "example"))
    run("make", "-s", "-C", example, f"CXX={machine}-linux-gnu-g++", f"SITE={site.resolve()}")
    return f"qemu-{machine}", "-L", f"/usr/{machine}-linux-gnu", example / "run_model"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--machine", choices=("aarch64", "riscv64"), default="aarch64")
    parser.add_argument("--work", type=Path, help="keep what was fetched and built in this folder")
    parser.add_argument("--tvm-source", type=Path, help="a checkout of TVM, to compile its runtime from")
    parser.add_argument("--form", nargs="+", choices=("plain", "token_prune", "shift_linear"))
    args = parser.parse_args()
    lacking = missing(args.machine)
    if lacking:
        raise SystemExit(lacking)
    with tempfile.TemporaryDirectory() as scratch:
        work = args.work or Path(scratch)
        site = runtime_of(args.machine, work, args.tvm_source)
        runner = None if site is None else runner_of(args.machine, site, Path(scratch))
        chosen = {name: model for name, model in forms().items() if name in (args.form or [name])}
        results = [
            check(name, model, args.machine, runner, Path(scratch) / name) for name, model in chosen.items()
        ]
    if not all(results):
        raise SystemExit("too far from PyTorch")


if __name__ == "__main__":
    main()
