"""Reports over HTTP on this machine alone: read-only, GET and HEAD, no path of the disk in a URL."""

from __future__ import annotations

from paring_profiles.serving.server import ADDRESS, Server, serve
from paring_profiles.serving.site import Site

__all__ = ["ADDRESS", "Server", "Site", "serve"]
