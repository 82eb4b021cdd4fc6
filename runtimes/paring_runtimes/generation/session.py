"""`GenerativeSession`: an open language model that answers prompts."""

from __future__ import annotations

import functools
from collections.abc import Generator, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.engines import NativeSession
from paring_runtimes.errors import InputError
from paring_runtimes.generation.chat import Message, conversation_text
from paring_runtimes.generation.concat_cache import ConcatCache
from paring_runtimes.generation.detokenizer import Detokenizer
from paring_runtimes.generation.in_place_cache import InPlaceCache
from paring_runtimes.generation.language_model import LanguageModel
from paring_runtimes.generation.options import OptionArguments, Options, options_of
from paring_runtimes.generation.prompts import prompts_to_ids
from paring_runtimes.generation.row import Generation, Row
from paring_runtimes.generation.tokenizer import TextTokenizer
from paring_runtimes.manifest import Manifest
from paring_runtimes.session import Session

if TYPE_CHECKING:
    from typing import Unpack

    from numpy.typing import NDArray

    Prompts = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]] | NDArray[Any]


class GenerativeSession(Session):
    """A language model, opened by `load`. Every call has its own cache: many threads may call at once.

    `generate`, `stream` and `chat` take the options of `paring_runtimes.generation.options.Options` as
    keyword arguments. They raise:

    - InputError: a prompt that is empty or too long, an option out of range;
    - MissingExtraError: `tokenizers` (or, for `chat`, jinja2) is not installed;
    - ArtifactError: the artifact's tokenizer or template is missing or wrong;
    - EngineError: the engine failed, the logits are not finite, or the session is closed.

    Attributes:
        model: sizes and special tokens.
    """

    def __init__(
        self,
        native: NativeSession,
        path: Path,
        manifest: Manifest,
        model: LanguageModel,
        in_place: NativeSession | None,
    ) -> None:
        super().__init__(native, path, manifest.inputs, manifest.outputs, manifest)
        self._in_place = in_place
        self.model = model

    def generate(self, prompts: Prompts, **options: Unpack[OptionArguments]) -> list[Generation]:
        """Answer prompts, all in one batch.

        Args:
            prompts: a text, a list of texts, token ids, or a list of those.
            **options: fields of `Options`.

        Returns:
            One `Generation` a prompt, in their order.
        """
        begin = perf_counter_ns()
        checked = options_of(options)
        rows = self._rows(prompts, checked)
        for _ in self._rounds(rows, checked):
            pass
        return [row.result(begin) for row in rows]

    def stream(
        self, prompt: str | Sequence[int] | NDArray[Any], **options: Unpack[OptionArguments]
    ) -> Generator[str, None, Generation]:
        """Answer one prompt; yield its text as soon as it is certain, never half a character.

        The generator's return value is the `Generation`. What is wrong with the arguments is raised
        here, before anything is computed.

        Args:
            prompt: a text or token ids.
            **options: fields of `Options`.
        """
        begin = perf_counter_ns()
        checked = options_of(options)
        rows = self._rows(prompt, checked)
        if len(rows) != 1:
            raise InputError(f"stream: expected one prompt, given {len(rows)}; generate takes several")
        return self._pieces(rows[0], checked, begin)

    def chat(self, messages: Sequence[Message], **options: Unpack[OptionArguments]) -> Generation:
        """Answer a conversation, laid out by the artifact's chat template.

        Args:
            messages: `{"role": "user", "content": "..."}`, oldest first.
            **options: fields of `Options`.
        """
        return self.generate(self.chat_ids(messages), **options)[0]

    def chat_ids(self, messages: Sequence[Message]) -> list[int]:
        """Return the prompt of a conversation as token ids, for `stream` and `generate`."""
        text = conversation_text(self.path, messages)
        return self.tokenizer.encode(text, special=False)  # the template writes them itself

    @functools.cached_property
    def tokenizer(self) -> TextTokenizer:
        """The artifact's tokenizer, read when it is first needed."""
        return TextTokenizer(self.path)

    @property
    def cache(self) -> str:
        """The form of the cache that `cache="auto"` takes: "in_place" or "concat"."""
        return "concat" if self._in_place is None else "in_place"

    def close(self) -> None:
        """Let go of the model. Calls already running in other threads finish; new ones raise."""
        self._in_place = None
        super().close()

    def __enter__(self) -> GenerativeSession:
        """Return the session itself."""
        return self

    def _rows(self, prompts: Prompts | NDArray[Any], options: Options) -> list[Row]:
        if self.closed:
            self._refuse_closed()
        decode = self.tokenizer.decode
        rows = []
        for index, ids in enumerate(prompts_to_ids(prompts, self.tokenizer.encode, self.model)):
            # The last token that is generated is never read, and so needs no position.
            limit = min(options.max_new_tokens, self.model.max_positions - len(ids) + 1)
            draw = np.random.default_rng(None if options.seed is None else options.seed + index)
            detokenizer = Detokenizer(decode, ids)
            rows.append(Row(ids, limit, options, draw, self.model.eos_token_ids, detokenizer))
        return rows

    def _rounds(self, rows: list[Row], options: Options) -> Generator[list[str], None, None]:
        """Take one token a row and yield the new text of each, until every row is finished."""
        cache = self._new_cache(options.cache, len(rows))
        logits = cache.prefill([row.prompt for row in rows])
        while True:
            yield [row.take(scores) for row, scores in zip(rows, logits, strict=True)]
            tokens = [row.next_token for row in rows]
            if all(token is None for token in tokens):
                return
            logits = cache.step(tokens)

    def _pieces(self, row: Row, options: Options, begin_ns: int) -> Generator[str, None, Generation]:
        for (piece,) in self._rounds([row], options):
            if piece:
                yield piece
        return row.result(begin_ns)

    def _new_cache(self, form: str, batch: int) -> InPlaceCache | ConcatCache:
        native = self._native or self._refuse_closed()
        in_place = self._in_place
        if form == "in_place" and in_place is None:
            raise InputError("cache: this session has no in-place graph; use 'concat' or 'auto'")
        if form == "concat" or in_place is None:
            return ConcatCache(native, self.model, batch)
        return InPlaceCache(in_place, self.model, batch)
