"""The graphs that read a prompt with an image, and whether they are those that the manifest tells of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from paring_runtimes.engines import NativeSession
from paring_runtimes.errors import ArtifactError
from paring_runtimes.generation.image_facts import ImageFacts
from paring_runtimes.generation.language_model import LanguageModel


@dataclass(frozen=True)
class ImageGraphs:
    """The open graphs that prompts with images need.

    Attributes:
        encoder: pixels to image tokens; or to patches, which `compressor` makes tokens of.
        embed: token ids to embeddings.
        prefill: reads a prompt.
        question: the text after the image to what `compressor` takes of it; None where no text is looked at.
        compressor: patches and a question to image tokens, or None.
    """

    encoder: NativeSession
    embed: NativeSession
    prefill: NativeSession
    question: NativeSession | None = None
    compressor: NativeSession | None = None


def opened(image: ImageFacts, open_graph: Callable[[str], NativeSession]) -> ImageGraphs:
    """Open every graph by its file's name, that of the prompt last."""
    encoder, embed = open_graph(image.encoder), open_graph(image.embed)
    question = None if image.question is None else open_graph(image.question)
    compressor = None if image.compressor is None else open_graph(image.compressor)
    return ImageGraphs(encoder, embed, open_graph(image.prefill), question, compressor)


def check_graphs(folder: Path, graphs: ImageGraphs, model: LanguageModel) -> None:
    """Check that the graphs take and give what `ImageCache` feeds and reads.

    Raises:
        ArtifactError: a name differs.
    """
    image = model.image
    assert image is not None
    keys = ["keys"] if image.keys else []
    wanted = (
        (image.encoder, graphs.encoder, ["pixel_values"], image.encoded),
        (image.embed, graphs.embed, ["input_ids"], ["inputs_embeds"]),
        (image.question, graphs.question, ["input_ids"], ["question"]),
        (image.compressor, graphs.compressor, [*image.encoded, "question"], ["image_features"]),
        (
            image.prefill,
            graphs.prefill,
            ["before", "image_features", "after", *keys],
            ["logits", *model.cache_names("present")],
        ),
    )
    for file, native, inputs, outputs in wanted:
        if file is None or native is None:
            continue
        taken, given = ({spec.name for spec in side} for side in (native.inputs, native.outputs))
        if taken != set(inputs) or given != set(outputs):
            differing = ", ".join(sorted((taken ^ set(inputs)) | (given ^ set(outputs))))
            raise ArtifactError(f"{folder / file}: not that graph; missing or unknown: {differing}")
