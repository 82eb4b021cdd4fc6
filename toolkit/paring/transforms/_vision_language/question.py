"""A language model's state after a question, for QueCC. https://arxiv.org/abs/2411.03312"""

from __future__ import annotations

import torch

from .._decoder import Decoder, Growing, Tokens
from .._encoder.tokens import take


@torch.no_grad()
def question_state(
    decoder: Decoder, input_ids: torch.Tensor, lengths: torch.Tensor | None = None
) -> torch.Tensor:
    """The last token's hidden state behind the final norm, of the question read alone; no gradient.

    Args:
        decoder: the language model itself.
        input_ids: [B, T] int64, the text after the image, padded on the right; positions count from 0.
        lengths: [B] int64, each question's own length; None for T.

    Returns:
        [B, 1, C].
    """
    places = torch.arange(input_ids.shape[1], device=input_ids.device)
    positions = places.expand(input_ids.shape[0], -1)
    valid = torch.ones_like(positions, dtype=torch.bool)  # padding comes later than all that is looked at
    tokens = Tokens(decoder.embedding(input_ids, positions), positions, valid)
    x = decoder.run(tokens, Growing((), valid), reduce=False).tokens.x
    last = x[:, -1:] if lengths is None else take(x, lengths[:, None] - 1)
    state: torch.Tensor = decoder.norm(last)
    return state
