"""`paring lint-tensorrt`: what of a model TensorRT would refuse, before an engine is built."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paring_runtimes import read_manifest
from paring_runtimes.errors import InputError

from ..api import extras
from .output import Json, console, print_json, table

if TYPE_CHECKING:
    from paring_exporters.tensorrt.lint import Report

NEWEST = "11.1"


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command("lint-tensorrt")(lint_tensorrt)


def lint_tensorrt(
    model: Annotated[Path, typer.Argument(help="ONNX file, or an artifact's folder")],
    release: Annotated[
        str, typer.Option(help="of TensorRT: 10.9, 10.16, 11, ...; the newest table up to it is used")
    ] = NEWEST,
    repair: Annotated[
        Path | None, typer.Option(help="write the model with every safe repair made, to this file")
    ] = None,
    json: Json = False,
) -> None:
    """Hold a model against a release's operators, types and rules on shapes; 4 when it would be refused."""
    with extras("looking at an ONNX model"):
        from paring_exporters.tensorrt.lint import lint_file

        reports = {str(file): lint_file(file, release) for file in _files(model)}
        done = _repair(model, repair)
    if json:
        told = {name: {**asdict(report), "clean": report.clean} for name, report in reports.items()}
        print_json({"reports": told, "repairs": done})
    else:
        for name, report in reports.items():
            _show(name, report)
        for line in done:
            console.print(f"repaired  {line}", soft_wrap=True, highlight=False)
    if any(report.errors for report in reports.values()):
        raise typer.Exit(4)


def _files(model: Path) -> list[Path]:
    if not model.is_dir():
        return [model]
    found = [model / name for name in read_manifest(model).files if name.endswith(".onnx")]
    if not found:
        raise InputError(f"{model}: there is no ONNX file in this artifact")
    return found


def _repair(model: Path, to: Path | None) -> tuple[str, ...]:
    if to is None:
        return ()
    if model.is_dir() or to.exists():
        raise InputError(
            f"--repair: {to} exists already"
            if to.exists()
            else "--repair: give an ONNX file, not an artifact"
        )
    import onnx

    from paring_exporters.tensorrt.lint.repairs import repaired

    changed, done = repaired(onnx.load(model))
    onnx.save(changed, to)
    return done


def _show(name: str, report: Report) -> None:
    rows = [[f.severity, f.node, f.operator, f.reason, f.repair] for f in report.findings]
    if rows:
        columns = ("", "node", "operator", "reason", "repair")
        table(f"{name}, TensorRT {report.release} (table of {report.table})", columns, rows)
    warnings = len(report.findings) - len(report.errors)
    verdict = "clean" if report.clean else f"{len(report.errors)} errors, {warnings} warnings"
    console.print(
        f"{name}: {verdict}: {report.nodes} nodes, opset {report.opset}, table of TensorRT {report.table};"
        " static, no engine was built",
        soft_wrap=True,
        highlight=False,
    )
