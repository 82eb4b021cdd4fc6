"""Ask a vision-language model's session questions on images, and judge its answers by exact match.

Two ways to judge:

- "generate": the answer is what the model says, greedily. It is right when it equals the data's answer but
  for blanks around it, case and a full stop at its end.
- "choice": the answer is that of the data's closed set which the model finds likeliest behind the prompt,
  by the sum of log p over its tokens; of equals, the first. Where the tokens of one answer begin another
  ("1" and "12"), the end token is counted with every answer, or the shorter one would always be likelier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from paring_runtimes import GenerativeSession, Session
from paring_runtimes.errors import InputError
from paring_runtimes.generation.encoded_image import EncodedImage
from paring_runtimes.generation.tokenizer import TextTokenizer

from ..data import Question, QuestionData
from ..data.vqa import plain_answer
from ..recipe import PLACE, Data

BATCH = 16  # questions at once
SPARE_TOKENS = 2  # beyond the longest answer's: a full stop and the end


@dataclass(frozen=True)
class Asking:
    """How questions are put and judged.

    Attributes:
        prompt: a text with `{question}`, and the model's image token.
        judge: "generate" or "choice"; see above.
    """

    prompt: str
    judge: str

    @classmethod
    def of(cls, wanted: Data) -> Asking:
        """As a recipe's data tell."""
        return cls(wanted.prompt, wanted.judge)

    def text(self, question: Question) -> str:
        """The prompt of one question."""
        return self.prompt.replace(PLACE, question.question)

    def answer_text(self, answer: str) -> str:
        """What follows a prompt when the answer is right: a blank stands before it, where none does yet."""
        return answer if self.prompt[-1].isspace() else f" {answer}"


@dataclass(frozen=True, eq=False)
class Replies:
    """What a model answered.

    Attributes:
        texts: to each question, as the model gave it.
        right: [N] bool.
    """

    texts: tuple[str, ...]
    right: np.ndarray


def ask(
    session: Session,
    data: QuestionData,
    asking: Asking,
    progress: Callable[[int], None] = lambda done: None,
) -> Replies:
    """Put every question to a vision-language model.

    Questions on one image are put after each other, so that the encoder reads it once.

    Args:
        session: the model's.
        data: the questions.
        asking: how to put and judge them.
        progress: told how many questions are answered.

    Raises:
        InputError: the session is of another kind of model, or an image or a prompt does not suit it.
    """
    if not isinstance(session, GenerativeSession) or session.model.image is None:
        raise InputError(f"{session.path}: not the artifact of a vision-language model")
    put = _choose if asking.judge == "choice" else _generate
    order = sorted(range(len(data.questions)), key=lambda index: data.questions[index].image)
    texts = [""] * len(order)
    encoded: dict[Path, EncodedImage] = {}
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        batch = [data.questions[index] for index in chosen]
        encoded = {
            path: encoded.get(path) or session.encode_image(path)
            for path in dict.fromkeys(one.image for one in batch)
        }
        images = [encoded[one.image] for one in batch]
        for index, text in zip(chosen, put(session, batch, images, data.answers, asking), strict=True):
            texts[index] = text
        progress(start + len(chosen))
    pairs = zip(texts, data.questions, strict=True)
    right = [plain_answer(text) == plain_answer(one.answer) for text, one in pairs]
    return Replies(tuple(texts), np.array(right, bool))


def _generate(
    session: GenerativeSession,
    questions: Sequence[Question],
    images: Sequence[EncodedImage],
    answers: Sequence[str],
    asking: Asking,
) -> Iterator[str]:
    prompts = [asking.text(one) for one in questions]
    ids = (behind(session.tokenizer, prompts[0], asking.answer_text(one)) for one in answers)
    longest = max(map(len, ids)) + SPARE_TOKENS
    # Without an end token a model would go on in the next line.
    found = session.generate(prompts, image=images, max_new_tokens=longest, stop=["\n"])
    yield from (one.text for one in found)


def _choose(
    session: GenerativeSession,
    questions: Sequence[Question],
    images: Sequence[EncodedImage],
    answers: Sequence[str],
    asking: Asking,
) -> Iterator[str]:
    for question, image in zip(questions, images, strict=True):
        prompt = asking.text(question)
        options = [behind(session.tokenizer, prompt, asking.answer_text(one)) for one in answers]
        scores = session.score(prompt, ended(options, session.model.eos_token_ids), image=image)
        yield answers[int(np.argmax(scores.log_likelihoods))]


def ended(options: Sequence[list[int]], ends: Sequence[int]) -> list[list[int]]:
    """The options as they are, or each with the end token where one begins another."""
    ordered = sorted(options)
    begins = any(more[: len(one)] == one for one, more in pairwise(ordered))
    return [[*one, ends[0]] if begins and ends else list(one) for one in options]


def behind(tokenizer: TextTokenizer, prompt: str, text: str) -> list[int]:
    """Token ids of a text behind a prompt.

    Both are encoded together, as a tokenizer may put a blank of its own before a text that stands alone;
    where the prompt's last token would change by that, the text is encoded alone.
    """
    read, whole = tokenizer.encode(prompt), tokenizer.encode(prompt + text)
    if whole[: len(read)] == read and len(whole) > len(read):
        return whole[len(read) :]
    return tokenizer.encode(text, special=False)
