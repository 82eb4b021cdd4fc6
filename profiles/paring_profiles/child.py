"""A process of its own that measures something, and what it answered."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paring_runtimes.errors import EngineError

TIMEOUT_S = 600.0


def answer_of(
    command: Sequence[str], path: str | Path, what: str, environment: Mapping[str, str] | None = None
) -> Any:
    """Run a command; return the JSON value in the last line that it prints.

    Args:
        command: the program and its arguments.
        path: what is measured, for an error.
        what: is done, for an error: "measuring its memory".
        environment: of the process; by default this one's.

    Raises:
        EngineError: it failed, the message ends with what it said; or it took over 10 minutes.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"{path}: {what} took over {error.timeout:.0f} s") from error
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or [f"exit status {error.returncode}"])[-1]
        raise EngineError(f"{path}: {what} failed: {last}") from error
    return json.loads(done.stdout.splitlines()[-1])
