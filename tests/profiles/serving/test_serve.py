"""`paring serve`: what it shows, and what it refuses."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from paring_profiles.history import add_profile
from paring_profiles.imports import import_results, write_results
from paring_profiles.result import Candidate, Latency, Machine, Profile, Settings
from paring_profiles.serving import ADDRESS, Server, Site
from paring_profiles.sweep import (
    Baseline,
    Measure,
    Objective,
    Sweep,
    SweepSettings,
    Trial,
    front,
    write_sweep,
)
from paring_runtimes.errors import InputError

MACHINE = Machine("A CPU", 2, 4, 8_200_000_000, "Linux-6.1.0-x86_64", "CPython 3.11", 0.1, False)
ODD = "<b>odd</b>"
PATIENCE_S = 120.0


def a_sweep() -> Sweep:
    def figures(latency: float, size: float) -> dict[str, Measure]:
        return {
            "latency_relative": Measure(
                latency, latency - 0.01, latency + 0.01, "x baseline", "measured", "timed"
            ),
            "size_bytes": Measure(size, size, size, "bytes", "measured", "files"),
        }

    objectives = [
        Objective("latency", "latency_relative", True, "latency", "x baseline", "measured"),
        Objective("size", "size_bytes", True, "size", "bytes", "measured"),
    ]
    trials = [
        Trial(
            n, {"keep": keep}, [], None, None, "onnxruntime", "cpu", "complete", measures=figures(keep, 1e6)
        )
        for n, keep in enumerate((0.5, 0.7))
    ]
    base = Baseline("", "onnxruntime", "cpu", figures(1.0, 2e6))
    settings = SweepSettings(1, 1, 10, 0.1, 0, "grid", 2, None, 200, 60.0)
    when = "2026-01-02T03:04:05+00:00"
    return Sweep(
        when, when, "complete", {"cpu": MACHINE}, {}, {"model": ODD, "transforms": []}, {}, 2, objectives,
        settings, [base], trials, front(trials, [base], objectives, 0),
    )  # fmt: skip


def a_profile(name: str, p50_ms: float) -> Profile:
    samples = [p50_ms + 0.001 * i for i in range(100)]
    timed = Latency(
        1, samples, 5, p50_ms, (p50_ms, p50_ms + 0.1), p50_ms, None, p50_ms, 0.1, p50_ms, 1e3 / p50_ms
    )
    one = Candidate(
        name, f"/models/{name}", "onnx", 1000, 5, {"1": 100}, [], None, 4_000_000, 1.5, [timed], {}, None, [],
        {"model": "timm:x"}, None, None, artifact_digest="a" * 64, engine="onnxruntime 1.32.0",
    )  # fmt: skip
    created = datetime(2026, 1, 1, tzinfo=timezone.utc).isoformat()
    return Profile(created, MACHINE, Settings(), {}, [one], [], [])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep, a folder with a written report, a store, and a secret beside them."""
    folder = tmp_path_factory.mktemp("served")
    write_sweep(a_sweep(), folder / "sweep")
    (folder / "needles").mkdir()
    (folder / "needles" / "needle.html").write_text("<!doctype html><title>needles</title>")
    (folder / "needles" / "notes.txt").write_text("private")
    (folder / "secret.txt").write_text("secret")
    add_profile(folder / "store.sqlite", a_profile(ODD, 2.0), {"branch": "main"})
    return folder


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Server]:
    made = Server(Site([place / "sweep", place / "needles"], place / "store.sqlite"))
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def ask(
    server: Server, path: str, method: str = "GET", host: str | None = None
) -> tuple[int, str, dict[str, str]]:
    """Status, body and headers."""
    port = server.server_address[1]
    connection = http.client.HTTPConnection(ADDRESS, port, timeout=PATIENCE_S)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"{ADDRESS}:{port}")
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, answer.read().decode(), dict(answer.getheaders())
    connection.close()
    return found


def test_the_first_page_leads_to_every_report(server: Server) -> None:
    status, body, headers = ask(server, "/")
    assert status == 200
    assert headers["Content-Type"].startswith("text/html")
    for path, said in (
        ("/sweep/0/", "What is gained and what it costs"),
        ("/sweep/0/report.csv", "key,variant"),
        ("/sweep/0/report.json", '"schema_version": 2'),
        ("/sweep/0/report.md", "### The front"),
        ("/folder/1/needle.html", "<title>needles</title>"),
        ("/store/", "paring store"),
        ("/profile/1/", "paring profile"),
    ):
        status, page, _ = ask(server, path)
        assert status == 200, path
        assert said in page, path
        assert f'href="{path}"' in body, path
    assert ODD not in body
    assert "&lt;b&gt;odd&lt;/b&gt;" in body


def test_a_sweep_that_goes_on_is_read_again(place: Path, server: Server) -> None:
    before = ask(server, "/sweep/0/report.csv")[1]
    one = a_sweep()
    write_sweep(Sweep(**{**vars(one), "trials": one.trials[:1], "front": one.front[:1]}), place / "sweep")
    after = ask(server, "/sweep/0/report.csv")[1]
    assert len(after.splitlines()) == len(before.splitlines()) - 1
    write_sweep(one, place / "sweep")


@pytest.mark.parametrize(
    "path",
    [
        "/secret.txt",
        "/../secret.txt",
        "/sweep/0/../../secret.txt",
        "/sweep/0/..%2f..%2fsecret.txt",
        "/folder/1/%2e%2e/secret.txt",
        "/folder/1/..%5csecret.txt",
        "/folder/1//etc/passwd",
        "/folder/1/notes.txt",
        "/folder/0/needle.html",
        "/sweep/0/sweep.json",
        "/sweep/7/",
        "/profile/99/",
        "/profile/1/report.md/x",
        "/folder/1/needle.html%00.txt",
        "//etc/passwd",
    ],
)
def test_nothing_else_is_reached(server: Server, path: str) -> None:
    status, body, _ = ask(server, path)
    assert status == 404
    assert "secret" not in body
    assert "private" not in body
    assert "root:" not in body


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", "localhost.evil"]
)
def test_another_name_for_this_machine_is_refused(server: Server, host: str) -> None:
    assert ask(server, "/", host=host)[0] == 421
    assert ask(server, "/", host=f"localhost:{server.server_address[1]}")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_only_reading_is_allowed(server: Server, method: str) -> None:
    status, _, headers = ask(server, "/", method)
    assert status == 405
    assert headers["Allow"] == "GET, HEAD"


def test_head_tells_the_length_and_sends_nothing(server: Server) -> None:
    status, body, headers = ask(server, "/", "HEAD")
    assert (status, body) == (200, "")
    assert int(headers["Content-Length"]) == len(ask(server, "/")[1].encode())
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"


def test_it_listens_on_the_loopback_address_alone(server: Server) -> None:
    assert server.server_address[0] == "127.0.0.1"
    with socket.create_server((ADDRESS, 0)) as taken, pytest.raises(InputError, match="cannot be used"):
        Server(server.site, taken.getsockname()[1])


def test_other_tools_figures_are_in_the_reports_that_are_made(place: Path, tmp_path: Path) -> None:
    (tmp_path / "times.json").write_text('[{"latencyMs": 2.5, "computeMs": 2.0}]')
    kept = write_results(import_results(tmp_path / "times.json", "trtexec"), tmp_path / "kept.json")
    site = Site([place / "sweep"], place / "store.sqlite", [kept])
    for path in ("/sweep/0/", "/store/", "/sweep/0/report.md", "/sweep/0/imported.csv"):
        answer = site.get(path)
        assert answer is not None, path
        assert "trtexec" in answer.body.decode(), path
    first = site.get("/")
    assert first is not None
    assert "/sweep/0/imported.csv" in first.body.decode()
    assert Site([place / "sweep"], None).get("/sweep/0/imported.csv") is None


def test_a_folder_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a sweep"):
        Site([tmp_path], None)


def test_a_link_out_of_a_folder_is_no_page(place: Path, tmp_path: Path) -> None:
    (tmp_path / "report.html").symlink_to(place / "secret.txt")
    with pytest.raises(InputError):
        Site([tmp_path], None)


def test_the_command_prints_its_address_and_ends_at_an_interrupt(place: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "paring",
        "serve",
        str(place / "sweep"),
        "--store",
        str(place / "store.sqlite"),
    ]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
        # Tests that run in a shell's background have it ignored, and would hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as run:
        try:
            assert run.stdout is not None
            line = run.stdout.readline()
            assert line.startswith(f"serving   http://{ADDRESS}:")
            port = int(line.split(":")[2].partition("/")[0])
            connection = http.client.HTTPConnection(ADDRESS, port, timeout=PATIENCE_S)
            connection.request("GET", "/")
            assert connection.getresponse().status == 200
            connection.close()
            run.send_signal(signal.SIGINT)
            assert run.wait(PATIENCE_S) == 0
            assert "Traceback" not in run.communicate()[1]
        finally:
            run.kill()
