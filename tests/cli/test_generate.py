"""`paring generate` prints what the session streams, as text or as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

pytest.importorskip("tokenizers")

from tiny_lm import save_artifact
from typer.testing import CliRunner

from paring.cli import app, main
from paring_runtimes import GenerativeSession, load

SAMPLED = ("--temperature", "1.0", "--top-k", "50", "--top-p", "0.9", "--seed", "3", "--max-new-tokens", "20")
OPTIONS = {"temperature": 1.0, "top_k": 50, "top_p": 0.9, "seed": 3, "max_new_tokens": 20}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_artifact(tmp_path_factory.mktemp("cli") / "lm")


@pytest.fixture(scope="module")
def session(artifact: Path) -> GenerativeSession:
    return load(artifact, threads=1)


def run(*arguments: object, stdin: str | None = None) -> tuple[str, str]:
    result = CliRunner().invoke(app(), [str(a) for a in arguments], input=stdin, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def test_it_prints_the_text_and_a_summary(artifact: Path, session: GenerativeSession) -> None:
    out, said = run("generate", artifact, "hello", "--threads", 1, *SAMPLED)
    (expected,) = session.generate("hello", **OPTIONS)
    assert out == expected.text + "\n"
    assert f"5 + {len(expected.token_ids)} tokens, ended by {expected.finish_reason}" in said
    assert "cache in_place" in said


def test_json_is_one_document(artifact: Path, session: GenerativeSession) -> None:
    out, said = run("generate", artifact, "-", "--json", "--cache", "concat", *SAMPLED, stdin="hello")
    found = json.loads(out)
    (expected,) = session.generate("hello", **OPTIONS)
    assert said == ""
    assert found["token_ids"] == list(expected.token_ids)
    assert (found["prompt"], found["text"], found["cache"]) == ("hello", expected.text, "concat")
    assert found["first_token_ms"] > 0


def test_a_chat_is_laid_out(artifact: Path, session: GenerativeSession) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    out, _ = run("generate", artifact, "hi", "--system", "Be brief.", "--json", *SAMPLED)
    assert json.loads(out)["token_ids"] == list(session.chat(messages, **OPTIONS).token_ids)
    out, _ = run("generate", artifact, "hi", "--chat", "--json", *SAMPLED)
    assert json.loads(out)["token_ids"] == list(session.chat(messages[1:], **OPTIONS).token_ids)


def test_stop_strings_end_it(artifact: Path, session: GenerativeSession) -> None:
    (free,) = session.generate("hello", **OPTIONS)
    out, _ = run("generate", artifact, "hello", "--stop", free.text[3], "--stop", "never", *SAMPLED)
    assert out == free.text[: free.text.index(free.text[3])] + "\n"


def test_another_model_is_refused(tmp_path: Path, monkeypatch, capsys) -> None:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "ab"]
    graph = helper.make_graph([helper.make_node("Neg", ["a"], ["b"])], "g", value[:1], value[1:])
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "m.onnx")
    monkeypatch.setattr(sys, "argv", ["paring", "generate", str(tmp_path / "m.onnx"), "hello"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "not the artifact of a language model" in capsys.readouterr().err


def test_a_terminal_is_not_commanded(artifact: Path, monkeypatch, capsys) -> None:
    from paring.cli import generate_command

    def stream():
        yield "a\x1b]0;title\x07"
        yield "b\n\tc\r"
        return "end"

    for terminal, expected in ((True, "a\ufffd]0;title\ufffdb\n\tc\ufffd\n"), (False, None)):
        monkeypatch.setattr(sys.stdout, "isatty", lambda terminal=terminal: terminal)
        assert generate_command._finish(stream(), silent=False) == "end"
        out = capsys.readouterr().out
        assert expected is None or out == expected
        assert expected is not None or "\x1b" in out
