"""Chips: one YAML file each in `chips/`, found by its name, read by this schema.

A constant that no source gives is not in the file; what needs it is then "not modelled". An integer limit
that is missing is no limit that anybody stated.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from paring_profiles.data_file import read_data_file
from paring_runtimes.errors import InputError
from paring_runtimes.suggest import near_miss

FOLDER = Path(__file__).with_name("chips")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Strict):
    """Where figures are from."""

    title: str
    year: int
    link: str = ""


class Sourced(_Strict):
    """What every figure says of itself.

    Attributes:
        source: a key of the chip's `sources`.
        where: page, table or section in it.
        basis: how the source knows. "derived" is arithmetic over what the source prints, "assumed" a choice
            of this model that no source fixes.
        checked: what this figure was compared with: the source itself, a quotation of it, or "not verified".
        note: what a reader has to know besides.
    """

    source: str
    where: str
    basis: Literal["measured", "simulated", "stated", "derived", "assumed"]
    checked: str
    note: str = ""


class Limit(Sourced):
    """A capacity, a width in bits, or a count."""

    value: int = Field(gt=0)


class Constant(Sourced):
    """A price or a time with the range in which it may lie. The unit is the last part of the field's name."""

    value: float = Field(ge=0)
    low: float = Field(ge=0)
    high: float = Field(ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Constant:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"low {self.low} <= value {self.value} <= high {self.high} does not hold")
        return self


class Limits(_Strict):
    """What fits. Per core unless said otherwise.

    Attributes:
        cores: of the chip.
        neurons: neurons (compartments).
        synapse_bits: memory for synapses, bits.
        sources: distinct senders (axons, distribution lists) that may reach a core.
        destinations: pairs of a neuron of the core and another core that it sends to.
        destinations_per_neuron: cores that one neuron may send to; beyond it, it is held several times.
        fan_in: connections of one neuron.
        fan_out: connections of one sender.
        inputs, outputs: of the whole chip.
        weight_bits: of a signed weight; levels are symmetric around zero.
        state_bits: of a signed membrane.
        index_bits: that an unshared synapse of a list takes besides its weight.
        axons_for_source: input lines that a signed source takes.
        compartments_for_soft_reset: neurons that one with reset by subtraction takes.
    """

    cores: Limit
    neurons: Limit | None = None
    synapse_bits: Limit | None = None
    sources: Limit | None = None
    destinations: Limit | None = None
    destinations_per_neuron: Limit | None = None
    fan_in: Limit | None = None
    fan_out: Limit | None = None
    inputs: Limit | None = None
    outputs: Limit | None = None
    weight_bits: Limit
    state_bits: Limit
    index_bits: Limit | None = None
    axons_for_source: Limit | None = None
    compartments_for_soft_reset: Limit | None = None

    def of(self, name: str, default: int) -> int:
        """A limit's value, or `default` where none is stated."""
        limit: Limit | None = getattr(self, name)
        return default if limit is None else limit.value


class Mesh(Sourced):
    """Routers in a grid, each with some cores; spikes go first along x, then along y."""

    columns: int = Field(gt=0)
    rows: int = Field(gt=0)
    cores_per_router: int = Field(gt=0)


class Timing(_Strict):
    """Nanoseconds. A step is either of fixed length, or lasts as long as its slowest core, plus a barrier.

    Attributes:
        step_ns: length of a step that a clock sets.
        synaptic_operation_ns: on one core.
        active_update_ns, inactive_update_ns: of one neuron that was reached by an event, or was not.
        hop_x_ns, hop_y_ns: a spike's way to the next router.
        barrier_one_router_ns, barrier_all_routers_ns: to synchronise; between them, by the routers in use.
    """

    step_ns: Constant | None = None
    synaptic_operation_ns: Constant | None = None
    active_update_ns: Constant | None = None
    inactive_update_ns: Constant | None = None
    hop_x_ns: Constant | None = None
    hop_y_ns: Constant | None = None
    barrier_one_router_ns: Constant | None = None
    barrier_all_routers_ns: Constant | None = None


class Energy(_Strict):
    """Picojoules an event, and milliwatts.

    Attributes:
        synaptic_operation_pj: an event at one connection.
        active_update_pj, inactive_update_pj: as in `Timing`.
        spike_pj: to send a spike to a core of the same router.
        hop_x_pj, hop_y_pj: a spike's way to the next router.
        mac_pj: a multiply-accumulate of 8-bit operands.
        static_mw: of the whole chip, whatever it does.
        inside: parts that are contained in `synaptic_operation_pj`, because the source prices them together.
    """

    synaptic_operation_pj: Constant | None = None
    active_update_pj: Constant | None = None
    inactive_update_pj: Constant | None = None
    spike_pj: Constant | None = None
    hop_x_pj: Constant | None = None
    hop_y_pj: Constant | None = None
    mac_pj: Constant | None = None
    static_mw: Constant | None = None
    inside: tuple[str, ...] = ()


class Chip(_Strict):
    """A chip.

    Attributes:
        name: its file's name.
        title: what people call it.
        process: of manufacture.
        about: what is known of it, and what is not.
        scale: whether a layer's weights may have any real scale ("real") or one that is a power of two.
        shared_convolution: whether a core keeps a kernel once for all of its positions; unrolled otherwise.
        sources: by key.
    """

    name: str
    title: str
    process: str
    about: str
    scale: Literal["real", "power_of_two"]
    shared_convolution: bool
    sources: dict[str, Source]
    limits: Limits
    mesh: Mesh
    timing: Timing = Timing()
    energy: Energy = Energy()

    @model_validator(mode="after")
    def _consistent(self) -> Chip:
        for name, figure in self.figures().items():
            if figure.source not in self.sources:
                raise ValueError(f"{name}: source {figure.source!r} is none of {', '.join(self.sources)}")
        places = self.mesh.columns * self.mesh.rows * self.mesh.cores_per_router
        if places < self.limits.cores.value:
            raise ValueError(f"mesh: {places} places for {self.limits.cores.value} cores")
        return self

    def figures(self) -> dict[str, Sourced]:
        """Every figure by its path, such as "energy.synaptic_operation_pj"."""
        found: dict[str, Sourced] = {"mesh": self.mesh}
        for group in ("limits", "timing", "energy"):
            held = getattr(self, group)
            for name in type(held).model_fields:
                value = getattr(held, name)
                if isinstance(value, Sourced):
                    found[f"{group}.{name}"] = value
        return found

    def constants(self) -> dict[str, Constant]:
        """The figures with a range: prices and times, by their path."""
        return {name: one for name, one in self.figures().items() if isinstance(one, Constant)}


def chips() -> list[str]:
    """Names of the chips there are."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


@cache
def chip(name: str) -> Chip:
    """A chip by its name.

    Raises:
        InputError: there is none of that name; the message lists those there are.
    """
    known = chips()
    if name not in known:
        raise InputError(f"no chip {name!r}{near_miss(name, known)}; known: {', '.join(known)}")
    return read_chip(FOLDER / f"{name}.yaml")


def read_chip(path: Path) -> Chip:
    """A chip of one's own, from a file.

    Raises:
        InputError: not a chip's file, with every field that is wrong.
    """
    return read_data_file(path, Chip, "chip")
