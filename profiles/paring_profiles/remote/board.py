"""A board that waits at a tracker: connected to, described, with libraries that are sent there and called."""

from __future__ import annotations

import re
import socket
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from paring_profiles.remote.address import Address
from paring_profiles.result import Machine
from paring_runtimes.errors import EngineError, MissingExtraError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Found = TypeVar("_Found")
_ANSWER_SECONDS = 5.0  # a tracker answers at once
_MAGIC = struct.pack("<i", 0x2F271)  # tvm.rpc.base.RPC_TRACKER_MAGIC: who says it is answered with it
_BIG_CORES = 1  # of config_threadpool: fast ones first, where a board has two kinds


class Board:
    """One session of TVM's RPC, and what is known of the machine behind it."""

    def __init__(self, session: Any, address: Address) -> None:
        self._session, self.address = session, address
        self.cpu = self._asked("target.llvm_get_system_cpu")
        self.triple = self._asked("target.llvm_get_system_triple")

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the session, so that the board is free again."""
        with suppress(Exception):  # one that broke, or was closed, has no answer to this
            self._session.get_function("CloseRPCConnection")()

    @property
    def architecture(self) -> str | None:
        """ "aarch64" and so on; None where the board's TVM has no compiler to tell it."""
        return self.triple.partition("-")[0] if self.triple else None

    def describe(self) -> Machine:
        """Return what can be read of the board; what cannot is None."""
        model = self._read("/sys/firmware/devicetree/base/model")
        host, memory = self._read("/etc/hostname"), self._read("/sys/devices/system/node/node0/meminfo")
        total = re.search(r"MemTotal:\s+(\d+) kB", memory)
        named = [model, self.cpu and f"{self.cpu} (LLVM's name)", host and f"host {host}", str(self.address)]
        return Machine(
            cpu=", ".join(one for one in named if one),
            cores_physical=None,
            cores_logical=_count(self._read("/sys/devices/system/cpu/online")),
            memory_bytes=int(total.group(1)) * 1024 if total else None,
            system=self.triple or "not known",
            python="not used",
            load_1m=None,
        )

    def use_threads(self, threads: int) -> int:
        """Ask for a number of threads; return how many the server's pool has at most."""
        self._session.get_function("runtime.config_threadpool")(_BIG_CORES, threads)
        most = int(self._session.get_function("runtime.NumThreads")())
        return min(most, threads)

    def open(self, path: Path, name: str, target: Mapping[str, Any]) -> Model:
        """Send a library there and open it.

        Raises:
            EngineError: it is for another machine, or does not open there.
        """
        machine = target["machine"]
        if self.architecture is not None and self.architecture != machine:
            raise EngineError(
                f"{path}: compiled for {machine}, and {self.address} is {self.architecture}: convert it with"
                f" -s export.target={self.architecture}"
            )
        from tvm import relax

        try:
            self._session.upload(str(path), name)
            library = self._session.load_module(name)
            machine_there = relax.VirtualMachine(library, self._session.cpu())
        except Exception as error:  # TVM's errors share no base class
            raise EngineError(
                f"{path}: {self.address} cannot open the library, which is for {machine}: {_last_line(error)}"
            ) from error
        return Model(self._session, library, machine_there, path, target, self.address)

    def _asked(self, function: str) -> str:
        """What a function there answers, which only servers with TVM's compiler have; "" otherwise."""
        try:
            return str(self._session.get_function(function)())
        except Exception:  # TVM's errors share no base class
            return ""

    def _read(self, path: str) -> str:
        """A small file there, up to its first zero byte; "" where there is none."""
        try:
            found = bytes(self._session.download(path))
        except Exception:
            return ""
        return found.split(b"\0")[0].decode("utf-8", "replace").strip()


class Model:
    """A library that is open on a board."""

    def __init__(
        self,
        session: Any,
        library: Any,
        machine: Any,
        path: Path,
        target: Mapping[str, Any],
        address: Address,
    ) -> None:
        self._session, self._library, self._machine, self._path = session, library, machine, path
        self._target, self._address = target, address
        self.where = str(address)

    def reopen(self, arrays: list[NDArray[Any]]) -> None:
        """Give the library new memory there, and inputs."""
        from tvm import relax

        self._machine = None
        self._machine = self._guarded(lambda: relax.VirtualMachine(self._library, self._session.cpu()))
        self.feed(arrays)

    def feed(self, arrays: list[NDArray[Any]]) -> None:
        """Send the inputs there, where they stay."""
        from tvm.runtime import tensor

        device = self._session.cpu()
        self._guarded(lambda: self._machine.set_input("main", *(tensor(one, device) for one in arrays)))

    def run(self) -> list[NDArray[Any]]:
        """Compute once and fetch the outputs."""

        def call() -> list[NDArray[Any]]:
            self._machine.invoke_stateful("main")
            found = self._machine.get_outputs("main")
            return [one.numpy() for one in (found if isinstance(found, tuple | list) else (found,))]

        return self._guarded(call)

    def times_ms(self, count: int) -> list[float]:
        """The times of so many calls after an untimed one, by the board's clock: without the network."""

        def call() -> list[float]:
            timer = self._machine.time_evaluator(
                "invoke_stateful", self._session.cpu(), number=1, repeat=count
            )
            return [seconds * 1e3 for seconds in timer("main").results]

        return self._guarded(call)

    def _guarded(self, call: Callable[[], _Found]) -> _Found:
        try:
            return call()
        except Exception as error:
            needed = ", ".join(self._target["features"]) or "no optional feature"
            raise EngineError(
                f"{self._path}: the run on {self._address} failed: {_last_line(error)}; the library is for"
                f" {self._target['mcpu']} and needs {needed} of the CPU there"
            ) from error


def connect(address: Address, wait_seconds: float, session_seconds: float) -> Board:
    """Ask a tracker for a board.

    Args:
        address: of the tracker, and the board's key.
        wait_seconds: how long to wait for a board that is busy.
        session_seconds: after so long the server ends the session by itself.

    Raises:
        EngineError: there is no tracker, no board of that key, or all are busy for that long.
        MissingExtraError: TVM's RPC is not installed.
    """
    _check_tracker(address)
    try:
        from tvm import rpc
    except ImportError as error:
        raise MissingExtraError("measuring on another machine", "tvm-rpc") from error
    tracker = rpc.connect_tracker(address.host, address.port)
    end = time.monotonic() + wait_seconds
    while not _free(tracker.summary(), address):
        if time.monotonic() > end:
            raise EngineError(f"{address}: every board of that key is busy for {wait_seconds:g} s already")
        time.sleep(0.5)
    try:
        session = tracker.request(address.key, session_timeout=session_seconds, max_retry=1)
    except (RuntimeError, OSError) as error:
        raise EngineError(f"{address}: the board does not answer: {_last_line(error)}") from error
    return Board(session, address)


def _check_tracker(address: Address) -> None:
    """TVM's own client waits for minutes where nothing listens, and for ever where something else does."""
    try:
        with socket.create_connection((address.host, address.port), _ANSWER_SECONDS) as found:
            found.sendall(_MAGIC)
            answer = found.recv(4)
    except OSError as error:
        raise EngineError(
            f"{address}: no tracker answers at {address.host}:{address.port} ({error}): start one by"
            f" python -m tvm.exec.rpc_tracker --host 0.0.0.0 --port {address.port}"
        ) from error
    if answer != _MAGIC:
        raise EngineError(f"{address}: what listens at {address.host}:{address.port} is no tracker of TVM")


def _free(summary: Mapping[str, Any], address: Address) -> bool:
    """Whether a board of the key is free.

    Raises:
        EngineError: there is none of that key.
    """
    keys = sorted({one["key"].removeprefix("server:") for one in summary["server_info"]})
    if address.key not in keys:
        raise EngineError(
            f"{address}: no board of the key {address.key!r} waits there; keys: {', '.join(keys) or 'none'};"
            f" start its server by python -m tvm.exec.rpc_server --tracker {address.host}:{address.port}"
            f" --key {address.key}"
        )
    return bool(summary["queue_info"].get(address.key, {}).get("free"))


def _count(listed: str) -> int | None:
    """How many numbers a list such as 0-3,6 names."""
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", listed):
        return None
    spans = [part.split("-") for part in listed.split(",")]
    return sum(int(span[-1]) - int(span[0]) + 1 for span in spans)


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
