"""Chunked losses against the plain ones in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div, linear, log_softmax

from paring.recover.chunked_loss import chunked_cross_entropy, chunked_divergence
from paring_runtimes.errors import InputError

ROWS, WIDTH, CLASSES = 37, 16, 101
Given = dict[str, torch.Tensor]


def given(dtype: torch.dtype = torch.float32) -> Given:
    """What the losses take, logits of some 20 units among them."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).mul_(2).to(dtype)

    return {
        "hidden": normal(ROWS, WIDTH).requires_grad_(),
        "weight": normal(CLASSES, WIDTH).requires_grad_(),
        "bias": normal(CLASSES).requires_grad_(),
    }


def labels(ignored: int = -100) -> torch.Tensor:
    found = torch.randint(0, CLASSES, (ROWS,), generator=torch.Generator().manual_seed(1))
    found[[0, 9, 10, ROWS - 1]] = ignored
    return found


def teacher(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    shapes = (ROWS, 24), (CLASSES, 24), (CLASSES,)
    return tuple(torch.randn(*shape, generator=generator).to(dtype) for shape in shapes)


def plain_divergence(exact: Given, temperature: float, reduction: str) -> torch.Tensor:
    hidden, weight, bias = (one.double() for one in teacher())
    own = log_softmax(linear(*exact.values()) / temperature, -1)
    other = log_softmax(linear(hidden, weight, bias) / temperature, -1)
    found = temperature**2 * kl_div(own, other, log_target=True, reduction="sum")
    return found / ROWS if reduction == "mean" else found


def compare(
    inputs: Given,
    chunked: Callable[[Given], torch.Tensor],
    plain: Callable[[Given], torch.Tensor],
    tolerance: float = 1e-5,
) -> None:
    """Loss and gradients of both, the largest difference relative to the largest value."""
    exact = {name: one.detach().double().requires_grad_() for name, one in inputs.items()}
    own, other = chunked(inputs), plain(exact)
    assert own.item() == pytest.approx(other.item(), rel=tolerance)
    (own * 3).backward()
    (other * 3).backward()
    for name, one in inputs.items():
        assert one.grad is not None
        assert one.grad.dtype == one.dtype
        expected = exact[name].grad
        assert expected is not None
        assert (one.grad - expected).abs().max() <= tolerance * expected.abs().max(), name


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(
    ("rows", "columns"), [(8, 30), (ROWS, CLASSES), (1, 1), (500, 500), (12, 101)], ids=str
)
def test_cross_entropy_and_its_gradients(rows: int, columns: int, reduction: str) -> None:
    told = {"reduction": reduction, "chunk_rows": rows, "chunk_columns": columns}
    compare(
        given(),
        lambda one: chunked_cross_entropy(one["hidden"], one["weight"], labels(), one["bias"], **told),
        lambda one: cross_entropy(linear(*one.values()), labels(), reduction=reduction),
    )


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_divergence_and_its_gradients(temperature: float, reduction: str) -> None:
    hidden, weight, bias = teacher()
    told = {"temperature": temperature, "reduction": reduction, "chunk_rows": 8, "chunk_columns": 30}
    compare(
        given(),
        lambda one: chunked_divergence(
            one["hidden"], one["weight"], hidden, weight, one["bias"], bias, **told
        ),
        lambda one: plain_divergence(one, temperature, reduction),
    )


def test_float64_stays_float64() -> None:
    compare(
        given(torch.float64),
        lambda one: chunked_cross_entropy(*list(one.values())[:2], labels(), one["bias"], chunk_rows=8),
        lambda one: cross_entropy(linear(*one.values()), labels()),
        1e-13,
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_of_half_precision_only_the_gradients_are_rounded(dtype: torch.dtype) -> None:
    compare(
        given(dtype),
        lambda one: chunked_cross_entropy(*list(one.values())[:2], labels(), one["bias"], chunk_rows=8),
        lambda one: cross_entropy(linear(*one.values()), labels()),
        torch.finfo(dtype).eps,
    )
    hidden, weight, bias = teacher(dtype)
    inputs = given(dtype)
    loss = chunked_divergence(inputs["hidden"], inputs["weight"], hidden, weight, inputs["bias"], bias)
    assert loss.dtype == torch.float32


def test_any_label_may_be_the_one_to_ignore() -> None:
    inputs = given()
    loss = chunked_cross_entropy(inputs["hidden"], inputs["weight"], labels(3), ignore_index=3, chunk_rows=8)
    expected = cross_entropy(linear(inputs["hidden"], inputs["weight"]), labels(3), ignore_index=3)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    assert inputs["hidden"].grad is not None
    assert not inputs["hidden"].grad[9].any()
    assert inputs["hidden"].grad[11].any()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_nothing_to_learn_from_is_a_loss_of_0(reduction: str) -> None:
    inputs, ignored = given(), torch.full((ROWS,), -100)
    loss = chunked_cross_entropy(
        inputs["hidden"], inputs["weight"], ignored, inputs["bias"], reduction=reduction
    )
    loss.backward()
    assert loss.item() == 0
    assert all(one.grad is not None and not one.grad.any() for one in inputs.values())


def test_logits_beyond_what_exp_can_take() -> None:
    inputs = {name: (one.detach() * 40).requires_grad_() for name, one in given().items()}
    compare(
        inputs,
        lambda one: chunked_cross_entropy(
            one["hidden"], one["weight"], labels(), one["bias"], chunk_rows=8, chunk_columns=9
        ),
        lambda one: cross_entropy(linear(*one.values()), labels()),
    )


def test_classes_that_cannot_be() -> None:
    inputs = given()
    with torch.no_grad():
        inputs["bias"][20:40] = -torch.inf
    wanted = labels().where((labels() < 20) | (labels() >= 40), 0)
    compare(
        inputs,
        lambda one: chunked_cross_entropy(
            one["hidden"], one["weight"], wanted, one["bias"], chunk_rows=8, chunk_columns=10
        ),
        lambda one: cross_entropy(linear(*one.values()), wanted),
    )


def test_only_what_is_asked_for_gets_a_gradient() -> None:
    inputs = given()
    loss = chunked_cross_entropy(inputs["hidden"], inputs["weight"].detach(), labels())
    loss.backward()
    assert inputs["hidden"].grad is not None
    with torch.no_grad():
        again = chunked_cross_entropy(inputs["hidden"], inputs["weight"], labels())
    assert not again.requires_grad
    assert again.item() == loss.item()


def test_a_second_backward_is_refused() -> None:
    inputs = given()
    loss = chunked_cross_entropy(inputs["hidden"], inputs["weight"], labels())
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="compute the loss again"):
        loss.backward()


def test_autocast_changes_nothing() -> None:
    inputs = given()
    expected = chunked_cross_entropy(inputs["hidden"], inputs["weight"], labels())
    with torch.autocast("cpu", torch.bfloat16):
        assert chunked_cross_entropy(inputs["hidden"], inputs["weight"], labels()).item() == expected.item()


def test_bad_inputs_are_told() -> None:
    hidden, weight, bias = given().values()
    calls: list[tuple[str, Callable[[], torch.Tensor]]] = [
        (r"hidden \[N, D\]", lambda: chunked_cross_entropy(hidden, weight.T, labels())),
        (r"labels: expected int64 \[37\]", lambda: chunked_cross_entropy(hidden, weight, labels()[:3])),
        ("expected 0 to 100.*got.*101", lambda: chunked_cross_entropy(hidden, weight, labels(101))),
        ("got -1 to", lambda: chunked_cross_entropy(hidden, weight, labels(-1))),
        ("one floating dtype", lambda: chunked_cross_entropy(hidden, weight.half(), labels())),
        (r"bias: expected \[101\]", lambda: chunked_cross_entropy(hidden, weight, labels(), bias[:3])),
        ("reduction 'none'", lambda: chunked_cross_entropy(hidden, weight, labels(), reduction="none")),
        ("1 or more rows", lambda: chunked_cross_entropy(hidden, weight, labels(), chunk_rows=0)),
        ("teacher_weight", lambda: chunked_divergence(hidden, weight, hidden, weight[:, :3])),
        ("rows and classes", lambda: chunked_divergence(hidden, weight, hidden[:3], weight)),
        ("temperature", lambda: chunked_divergence(hidden, weight, hidden, weight, temperature=0)),
    ]
    for match, call in calls:
        with pytest.raises(InputError, match=match):
            call()
