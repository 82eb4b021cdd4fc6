"""Before a conversion: what of a transformer would read spikes, and what stays in numbers.

- *spiking*: the blocks' linear layers, and the products of attention, whose operands are both spike trains.
- *exact float*: functions of all that came so far (layer norm, softmax, GELU), computed anew at each step in
  which something comes; the sums of the residual; and what stands before and after the blocks: it runs once.
"""

from __future__ import annotations

from torch import nn

from ..._encoder.families import locate
from ..coverage import Coverage, Row
from ..lifting import traced
from ..operations import Operation
from .refusals import refusals

WEIGHTS = ("linear",)
PRODUCTS = ("matmul", "bmm")
ATTENTION = "scaled_dot_product_attention"
SHAPES = (
    "alias", "cat", "clone", "contiguous", "detach", "dropout", "expand", "flatten", "permute", "reshape",
    "select", "slice", "split", "squeeze", "stack", "to", "transpose", "unbind", "unflatten", "unsqueeze",
    "view",
)  # fmt: skip


def transformer_coverage(model: nn.Module, shape: tuple[int, ...]) -> Coverage:
    """The verdicts on every operation that computes. The model is left as it is.

    Args:
        model: to be looked at.
        shape: of one input, without the batch.

    Raises:
        NotTraced: the model does not run as a graph on such inputs.
    """
    wrong = refusals(model)
    if wrong:
        return Coverage(tuple(Row("", "", "unsupported", 0, line) for line in wrong))
    site = locate(model)
    blocks = "blocks" if site is None else site.path
    found = [one for one in traced(model, shape).operations if one.name not in SHAPES]
    return Coverage(tuple(_row(one, one.place.startswith(f"{blocks}.")) for one in found))


def _row(one: Operation, inside: bool) -> Row:
    verdict = "exact float"
    if not inside:
        why = "before or after the blocks: runs once"
    elif one.name in WEIGHTS:
        verdict, why = "spiking", "reads spikes"
    elif one.name in PRODUCTS:
        verdict, why = "spiking", "a product of two spike trains"
    elif one.name == ATTENTION:
        verdict, why = "spiking", "two products of two spike trains; the softmax between is one of sums"
    elif one.name == "add":
        why = "a sum, no neurons of its own"
    else:
        why = "a function of all that came, by differences"
    return Row(one.place, one.name, verdict, one.macs, why)
