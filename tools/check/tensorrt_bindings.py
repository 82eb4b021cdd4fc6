"""Loads NVIDIA's own Python bindings of a TensorRT release, without TensorRT, and lists what they offer.

    python tools/check/tensorrt_bindings.py fetch 10.9.0.34 11.4.0.106   # the wheels, into the cache
    python tools/check/tensorrt_bindings.py write                        # lists of names, for the tests
    python tools/check/tensorrt_bindings.py check                        # are the kept lists right?

The bindings need nine C symbols of three native libraries; libraries that have just those, built from a few
lines of C, let the real module import. That proves names and signatures, not behaviour. Cache:
$PARING_TENSORRT_WHEELS, or ~/.cache/paring/tensorrt.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

KEPT = Path(__file__).resolve().parents[2] / "tests" / "contract" / "tensorrt_api"
RELEASES = ("10.9.0.34", "11.4.0.106")
LIBRARIES = ("libnvinfer.so", "libnvinfer_plugin.so", "libnvonnxparser.so")
SYMBOLS = (
    "createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL", "getBuilderPluginRegistry",
    "getNvOnnxParserVersion", "getPluginRegistry", "initLibNvInferPlugins",
)  # fmt: skip
# Runs in a process of its own: two releases cannot live in one.
_LIST = """
import ctypes, inspect, json, sys
for library in sys.argv[2:]:
    ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
sys.path.insert(0, sys.argv[1])
import tensorrt_bindings as trt
api = {}
for name in dir(trt):
    value = getattr(trt, name)
    if name.startswith("_") or not inspect.isclass(value):
        continue
    members = {}
    for member in dir(value):
        if member.startswith("__") and member != "__init__":
            continue
        found = getattr(value, member)
        text = (found.__doc__ or "") if callable(found) else ""
        members[member] = [line.strip() for line in text.splitlines() if line.strip().startswith(member + "(")
                           or line.strip()[:2] in ("1.", "2.", "3.")]
    api[name] = members
print(json.dumps({"version": trt.__version__, "classes": api}))
"""


def cache() -> Path:
    return Path(os.environ.get("PARING_TENSORRT_WHEELS", "~/.cache/paring/tensorrt")).expanduser()


def fetch(release: str) -> None:
    """Download the bindings of a release by pip, and unpack them into the cache."""
    target = cache() / release
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder]
        subprocess.run([*command, f"tensorrt-cu12-bindings=={release}"], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        shutil.rmtree(target, ignore_errors=True)
        zipfile.ZipFile(wheel).extractall(target)


def bindings(release: str) -> Path | None:
    """The folder with a release's `tensorrt_bindings`: in the cache, or installed; otherwise None."""
    cached = cache() / release
    if (cached / "tensorrt_bindings").is_dir():
        return cached
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        found = distribution("tensorrt-cu12-bindings")
    except PackageNotFoundError:
        return None
    return Path(str(found.locate_file(""))) if found.version == release else None


def stubs(major: str, folder: Path) -> list[Path]:
    """Build the three libraries of a major version; they hold the symbols and do nothing."""
    source = folder / "stub.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in SYMBOLS), encoding="utf-8")
    made = []
    for name in LIBRARIES:
        library = folder / f"{name}.{major}"
        soname = f"-Wl,-soname,{library.name}"
        command = ["cc", "-shared", "-fPIC", soname, "-o", str(library), str(source)]
        subprocess.run(command, check=True, capture_output=True)
        made.append(library)
    return made


def listed(release: str) -> dict[str, Any]:
    """Every class of a release, its members, and the signatures that their documentation gives."""
    where = bindings(release)
    if where is None:
        raise SystemExit(f"{release}: no bindings; python {Path(__file__).name} fetch {release}")
    with tempfile.TemporaryDirectory() as folder:
        libraries = [str(one) for one in stubs(release.partition(".")[0], Path(folder))]
        command = [sys.executable, "-c", _LIST, str(where), *libraries]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{release}: the bindings do not import: {done.stderr[-800:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def arity(signatures: list[str]) -> list[int] | None:
    """The fewest and the most arguments besides self, over every overload; None where none is told."""
    found = []
    for signature in signatures:
        inside = signature[signature.find("(") + 1 : signature.rfind(") ->")]
        if signature.rfind(") ->") < 0 or inside.startswith("*args"):
            continue
        depth, parts = 0, [""]
        for char in inside:
            depth += (char in "[(<") - (char in "])>")
            if char == "," and depth == 0:
                parts.append("")
            else:
                parts[-1] += char
        rest = [part for part in parts if part.strip() and not part.strip().startswith("self")]
        found.append((sum("=" not in part for part in rest), len(rest)))
    return [min(few for few, _ in found), max(most for _, most in found)] if found else None


def text(api: dict[str, Any]) -> str:
    """What is kept: names, and how many arguments each method takes; a class a line."""
    lines = []
    for name in sorted(api["classes"]):
        members = {key: arity(lines) for key, lines in sorted(api["classes"][name].items())}
        lines.append(f"    {json.dumps(name)}: {json.dumps(members)}")
    return f'{{\n  "version": "{api["version"]}",\n  "classes": {{\n' + ",\n".join(lines) + "\n  }\n}\n"


def main() -> int:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("do", choices=("fetch", "write", "check"))
    parser.add_argument("releases", nargs="*", default=RELEASES)
    asked = parser.parse_args()
    differing = 0
    for release in asked.releases or RELEASES:
        kept = KEPT / f"{release}.json"
        if asked.do == "fetch":
            fetch(release)
        elif asked.do == "write":
            kept.write_text(text(listed(release)), encoding="utf-8")
        elif not kept.is_file() or kept.read_text(encoding="utf-8") != text(listed(release)):
            print(f"{release}: differs from {kept}")
            differing += 1
        else:
            print(f"{release}: as kept")
    return 1 if differing else 0


if __name__ == "__main__":
    raise SystemExit(main())
