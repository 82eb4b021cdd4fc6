"""`paring generate`: let a language model's artifact answer a prompt, without PyTorch."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any

import typer

import paring_runtimes
from paring_runtimes import Generation, GenerativeSession
from paring_runtimes.errors import InputError

from .output import Json, errors, print_json

# A terminal obeys these: a model's text must not move its cursor or set its title.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command()(generate)


def generate(
    artifact: Annotated[Path, typer.Argument(help="artifact folder of a language model")],
    prompt: Annotated[str, typer.Argument(help="text to go on from; - reads standard input")],
    image: Annotated[
        Path | None, typer.Option(help="image file; its token, such as <image>, stands in the prompt")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(help="most tokens to generate")] = 128,
    temperature: Annotated[float, typer.Option(help="0 takes the most likely token")] = 0.0,
    top_k: Annotated[int, typer.Option(help="sample among the k most likely; 0 for all")] = 0,
    top_p: Annotated[float, typer.Option(help="sample among the likeliest with this probability")] = 1.0,
    min_p: Annotated[
        float, typer.Option(help="sample among those at least this fraction as likely as the likeliest")
    ] = 0.0,
    repetition_penalty: Annotated[float, typer.Option(help="over 1 makes repetition less likely")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="for the same samples again")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="end before this text; may be repeated")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="lay the prompt out by the chat template")] = False,
    system: Annotated[str | None, typer.Option(help="system message; implies --chat")] = None,
    cache: Annotated[str, typer.Option(help="auto, in_place or concat")] = "auto",
    filter_: Annotated[
        bool | None,
        typer.Option("--filter/--no-filter", help="whether the artifact's filter shortens a long prompt"),
    ] = None,
    filter_k: Annotated[
        int | None, typer.Option(help="tokens that the filter keeps; default: the artifact's")
    ] = None,
    pin_first: Annotated[
        int | None, typer.Option(help="leading tokens that the filter keeps; default: the artifact's")
    ] = None,
    pin_last: Annotated[
        int | None, typer.Option(help="last tokens that the filter keeps; default: the artifact's")
    ] = None,
    show_kept: Annotated[
        bool, typer.Option("--show-kept", help="print what the filter kept of the prompt")
    ] = False,
    threads: Annotated[int | None, typer.Option(help="intra-op threads")] = None,
    json: Json = False,
) -> None:
    """Let a language model's artifact go on from a prompt; print its text as it comes."""
    text = sys.stdin.read() if prompt == "-" else prompt
    with paring_runtimes.load(artifact, threads=threads) as session:
        if not isinstance(session, GenerativeSession):
            raise InputError(f"{artifact}: not the artifact of a language model; `paring run` runs it")
        stream = session.stream(
            _chat_ids(session, text, system) if chat or system is not None else text,
            image=image,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            seed=seed,
            stop=stop or (),
            cache=cache,
            filter=filter_,
            filter_k=filter_k,
            pin_first=pin_first,
            pin_last=pin_last,
        )
        result = _finish(stream, silent=json)
        form = session.cache if cache == "auto" else cache
    if json:
        print_json({"artifact": str(artifact), "prompt": text, "cache": form, **dataclasses.asdict(result)})
        return
    if show_kept:
        kept = "the whole prompt" if result.kept_text is None else _shown(result.kept_text)
        errors.print(f"read: {kept}", highlight=False, soft_wrap=True)
    errors.print(_summary(result, form), highlight=False, soft_wrap=True, style="dim")


def _chat_ids(session: GenerativeSession, text: str, system: str | None) -> list[int]:
    messages: list[dict[str, Any]] = [] if system is None else [{"role": "system", "content": system}]
    return session.chat_ids([*messages, {"role": "user", "content": text}])


def _finish(stream: Generator[str, None, Generation], silent: bool) -> Generation:
    """Print the pieces of a stream as they come, unless `silent`; return what it returns."""
    terminal = sys.stdout.isatty()
    while True:
        try:
            piece = next(stream)
        except StopIteration as end:
            result: Generation = end.value
            break
        if not silent:
            print(_CONTROL.sub("\ufffd", piece) if terminal else piece, end="", flush=True)
    if not silent:
        print(flush=True)
    return result


def _shown(text: str) -> str:
    return _CONTROL.sub("\ufffd", text) if errors.is_terminal else text


def _summary(result: Generation, form: str) -> str:
    pace = result.decode_ms_per_token
    rest = "" if pace is None else f", then {pace:.2f} ms a token"
    first = f"first token after {result.first_token_ms:.1f} ms"
    read = ""
    if result.kept is not None:
        read = f" ({len(result.kept)} read)"
        first += f" ({result.filter_ms:.1f} of them to filter)"
    return (
        f"{result.prompt_length}{read} + {len(result.token_ids)} tokens, ended by {result.finish_reason}; "
        f"{first}{rest}; cache {form}"
    )
