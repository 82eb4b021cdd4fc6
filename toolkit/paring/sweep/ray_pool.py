"""Jobs over a Ray cluster: a task a job, on a node that has the job's kind of device.

Ray's own retries are off: a task whose worker was killed comes back as lost, and the sweep runs that trial
again by itself. Within the task the job has a process of its own, as on one machine, so a time limit and a
crash are told the same way; it ends with its worker.
"""

from __future__ import annotations

import os
from typing import Any

from paring.api import extras
from paring_runtimes.errors import EngineError, InputError

from .apart import run_apart
from .jobs import Job, Outcome, outcome_from

LOCAL = "local:"
STORE_BYTES = 100_000_000  # Ray's least, about: artifacts do not go through its object store


class RayPool:
    """Runs jobs on the cluster at `address`: "auto", "HOST:PORT", "ray://HOST:PORT", or "local:N"."""

    def __init__(self, address: str, slots: int | None = None, devices: tuple[str, ...] = ("cpu",)) -> None:
        with extras("a sweep over a cluster"):
            import ray
        self._ray = ray
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        if address.startswith(LOCAL):
            count = _count(address)
            kinds = {kind: float(count) for kind in devices if kind != "cpu"}
            try:
                ray.init(num_cpus=count, resources=kinds, object_store_memory=STORE_BYTES, **quiet)
            except Exception as error:  # Ray's own, of no kind: it gives a machine 30 s to start
                raise EngineError(f"--ray {address}: Ray did not start here: {error}") from error
            self.slots = slots or count
        else:
            try:
                ray.init(address=address, log_to_driver=False, logging_level="ERROR")
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise InputError(f"--ray {address}: no cluster answers: {error}".splitlines()[0]) from None
            self.slots = slots or sum(bool(node["Alive"]) for node in ray.nodes())
        self._check(devices)
        # A function of this file, which a worker finds by its name in its own installation.
        self._run = ray.remote(max_retries=0, num_cpus=1)(run_on_worker)
        self._running: dict[Any, int] = {}

    def _check(self, devices: tuple[str, ...]) -> None:
        """See that the cluster has every kind of device.

        Raises:
            InputError: it has not, and its trials would wait for ever.
        """
        known = self._ray.cluster_resources()
        for kind in devices:
            if kind != "cpu" and kind not in known:
                self.close()
                listed = ", ".join(sorted(name for name in known if ":" not in name))
                raise InputError(
                    f"device {kind!r}: no node of the cluster offers it; start one with ray start"
                    f" --resources='{{\"{kind}\": 1}}'. The cluster has {listed}"
                )

    @property
    def busy(self) -> int:
        """Jobs handed in and not handed back."""
        return len(self._running)

    def submit(self, number: int, job: Job, timeout_s: float) -> None:
        """Hand in a job. One job at a time has a device; a CPU's measurements take turns by a lock."""
        wanted = {} if job.device == "cpu" else {job.device: 1.0}
        task = self._run.options(resources=wanted, name=f"paring {job.kind} {number}")
        self._running[task.remote(job.as_dict(), timeout_s)] = number

    def wait(self) -> tuple[int, Outcome]:
        """The next job that ends, by its number."""
        [first], _ = self._ray.wait(list(self._running), num_returns=1)
        number = self._running.pop(first)
        try:
            return number, outcome_from(self._ray.get(first))
        except self._ray.exceptions.RayTaskError as error:  # raised in the task: no worker was lost
            return number, Outcome("failed", str(error).strip().splitlines()[-1], "worker")
        except self._ray.exceptions.RayError as error:
            reason = f"its worker was lost ({type(error).__name__})"
            return number, Outcome("failed", reason, "worker", lost=True)

    def close(self) -> None:
        """End what still runs; a cluster that was there before goes on."""
        self._ray.shutdown()


def run_on_worker(told: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    """The task."""
    import socket

    return run_apart(told, timeout_s, f"ray worker {os.getpid()} on {socket.gethostname()}")


def _count(address: str) -> int:
    text = address.removeprefix(LOCAL)
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"--ray {address}: local:N starts N workers on this machine, as in local:2")
    return int(text)
