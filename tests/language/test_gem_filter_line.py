"""GemFilter through the whole line: the layer's choice, the conversion, and what the runtime then reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from language_files import llama_folder  # noqa: E402

import paring_runtimes  # noqa: E402
from paring.cli import app  # noqa: E402
from paring.language.needles import needle_prompts  # noqa: E402
from paring.transforms._decoder import open_decoder  # noqa: E402
from paring.transforms.gem_filter import Config, GemFilter, recall_by_layer  # noqa: E402
from paring_profiles.needle.frames import frame_of  # noqa: E402
from paring_profiles.needle.haystack import Plan, haystacks  # noqa: E402
from paring_profiles.statistics import wilson  # noqa: E402
from paring_runtimes.artifact import read_manifest, verify_files  # noqa: E402

pytestmark = pytest.mark.slow

K = 24
TEXT = "a long letter about nothing. it goes on and on, as letters do. then it ends."


def run(*arguments: object, code: int = 0) -> str:
    done = CliRunner().invoke(app(), [str(a) for a in arguments], catch_exceptions=code != 0)
    assert done.exit_code == code, done.output
    return done.stdout


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("gem")
    folder = llama_folder(base / "tiny", max_position_embeddings=512)
    quick = ["verify.batch_sizes=[1,2]", "verify.seeds=[0]", "verify.steps=2", "export.baseline=false"]
    own = [f"gem_filter.k={K}", "gem_filter.layer=1", "gem_filter.pin_first=1"]
    sets = [part for one in (*quick, *own) for part in ("--set", one)]
    run("convert", "-m", f"hf:{folder}", "-t", "gem_filter", *sets, "-o", base / "out")
    return base / "out"


def test_the_artifact_holds_a_verified_filter(artifact: Path) -> None:
    manifest = read_manifest(artifact)
    verify_files(artifact, manifest)
    told = {"files": ["filter.0.onnx", "filter.1.onnx"], "k": K, "layer": 1, "pin_first": 1, "pin_last": 0}
    assert manifest.graph["generation"]["filter"].items() >= told.items()
    assert manifest.parity is not None
    found = manifest.parity["filter"]
    assert found["passed"]
    assert (found["ties"], found["margin"]) == (0, 0.0)
    assert {case["length"] for case in found["cases"]} == {K // 2, K, K + 1, 2 * K + 9, 512}
    assert any(case["name"].startswith("filtered") for case in manifest.parity["cases"])


def test_it_reads_what_pytorch_would(artifact: Path) -> None:
    model = transformers.LlamaForCausalLM.from_pretrained(artifact.parent / "tiny").eval()
    filtered = GemFilter(open_decoder(model), Config(k=K, layer=1, pin_first=1, pin_last=2))
    with paring_runtimes.load(artifact) as session:
        ids = session.tokenizer.encode(TEXT)
        for form in ("in_place", "concat"):
            (found,) = session.generate(TEXT, max_new_tokens=1, pin_last=2, cache=form)
            prompt = torch.tensor([ids])
            with torch.inference_mode():
                logits, _, columns = filtered(prompt, torch.ones_like(prompt))
            assert list(found.kept) == columns[0].tolist()
            assert found.token_ids == (int(logits[0, -1].argmax()),)


def test_the_command_shows_what_was_kept(artifact: Path) -> None:
    options = ("--max-new-tokens", 2, "--pin-last", 3)
    found = json.loads(run("generate", artifact, TEXT, "--json", *options))
    assert len(found["kept"]) == K
    assert found["kept"][-3:] == [len(TEXT) - 3, len(TEXT) - 2, len(TEXT) - 1]
    assert found["filter_ms"] < found["first_token_ms"]
    done = CliRunner().invoke(app(), ["generate", str(artifact), TEXT, "--show-kept", *map(str, options)])
    assert f"read: {found['kept_text']}" in done.stderr
    assert f"({K} read)" in done.stderr
    done = CliRunner().invoke(app(), ["generate", str(artifact), TEXT, "--show-kept", "--no-filter"])
    assert "read: the whole prompt" in done.stderr


def test_layers_are_scored_by_needles(artifact: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT * 5, encoding="utf-8")
    options = ["--k", 60, "--text", text, "--length", 200, "--depth", 0.2, "--depth", 0.8, "--seed", 3]
    found = json.loads(run("filter-layers", artifact, *options, "--json"))
    assert found["prompts"] == 2
    tokenizer = transformers.AutoTokenizer.from_pretrained(artifact)
    model = transformers.LlamaForCausalLM.from_pretrained(artifact.parent / "tiny").eval()
    prompts = needle_prompts(tokenizer, TEXT * 5, [200], [0.2, 0.8], [3])
    rows, needles = [torch.tensor([one.ids]) for one in prompts], [one.needle for one in prompts]
    expected = recall_by_layer(open_decoder(model), rows, needles, Config(k=60)).mean(1)
    assert [one["recall"] for one in found["layers"]] == pytest.approx(expected.tolist())
    assert [one["first_pass"] for one in found["layers"]] == [0.0, 0.5]
    shown = run("filter-layers", f"hf:{artifact.parent / 'tiny'}", *options)
    assert f"gem_filter.layer={found['chosen']}" in shown
    assert "95 % interval" in shown


def test_a_needle_is_where_it_is_said(artifact: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(artifact)
    for prompt in needle_prompts(tokenizer, TEXT, [200, 300], [0.0, 0.5, 1.0], [0, 1]):
        assert len(prompt.ids) in (200, 300)
        start, stop = prompt.needle
        text = tokenizer.decode(prompt.ids[start:stop]).replace("<unk>", "")  # it knows small letters only
        assert text.startswith(" he secret number of the")
        assert text.endswith("office is .")
        assert abs(start - prompt.depth * (start + len(prompt.ids) - stop)) < 120


@pytest.mark.parametrize("ask", ["sentence", "question"])
def test_layers_read_the_prompts_of_the_needle_run(artifact: Path, ask: str) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(artifact)
    told = needle_prompts(tokenizer, TEXT, [200, 250], [0.3], [2], ask)
    with paring_runtimes.load(artifact) as session:
        plan = Plan([200, 250], [0.3], [2])
        own = haystacks(session.tokenizer, TEXT, frame_of(session, ask), plan)
    assert [one.ids for one in told] == [one.ids for one in own]
    assert [one.needle for one in told] == [one.facts[0].tokens for one in own]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--ask", "nicely"), "ask: expected one of sentence, question, chat"),
        (("--length", 60), "all stay when k is 60"),
        (("--length", 600), "reads 512 at most"),
        (("--length", 90), "needle and question alone"),
        (("--kernel", 4), "must be odd"),
    ],
)
def test_what_does_not_fit_is_refused(artifact: Path, options: tuple[object, ...], message: str) -> None:
    arguments = ["filter-layers", str(artifact), "--k", "60", *map(str, options)]
    done = CliRunner().invoke(app(), arguments)
    assert message in str(done.exception)


def test_the_interval_is_wilson_s() -> None:
    from scipy.stats import binomtest

    for hits in (0, 3, 10):
        expected = binomtest(hits, 10).proportion_ci(method="wilson")
        assert wilson(hits / 10, 10) == pytest.approx((expected.low, expected.high), abs=1e-9)
