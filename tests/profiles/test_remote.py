"""Artifacts on another machine: TVM's own tracker and server, in processes of their own, over loopback."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tvm", reason="paring[tvm] is not installed")
pytest.importorskip("tornado", reason="paring[tvm-rpc] is not installed")

import paring
from paring_profiles import Settings, profile_remote, read, write
from paring_profiles.remote import board as boards
from paring_profiles.remote.address import Address, parse
from paring_profiles.report.details import machine_rows
from paring_runtimes.artifact import hash_files, read_manifest, write_manifest
from paring_runtimes.errors import EngineError, InputError, ParityError

QUICK = Settings(batch_sizes=(1, 3), threads=1, min_runs=9, min_seconds=0.0, max_seconds=20.0)
KEY = "loopback"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def tracker() -> Iterator[Address]:
    """A tracker with one board, both started as their users start them."""
    address = Address("127.0.0.1", free_port(), KEY)
    server = free_port()
    host = ("--host", address.host)
    commands = (
        ("tvm.exec.rpc_tracker", *host, "--port", address.port, "--port-end", address.port + 1),
        ("tvm.exec.rpc_server", *host, "--port", server, "--port-end", server + 1, "--key", KEY, "--tracker",
         f"{address.host}:{address.port}"),
    )  # fmt: skip
    running = [
        subprocess.Popen(
            [sys.executable, "-m", *map(str, command)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TVM_NUM_THREADS": "1"},
            start_new_session=True,
        )
        for command in commands
    ]
    try:
        _wait_until_it_waits(address)
        yield address
    finally:
        for process in running:
            os.killpg(process.pid, 9)
            process.wait()


def _wait_until_it_waits(address: Address) -> None:
    end = time.monotonic() + 180
    while True:
        try:
            boards.connect(address, 1, 10).close()
            return
        except EngineError:
            if time.monotonic() > end:
                raise
            time.sleep(1)


@pytest.fixture(scope="module")
def artifact(factories: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts") / "net"
    paring.convert(
        f"py:{factories}:convnet",
        folder,
        export={"format": "tvm", "threads": 1, "target": "portable"},
        verify={"batch_sizes": [1], "seeds": [0]},
    )
    return folder


def with_reference(artifact: Path, folder: Path, added: float) -> Path:
    """The artifact with a reference that its outputs are `added` away from."""
    import shutil

    import paring_runtimes

    shutil.copytree(artifact, folder)
    pixels = np.random.default_rng(0).standard_normal((2, 1, 28, 28)).astype(np.float32)
    with paring_runtimes.load(artifact) as session:
        (name,) = (spec.name for spec in session.inputs)
        found = session.run({name: pixels})
    arrays = {f"input:{name}": pixels, **{f"output:{key}": value + added for key, value in found.items()}}
    np.savez(folder / "reference.npz", **arrays)
    write_manifest(folder, dataclasses.replace(read_manifest(folder), files=hash_files(folder)))
    return folder


@pytest.mark.slow
def test_two_artifacts_in_turn_give_a_ratio_with_its_interval(
    tracker: Address, artifact: Path, tmp_path: Path
) -> None:
    other = with_reference(artifact, tmp_path / "other", 0.0)
    found = profile_remote([artifact, other], str(tracker), QUICK)
    assert [one.name for one in found.candidates] == ["net", "other"]
    for candidate, source in zip(
        found.candidates, ("this machine's", "the artifact's reference"), strict=True
    ):
        assert [one.batch_size for one in candidate.latency] == [1, 3]
        for one in candidate.latency:
            assert len(one.samples_ms) >= QUICK.min_runs
            assert all(0 < value < 10_000 for value in one.samples_ms)
            assert str(tracker) in one.method
            assert "without the network" in one.method
            assert f"of {source}" in one.method
    for comparison in found.comparisons:
        low, high = comparison.latency_ratio_ci95
        assert low <= comparison.latency_ratio <= high
    assert len(found.comparisons) == 2
    assert str(tracker) in found.machine.cpu
    assert found.machine.load_1m is None
    assert ("Load before (1 min)", "not known") in machine_rows(found.machine)
    assert read(write(found, tmp_path / "profile.json")) == found


@pytest.mark.slow
def test_the_command_measures_there(tracker: Address, artifact: Path, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "paring", "profile", str(artifact), "--on", str(tracker), "--json"]
    options = ["--threads", "1", "--min-runs", "3", "--min-seconds", "0", "-o", str(tmp_path / "report")]
    done = subprocess.run([*line, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert str(tracker) in json.loads(done.stdout)["machine"]["cpu"]
    assert str(tracker) in (tmp_path / "report" / "report.md").read_text()


@pytest.mark.slow
def test_answers_that_differ_there_are_refused(tracker: Address, artifact: Path, tmp_path: Path) -> None:
    wrong = with_reference(artifact, tmp_path / "wrong", 0.5)
    with pytest.raises(ParityError, match=r"differs by up to 0.5 from the artifact's reference"):
        profile_remote([wrong], str(tracker), QUICK)


@pytest.mark.slow
def test_more_threads_than_the_server_has_are_told(tracker: Address, artifact: Path) -> None:
    settings = dataclasses.replace(QUICK, threads=4, batch_sizes=(1,), min_runs=3)
    found = profile_remote([artifact], str(tracker), settings)
    assert any("4 threads were asked for, and the server's pool has 1" in said for said in found.noise)
    assert "1 threads" in found.candidates[0].latency[0].method


@pytest.mark.slow
def test_a_library_for_another_machine_is_not_sent(tracker: Address, artifact: Path) -> None:
    with boards.connect(tracker, 30, 30) as board:
        if board.architecture is None:
            pytest.skip("this TVM has no compiler, which tells the architecture")
        other = "riscv64" if board.architecture != "riscv64" else "aarch64"
        with pytest.raises(EngineError, match=f"compiled for {other}, and .* is {board.architecture}: conv"):
            board.open(artifact / "model.so", "m.so", {"machine": other})


@pytest.mark.slow
def test_a_key_that_nobody_has_is_told_at_once(tracker: Address) -> None:
    begin = time.monotonic()
    with pytest.raises(EngineError, match=f"no board of the key 'pi4' waits there; keys: {KEY};"):
        boards.connect(Address(tracker.host, tracker.port, "pi4"), 30, 30)
    assert time.monotonic() - begin < 20


@pytest.mark.slow
def test_a_board_that_is_busy_is_not_waited_for_without_end(tracker: Address) -> None:
    with boards.connect(tracker, 30, 60), pytest.raises(EngineError, match="busy for 1 s"):
        boards.connect(tracker, 1, 30)


def test_without_a_tracker_the_command_that_starts_one_is_told() -> None:
    with pytest.raises(EngineError, match=r"no tracker answers .*python -m tvm.exec.rpc_tracker"):
        boards.connect(Address("127.0.0.1", free_port(), KEY), 1, 1)


def test_what_listens_and_is_no_tracker_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "_ANSWER_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = Address("127.0.0.1", silent.getsockname()[1], KEY)
        with pytest.raises(EngineError, match="no tracker answers"):
            boards.connect(address, 1, 1)
    with socket.create_server(("127.0.0.1", 0)) as talks:

        def greet() -> None:
            found, _ = talks.accept()
            with found:
                found.sendall(b"SSH-2.0")
                found.recv(4)

        greeter = threading.Thread(target=greet)
        greeter.start()
        address = Address("127.0.0.1", talks.getsockname()[1], KEY)
        with pytest.raises(EngineError, match="is no tracker of TVM"):
            boards.connect(address, 1, 1)
        greeter.join()


def test_artifacts_of_other_formats_are_refused_before_anything_is_sent(
    convnet_artifact: Path, tmp_path: Path
) -> None:
    nowhere = f"rpc://127.0.0.1:{free_port()}/{KEY}"
    with pytest.raises(InputError, match=r"an artifact of onnx, .*export\.format=tvm"):
        profile_remote([convnet_artifact], nowhere, QUICK)
    with pytest.raises(InputError, match="artifacts are measured"):
        profile_remote([tmp_path], nowhere, QUICK)


@pytest.mark.parametrize(
    "text", ["http://a:1/k", "rpc://a/k", "rpc://a:1", "rpc://a:b/k", "rpc://a:1/k/l", "x"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="rpc://HOST:PORT/KEY"):
        parse(text)
    assert parse("rpc://pi.local:9190/pi4") == Address("pi.local", 9190, "pi4")
