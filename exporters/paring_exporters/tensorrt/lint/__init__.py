"""Looks through an ONNX model for what a release of TensorRT does not take, before an engine is built.

It is static: the release's own operator table, its documented restrictions, and where every shape comes
from. It proves no build: a builder may still find no kernel, or too little memory.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from paring_runtimes.errors import InputError

from ..support import NEWEST, support
from .finding import Finding, Report, sorted_findings
from .origins import Origins
from .rules import rules
from .view import View

__all__ = ["Finding", "Report", "lint", "lint_file"]


def lint(model: onnx.ModelProto, release: str = NEWEST) -> Report:
    """Look through `model` for what TensorRT `release` does not take.

    Raises:
        InputError: a release that there is no table of.
    """
    table = support(release)
    view = View(model)
    origins = Origins(view)
    found = [finding for rule in rules().values() for finding in rule.check(view, origins, table)]
    return Report(release, table.release, view.opset, len(view.places), sorted_findings(found))


def lint_file(path: Path, release: str = NEWEST) -> Report:
    """As `lint`, of a file; weights that lie beside it are not read.

    Raises:
        InputError: it is no ONNX file.
    """
    try:
        model = onnx.load(path, load_external_data=False)
        if not model.graph.node and not model.graph.output:
            raise ValueError("there is no graph in it")
    except Exception as error:  # protobuf's errors share no base class
        raise InputError(f"{path}: no ONNX model: {' '.join(str(error).split())[:200]}") from None
    return lint(model, release)
