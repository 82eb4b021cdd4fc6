"""What reading or writing a graph raises. Callers turn it into their own error."""

from __future__ import annotations


class NirRefused(ValueError):
    """A graph is wrong. The message is one line: the file, if any, the node, what would be right."""
