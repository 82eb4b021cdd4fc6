"""The shared library of a compiled model: linked by a C++ compiler, for this machine or for another."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from paring_runtimes.errors import ExportError

from .architectures import Architecture, here

# How the library's own account of itself is called in it: a C string of JSON.
SYMBOL = "paring_facts"
_OPTIONS = ("-shared", "-fPIC", "-O2")


def compiler_for(architecture: Architecture) -> list[str]:
    """Return the command of a C++ compiler for an architecture: GCC's, otherwise zig's.

    Raises:
        ExportError: there is neither; the message is one line that names what installs one.
    """
    gcc = "g++" if architecture.machine == here().machine else f"{architecture.triple}-g++"
    if shutil.which(gcc):
        return [gcc]
    if architecture.zig and importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "c++", "-target", architecture.zig]
    package = "g++" if gcc == "g++" else f"g++-{architecture.triple}"
    raise ExportError(
        f"linking for {architecture.machine} needs a C++ compiler: pip install ziglang, or"
        f" apt install {package}"
    )


def link(executable: Any, facts: Mapping[str, Any], path: Path, architecture: Architecture) -> None:
    """Write the shared library, with `facts` in it.

    Raises:
        ExportError: there is no compiler, or it failed.
    """
    command = compiler_for(architecture)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "facts.cc"
        text = json.dumps(json.dumps(facts))
        source.write_text(
            f'extern "C" __attribute__((visibility("default"))) const char* {SYMBOL} = {text};\n'
        )
        try:
            executable.export_library(
                str(path), fcompile=_linker(command), addons=[str(source)], workspace_dir=folder
            )
        except (RuntimeError, OSError) as error:
            raise ExportError(f"{path.name} could not be linked by {command[0]}: {error}") from error


def _linker(command: Sequence[str]) -> Callable[..., None]:
    def create(output: str, objects: Sequence[str], options: Sequence[str] = ()) -> None:
        line = [*command, *_OPTIONS, *options, "-o", output, *objects]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise RuntimeError(lines[0] if lines else f"exit status {done.returncode}")

    return create
