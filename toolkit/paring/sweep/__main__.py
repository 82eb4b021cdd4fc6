"""The process of one job, started by `apart.py`: `python -m paring.sweep JOB.json OUTCOME.json`."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
from pathlib import Path

from paring_profiles.records import write_whole

from .apart import WAITS
from .jobs import Outcome, job_from


def _end_with_parent() -> None:
    """End this process when the one that started it is gone: its end of the pipe closes."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        if hasattr(os, "killpg"):
            os.killpg(os.getpid(), signal.SIGKILL)  # what this process started goes too
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(job: str, outcome: str) -> None:
    """Do the job of one file and write its outcome into another, whole or not at all."""
    _end_with_parent()
    from .waits import tell_into
    from .work import work

    tell_into(Path(outcome).with_name(WAITS))

    told = job_from(json.loads(Path(job).read_text(encoding="utf-8")))
    try:
        found = work(told, lambda stage: print(stage, flush=True))
    except Exception as error:
        import traceback

        traceback.print_exc()
        found = Outcome("failed", f"{type(error).__name__}: {error}".splitlines()[0], "crash")
    write_whole(outcome, json.dumps(dataclasses.asdict(found)))


if __name__ == "__main__":
    main(*sys.argv[1:])
