"""Holds the kept operator tables of TensorRT against the release's own docs/operators.md, given by path.

    python tools/check/tensorrt_operators.py operators.md                 # compares; 1 on a difference
    python tools/check/tensorrt_operators.py operators.md --write SOURCE  # keeps it, and where it is from

The file is onnx/onnx-tensorrt's docs/operators.md at the release's tag.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from paring_exporters.tensorrt.support import FOLDER, read, releases, written
from paring_exporters.tensorrt.table import Table, parse


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path)
    parser.add_argument("--release", help="the tag's, where the file does not say it rightly")
    parser.add_argument("--write", metavar="SOURCE")
    asked = parser.parse_args()
    fresh = parse(asked.table.read_text(encoding="utf-8"))
    if asked.release:
        fresh = Table(asked.release, fresh.opsets, fresh.operators, fresh.restricted)
    kept = FOLDER / f"operators-{fresh.release}.json"
    if asked.write:
        kept.write_text(written(fresh, asked.write), encoding="utf-8")
        print(f"{kept.name}: {len(fresh.operators)} operators kept")
        return 0
    if not kept.is_file():
        print(f"no table of {fresh.release} is kept; there are {', '.join(releases())}")
        return 1
    found = differences(read(kept), fresh)
    print("\n".join(found) or f"{fresh.release}: all {len(fresh.operators)} operators agree")
    return 1 if found else 0


def differences(kept: Table, fresh: Table) -> list[str]:
    """What the two say differently, a line each."""
    found = [] if kept.opsets == fresh.opsets else [f"opsets: kept {kept.opsets}, fresh {fresh.opsets}"]
    for key in ("operators", "restricted"):
        ours, theirs = getattr(kept, key), getattr(fresh, key)
        for name in sorted(set(ours) | set(theirs)):
            if ours.get(name, "absent") != theirs.get(name, "absent"):
                pair = f"kept {ours.get(name, 'absent')}, fresh {theirs.get(name, 'absent')}"
                found.append(f"{key}: {name}: {pair}")
    return found


if __name__ == "__main__":
    raise SystemExit(main())
