"""The sentences that say where a plain int8 model is faster than shifts and additions. Measured.

Shifts replace fp32 products; int8 is the other way to be rid of them, and engines have kernels for it.
"""

from __future__ import annotations

from paring_profiles.compare import ratio_apart
from paring_profiles.report import quantities
from paring_profiles.result import Candidate, Case, Profile

CHEAP = {"shift_linear", "additive_attention", "primitive_mixture"}
INT8 = {
    "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul", "QGemm",
    "ConvInteger", "QLinearConv",
}  # fmt: skip


def against_int8(profile: Profile) -> list[str]:
    """One for each artifact that shifts or adds, case and int8 model in the profile that is faster."""
    rivals = [one for one in profile.candidates if _is_int8(one)]
    own = [one for one in profile.candidates if any(step.get("name") in CHEAP for step in one.transforms)]
    cases = [latency.case for latency in own[0].latency] if own else []
    told = [_sentence(one, rival, case) for one in own for rival in rivals for case in cases]
    return [sentence for sentence in told if sentence is not None]


def _is_int8(candidate: Candidate) -> bool:
    """Whether it multiplies integers and nothing was transformed: what a quantiser makes of a model."""
    ran = {operator.op_type for every in candidate.operators.values() for operator in every}
    return not candidate.transforms and bool(ran & INT8)


def _sentence(own: Candidate, rival: Candidate, case: Case) -> str | None:
    here, there = (next((at for at in one.latency if at.case == case), None) for one in (own, rival))
    if here is None or there is None:
        return None
    ratio, (low, high), said = ratio_apart(here, there, seed=0)
    if said != "faster":
        return None
    sizes = [quantities.in_bytes(one.size_bytes) for one in (own, rival)]
    between = f"{quantities.fixed(low, 2)} to {quantities.fixed(high, 2)}"
    wins = "what it saves is size" if own.size_bytes < rival.size_bytes else "nor is it smaller"
    return (
        f"int8 wins here: {rival.name} is {quantities.ratio(ratio)} faster than {own.name} at batch {case[0]}"
        f" (95 % interval {between}, {here.provenance}); {own.name} pays where an engine has kernels for"
        f" shifts and additions, and {wins}: {sizes[0]} against {sizes[1]}."
    )
