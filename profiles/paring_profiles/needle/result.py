"""What a needle run found: every reading, and cells of length and depth."""

from __future__ import annotations

from dataclasses import dataclass

from paring_profiles.result import Machine

SCHEMA_VERSION = 1
SCORES = ("answer", "choice")


@dataclass(frozen=True)
class NeedleSettings:
    """What to run.

    Attributes:
        lengths: tokens of prompt and answer together.
        depths: where the first fact stands in the text, 0 to 1.
        seeds: prompts for each length and depth, seeded 0, 1, ...
        needles: facts hidden in a prompt; all are asked for.
        reductions: a filter keeps 1/r of the prompt's tokens, for each r; empty is the artifact's own k.
        score: "answer" (the text generated greedily holds the number) or "choice" (the right number is
            likelier than every wrong one).
        ask: how the prompt ends; see `frames.frame_of`.
        others: wrong numbers of a choice.
        pin_ends: whether what surrounds the text (the template, the question) stays whatever its score.
        threads: intra-op threads; None leaves them to the engine.
    """

    lengths: tuple[int, ...]
    depths: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    seeds: int = 1
    needles: int = 1
    reductions: tuple[int, ...] = ()
    score: str = "answer"
    ask: str = "sentence"
    others: int = 9
    pin_ends: bool = False
    threads: int | None = None


@dataclass(frozen=True)
class Reader:
    """An artifact that reads prompts whole, or 1/`reduction` of them, or `k` tokens."""

    name: str
    artifact: str
    reduction: int | None = None
    k: int | None = None

    @property
    def whole(self) -> bool:
        """Whether it reads every token."""
        return self.reduction is None and self.k is None


@dataclass(frozen=True)
class Reading:
    """One prompt read once.

    Attributes:
        found: share of the facts that were told, 0 to 1.
        prompt_ms: until the first token is known; `filter_ms` is a part of it.
        expected: the numbers asked for.
        told: what was generated, or the numbers that were likeliest.
        needle_kept: share of the facts' tokens that were read.
    """

    reader: str
    length: int
    depth: float
    seed: int
    prompt_tokens: int
    read_tokens: int
    found: float
    prompt_ms: float
    filter_ms: float | None
    expected: tuple[int, ...]
    told: str
    needle_kept: float


@dataclass(frozen=True)
class Cell:
    """The readings of one reader at one length and depth; times are medians, in ms.

    `found_ci95` is Wilson's interval over prompts.
    """

    reader: str
    length: int
    depth: float
    prompts: int
    found: float
    found_ci95: tuple[float, float]
    needle_kept: float
    prompt_tokens: int
    read_tokens: int
    prompt_ms: float
    filter_ms: float | None


@dataclass(frozen=True)
class Summary:
    """One reader at one length, or at all (`length` None): all depths and seeds together.

    `prefill_ratio` is the median over prompts of the time without the filter over that with it.
    """

    reader: str
    length: int | None
    prompts: int
    found: float
    found_ci95: tuple[float, float]
    prompt_tokens: int
    read_tokens: int
    prompt_ms: float
    prefill_ratio: float | None
    prefill_ratio_ci95: tuple[float, float] | None


@dataclass(frozen=True)
class Piece:
    """A run of text that a filter kept; `skipped` tokens before it were not."""

    text: str
    needle: bool
    skipped: int


@dataclass(frozen=True)
class Example:
    """What one reader read of one prompt, and what it told."""

    reading: Reading
    pieces: tuple[Piece, ...]
    skipped_after: int
    kept_text: str


@dataclass(frozen=True)
class NeedleResult:
    """A whole run."""

    created: str
    machine: Machine
    tools: dict[str, str]
    settings: NeedleSettings
    text: str
    readers: tuple[Reader, ...]
    cells: tuple[Cell, ...]
    summaries: tuple[Summary, ...]
    examples: tuple[Example, ...]
    readings: tuple[Reading, ...]
    chance: float
    schema_version: int = SCHEMA_VERSION
