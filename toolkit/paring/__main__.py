"""`python -m paring` is the `paring` command."""

from __future__ import annotations

from .cli import main

main()
