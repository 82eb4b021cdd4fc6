"""Make the training text: English manuals out of Debian packages, as one file of bytes.

    apt-get download debian-reference-en debian-handbook developers-reference python3.11-doc
    for one in *.deb; do dpkg -x $one unpacked; done
    python tools/assets/spike_gpt/text.py unpacked text.bin

Prose only: the paragraphs, list items and headings of their HTML pages, one a line; listings, tables,
navigation and signatures are left out. Characters outside ASCII are written in ASCII or dropped, so that a
byte is a character. A line that an earlier page has already is dropped. The last paragraphs of each page,
5 % of its characters but at least one paragraph, are held out: the file is the text to train on, a zero byte,
and the text that is held out.
"""

from __future__ import annotations

import sys
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

PAGES = (
    ("share/debian-reference", "*.en.html"),
    ("share/doc/debian-handbook/html/en-US", "*.html"),
    ("share/developers-reference", "*.html"),
    ("share/doc/python3.11/html/tutorial", "*.html"),
    ("share/doc/python3.11/html/faq", "*.html"),
    ("share/doc/python3.11/html/howto", "*.html"),
    ("share/doc/python3.11/html/reference", "*.html"),
    ("share/doc/python3.11/html/whatsnew", "[0-9]*.html"),
    ("share/doc/python3.11/html/library", "*.html"),
    ("share/doc/python3.11/html/c-api", "*.html"),
    ("share/doc/python3.11/html/extending", "*.html"),
)
HELD_OUT = 0.05
LINES = {"p", "li", "h1", "h2", "h3", "h4", "dd", "dt"}
SILENT = {"head", "script", "style", "nav", "pre", "table", "dt", "footer"}
SHORTEST = 40  # characters of a paragraph that is kept
DASHES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-",
                        "\u2014": "-", "\u2026": "...", "\u2192": "->", "\u00b6": None})  # fmt: skip


class Reader(HTMLParser):
    """Collects a page's paragraphs."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines = [""]
        self._silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in SILENT or (tag == "div" and ("role", "navigation") in attrs):
            self._silent.append(tag)
        elif tag in LINES:
            self.lines.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._silent:
            del self._silent[self._silent.index(tag) :]
        elif tag in LINES:
            self.lines.append("")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.lines[-1] += data


def prose(page: Path) -> list[str]:
    """The page's paragraphs, in ASCII."""
    reader = Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    plain = (
        unicodedata.normalize("NFKD", line.translate(DASHES)).encode("ascii", "ignore").decode()
        for line in reader.lines
    )
    return [line for line in (" ".join(one.split()) for one in plain) if len(line) >= SHORTEST]


def main() -> None:
    root, out = Path(sys.argv[1]), Path(sys.argv[2])
    seen: set[str] = set()
    train: list[str] = []
    held: list[str] = []
    for folder, pattern in PAGES:
        pages = sorted((root / "usr" / folder).glob(pattern))
        if not pages:
            sys.exit(f"{root / 'usr' / folder}: no {pattern}; unpack its package there")
        for page in pages:
            lines = [line for line in prose(page) if line not in seen]
            seen.update(lines)
            total, done = sum(map(len, lines)), 0
            for line in lines:
                done += len(line)
                (held if done > total * (1 - HELD_OUT) else train).append(line)
    parts = ["\n".join(lines).encode("ascii") + b"\n" for lines in (train, held)]
    out.write_bytes(b"\0".join(parts))
    print(f"{out}: {len(parts[0]):,} bytes to train on, {len(parts[1]):,} held out, {len(train):,} lines")


if __name__ == "__main__":
    main()
