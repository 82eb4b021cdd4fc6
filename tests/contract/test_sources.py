"""Every model source that is found keeps the same promises."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

import paring.sources as package
from paring.sources import Request, Source, answers_prompts, sources
from paring_runtimes.errors import MissingExtraError, SourceError

FOUND = sources()
FILES = {path.stem for path in Path(package.__file__).parent.glob("[!_]*.py")}


@pytest.fixture(params=sorted(FOUND))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def source(name: str) -> Source:
    return FOUND[name]


def test_every_file_is_a_source() -> None:
    assert set(FOUND) == FILES


def test_its_help_is_a_line_that_starts_with_its_form(name: str, source: Any) -> None:
    assert source.HELP.partition(":")[0] == name
    assert "\n" not in source.HELP
    assert source.__doc__.startswith(f"`{name}")


def test_what_writes_text_is_known_without_loading_it(tmp_path: Path) -> None:
    for spec in ("gguf:no.gguf", "spikegpt:no.pth", "embedded:spike-gpt"):
        assert answers_prompts(spec)
    for spec in ("embedded", "timm:vit_tiny_patch16_224", "py:no.py:model", "onnx:no.onnx", "nir:no.nir"):
        assert not answers_prompts(spec)
    if FOUND["hf"].why_not() is not None:
        return
    stated = {
        "ViTForImageClassification": False,
        "LlamaForCausalLM": True,
        "GPT2LMHeadModel": True,
        "LlavaForConditionalGeneration": True,
    }
    for architecture, writes in stated.items():
        (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture]}))
        assert answers_prompts(f"hf:{tmp_path}") == writes


def test_it_works_or_says_in_a_line_what_mends_it(source: Source) -> None:
    reason = source.why_not()
    assert reason is None or ("\n" not in reason and reason.strip())


def test_without_its_packages_it_names_the_command(
    name: str, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda *names: None)
    assert "pip install 'paring[" in str(source.why_not())
    with pytest.raises(MissingExtraError, match=r"pip install 'paring\["):
        source.load(Request(spec=f"{name}:x", target=""))


def test_what_is_not_there_is_named(name: str, source: Source) -> None:
    if source.why_not() is not None:
        pytest.skip(str(source.why_not()))
    with pytest.raises(SourceError, match=r"no_such_model") as refused:
        source.load(Request(spec=f"{name}:no_such_model", target="no_such_model"))
    assert "\n" not in str(refused.value)
