"""MustDrop's last stage: the cache keeps only what survived every stage. https://arxiv.org/abs/2411.10803

Stage s chooses places within what stage s - 1 left. Composed backwards, places[s - 1] =
places[s - 1][places[s]], each list says where the final survivors were in an earlier, longer sequence.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def sequence_places(kept: torch.Tensor, image: tuple[int, int], length: int) -> torch.Tensor:
    """Places of what stays in the whole sequence: everything outside the image, and its tokens `kept`.

    Args:
        kept: [B, n] places within the image, ascending.
        image: (start, stop) of the image tokens before this stage.
        length: of the sequence before this stage.

    Returns:
        [B, length - (stop - start) + n] ascending.
    """
    start, stop = image
    place = torch.arange(length, device=kept.device).expand(kept.shape[0], -1)
    return torch.cat([place[:, :start], kept + start, place[:, stop:]], 1)


def compose(stages: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Where the final survivors were before each stage.

    Args:
        stages: [B, n_s] places that stage s kept of the n_(s-1) that it got.

    Returns:
        As many tensors [B, n_last]; the first one holds original places.
    """
    composed: list[torch.Tensor] = []
    for places in reversed(stages):
        composed.insert(0, places.gather(1, composed[0]) if composed else places)
    return composed


def cache_places(
    stages: Sequence[torch.Tensor], stage_layers: Sequence[int], layers: int, whole: int = 2
) -> list[torch.Tensor | None]:
    """What each layer's cache is gathered to after the prompt.

    Args:
        stages: [B, n_s] places in the whole sequence (`sequence_places`) that each stage kept.
        stage_layers: after which layer each stage works, counted from 0, ascending: 2, 6, 10, 14.
        layers: how many the model has. Nothing here depends on its being 32.
        whole: leading layers whose cache is left as it is; the paper's 2.

    Returns:
        One [B, n_last] a layer; None for the leading layers and for those behind the last stage.

    Raises:
        ValueError: stages and layers do not fit.
    """
    ordered = sorted(set(stage_layers)) == list(stage_layers)
    if len(stages) != len(stage_layers) or not ordered or any(layer >= layers for layer in stage_layers):
        raise ValueError(f"{len(stages)} stages after layers {list(stage_layers)} of {layers} do not fit")
    composed = compose(stages)
    plan: list[torch.Tensor | None] = []
    for layer in range(layers):
        following = [places for after, places in zip(stage_layers, composed, strict=True) if after >= layer]
        plan.append(following[0] if following and layer >= whole else None)
    return plan


def trim(states: torch.Tensor, places: torch.Tensor | None) -> torch.Tensor:
    """Keys or values [B, H, L, D] at places [B, n] -> [B, H, n, D]; unchanged for None."""
    if places is None:
        return states
    index = places[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3])
    return states.gather(2, index)
