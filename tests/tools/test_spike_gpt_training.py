"""The training of the embedded SpikeGPT: its text, its steps, its measure, its tokenizer."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")
TOOLS = Path(__file__).parents[2] / "tools" / "assets" / "spike_gpt"
sys.path.insert(0, str(TOOLS))

from learning import Step, bits_per_character, learn, rate  # noqa: E402
from lstm import of_size  # noqa: E402
from text import prose  # noqa: E402
from tokenizer import byte_characters  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from paring.assets.spike_gpt import FOLDER  # noqa: E402
from paring.transforms._spike_gpt import Config, SpikeGPT  # noqa: E402


def entropy(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits.flatten(0, 1), wanted.flatten())


@pytest.mark.parametrize("kind", ["spiking", "lstm"])
def test_a_model_learns_a_text_that_repeats(kind: str) -> None:
    torch.manual_seed(0)
    text = torch.frombuffer(bytearray(b"abcdefgh" * 200), dtype=torch.uint8)
    model = SpikeGPT(Config(128, 24, 2, dropout=0.0)) if kind == "spiking" else of_size(20_000, 128, 24)
    before = bits_per_character(model, text, 64, carried=True, rows=2)
    model.train()
    step = Step(model, entropy, (8, 25), torch.device("cpu"), 1e-2)
    course = learn(step, text, (8, 25), seconds=600, last=0.1, most=40, say=lambda line: None)
    after = bits_per_character(model, text, 64, carried=True, rows=2)
    assert course.steps == 40
    assert course.characters == 40 * 8 * 24
    assert before > 6.5
    assert after < 2.5


def test_bits_are_those_of_a_uniform_guess() -> None:
    class Uniform(torch.nn.Module):
        def forward(self, ids: torch.Tensor, state: None) -> tuple[torch.Tensor, None]:
            return torch.zeros(*ids.shape, 256), None

    text = torch.arange(200, dtype=torch.uint8)
    assert bits_per_character(Uniform(), text, 16, carried=False, rows=3) == pytest.approx(8.0, abs=1e-6)


@pytest.mark.parametrize("wanted", [100_000, 3_551_232])
def test_the_lstm_has_as_many_parameters(wanted: int) -> None:
    count = sum(one.numel() for one in of_size(wanted, 256, 64).parameters())
    assert count == pytest.approx(wanted, rel=0.01)


def test_the_rate_rises_and_falls() -> None:
    assert rate(0.0, 0.1) == 0
    assert rate(0.05, 0.1) > rate(0.5, 0.1) > rate(1.0, 0.1) == pytest.approx(0.1)


def test_prose_is_a_pages_paragraphs_in_ascii(tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    page.write_text(
        "<head><title>no</title></head>"
        "<p>A paragraph \u2018quoted\u2019 that is long enough \u2014 caf\u00e9 \u00b6</p>"
        "<pre>print('a listing that is long enough to be kept otherwise')</pre><p>too short</p>",
        encoding="utf-8",
    )
    assert prose(page) == ["A paragraph 'quoted' that is long enough - cafe"]


def test_the_embedded_tokenizers_ids_are_bytes() -> None:
    from tokenizers import Tokenizer

    assert sorted(byte_characters().values()) == list(range(256))
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    text = "caf\u00e9 \u2603\n"
    assert tokenizer.encode(text).ids == list(text.encode())
    assert tokenizer.decode(list(text.encode())) == text
