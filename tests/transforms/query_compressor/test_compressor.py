"""QueCC's compressor against a loop over regions, its locality, its size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from paring.transforms._query_compressor import QueryCompressor, Regions, Widths

SMALL = Widths(16, 64, 24, 16, 20)


def inputs(patches: int, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(batch, patches, 16, generator=generator),
        torch.randn(batch, patches, 64, generator=generator),
        torch.randn(batch, 1, 24, generator=generator),
    )


def opened(grid: tuple[int, int], stride: int) -> QueryCompressor:
    torch.manual_seed(0)
    return QueryCompressor(SMALL, Regions(grid, stride), heads=4).eval()


def by_regions(
    model: QueryCompressor, x: torch.Tensor, levels: torch.Tensor, state: torch.Tensor
) -> torch.Tensor:
    """Region by region with torch's own attention, patch by patch in the convolution."""
    rows, columns = model.regions.grid
    s, (left, _, top, _) = model.regions.stride, model.regions.padding
    attention = nn.MultiheadAttention(16, 4, batch_first=True).eval()
    with torch.no_grad():
        parts = (model.query_in, model.key_in, model.value_in)
        attention.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        attention.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        attention.out_proj.load_state_dict(model.out.state_dict())
    queried = model.query(x + model.text_vector(state))
    keys, values = model.key(levels), model.value(levels)
    tokens = []
    for i in range(model.regions.shape[0]):
        for j in range(model.regions.shape[1]):
            query = model.down.bias.expand(x.shape[0], -1).clone()
            inside = []
            for di in range(s):
                for dj in range(s):
                    row, column = i * s + di - top, j * s + dj - left
                    if 0 <= row < rows and 0 <= column < columns:
                        inside.append(row * columns + column)
                        query += queried[:, inside[-1]] * model.down.weight[:, 0, di, dj]
            mixed, _ = attention(query[:, None], keys[:, inside], values[:, inside])
            tokens.append(model.mlp(mixed))
    return torch.cat(tokens, 1)


@pytest.mark.parametrize(
    ("grid", "stride"), [((6, 6), 2), ((6, 6), 6), ((6, 4), 2), ((7, 5), 3), ((4, 4), 3)]
)
def test_equals_a_loop_over_regions(grid: tuple[int, int], stride: int) -> None:
    model = opened(grid, stride)
    given = inputs(grid[0] * grid[1])
    with torch.no_grad():
        found, wanted = model(*given), by_regions(model, *given)
    assert found.shape == (2, model.tokens, 20)
    torch.testing.assert_close(found, wanted, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize(("stride", "size"), [(4, 21_008_384), (24, 21_581_824)])
def test_has_the_parameters_of_the_paper(stride: int, size: int) -> None:
    with torch.device("meta"):
        model = QueryCompressor(Widths(1024, 4096, 4096, 1024, 4096), Regions((24, 24), stride))
    assert sum(own.numel() for name, own in model.named_parameters() if not name.startswith("mlp")) == size
    assert sum(own.numel() for own in model.mlp.parameters()) == 20_979_712


@pytest.mark.parametrize(("stride", "tokens"), [(24, 1), (12, 4), (6, 16), (4, 36), (3, 64), (2, 144)])
def test_counts_of_the_papers_grid(stride: int, tokens: int) -> None:
    assert Regions((24, 24), stride).count == tokens


def test_a_patch_changes_its_regions_token_alone_and_the_text_changes_all() -> None:
    model = opened((7, 5), 3)
    x, levels, state = inputs(35)
    with torch.no_grad():
        before = model(x, levels, state)
        x2, levels2 = x.clone(), levels.clone()
        x2[:, 0] += 1
        levels2[:, 0] += 1
        after = model(x2, levels2, state)
        asked = model(x, levels, state + torch.randn_like(state))
    changed = (before - after).abs().amax((0, 2)) > 0
    assert changed.tolist() == [True] + [False] * (model.tokens - 1)
    assert bool(((before - asked).abs().amax((0, 2)) > 0).all())


def test_the_order_of_keys_in_a_region_does_not_matter() -> None:
    model = opened((6, 6), 3)
    x, levels, state = inputs(36)
    swapped = levels.clone()
    swapped[:, [0, 7]] = levels[:, [7, 0]]  # both in the first region
    with torch.no_grad():
        torch.testing.assert_close(model(x, levels, state), model(x, swapped, state))


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="3 heads do not divide the inner width 16"):
        QueryCompressor(SMALL, Regions((6, 6), 2), heads=3)
    blind = QueryCompressor(SMALL._replace(text=None), Regions((6, 6), 2))
    with pytest.raises(ValueError, match="looks at no text"):
        blind(*inputs(36))
