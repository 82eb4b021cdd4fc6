"""`paring inspect`: what an artifact is, and whether it is whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from paring_runtimes import Manifest, TensorSpec, read_manifest
from paring_runtimes.artifact import verify_files

from ..api import extras
from .graph_rows import graph_facts, told
from .language_rows import language_rows
from .output import Json, console, print_json, table
from .quality_table import show_answers, show_robustness


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command()(inspect)


def inspect(
    artifact: Annotated[Path, typer.Argument(help="artifact folder, or ONNX file")], json: Json = False
) -> None:
    """Show an artifact's manifest and check its files against their digests; or what an ONNX file holds."""
    if artifact.suffix.lower() == ".onnx" and not artifact.is_dir():
        _show_file(artifact, json)
        return
    manifest = read_manifest(artifact)
    verify_files(artifact, manifest)
    sizes = {name: (artifact / name).stat().st_size for name in manifest.files}
    if json:
        print_json({"manifest": manifest, "sizes_bytes": sizes, "whole": True})
        return
    rows_of_language = language_rows(artifact, manifest)
    table(
        str(artifact),
        ("", ""),
        [
            [
                "format",
                f"{manifest.format}, schema {manifest.schema_version}, made {manifest.created}",
            ],
            ["source", _pairs(manifest.source)],
            ["inputs", "\n".join(_spec(spec) for spec in manifest.inputs)],
            ["outputs", "\n".join(_spec(spec) for spec in manifest.outputs)],
            ["transforms", _transforms(manifest)],
            *rows_of_language,
            [
                "graph",
                _pairs(
                    {k: v for k, v in manifest.graph.items() if not rows_of_language or k != "generation"}
                ),
            ],
            ["export", _pairs(manifest.export)],
            ["parity", _parity(manifest)],
            ["quality", _quality(manifest)],
            ["tools", _pairs(manifest.tools)],
        ],
    )
    show_robustness((manifest.quality or {}).get("robustness"))
    if "types" in (manifest.quality or {}):
        show_answers(manifest.quality or {})
    rows = [[name, f"{sizes[name]:,}", digest] for name, digest in manifest.files.items()]
    table("files (all as they were written)", ("file", "bytes", "SHA-256"), rows)
    console.print("whole     every file matches its digest")


def _show_file(file: Path, json: bool) -> None:
    with extras("looking at an ONNX model"):
        facts = graph_facts(file)
    if json:
        print_json(facts)
    else:
        table(str(file), ("", ""), told(facts))


def _spec(spec: TensorSpec) -> str:
    return f"{spec.name}: {spec.dtype} [{', '.join(str(size) for size in spec.shape)}]"


def _pairs(values: Mapping[str, object]) -> str:
    return "\n".join(f"{key}: {value}" for key, value in values.items() if value is not None) or "-"


def _transforms(manifest: Manifest) -> str:
    return "\n".join(f"{step['name']} {step['config']}" for step in manifest.transforms) or "none"


def _parity(manifest: Manifest) -> str:
    found = manifest.parity
    if found is None:
        return "not verified"
    verdict = "passed" if found["passed"] else "FAILED"
    return (
        f"{verdict}: max abs {found['max_abs']:.2g}, cosine {found['min_cosine']:.8f}, top-1 agreement"
        f" {found['top1_agreement']:.1%} over {found['samples']} samples, {found['ties']} ties"
    )


def _quality(manifest: Manifest) -> str:
    found = manifest.quality
    if found is None:
        return "not measured"
    before = f"{found['before']:.4f} -> " if "before" in found else ""
    what = "chunks" if found["metric"] == "perplexity" else "questions" if "types" in found else "images"
    return f"{found['metric']} {before}{found['after']:.4f} on {found['samples']} {what} of {found['data']}"
