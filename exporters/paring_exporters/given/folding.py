"""Fold what is constant, and clean up: branches whose condition is known are chosen."""

from __future__ import annotations

import copy
from importlib.metadata import version
from typing import Any

from paring_runtimes.errors import ExportError

from ..onnx_graph.weights import must_lie_beside
from ..quiet import quiet_export


def folded(model: Any, optimizer: str) -> tuple[str, Any, tuple[str, ...]]:
    """What ran with its versions, the cleaner model, and notes.

    onnxscript folds first: it goes into the branches of an `If` and chooses one where the condition is
    constant, which onnxslim does not. Then onnxslim fuses. "auto" leaves out whichever fails on the graph.

    Raises:
        ExportError: an optimizer that was asked for by name fails.
    """
    if optimizer == "none" or (optimizer == "auto" and must_lie_beside(model)):
        return "none", model, ()
    model = copy.deepcopy(model)  # both change what they are given
    wanted = ("onnxscript", "onnxslim") if optimizer == "auto" else (optimizer,)
    done, notes = [], []
    for name in wanted:
        try:
            with quiet_export():
                model = _onnxscript(model) if name == "onnxscript" else _onnxslim(model)
        except Exception as error:  # they share no base class
            line = " ".join(str(error).split())[:200] or type(error).__name__
            if optimizer != "auto":
                raise ExportError(
                    f"optimizer {name}: it fails on this graph ({line}); none leaves it as it is"
                ) from error
            notes.append(f"{name} {version(name)} fails on this graph and was left out ({line})")
        else:
            done.append(f"{name} {version(name)}")
    return " + ".join(done) or "none", model, tuple(notes)


def _onnxscript(model: Any) -> Any:
    from onnxscript.optimizer import optimize

    return optimize(model)


def _onnxslim(model: Any) -> Any:
    import onnxslim

    return onnxslim.slim(model)
