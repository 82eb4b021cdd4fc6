"""The `paring` command. One file a command; this one holds what they share at the top.

Exit codes: 0 done; 1 another failure, or `compare --ci` found a regression; 2 bad input (command line,
recipe, model, weights, output, store); 3 an extra is missing; 4 a transform or an exporter refused the
model; 5 an artifact is damaged or does not load; 6 the export differs from PyTorch; 7 a gate failed; 130
interrupted.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Annotated, Any

import typer
from rich.text import Text

from paring_runtimes.errors import ParingError

from .. import __version__
from .output import errors, wants_json

COMMANDS = (
    "convert", "recover", "profile", "load_test", "compare", "history", "run", "generate", "filter_layers",
    "needle", "accuracy", "must_drop_budgets", "shift_layers", "mixture_costs", "spike_coverage",
    "inspect", "lint_tensorrt", "ledger", "calibrate_model", "import", "plan", "simulate", "sweep",
    "recommend", "report", "serve", "list", "doctor", "demo", "recipe",
)  # fmt: skip
# By way of a public class: typer may carry its own click or use the package.
CLICK_EXCEPTION: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
HELP = "Make a trained model cheap enough to ship, and prove it.\n\n" + (__doc__ or "").partition("\n\n")[2]


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"paring {__version__}")
        raise typer.Exit


def app() -> typer.Typer:
    """The command tree."""
    tree = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        add_completion=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    tree.callback(help=HELP)(_whole)
    for name in COMMANDS:
        importlib.import_module(f"{__name__}.{name}_command").register(tree)
    return tree


def _whole(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """What the command without a subcommand takes."""


def main() -> None:
    """Run the command line; errors that paring raises on purpose become one line and an exit code."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        _run()
    except ParingError as error:
        if wants_json(sys.argv):
            _print_error(type(error).__name__, str(error), error.exit_code)
        errors.print(Text.assemble(("error:", "red"), f" {error}"), soft_wrap=True)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        errors.print("interrupted; nothing was left half-written")
        raise SystemExit(130) from None


def _run() -> None:
    """With --json, a command line that is wrong is told as JSON too."""
    if not wants_json(sys.argv):
        app()()
        return
    try:
        code = app()(standalone_mode=False)
    except CLICK_EXCEPTION as error:
        _print_error("UsageError", error.format_message(), error.exit_code)
        error.show()
        raise SystemExit(error.exit_code) from None
    raise SystemExit(code or 0)


def _print_error(kind: str, message: str, exit_code: int) -> None:
    print(json.dumps({"error": kind, "message": message, "exit_code": exit_code}))
