"""YAML 1.2 into plain values, and the line of each."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from paring_runtimes.errors import RecipeError

Path = tuple["str | int", ...]
MAX_CHARACTERS = 1_000_000
MAX_VALUES = 10_000  # what aliases of aliases would grow into
MAX_DEPTH = 32
SCALARS = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str")}
DATE = "tag:yaml.org,2002:timestamp"


@dataclass(frozen=True, order=True)
class Place:
    """Where a value was written: a line, counted from 1, and its name for messages."""

    line: int
    label: str


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong."""

    place: Place
    text: str

    def __str__(self) -> str:
        return f"{self.place.label}: {self.text}"


@dataclass
class Document:
    """Plain values, where each was written, and what was wrong on the way."""

    name: str
    data: Any = None
    places: dict[Path, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: Path) -> Place:
        """Where the value at `path` was written, or else what holds it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return Place(1, self.name)

    def report(self, path: Path, text: str) -> None:
        """Note a problem of the value at `path`."""
        key = dotted(path)
        self.problems.append(Problem(self.place(path), f"{key}: {text}" if key else text))

    def check(self) -> None:
        """See that there are no problems.

        Raises:
            RecipeError: there are; the message has a line for each, in the order of the file.
        """
        if self.problems:
            raise RecipeError("\n".join(str(problem) for problem in sorted(self.problems)))


def file_text(path: str | pathlib.Path) -> str:
    """The text of a YAML file.

    Raises:
        RecipeError: it cannot be read.
    """
    try:
        return pathlib.Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: no UTF-8 text (byte {error.start})") from error


def dotted(path: Path) -> str:
    """("transforms", 0, "r") -> "transforms[0].r"."""
    words = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(words).lstrip(".")


def read(text: str, name: str) -> Document:
    """Parse `text`; what is wrong with it is in the document's problems."""
    document = Document(name)
    if len(text) > MAX_CHARACTERS:
        document.report((), f"{len(text)} characters; a recipe has {MAX_CHARACTERS} at most")
        return document
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
        if root is not None:
            document.data = _Reader(document, yaml).value(root, ())
    except _TooLargeError as error:
        document.report((), str(error))
    except RecursionError:
        document.report((), f"nested deeper than {MAX_DEPTH} levels")
    except MarkedYAMLError as error:
        _report_syntax(document, error)
    except (YAMLError, ValueError) as error:
        document.report((), f"no valid YAML: {error}".replace("\n", " "))
    return document


def _report_syntax(document: Document, error: MarkedYAMLError) -> None:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark is not None else 1
    text = "; ".join(str(part) for part in (error.context, error.problem) if part)
    place = Place(line, f"{document.name}:{line}")
    document.problems.append(Problem(place, f"no valid YAML: {text}"))


class _TooLargeError(Exception):
    pass


class _Reader:
    """Turns nodes into values, by recursion; counts them, for a node may be reached often."""

    def __init__(self, document: Document, yaml: YAML) -> None:
        self.document, self.constructor, self.count = document, yaml.constructor, 0

    def value(self, node: Any, path: Path) -> Any:
        self.count += 1
        if self.count > MAX_VALUES:
            raise _TooLargeError(f"more than {MAX_VALUES} values, counting those behind aliases")
        if len(path) > MAX_DEPTH:
            raise _TooLargeError(f"nested deeper than {MAX_DEPTH} levels")
        self.document.places.setdefault(path, self._place(node))
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self.document.report(path, "a key must be a word")
                continue
            key = str(key_node.value)
            if key in found:
                first = self.document.place((*path, key)).line
                place, where = self._place(key_node), dotted((*path, key))
                self.document.problems.append(
                    Problem(place, f"{where}: given twice; the first is on line {first}")
                )
                continue
            self.document.places[(*path, key)] = self._place(key_node)
            found[key] = self.value(value_node, (*path, key))
        return found

    def _scalar(self, node: ScalarNode, path: Path) -> Any:
        tag = str(node.tag)
        if tag == DATE:  # a plain word to a recipe
            return str(node.value)
        if tag not in SCALARS:
            self.document.report(path, f"the tag {tag} is not allowed in a recipe")
            return None
        try:
            return self.constructor.yaml_constructors[tag](self.constructor, node)
        except (ConstructorError, ValueError):
            self.document.report(path, f"{node.value!r} cannot be read as {tag.rpartition(':')[2]}")
            return None

    def _place(self, node: Any) -> Place:
        line = node.start_mark.line + 1
        return Place(line, f"{self.document.name}:{line}")
