"""Instances whose calls take a known time, and runs of scenarios over them."""

import threading
import time
from contextlib import contextmanager

from paring_profiles.load.result import LoadSettings
from paring_profiles.load.scenarios import find
from paring_profiles.load.system import System, worker_threads
from paring_runtimes.errors import EngineError


class Sleeper:
    """Sleeps `call_s` a call, `stall_s` at call number `stalls_at`; remembers its calls."""

    def __init__(self, call_s=0.0005, stalls_at=None, stall_s=0.0, fails_at=None):
        self.call_s, self.stalls_at, self.stall_s, self.fails_at = call_s, stalls_at, stall_s, fails_at
        self.calls, self.threads = [], set()

    def call(self, first, count):
        if len(self.calls) == self.fails_at:
            raise EngineError("the engine failed")
        time.sleep(self.stall_s if len(self.calls) == self.stalls_at else self.call_s)
        self.calls.append((first, count))
        self.threads.add(threading.get_ident())


@contextmanager
def system_of(*instances):
    with worker_threads(len(instances)) as threads:
        yield System(instances, threads)


def made(name, instances, plan, **settings):
    with system_of(*instances) as system:
        return find(name).run(
            system, LoadSettings(workers=len(instances), **settings), plan, lambda _done: None
        )
