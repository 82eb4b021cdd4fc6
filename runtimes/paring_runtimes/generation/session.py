"""`GenerativeSession`: an open language model that answers prompts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from paring_runtimes.engines import NativeSession
from paring_runtimes.errors import InputError
from paring_runtimes.generation.batch_run import BatchRun, Cache
from paring_runtimes.generation.chat import Message, conversation_text
from paring_runtimes.generation.concat_cache import ConcatCache
from paring_runtimes.generation.deferred import DeferredSession
from paring_runtimes.generation.detokenizer import Detokenizer
from paring_runtimes.generation.encoded_image import EncodedImage, encode, joined
from paring_runtimes.generation.filter_layers import FilterLayers
from paring_runtimes.generation.image_cache import ImageCache, check_prompt
from paring_runtimes.generation.image_graphs import ImageGraphs
from paring_runtimes.generation.image_input import prepare
from paring_runtimes.generation.in_place_cache import InPlaceCache
from paring_runtimes.generation.language_model import LanguageModel
from paring_runtimes.generation.open_graphs import OpenGraphs
from paring_runtimes.generation.options import OptionArguments, Options, options_of
from paring_runtimes.generation.prompt_filter import PromptFilter
from paring_runtimes.generation.prompts import ids_of, prompts_to_ids
from paring_runtimes.generation.row import Generation, Row
from paring_runtimes.generation.scoring import Scores, score
from paring_runtimes.generation.state_cache import StateCache
from paring_runtimes.generation.tokenizer import TextTokenizer
from paring_runtimes.manifest import Manifest
from paring_runtimes.session import Session

if TYPE_CHECKING:
    from typing import Unpack

    from numpy.typing import NDArray

    from paring_runtimes.generation.image_input import Images, OneImage

    Prompts = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]] | NDArray[Any]


class GenerativeSession(Session):
    """A language model, opened by `load`. Every call has its own cache: many threads may call at once.

    `generate`, `stream` and `chat` take the options of `paring_runtimes.generation.options.Options` as
    keyword arguments. They, and `score`, raise:

    - InputError: a prompt that is empty or too long, an option out of range, a filter that is not there;
    - MissingExtraError: `tokenizers` (or, for `chat`, jinja2) is not installed;
    - ArtifactError: the artifact's tokenizer or template is missing or wrong;
    - EngineError: the engine failed, the logits are not finite, or the session is closed.

    A vision-language model also takes `image`, a file or an array, for each of whose prompts the image
    token stands in the text once.

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
        chooser: FilterLayers | None = None,
        graphs: ImageGraphs | None = None,
    ) -> None:
        super().__init__(native, path, manifest.inputs, manifest.outputs, manifest)
        self._in_place = in_place
        self._chooser = chooser
        self._graphs = graphs
        self.model = model

    def generate(
        self, prompts: Prompts, image: Images | None = None, **options: Unpack[OptionArguments]
    ) -> list[Generation]:
        """Answer prompts, all in one batch.

        Args:
            prompts: a text, a list of texts, token ids, or a list of those.
            image: for a vision-language model: a path, or an array (uint8 [H, W, 3], or float32 [3, H, W]
                prepared already), or what `encode_image` made of one, seen by every prompt; or a list of
                those, one a prompt.
            **options: fields of `Options`.

        Returns:
            One `Generation` a prompt, in their order.
        """
        run = self._start(prompts, options_of(options), image)
        for _ in run.rounds():
            pass
        return run.results()

    def stream(
        self,
        prompt: str | Sequence[int] | NDArray[Any],
        image: Images | None = None,
        **options: Unpack[OptionArguments],
    ) -> Generator[str, None, Generation]:
        """Answer one prompt; yield its text as soon as it is certain, never half a character.

        The generator's return value is the `Generation`. What is wrong with the arguments is raised
        here, before anything is computed.

        Args:
            prompt: a text or token ids.
            image: as of `generate`.
            **options: fields of `Options`.
        """
        run = self._start(prompt, options_of(options), image)
        if len(run.rows) != 1:
            raise InputError(f"stream: expected one prompt, given {len(run.rows)}; generate takes several")
        return run.pieces()

    def chat(
        self, messages: Sequence[Message], image: Images | None = None, **options: Unpack[OptionArguments]
    ) -> Generation:
        """Answer a conversation, laid out by the artifact's chat template.

        Args:
            messages: `{"role": "user", "content": "..."}`, oldest first.
            image: as of `generate`.
            **options: fields of `Options`.
        """
        return self.generate(self.chat_ids(messages), image, **options)[0]

    def score(
        self,
        prompt: str | Sequence[int] | NDArray[Any],
        continuations: Sequence[str | Sequence[int]],
        image: Images | None = None,
        *,
        cache: str = "auto",
        filter: bool | None = None,
        filter_k: int | None = None,
        pin_first: int | None = None,
        pin_last: int | None = None,
    ) -> Scores:
        """Say how likely the model finds each continuation of a prompt, which is read once.

        Args:
            prompt: a text or token ids; a filter shortens it as in `generate`.
            continuations: texts or token ids. A text is encoded alone, without special tokens: give it
                the blank before its first word.
            image: as of `generate`.
            cache: as in `Options`, like those that follow.
            filter: see there.
            filter_k: see there.
            pin_first: see there.
            pin_last: see there.
        """
        encode = functools.partial(self.tokenizer.encode, special=False)
        if isinstance(continuations, str) or not len(continuations):
            raise InputError("continuations: expected texts or lists of token ids, at least one, in a list")
        following = [
            ids_of(one, encode, self.model, f"continuations[{index}]")
            for index, one in enumerate(continuations)
        ]
        longest = max(map(len, following))
        told: OptionArguments = {"max_new_tokens": longest, "cache": cache, "filter": filter}
        told |= {"filter_k": filter_k, "pin_first": pin_first, "pin_last": pin_last}
        run = self._start(prompt, options_of(told), image)
        if len(run.rows) != 1:
            raise InputError(f"score: expected one prompt, given {len(run.rows)}")
        if run.rows[0].limit < longest:
            raise InputError(
                f"continuations: {longest} tokens, and behind this prompt the model has positions for"
                f" {run.rows[0].limit}; shorten it"
            )
        return score(run, following)

    def encode_image(self, image: OneImage) -> EncodedImage:
        """Let the encoder read an image once, for several calls with prompts about it.

        How much is then done of what comes before the language model is the result's `reusable`.

        Args:
            image: a path or an array, as of `generate`.
        """
        if self.closed:
            self._refuse_closed()
        if self._graphs is None or self.model.image is None:
            raise InputError("image: this artifact is that of a language model, which sees no images")
        pixels = prepare(image, self.model.image, 1)
        return encode(pixels, self._graphs.encoder, self.model.image)

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
        """The form of the cache that `cache="auto"` takes: "in_place", "concat", or "state"."""
        if self.model.state is not None:
            return "state"
        return "concat" if self._in_place is None else "in_place"

    def open_graphs(self) -> OpenGraphs:
        """The graphs, for callers that time them one by one; raises EngineError when closed."""
        native = self._native or self._refuse_closed()
        return OpenGraphs(native, self._in_place, self._chooser, self._graphs)

    def close(self) -> None:
        """Let go of the model. Calls already running in other threads finish; new ones raise."""
        self._in_place = self._chooser = self._graphs = None
        super().close()

    def __enter__(self) -> GenerativeSession:
        """Return the session itself."""
        return self

    def _start(self, prompts: Prompts, options: Options, image: Images | None) -> BatchRun:
        """Check everything and open what is still closed; only then the clock begins."""
        new_cache = self._cache_maker(options, image is not None)
        tokenizer, model = self.tokenizer, self.model
        begin_ns = perf_counter_ns()
        every = prompts_to_ids(prompts, tokenizer.encode, model)
        chooser = self._filter_for(every, options)
        rows = []
        for index, ids in enumerate(every):
            if model.image is not None:
                check_prompt(ids, model.image, image is not None, model.max_positions)
            own = chooser if chooser is not None and len(ids) > chooser.k else None
            read = len(ids) if own is None else own.k
            # The last token that is generated is never read, and so needs no position.
            more = 0 if image is None or model.image is None else model.image.tokens - 1
            limit = min(options.max_new_tokens, model.max_positions - read - more + 1)
            draw = np.random.default_rng(None if options.seed is None else options.seed + index)
            detokenizer = Detokenizer(tokenizer.decode, ids)
            rows.append(Row(ids, limit, options, draw, model.eos_token_ids, detokenizer, own))
        return BatchRun(rows, new_cache(len(rows), image), begin_ns)

    def _filter_for(self, prompts: list[list[int]], options: Options) -> PromptFilter | None:
        """Return the open filter where a prompt is longer than what it keeps."""
        if self._chooser is None:
            if options.filter or {options.filter_k, options.pin_first, options.pin_last} != {None}:
                raise InputError(
                    "filter, filter_k, pin_first, pin_last: this artifact has no filter;"
                    " convert with -t gem_filter"
                )
            return None
        chooser = PromptFilter(self._chooser, options)
        if options.filter is False or all(len(ids) <= chooser.k for ids in prompts):
            return None
        return chooser

    def _cache_maker(self, options: Options, seeing: bool) -> Callable[[int, Images | None], Cache]:
        """Return what makes a cache for a number of rows and their images."""
        native = self._native or self._refuse_closed()
        in_place, model, graphs = self._in_place, self.model, self._graphs
        form, new_tokens = options.cache, options.max_new_tokens
        if seeing and graphs is None:
            raise InputError("image: this artifact is that of a language model, which sees no images")
        if form == "in_place" and in_place is None:
            raise InputError("cache: this session has no in-place graph; use 'concat' or 'auto'")
        if form == "concat" and graphs is not None:
            raise InputError("cache: a vision-language model has the in-place graph only; use 'auto'")
        if form != "auto" and model.state is not None:
            raise InputError(f"cache: this model keeps a state, and no cache that is {form!r}; use 'auto'")

        def new_cache(batch: int, images: Images | None) -> Cache:
            if model.state is not None:
                return StateCache(native, model, batch)
            if in_place is None or form == "concat":
                return ConcatCache(native, model, batch)
            if images is None or graphs is None or model.image is None:
                return InPlaceCache(in_place, model, batch, new_tokens)
            encoded, raw = joined(images, graphs.encoder, batch), cast(Any, images)
            seen = prepare(raw, model.image, batch) if encoded is None else encoded
            return ImageCache(in_place, model, graphs, seen, batch, new_tokens)

        if isinstance(native, DeferredSession) and form == "concat":
            native.open()
        return new_cache
