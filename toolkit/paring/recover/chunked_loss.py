"""Losses over large vocabularies that never hold all logits. Cut Cross-Entropy, https://arxiv.org/abs/2411.09009

A language model's logits are rows x vocabulary: 2,048 rows at a vocabulary of 128k are 1 GB in fp32, and
a plain loss holds them three times over. Here they are made for `chunk_rows` rows at a time, slice after
slice s of the vocabulary, and become their own gradient, so that nothing is computed twice:

    p_s = softmax(z_s),  lse_s = max(z_s) - log max(p_s)    while a slice is cached
    lse = log sum_s exp(lse_s)                              after a row's last slice
    dL/dz_s = exp(lse_s - lse) p_s - target_s               from which the gradients are added up

Beside the gradients, memory is `chunk_rows` x vocabulary, whatever the number of rows. Logits, sums and
gradients are fp32 where the inputs are bf16 or fp16, and float64 for float64.
"""

from __future__ import annotations

import torch

from paring_runtimes.errors import InputError

from ._chunks import ChunkedLoss, Chunks, Head, Target, Tensor
from ._targets import Labels, Teacher

CHUNK_ROWS = 256
CHUNK_COLUMNS = 2048  # as much as stays cached between products, on the CPUs that were tried


def chunked_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    bias: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    chunk_rows: int = CHUNK_ROWS,
    chunk_columns: int = CHUNK_COLUMNS,
) -> Tensor:
    """`cross_entropy(linear(hidden, weight, bias), labels)`, whose gradient can be asked for once.

    Args:
        hidden: [N, D].
        weight: [V, D].
        labels: [N] int64, each in [0, V) or `ignore_index`.
        bias: [V].
        ignore_index: rows with this label count for nothing, and nothing is computed of them.
        reduction: "mean" over the rows that count, or "sum"; either is 0 where no row counts.
        chunk_rows: rows whose logits are held.
        chunk_columns: logits of each of them that are made at once.

    Returns:
        A scalar, fp32 (float64 for float64).

    Raises:
        InputError: shapes, dtypes or labels that do not fit.
    """
    _check(hidden, weight, bias, "")
    if labels.shape != hidden.shape[:1] or labels.dtype != torch.int64:
        raise InputError(
            f"labels: expected int64 [{len(hidden)}], one a row of hidden; got {labels.dtype}"
            f" {list(labels.shape)}"
        )
    kept = labels != ignore_index
    hidden, labels = hidden[kept], labels[kept]
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(weight):
        raise InputError(
            f"labels: expected 0 to {len(weight) - 1}, or {ignore_index} for rows to ignore; got"
            f" {int(labels.min())} to {int(labels.max())}"
        )
    chunks = Chunks(chunk_rows, chunk_columns, _share(reduction, len(hidden)))
    return _apply(hidden, weight, bias, Labels(labels, chunks, len(weight)), chunks)


def chunked_divergence(
    hidden: Tensor,
    weight: Tensor,
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    bias: Tensor | None = None,
    teacher_bias: Tensor | None = None,
    *,
    temperature: float = 1.0,
    reduction: str = "mean",
    chunk_rows: int = CHUNK_ROWS,
    chunk_columns: int = CHUNK_COLUMNS,
) -> Tensor:
    """T^2 KL(teacher || student) at temperature T, with neither side's logits whole.

    Args:
        hidden, weight, bias: the student's: [N, D], [V, D], [V].
        teacher_hidden, teacher_weight, teacher_bias: [N, E], [V, E], [V]; they get no gradient.
        temperature: both sides' logits are divided by it.
        reduction: "mean" over the rows, or "sum"; either is 0 where there are none.
        chunk_rows: rows of each side whose logits are held.
        chunk_columns: logits of each of them that are made at once.

    Returns:
        A scalar, fp32 (float64 for float64), whose gradient can be asked for once.

    Raises:
        InputError: shapes or dtypes that do not fit, or a temperature that is not above 0.
    """
    _check(hidden, weight, bias, "")
    _check(teacher_hidden, teacher_weight, teacher_bias, "teacher_")
    if len(hidden) != len(teacher_hidden) or len(weight) != len(teacher_weight):
        raise InputError(
            f"expected as many rows and classes of the teacher as of the student, {len(hidden)} and"
            f" {len(weight)}; got {len(teacher_hidden)} and {len(teacher_weight)}"
        )
    if not temperature > 0:
        raise InputError(f"temperature: expected a number above 0, got {temperature}")
    share = temperature**2 * _share(reduction, len(hidden))
    chunks = Chunks(chunk_rows, chunk_columns, share, 1 / temperature)
    with torch.no_grad():
        target = Teacher(teacher_hidden.detach(), Head(teacher_weight.detach(), teacher_bias), chunks)
    return _apply(hidden, weight, bias, target, chunks)


def _apply(hidden: Tensor, weight: Tensor, bias: Tensor | None, target: Target, chunks: Chunks) -> Tensor:
    if not torch.is_grad_enabled():  # a parameter would get its gradient all the same
        hidden, weight, bias = hidden.detach(), weight.detach(), None if bias is None else bias.detach()
    with torch.autocast(hidden.device.type, enabled=False):  # it would choose the dtype of each product
        loss: Tensor = ChunkedLoss.apply(hidden, weight, bias, target, chunks)
    return loss


def _share(reduction: str, rows: int) -> float:
    """What a row's loss counts."""
    if reduction not in ("mean", "sum"):
        raise InputError(f"reduction {reduction!r}: expected 'mean' or 'sum'")
    return 1 / max(rows, 1) if reduction == "mean" else 1.0


def _check(hidden: Tensor, weight: Tensor, bias: Tensor | None, side: str) -> None:
    if hidden.ndim != 2 or weight.ndim != 2 or hidden.shape[1] != weight.shape[1]:
        raise InputError(
            f"expected {side}hidden [N, D] and {side}weight [V, D]; got {list(hidden.shape)} and"
            f" {list(weight.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise InputError(f"{side}bias: expected [{len(weight)}], got {list(bias.shape)}")
    dtypes = {one.dtype for one in (hidden, weight, bias) if one is not None}
    if len(dtypes) > 1 or not hidden.is_floating_point():
        raise InputError(
            f"expected {side}hidden, {side}weight and {side}bias of one floating dtype; got"
            f" {', '.join(sorted(str(dtype) for dtype in dtypes))}"
        )
