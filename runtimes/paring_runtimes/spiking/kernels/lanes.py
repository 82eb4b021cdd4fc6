"""Vector operations that numba's loops do not give: written as LLVM vectors, which LLVM fits to the CPU.

Numba cannot tell LLVM that weights and sums do not overlap, so that sums of its loops go through memory for
every event. Here they stay in registers. Offsets are in elements; arrays are float32 and contiguous.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from paring_runtimes.spiking.kernels import FIELDS, LANES, ROW_LANES

_F32, _I64, _I32 = ir.FloatType(), ir.IntType(64), ir.IntType(32)
_BYTES = ir.IntType(8).as_pointer()
_AHEAD = 8  # events: how far ahead a row of weights is fetched; rows of a large layer are far apart
_LINE = 16  # float32 in a cache line


class _Vectors:
    """Loads and stores of vectors of one width, for one function that is being written."""

    def __init__(self, context: Any, builder: Any, width: int) -> None:
        self.context, self.builder, self.width = context, builder, width
        self.type = ir.VectorType(_F32, width)

    def data(self, kind: Any, array: Any) -> Any:
        return self.context.make_array(kind)(self.context, self.builder, array).data

    def load(self, pointer: Any, offset: Any) -> Any:
        at = self.builder.bitcast(self.builder.gep(pointer, [offset]), self.type.as_pointer())
        value = self.builder.load(at)
        value.align = 4
        return value

    def store(self, value: Any, pointer: Any, offset: Any) -> None:
        at = self.builder.bitcast(self.builder.gep(pointer, [offset]), self.type.as_pointer())
        self.builder.store(value, at).align = 4

    def splat(self, scalar: Any) -> Any:
        one = self.builder.insert_element(ir.Constant(self.type, ir.Undefined), scalar, _I32(0))
        zeros = ir.Constant(ir.VectorType(_I32, self.width), [0] * self.width)
        return self.builder.shuffle_vector(one, ir.Constant(self.type, ir.Undefined), zeros)

    def prefetch(self, pointer: Any, offset: Any) -> None:
        kind = ir.FunctionType(ir.VoidType(), [_BYTES, _I32, _I32, _I32])
        hint = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0")
        for line in range(0, self.width, _LINE):
            at = self.builder.gep(pointer, [self.builder.add(offset, _I64(line))])
            self.builder.call(hint, [self.builder.bitcast(at, _BYTES), _I32(0), _I32(3), _I32(1)])


def _loop(builder: Any, low: Any, high: Any, carried: Any, body: Any) -> Any:
    """Write `for e in range(low, high): carried = body(e, carried)`; `carried` None for none."""
    before = builder.block
    head, inside, done = (builder.append_basic_block(name) for name in ("head", "inside", "done"))
    builder.branch(head)
    builder.position_at_end(head)
    e = builder.phi(_I64)
    e.add_incoming(low, before)
    held = None
    if carried is not None:
        held = builder.phi(carried.type)
        held.add_incoming(carried, before)
    builder.cbranch(builder.icmp_signed("<", e, high), inside, done)
    builder.position_at_end(inside)
    after = body(e, held)
    e.add_incoming(builder.add(e, _I64(1)), builder.block)
    if held is not None:
        held.add_incoming(after, builder.block)
    builder.branch(head)
    builder.position_at_end(done)
    return held


def _summing(width: int, ahead: int) -> Any:
    """A sum of rows of weights, held in registers; rows are fetched `ahead` events before, 0 for not."""

    @intrinsic
    def add(
        typing: Any, total: Any, at: Any, weight: Any, base: Any, stride: Any, index: Any, value: Any,
        low: Any, high: Any,
    ) -> Any:  # fmt: skip
        """total[at:at + width] += weight[base + index[e] * stride:][:width] for e in range(low, high).

        `value`: None, or an array of what each row is multiplied by.
        """
        valued = not isinstance(value, types.NoneType)
        signature = types.void(total, at, weight, base, stride, index, value, low, high)

        def write(context: Any, builder: Any, kinds: Any, args: Any) -> Any:
            v = _Vectors(context, builder, width)
            sums, weights, indices = (v.data(kinds.args[k], args[k]) for k in (0, 2, 5))
            values = v.data(kinds.args[6], args[6]) if valued else None
            low, high = args[7], args[8]
            last = builder.sub(high, _I64(1))

            def row(e: Any) -> Any:
                source = builder.zext(builder.load(builder.gep(indices, [e])), _I64)
                return builder.add(args[3], builder.mul(source, args[4]))

            def add_one(e: Any, held: Any) -> Any:
                if ahead:
                    later = builder.add(e, _I64(ahead))
                    inside = builder.icmp_signed("<", later, last)
                    v.prefetch(weights, row(builder.select(inside, later, last)))
                found = v.load(weights, row(e))
                if valued:
                    found = builder.fmul(found, v.splat(builder.load(builder.gep(values, [e]))))
                return builder.fadd(held, found)

            v.store(_loop(builder, low, high, v.load(sums, args[1]), add_one), sums, args[1])
            return context.get_dummy_value()

        return signature, write

    return add


add_far_rows = _summing(ROW_LANES, _AHEAD)  # of a matrix, of which the cache holds little
add_rows16, add_rows32, add_rows64 = (_summing(width, 0) for width in (16, 32, 64))


@intrinsic
def add_to_rows(typing: Any, total: Any, weight: Any, at: Any, rows: Any, low: Any, high: Any) -> Any:
    """total[rows[e] * 64:][:64] += weight[at:at + 64] for e in range(low, high): one row, many sums."""
    signature = types.void(total, weight, at, rows, low, high)

    def write(context: Any, builder: Any, kinds: Any, args: Any) -> Any:
        v = _Vectors(context, builder, ROW_LANES)
        sums, weights, targets = (v.data(kinds.args[k], args[k]) for k in (0, 1, 3))
        row = v.load(weights, args[2])

        def add(e: Any, _: Any) -> None:
            target = builder.zext(builder.load(builder.gep(targets, [e])), _I64)
            at = builder.mul(target, _I64(ROW_LANES))
            v.store(builder.fadd(v.load(sums, at), row), sums, at)

        _loop(builder, args[4], args[5], None, add)
        return context.get_dummy_value()

    return signature, write


@intrinsic
def prefetch_row(typing: Any, weight: Any, at: Any) -> Any:
    """Fetch weight[at:at + 64] into the cache."""
    signature = types.void(weight, at)

    def write(context: Any, builder: Any, kinds: Any, args: Any) -> Any:
        v = _Vectors(context, builder, ROW_LANES)
        v.prefetch(v.data(kinds.args[0], args[0]), args[1])
        return context.get_dummy_value()

    return signature, write


def _adding(width: int) -> Any:
    @intrinsic
    def add(typing: Any, total: Any, at: Any, weight: Any, row: Any, value: Any, e: Any) -> Any:
        """total[at:at + width] += weight[row:row + width], times value[e] unless `value` is None."""
        valued = not isinstance(value, types.NoneType)
        signature = types.void(total, at, weight, row, value, e)

        def write(context: Any, builder: Any, kinds: Any, args: Any) -> Any:
            v = _Vectors(context, builder, width)
            sums, weights = (v.data(kinds.args[k], args[k]) for k in (0, 2))
            found = v.load(weights, args[3])
            if valued:
                values = v.data(kinds.args[4], args[4])
                found = builder.fmul(found, v.splat(builder.load(builder.gep(values, [args[5]]))))
            v.store(builder.fadd(v.load(sums, args[1]), found), sums, args[1])
            return context.get_dummy_value()

        return signature, write

    return add


add16, add32, add64 = (_adding(width) for width in (16, 32, 64))


@intrinsic
def size_of(typing: Any, value: Any, e: Any) -> Any:
    """value[e], or 1 where `value` is None."""
    valued = not isinstance(value, types.NoneType)
    signature = types.float32(value, e)

    def write(context: Any, builder: Any, kinds: Any, args: Any) -> Any:
        if not valued:
            return _F32(1.0)
        values = context.make_array(kinds.args[0])(context, builder, args[0]).data
        return builder.load(builder.gep(values, [args[1]]))

    return signature, write


@intrinsic
def update16(
    typing: Any, current: Any, at: Any, membrane: Any, where: Any, parameters: Any, row: Any, lanes: Any
) -> Any:
    """Update 16 membranes; return the spikes in bits 0..15, and in bits 16..31 who is still at threshold.

    v = v * decay + offset + gain * current; spike = v >= threshold; then v = v * keep + after where it
    spiked: keep 1 and after -threshold is soft reset, keep 0 and after v_reset hard reset, both exactly.
    """
    signature = types.uint32(current, at, membrane, where, parameters, row, lanes)

    def write(context: Any, builder: Any, kinds: Any, args: Any) -> Any:
        v = _Vectors(context, builder, LANES)
        currents, membranes, table = (v.data(kinds.args[k], args[k]) for k in (0, 2, 4))

        def of(name: str) -> Any:
            return v.load(table, builder.add(args[5], builder.mul(args[6], _I64(FIELDS.index(name)))))

        held = builder.fadd(builder.fmul(v.load(membranes, args[3]), of("decay")), of("offset"))
        held = builder.fadd(held, builder.fmul(of("gain"), v.load(currents, args[1])))
        threshold = of("threshold")
        fired = builder.fcmp_ordered(">=", held, threshold)
        reset = builder.fadd(builder.fmul(held, of("keep")), of("after"))
        held = builder.select(fired, reset, held)
        v.store(held, membranes, args[3])
        still = builder.fcmp_ordered(">=", held, threshold)
        spikes, more = (
            builder.zext(builder.bitcast(bits, ir.IntType(LANES)), _I32) for bits in (fired, still)
        )
        return builder.or_(spikes, builder.shl(more, _I32(LANES)))

    return signature, write


@intrinsic
def leak16(
    typing: Any, current: Any, at: Any, synapse: Any, where: Any, parameters: Any, row: Any, lanes: Any
) -> Any:
    """synapse = synapse * syn_decay + syn_gain * current, and current = synapse: the second exponential."""
    signature = types.void(current, at, synapse, where, parameters, row, lanes)

    def write(context: Any, builder: Any, kinds: Any, args: Any) -> Any:
        v = _Vectors(context, builder, LANES)
        currents, synapses, table = (v.data(kinds.args[k], args[k]) for k in (0, 2, 4))

        def of(name: str) -> Any:
            return v.load(table, builder.add(args[5], builder.mul(args[6], _I64(FIELDS.index(name)))))

        held = builder.fmul(v.load(synapses, args[3]), of("syn_decay"))
        held = builder.fadd(held, builder.fmul(of("syn_gain"), v.load(currents, args[1])))
        v.store(held, synapses, args[3])
        v.store(held, currents, args[1])
        return context.get_dummy_value()

    return signature, write
