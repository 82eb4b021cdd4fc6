"""Where a tracker is, and which kind of board is asked of it: rpc://HOST:PORT/KEY."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from paring_runtimes.errors import InputError


@dataclass(frozen=True)
class Address:
    """A tracker, and the key under which boards wait there."""

    host: str
    port: int
    key: str

    def __str__(self) -> str:
        return f"rpc://{self.host}:{self.port}/{self.key}"


def parse(text: str) -> Address:
    """Read rpc://HOST:PORT/KEY.

    Raises:
        InputError: it is none.
    """
    try:
        parts = urlsplit(text)
        host, port, key = parts.hostname, parts.port, parts.path.strip("/")
    except ValueError:
        host, port, key = None, None, ""
    if not host or not port or not key or not text.startswith("rpc://") or "/" in key:
        raise InputError(
            "on: expected rpc://HOST:PORT/KEY (TVM's tracker, and the key of the board's server), given"
            f" {text!r}"
        )
    return Address(host, port, key)
