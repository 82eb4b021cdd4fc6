"""One job in a process of its own: what crashes, hangs or eats the memory there is lost alone.

python -m paring.sweep.apart JOB.json OUTCOME.json
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .jobs import Outcome, outcome_from
from .waits import waited_s

_RUNNING: set[subprocess.Popen[bytes]] = set()
LAST_LINES = 40  # of what a process wrote before it failed
WAITS = "waits"
LOOK_EVERY_S = 1.0


def run_apart(told: dict[str, Any], timeout_s: float, worker: str = "") -> dict[str, Any]:
    """Run a job, in JSON form as is the outcome. Never raises for what happens in the process.

    Args:
        told: the job.
        timeout_s: of its own work: waiting for its turn on the machine does not count.
        worker: what runs it, where that is not its process.
    """
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="paring-sweep-") as scratch:
        job, outcome, log = (Path(scratch) / name for name in ("job.json", "outcome.json", "log"))
        job.write_text(json.dumps(told), encoding="utf-8")
        command = [sys.executable, "-m", "paring.sweep", str(job), str(outcome)]
        code, timed_out = run_limited(command, log, Path(scratch) / WAITS, timeout_s)
        found = _read(outcome, code, timed_out, timeout_s, log)
    seconds = found.seconds or time.monotonic() - begin
    found = dataclasses.replace(found, seconds=seconds, worker=worker or found.worker)
    return dataclasses.asdict(found)


def run_limited(command: list[str], log: Path, waits: Path, timeout_s: float) -> tuple[int, bool]:
    """Start a process, wait for its end; its exit status, and whether it ran out of time.

    Args:
        command: the process.
        log: gets what it writes.
        waits: where it notes when it waited for its turn, see `waits.py`: as much longer it may take.
        timeout_s: else.
    """
    path = os.pathsep.join(entry for entry in sys.path if entry)
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # its end is how the process learns that this one is gone
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own, so that what it starts can be ended with it
            env={**os.environ, "PYTHONPATH": path},
        )
        _RUNNING.add(process)
        begin_s = time.monotonic()
        try:
            while (left_s := timeout_s - _worked_s(begin_s, waits)) > 0:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(min(left_s, LOOK_EVERY_S)), False
            return -signal.SIGTERM, True
        finally:
            _RUNNING.discard(process)
            _end(process)


def _worked_s(begin_s: float, waits: Path) -> float:
    now_s = time.monotonic()
    return now_s - begin_s - waited_s(waits, now_s)


def end_all() -> None:
    """End every job that this process waits for."""
    for process in list(_RUNNING):
        _kill(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and all that it started, and let go of it."""
    _kill(process)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        process.kill()


def _read(outcome: Path, code: int, timed_out: bool, timeout_s: float, log: Path) -> Outcome:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-LAST_LINES:]
    if outcome.is_file():
        found = outcome_from(json.loads(outcome.read_text(encoding="utf-8")))
        return dataclasses.replace(found, log="\n".join(lines)) if found.state == "failed" else found
    if timed_out:
        reason = f"not done after {timeout_s:.0f} s of its own: --timeout gives it longer"
        return Outcome("failed", reason, "timeout", log="\n".join(lines))
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        return Outcome("failed", f"its process was killed by {name}{hint}", "process", lost=True)
    last = lines[-1] if lines else f"exit status {code}"
    return Outcome("failed", f"its process ended: {last}", "process", log="\n".join(lines))
