"""`GenerativeSession`: an open language model that answers prompts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.engines import NativeSession
from paring_runtimes.errors import InputError
from paring_runtimes.generation.batch_run import BatchRun, Cache
from paring_runtimes.generation.chat import Message, conversation_text
from paring_runtimes.generation.concat_cache import ConcatCache
from paring_runtimes.generation.deferred import DeferredSession
from paring_runtimes.generation.detokenizer import Detokenizer
from paring_runtimes.generation.in_place_cache import InPlaceCache
from paring_runtimes.generation.language_model import LanguageModel
from paring_runtimes.generation.options import OptionArguments, Options, options_of
from paring_runtimes.generation.prompt_filter import PromptFilter
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

    - InputError: a prompt that is empty or too long, an option out of range, a filter that is not there;
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
        chooser: DeferredSession | None = None,
    ) -> None:
        super().__init__(native, path, manifest.inputs, manifest.outputs, manifest)
        self._in_place = in_place
        self._chooser = chooser
        self.model = model

    def generate(self, prompts: Prompts, **options: Unpack[OptionArguments]) -> list[Generation]:
        """Answer prompts, all in one batch.

        Args:
            prompts: a text, a list of texts, token ids, or a list of those.
            **options: fields of `Options`.

        Returns:
            One `Generation` a prompt, in their order.
        """
        run = self._start(prompts, options_of(options))
        for _ in run.rounds():
            pass
        return run.results()

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
        run = self._start(prompt, options_of(options))
        if len(run.rows) != 1:
            raise InputError(f"stream: expected one prompt, given {len(run.rows)}; generate takes several")
        return run.pieces()

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
        self._in_place = self._chooser = None
        super().close()

    def __enter__(self) -> GenerativeSession:
        """Return the session itself."""
        return self

    def _start(self, prompts: Prompts, options: Options) -> BatchRun:
        """Check everything and open what is still closed; only then the clock begins."""
        new_cache = self._cache_maker(options.cache)
        tokenizer, model = self.tokenizer, self.model
        begin_ns = perf_counter_ns()
        every = prompts_to_ids(prompts, tokenizer.encode, model)
        opening_ns = perf_counter_ns()
        chooser = self._filter_for(every, options)
        begin_ns += perf_counter_ns() - opening_ns
        rows = []
        for index, ids in enumerate(every):
            own = chooser if chooser is not None and len(ids) > chooser.k else None
            read = len(ids) if own is None else own.k
            # The last token that is generated is never read, and so needs no position.
            limit = min(options.max_new_tokens, model.max_positions - read + 1)
            draw = np.random.default_rng(None if options.seed is None else options.seed + index)
            detokenizer = Detokenizer(tokenizer.decode, ids)
            rows.append(Row(ids, limit, options, draw, model.eos_token_ids, detokenizer, own))
        return BatchRun(rows, new_cache(len(rows)), begin_ns)

    def _filter_for(self, prompts: list[list[int]], options: Options) -> PromptFilter | None:
        """Return the open filter where a prompt is longer than what it keeps."""
        native, model = self._chooser, self.model.filter
        if native is None or model is None:
            if options.filter or options.pin_first is not None or options.pin_last is not None:
                raise InputError(
                    "filter, pin_first, pin_last: this artifact has no filter; convert with -t gem_filter"
                )
            return None
        chooser = PromptFilter(native, model, options)
        if options.filter is False or all(len(ids) <= model.k for ids in prompts):
            return None
        native.open()
        return chooser

    def _cache_maker(self, form: str) -> Callable[[int], Cache]:
        """Return what makes a cache of that form for a number of rows."""
        native = self._native or self._refuse_closed()
        if form == "in_place" and self._in_place is None:
            raise InputError("cache: this session has no in-place graph; use 'concat' or 'auto'")
        if form != "concat" and self._in_place is not None:
            return functools.partial(InPlaceCache, self._in_place, self.model)
        if isinstance(native, DeferredSession):
            native.open()
        return functools.partial(ConcatCache, native, self.model)
