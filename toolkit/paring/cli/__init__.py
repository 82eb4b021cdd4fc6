"""The `paring` command. One file a command; this one holds what they share at the top.

Exit codes: 0 done; 1 another failure; 2 bad input (recipe, model, weights, run's input); 3 an extra is
missing; 4 a transform or an exporter refused the model; 5 an artifact is damaged or does not load;
6 the export differs from PyTorch; 7 a gate failed; 130 interrupted.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

import typer
from rich.text import Text

from paring_runtimes.errors import ParingError

from .output import errors, wants_json

COMMANDS = (
    "convert", "profile", "compare", "run", "generate", "filter_layers", "must_drop_budgets", "inspect",
    "list", "doctor", "demo", "recipe",
)  # fmt: skip
HELP = "Make a trained model cheap enough to ship, and prove it.\n\n" + (__doc__ or "").partition("\n\n")[2]


def app() -> typer.Typer:
    """The command tree."""
    tree = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode=None, add_completion=True)
    for name in COMMANDS:
        importlib.import_module(f"{__name__}.{name}_command").register(tree)
    return tree


def main() -> None:
    """Run the command line; errors that paring raises on purpose become one line and an exit code."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        app()()
    except ParingError as error:
        if wants_json(sys.argv):
            fields = {
                "error": type(error).__name__,
                "message": str(error),
                "exit_code": error.exit_code,
            }
            print(json.dumps(fields))
        errors.print(Text.assemble(("error:", "red"), f" {error}"), soft_wrap=True)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        errors.print("interrupted; nothing was left half-written")
        raise SystemExit(130) from None
