"""QueCC's graphs: the question's share of the queries, and patches to image tokens.

Apart, because a question's share serves every image and an image's patches serve every question.
"""

from __future__ import annotations

import torch
from torch import nn

from paring.transforms._query_compressor import Patches
from paring.transforms._vision_language import VisionLanguage

from ..language.graphs import BATCH, SEQUENCE, Graph
from .graphs import PATCHES, dtype_of


class QuestionGraph(nn.Module):
    """Token ids after the image to what they add to the compressor's queries."""

    def __init__(self, model: VisionLanguage) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """[B, T] int64 -> [B, 1, inner]."""
        return self.model.question(input_ids)


class CompressorGraph(nn.Module):
    """Patches and a question to image tokens."""

    def __init__(self, model: VisionLanguage) -> None:
        super().__init__()
        self.compressor = model.compressor

    def forward(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, question: torch.Tensor
    ) -> torch.Tensor:
        """Thrice [B, P, inner] and [B, 1, inner] -> [B, n, C]."""
        assert self.compressor is not None
        return self.compressor.compress(Patches(queries, keys, values), question)


def question(model: VisionLanguage) -> Graph:
    """`input_ids` to `question`."""
    ids = torch.randint(0, model.decoder.vocabulary, (BATCH, SEQUENCE))
    shapes = ({0: "batch_size", 1: "question_length"},)
    return Graph(QuestionGraph(model), (ids,), shapes, ("input_ids",), ("question",))


def compressor(model: VisionLanguage) -> Graph:
    """`image_queries`, `image_keys`, `image_values`, `question` to `image_features`."""
    assert model.compressor is not None
    rows, columns = model.compressor.regions.grid
    patches = (BATCH, rows * columns, model.compressor.widths.inner)
    shapes = [patches, patches, patches, (BATCH, 1, model.compressor.widths.inner)]
    return Graph(
        module=CompressorGraph(model),
        example=tuple(torch.randn(shape).to(dtype_of(model)) for shape in shapes),
        shapes=({0: "batch_size"},) * 4,
        inputs=(*PATCHES, "question"),
        outputs=("image_features",),
    )
