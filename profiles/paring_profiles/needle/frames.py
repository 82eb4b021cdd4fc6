"""How a prompt begins and ends: plainly, or as the model's chat template says."""

from __future__ import annotations

from paring_profiles.needle.haystack import Frame, Tokenizer
from paring_runtimes import GenerativeSession
from paring_runtimes.errors import ArtifactError, InputError
from paring_runtimes.generation.chat import conversation_text

MARK = "\N{WHITE SQUARE}text\N{WHITE SQUARE}"  # stands for the message while a template is read
ASKS = ("sentence", "question", "chat")


def frame_of(session: GenerativeSession, ask: str) -> Frame:
    """Return the frame of one way to ask.

    Args:
        session: for its tokenizer and its chat template.
        ask: "sentence" (the model goes on with "The secret number of the Oslo office is"), "question" (a
            question, then "Answer:") or "chat" (text and question are a user's message).

    Raises:
        InputError: another way.
        ArtifactError: no tokenizer, or no usable chat template where one is needed.
    """
    if ask not in ASKS:
        raise InputError(f"ask: expected one of {', '.join(ASKS)}, given {ask!r}")
    if ask == "chat":
        found = chat_frame(session.tokenizer, conversation_text(session.path, [message()]))
        if found is None:
            raise ArtifactError(f"{session.path}: the chat template does not show the user's message")
        return found
    start = session.tokenizer.encode("")[:1]
    return plain_frame(session.tokenizer, start == [session.model.bos_token_id], ask == "sentence")


def message() -> dict[str, str]:
    """Return the message whose place in a conversation `chat_frame` looks for."""
    return {"role": "user", "content": MARK}


def chat_frame(tokenizer: Tokenizer, conversation: str) -> Frame | None:
    """Return the frame of a conversation that holds `message`; None where the template left it out."""
    before, found, after = conversation.partition(MARK)
    if not found:
        return None
    return Frame(
        tuple(tokenizer.encode(before, special=False)), tuple(tokenizer.encode(after, special=False))
    )


def plain_frame(tokenizer: Tokenizer, begins: bool, sentence: bool) -> Frame:
    """Return the frame without a template; `begins` puts the tokenizer's first special token in front."""
    before = tuple(tokenizer.encode("")[:1]) if begins else ()
    after = () if sentence else tuple(tokenizer.encode("\nAnswer:", special=False))
    return Frame(before, after, sentence)
