"""Prose to hide needles in: a file, or every .txt and .html file of a folder. Markup is left out."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from paring_runtimes.errors import InputError

MARKUP = (".html", ".htm")
SUFFIXES = (".txt", *MARKUP)
_SILENT = ("head", "script", "style", "nav", "pre")


def read_prose(path: Path) -> str:
    """Return the text, runs of white space as one blank; a folder's files in the order of their paths.

    Raises:
        InputError: nothing there, no text in it, or not UTF-8.
    """
    files = [path]
    if path.is_dir():
        files = sorted(one for one in path.rglob("*") if one.suffix.lower() in SUFFIXES and one.is_file())
        if not files:
            raise InputError(f"{path}: no {', '.join(SUFFIXES)} files in it")
    text = " ".join(" ".join(_read(one).split()) for one in files).strip()
    if not text:
        raise InputError(f"{path}: no text in it")
    return text


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file or folder") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: no UTF-8 text (byte {error.start})") from None
    return _without_markup(text) if path.suffix.lower() in MARKUP else text


def _without_markup(page: str) -> str:
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return "".join(reader.parts)


class _Reader(HTMLParser):
    """Collects what a page says; not its scripts, styles, listings and navigation."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in _SILENT:
            self._silent.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._silent:
            del self._silent[self._silent.index(tag) :]
        if tag in ("p", "li", "td", "th", "div", "br", "h1", "h2", "h3", "h4"):
            self.parts.append(" ")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(data)
