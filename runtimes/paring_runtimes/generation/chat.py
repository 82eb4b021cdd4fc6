"""A conversation to the text that a chat model was trained on, by the artifact's own template.

The template is a program of the artifact's: it runs in jinja2's sandbox, which keeps it from the
interpreter and from changing what it is given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from paring_runtimes.errors import ArtifactError, InputError, MissingExtraError

CONFIG = "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"

Message = Mapping[str, Any]


def conversation_text(folder: Path, messages: Sequence[Message]) -> str:
    """Return the prompt that ends where the assistant's answer begins.

    Args:
        folder: the artifact's.
        messages: `{"role": "user", "content": "..."}`, oldest first.

    Raises:
        MissingExtraError: jinja2 is not installed.
        ArtifactError: the artifact has no chat template, or one that is no template.
        InputError: messages of another form, or that the template refuses.
    """
    _check(messages)
    config = _config(folder)
    template, where = _template(folder, config)
    jinja2, environment = _environment()
    try:
        compiled = environment.from_string(template)
    except jinja2.TemplateSyntaxError as error:
        raise ArtifactError(f"{where}: line {error.lineno}: not a template: {error.message}") from error
    try:
        text: str = compiled.render(
            messages=[dict(message) for message in messages],
            add_generation_prompt=True,
            **_special_tokens(config),
        )
    except (jinja2.TemplateError, TypeError) as error:
        raise InputError(f"messages: the chat template refused them: {error}") from error
    return text


def _check(messages: Sequence[Message]) -> None:
    if isinstance(messages, (str, Mapping)) or not messages:
        raise InputError(f"messages: expected a list of messages, given {messages!r}")
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or not {"role", "content"} <= set(message):
            raise InputError(
                f"messages[{index}]: expected {{'role': 'user', 'content': '...'}}, given {message!r}"
            )


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{path}: not JSON ({error})") from None
    if not isinstance(told, dict):
        raise ArtifactError(f"{path}: expected an object, given a {type(told).__name__}")
    return told


def _template(folder: Path, config: dict[str, Any]) -> tuple[str, Path]:
    """Return the template, and the file that it is from."""
    own = folder / TEMPLATE
    if own.is_file():
        return own.read_text(encoding="utf-8"), own
    told = config.get("chat_template")
    if isinstance(told, list):  # several by name, the form before `additional_chat_templates`
        told = {item.get("name"): item.get("template") for item in told}.get("default")
    if not isinstance(told, str):
        raise ArtifactError(
            f"{folder}: no chat template ({TEMPLATE}, or chat_template in {CONFIG}): "
            "the model is no chat model; use generate or stream"
        )
    return told, folder / CONFIG


def _special_tokens(config: dict[str, Any]) -> dict[str, str]:
    tokens = {}
    for name in ("bos_token", "eos_token", "unk_token", "pad_token"):
        told = config.get(name)
        text = told.get("content") if isinstance(told, dict) else told
        if isinstance(text, str):
            tokens[name] = text
    return tokens


def _environment() -> tuple[Any, Any]:
    """Return jinja2 and a sandbox with what chat templates expect to find in it."""
    try:
        import jinja2
        import jinja2.ext
        import jinja2.sandbox
    except ImportError as error:
        raise MissingExtraError("a chat template", "llm") from error

    class Generation(jinja2.ext.Extension):
        """`{% generation %}` marks the assistant's words for training: here it only passes them on."""

        tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def refuse(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    def strftime_now(form: str) -> str:
        from datetime import datetime

        return datetime.now().strftime(form)

    def to_json(value: Any, indent: int | None = None) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.globals |= {"raise_exception": refuse, "strftime_now": strftime_now}
    environment.filters["tojson"] = to_json
    return jinja2, environment
