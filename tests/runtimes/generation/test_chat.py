"""Conversations are laid out by the artifact's own template, in a sandbox."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from paring_runtimes import ArtifactError, GenerativeSession, InputError
from paring_runtimes.generation.chat import conversation_text

pytest.importorskip("jinja2")
ASKED = [{"role": "user", "content": "Grüß dich"}]


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    def write(template: object, **config: object) -> Path:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template, **config}))
        return tmp_path

    return write


def test_an_answer_follows_the_laid_out_conversation(session: GenerativeSession) -> None:
    ids = session.chat_ids(ASKED)
    text = "<|im_start|>user\nGrüß dich<|im_end|>\n<|im_start|>assistant\n"
    assert ids == session.tokenizer.encode(text)
    assert ids[0] == 257  # one token, not the letters of its name
    assert session.chat(ASKED, max_new_tokens=5).token_ids == (
        session.generate(ids, max_new_tokens=5)[0].token_ids
    )


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", "<s>Grüß dich</s>"),
        ("{{ messages | tojson }}", '[{"role": "user", "content": "Grüß dich"}]'),
        ("{% for m in messages %}{% break %}{% endfor %}end", "end"),
        ("{% generation %}said{% endgeneration %}", "said"),
        ("{%- if add_generation_prompt %}\nyes\n{%- endif %}\n", "yes"),
        ("{{ strftime_now('%%') }}", "%"),
        ([{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}], "yes"),
    ],
)
def test_what_templates_use(folder: Callable[..., Path], template: object, text: str) -> None:
    where = folder(template, bos_token={"content": "<s>"}, eos_token="</s>", pad_token=None)
    assert conversation_text(where, ASKED) == text


def test_a_template_file_goes_before_the_configured_one(folder: Callable[..., Path]) -> None:
    where = folder("old")
    (where / "chat_template.jinja").write_text("new")
    assert conversation_text(where, ASKED) == "new"


@pytest.mark.parametrize(
    ("template", "kind", "said"),
    [
        ("{{ raise_exception('only users') }}", InputError, "refused them: only users"),
        ("{{ messages[0].content + 1 }}", InputError, "refused them"),
        ("{{ ''.__class__.__mro__ }}", InputError, "refused them"),
        ("{{ messages.append(1) }}", InputError, "refused them"),
        ("a\n{% if %}", ArtifactError, "tokenizer_config.json: line 2: not a template"),
        (None, ArtifactError, "no chat template"),
    ],
)
def test_what_is_refused(folder: Callable[..., Path], template: object, kind: type, said: str) -> None:
    with pytest.raises(kind, match=said):
        conversation_text(folder(template), ASKED)


@pytest.mark.parametrize("messages", [[], "hello", {"role": "user"}, ["hello"], [{"role": "user"}]])
def test_messages_are_checked(folder: Callable[..., Path], messages: object) -> None:
    with pytest.raises(InputError, match="messages"):
        conversation_text(folder("x"), messages)


def test_it_is_what_transformers_lays_out(artifact: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(artifact)
    messages = [{"role": "system", "content": "Be brief."}, *ASKED]
    expected = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert conversation_text(artifact, messages) == expected
