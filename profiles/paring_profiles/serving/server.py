"""The HTTP side: bound to the loopback address, asked by its own name only, GET and HEAD only."""

from __future__ import annotations

import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from paring_profiles.serving.site import TEXT, Answer, Site
from paring_runtimes.errors import InputError, ParingError

ADDRESS = "127.0.0.1"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_PATIENCE_S = 30.0  # for a request to be sent; a silent connection is closed


class Server(ThreadingHTTPServer):
    """A server of one site; `url` is where it listens.

    Raises:
        InputError: the port is taken or may not be used.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, site: Site, port: int = 0) -> None:
        self.site = site
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            raise InputError(
                f"port {port} of {ADDRESS} cannot be used: {error}; 0 takes a free one"
            ) from None

    @property
    def url(self) -> str:
        """With a slash at its end."""
        return f"http://{ADDRESS}:{self.server_address[1]}/"

    @property
    def hosts(self) -> set[str]:
        """By what a browser may call this server. Any other name may have been pointed here by a stranger."""
        port = self.server_address[1]
        names = {f"{name}:{port}" for name in (ADDRESS, "localhost")}
        return names | ({ADDRESS, "localhost"} if port == 80 else set())

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error; everything else is told."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "paring", ""
    timeout = _PATIENCE_S

    def do_GET(self) -> None:
        """Answer with a page."""
        status, answer = self._answer()
        self._send(status, answer)

    do_HEAD = do_GET

    def _refuse(self) -> None:
        self.close_connection = True  # its body is not read
        self._send(HTTPStatus.METHOD_NOT_ALLOWED, _said("this server only reads: GET and HEAD"))

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse

    def _answer(self) -> tuple[HTTPStatus, Answer]:
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or hosts[0].lower() not in self.server.hosts:
            said = f"this server answers to {' and '.join(sorted(self.server.hosts))} only"
            return HTTPStatus.MISDIRECTED_REQUEST, _said(said)
        path = unquote(urlsplit(self.path).path)
        try:
            found = self.server.site.get(path)
        except (ParingError, OSError) as error:
            return HTTPStatus.INTERNAL_SERVER_ERROR, _said(str(error))
        if found is None:
            return HTTPStatus.NOT_FOUND, _said("there is no such page; / lists them all")
        return HTTPStatus.OK, found

    def _send(self, status: HTTPStatus, answer: Answer) -> None:
        self.send_response(status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal holds the address."""


def _said(sentence: str) -> Answer:
    return Answer(f"{sentence}\n".encode(), TEXT)


def serve(site: Site, port: int, ready: Callable[[str], None]) -> None:
    """Serve until interrupted; `ready` is told the URL.

    Raises:
        InputError: the port cannot be used.
    """
    with Server(site, port) as server:
        ready(server.url)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            return
