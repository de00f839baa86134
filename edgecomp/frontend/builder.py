"""The Network under construction: its nodes and values so far, and the exact steps that every operator shares."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from edgecomp.errors import InexpressibleError
from edgecomp.frontend.functions import (
    Affine,
    Chain,
    Clip,
    Leaky,
    Normalise,
    Operation,
    Vector,
    channels_of,
    compose,
    entry,
    monotone,
)
from edgecomp.frontend.hosts import host_input
from edgecomp.frontend.joint import joint
from edgecomp.frontend.movement import (
    channel_column,
    constant_per_channel,
    keeps_zero,
    move_array,
    moved_shape,
    per_channel,
    reordered,
    repeated,
)
from edgecomp.frontend.requantise import Record, requantise, shortened
from edgecomp.frontend.symbols import Objects, Post, Real, vector
from edgecomp.ir import (
    Conv,
    Dense,
    Input,
    MaxPool,
    Node,
    Pad,
    Requant,
    Reshape,
    Transpose,
    Value,
)
from edgecomp.ir.ranges import MAX_BITS, bits_of, infer

ONE, ZERO = Fraction(1), Fraction(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A real tensor that is exactly scale_c * integer + offset_c, scale positive, per channel of node `base`."""

    base: str
    shape: tuple[int, ...]
    scale: Vector
    offset: Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """first + second, which waits for its quantiser: together they need far shorter multipliers than the exact sum.

    Neither has waiting movements. `exactly` emits the exact sum, for a reader that is no quantiser.
    """

    first: Real
    second: Real
    exactly: Callable[[], Real]


@dataclass(slots=True, kw_only=True)
class Builder:
    """Collects nodes; every method that emits one returns its name or the real value that it carries."""

    nodes: list[Node] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    origins: dict[str, str] = field(default_factory=dict)  # quantised tensor of the source graph -> IR node
    pending: dict[str, Pending] = field(default_factory=dict)  # bases that are no node yet
    records: list[Record] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def name(self, wish: str) -> str:
        """An identifier like `wish` that no node has yet."""
        plain = re.sub(r"_output_\d+$", "", re.sub(r"[^A-Za-z0-9]+", "_", wish).strip("_")) or "value"
        plain = plain if plain[0].isalpha() else f"n_{plain}"
        plain, stem, count = plain[:60], plain[:60], 1
        while plain in self.taken:
            count += 1
            plain = f"{stem}_{count}"
        self.taken.add(plain)
        return plain

    def emit(self, node: Node) -> str:
        """Append a node whose name came from `name`; InexpressibleError beyond the integer width."""
        value = infer(node, self.values)
        if value.bits > MAX_BITS:
            raise InexpressibleError(
                f"the exact result needs {value.bits} bits; {MAX_BITS} is the most",
                where=node.name,
                hint="use power-of-two scales, or quantise before this operator",
            )
        self.nodes.append(node)
        self.values[node.name] = value
        return node.name

    # ---- chains -------------------------------------------------------------------------------------------------

    def apply(self, real: Real, op: Operation) -> Real:
        """The real value with an operation behind it whose parameters are already per channel of `base`."""
        return replace(real, chain=compose((*real.chain, op)))

    def affine(self, real: Real, a: Objects, b: Objects, where: str) -> Real:
        """a * real + b for arrays that broadcast over real's shape."""
        real, vectors = self.vectors(real, [a, b], where)
        if any(isinstance(post, Pad) for post in real.posts):
            raise InexpressibleError("an affine map follows zero padding of an unquantised value", where=where)
        if any(isinstance(post, MaxPool) for post in real.posts) and min(vectors[0]) < 0:
            raise InexpressibleError("a negative scale follows a pooling of an unquantised value", where=where)
        merged = self._into_bias(real, vectors[0], vectors[1])
        return merged or self.apply(real, Affine(a=vectors[0], b=vectors[1]))

    def pointwise(self, real: Real, op: Operation, where: str) -> Real:
        """A real value behind an operation with no per-channel parameters, which moves before waiting poolings."""
        pooled = any(isinstance(post, MaxPool) for post in real.posts)
        padded = any(isinstance(post, Pad) for post in real.posts)
        if padded or (pooled and monotone((op,), 0) != 1):
            raise InexpressibleError(
                "this activation follows a pooling or padding of an unquantised value", where=where
            )
        return self.apply(real, op)

    def normalise(self, real: Real, op: Normalise, where: str) -> Real:
        """Batch norm whose parameters are already per channel of `base`; it cannot pass padding, nor flip a maximum."""
        falling = any(gamma < 0 for gamma in op.gamma)
        if any(isinstance(post, Pad) or (isinstance(post, MaxPool) and falling) for post in real.posts):
            raise InexpressibleError("batch norm follows a pooling or padding of an unquantised value", where=where)
        return self.apply(real, op)

    def leaky(self, real: Real, slope: Objects, where: str) -> Real:
        real, vectors = self.vectors(real, [slope], where)
        if real.posts and any(isinstance(post, Pad | MaxPool) for post in real.posts):
            raise InexpressibleError("a leaky ReLU follows a pooling or padding of an unquantised value", where=where)
        return self.apply(real, Leaky(slope=vectors[0]))

    def vectors(self, real: Real, arrays: Sequence[Objects], where: str) -> tuple[Real, list[Vector]]:
        """Arrays that broadcast over real's shape, as per-channel vectors of its base.

        A parameter that varies within a channel makes every element a channel of its own (the base is flattened).
        """
        if all(array.size == 1 for array in arrays):
            return real, [vector(array) for array in arrays]
        full = [np.broadcast_to(array, real.shape) for array in arrays]
        moved = [self._before_posts(real, array, where) for array in full]
        if not real.base:
            return real, [vector(array) for array in moved]  # the host works element by element
        if all(constant_per_channel(array) for array in moved):
            return real, [vector(channel_column(array)) for array in moved]
        flat = self.flattened(real)
        return flat, [vector(array.reshape(-1)) for array in moved]

    def base_shape(self, real: Real) -> tuple[int, ...]:
        return self.values[real.base].shape if real.base else real.source_shape

    def _before_posts(self, real: Real, array: Objects, where: str) -> Objects:
        """An array over real's shape carried back through its waiting data movements to the base's shape."""
        if all(v == array.flat[0] for v in array.flat):
            return np.broadcast_to(array.reshape(-1)[:1], self.base_shape(real))
        shapes = [self.base_shape(real)]
        for post in real.posts:
            shapes.append(moved_shape(post, shapes[-1]))
        for post, before in zip(reversed(real.posts), reversed(shapes[:-1]), strict=True):
            match post:
                case Transpose():
                    array = array.transpose(np.argsort(post.perm))
                case Reshape():
                    array = array.reshape(before)
                case MaxPool() if constant_per_channel(array):
                    array = np.broadcast_to(channel_column(array).reshape(-1, *[1] * (len(before) - 1)), before)
                case _:
                    raise InexpressibleError(
                        "a per-channel parameter follows a slice of an unquantised value", where=where
                    )
        return array

    def flattened(self, real: Real) -> Real:
        """The same value on a base of one axis, each element a channel."""
        real = self.resolved(real)
        value = self.values[real.base]
        base = self.emit(Reshape(name=self.name(f"{real.base}_flat"), x=real.base, shape=(value.size,)))
        chain = tuple(repeated(op, value.size // value.shape[0]) for op in real.chain)
        back = Reshape(name="", x="", shape=value.shape)
        return replace(real, base=base, chain=chain, posts=(back, *real.posts))

    def _into_bias(self, real: Real, a: Vector, b: Vector) -> Real | None:
        """Take an on-grid addition into the bias of the Dense or Conv just emitted."""
        last = self.nodes[-1] if self.nodes else None
        if real.posts or not isinstance(last, Dense | Conv) or last.name != real.base or set(a) != {ONE}:
            return None
        if len(real.chain) > 1 or not all(isinstance(op, Affine) and set(op.b) == {ZERO} for op in real.chain):
            return None
        scale = real.chain[0].a if real.chain and isinstance(real.chain[0], Affine) else (ONE,)
        channels = self.values[last.name].shape[0]
        steps = [entry(b, c) / entry(scale, c) for c in range(channels)]
        if any(step.denominator != 1 for step in steps):
            return None
        bias = np.broadcast_to(last.bias.array, (channels,)).astype(object) + np.array(
            [int(s) for s in steps], dtype=object
        )
        if max(abs(v) for v in bias) >= 1 << MAX_BITS:
            return None
        self.nodes.pop()
        self.emit(replace(last, bias=shortened([int(v) for v in bias])))
        return real

    # ---- integers -----------------------------------------------------------------------------------------------

    def grid(self, real: Real, where: str) -> Grid:
        """The real value as scaled integers; InexpressibleError where it lies on no integer grid (unquantised path)."""
        if not real.base:
            raise InexpressibleError(
                "the graph input is used without a quantiser",
                where=where,
                hint="quantise the input first, see `edgecomp quantize`",
            )
        real = self.resolved(real)
        chain = real.chain
        if len(chain) <= 1 and all(isinstance(op, Affine) for op in chain):
            base, scale, offset = self._signed(real)
        else:
            base, scale, offset = self._clipped(real, where)
        settled = self.settle(replace(real, base=base, chain=(Affine(a=scale, b=offset),)), where)
        last = settled.chain[0] if settled.chain else Affine(a=(ONE,), b=(ZERO,))
        if settled.posts or not isinstance(last, Affine):
            raise InexpressibleError(
                "scales per channel run along an axis that a later layer mixes",
                where=where,
                hint="use one scale for the tensor",
            )
        return Grid(base=settled.base, shape=settled.shape, scale=last.a, offset=last.b)

    def _signed(self, real: Real) -> tuple[str, Vector, Vector]:
        """Base, scale and offset of an affine chain, with negative scales moved into the integers."""
        op = real.chain[0] if real.chain else Affine(a=(ONE,), b=(ZERO,))
        assert isinstance(op, Affine)
        if min(op.a) > 0:
            return real.base, op.a, op.b
        signs = [(1 if a > 0 else -1 if a < 0 else 0) for a in op.a]
        base = self.rescaled(real.base, signs, [0] * len(signs), f"{real.base}_sign")
        return base, tuple(abs(a) or ONE for a in op.a), op.b

    def rescaled(self, base: str, multiplier: Sequence[int], addend: Sequence[int], wish: str) -> str:
        """multiplier * x + addend, per channel, with no rounding and no clipping."""
        value = self.values[base]
        lines = [(_of(multiplier, c), _of(addend, c), value.lo[c], value.hi[c]) for c in range(value.shape[0])]
        edges = [sorted((m * lo + b, m * hi + b)) for m, b, lo, hi in lines]
        if bits_of(min(e[0] for e in edges), max(e[1] for e in edges)) > MAX_BITS:
            raise InexpressibleError(
                f"exact common scales need more than {MAX_BITS} bits", where=base, hint="use power-of-two scales"
            )
        return self.emit(
            Requant(name=self.name(wish), x=base, multiplier=shortened(multiplier), addend=shortened(addend), shift=0,
                    lo=shortened([e[0] for e in edges]), hi=shortened([e[1] for e in edges]))
        )  # fmt: skip

    def _clipped(self, real: Real, where: str) -> tuple[str, Vector, Vector]:
        """A chain of one affine map and clips with bounds on the accumulator's grid, as a Requant without a shift."""
        ops = list(real.chain)
        first = ops.pop(0) if isinstance(ops[0], Affine) else Affine(a=(ONE,), b=(ZERO,))
        assert isinstance(first, Affine)
        if not all(isinstance(op, Clip) for op in ops) or ZERO in first.a:
            raise InexpressibleError(
                "an unquantised activation feeds this operator",
                where=where,
                hint="put a quantiser behind the activation",
            )
        value = self.values[real.base]
        size = max(
            len(first.a), len(first.b), 1 if len(set(zip(value.lo, value.hi, strict=True))) == 1 else value.shape[0]
        )
        rows = [self._clip_row(entry(first.a, c), entry(first.b, c), ops, value, c, where) for c in range(size)]
        base = self.emit(
            Requant(name=self.name(f"{real.base}_clip"), x=real.base, multiplier=shortened([r[0] for r in rows]),
                    addend=shortened([r[1] for r in rows]), shift=0, lo=shortened([r[2] for r in rows]),
                    hi=shortened([r[3] for r in rows]))
        )  # fmt: skip
        return base, tuple(abs(a) for a in first.a), (ZERO,)

    def _clip_row(
        self, a: Fraction, b: Fraction, clips: Sequence[Operation], value: Value, c: int, where: str
    ) -> tuple[int, int, int, int]:
        """(multiplier, addend, lo, hi) of one channel of clip(a * x + b)."""
        sign = 1 if a > 0 else -1
        steps = [b / abs(a)]
        ends = sorted(sign * x + steps[0] for x in (value.lo[c], value.hi[c]))
        for op in clips:
            assert isinstance(op, Clip)
            bounds = [None if v is None else v / abs(a) for v in (op.lo, op.hi)]
            steps += [v for v in bounds if v is not None]
            lo, hi = bounds
            ends = [
                min(max(e, e if lo is None else lo), max(e, e if lo is None else lo) if hi is None else hi)
                for e in ends
            ]
        if any(step.denominator != 1 for step in steps):
            raise InexpressibleError(
                "an unquantised activation off the accumulator's grid feeds this operator", where=where,
                hint="put a quantiser behind the activation",
            )  # fmt: skip
        return sign, int(steps[0]), int(ends[0]), int(ends[1])

    # ---- data movement ------------------------------------------------------------------------------------------

    def layout(self, real: Real, post: Post, where: str) -> Real:
        """The real value after a data movement or maximum: done on the integers at once where that is exact."""
        shape = moved_shape(post, real.shape)
        waiting = replace(real, shape=shape, posts=(*real.posts, post))
        if real.posts or not real.base or real.base in self.pending:
            return waiting
        chain = self._chain_behind(real, post)
        if chain is None:
            return waiting
        base = self.emit(replace(post, name=self.name(where), x=real.base))
        return replace(real, base=base, shape=shape, chain=chain)

    def _chain_behind(self, real: Real, post: Post) -> Chain | None:
        """The chain as it stands behind `post` done on the integers, or None where `post` has to wait."""
        chain, channels = real.chain, self.values[real.base].shape[0]
        if isinstance(post, MaxPool):
            rising = all(monotone(chain, c) == 1 for c in range(channels_of(chain)))
            return chain if rising else None
        if isinstance(post, Pad):
            plain = channels_of(chain) == 1 or post.pads[0] == (0, 0)
            on_grid = len(chain) <= 1 and all(isinstance(op, Affine) for op in chain)
            zero = post.value == 0 and all(keeps_zero(op) for op in chain)
            return chain if plain and (zero or (on_grid and post.value)) else None
        if channels_of(chain) == 1:
            return chain
        index = np.broadcast_to(np.arange(channels).reshape(-1, *[1] * (len(real.shape) - 1)), real.shape)
        index = move_array(post, index)
        if any(np.unique(row).size > 1 for row in index.reshape(index.shape[0], -1)):
            return None
        order = index.reshape(index.shape[0], -1)[:, 0]
        return tuple(reordered(op, order) for op in chain)

    def settle(self, real: Real, where: str) -> Real:
        """Waiting movements done on the integers, as far as the chain lets them."""
        posts = real.posts
        done = replace(real, posts=(), shape=self.values[real.base].shape)
        for post in posts:
            done = self.layout(done, post, where)
        return done

    def resolved(self, real: Real) -> Real:
        """The same value with a pending sum behind it emitted exactly."""
        waiting = self.pending.get(real.base)
        if waiting is None:
            return real
        done = waiting.exactly()
        return replace(real, base=done.base, chain=compose((*done.chain, *real.chain)))

    # ---- quantisers ---------------------------------------------------------------------------------------------

    def quantise_by(
        self, real: Real, ops: Callable[[Vector], Sequence[Operation]], scale: Objects, tensor: str
    ) -> Real:
        """`scale` times the integers of a quantiser behind `real`; `ops` gives its chain for the scale per channel.

        `tensor` is the quantiser's output in the source graph.
        """
        real, (steps,) = self.vectors(real, [scale], tensor)
        chain = compose((*real.chain, *ops(steps)))
        if not real.base:
            return self._graph_input(real, chain, steps, tensor)
        if real.base in self.pending:
            base = self._jointly(self.pending[real.base], chain, tensor)
            if base is not None:
                return self._scaled(replace(real, base=base), steps, tensor)
            real = self.resolved(real)
            chain = compose((*real.chain, *ops(steps)))
        name = self.name(tensor)
        made = requantise(chain, self.values[real.base], name, real.base)
        kept = made.nodes[-1]
        base = real.base
        if len(made.nodes) == 1 and isinstance(kept, Requant) and self._identity(kept):
            self.taken.discard(name)
        else:
            for node in made.nodes:
                self.taken.add(node.name)
                base = self.emit(node)
            self.records.append(made.record)
        return self._scaled(replace(real, base=base), steps, tensor)

    def _jointly(self, waiting: Pending, chain: Chain, tensor: str) -> str | None:
        """The base of a quantised pending sum, or None where no short multipliers are exact."""
        first, second = waiting.first, waiting.second
        name = self.name(tensor)
        made = joint(first.chain, second.chain, chain, self.values[first.base], self.values[second.base],
                     (first.base, second.base, name))  # fmt: skip
        if made is None:
            self.taken.discard(name)
            return None
        for node in made.nodes:
            self.taken.add(node.name)
            self.emit(node)
        self.records.append(made.record)
        return name

    def _identity(self, node: Requant) -> bool:
        value = self.values[node.x]
        plain = set(node.multiplier.array) == {1} and set(node.addend.array) == {0} and node.shift == 0
        return plain and bool(np.all(node.lo.array <= value.lo)) and bool(np.all(node.hi.array >= value.hi))

    def _graph_input(self, real: Real, chain: Chain, steps: Vector, tensor: str) -> Real:
        """The Input whose host codes a quantiser `chain` gives for raw data."""
        wanted = host_input(real.source, real.source_shape, chain, steps, tensor)
        earlier = next((n for n in self.nodes if isinstance(n, Input) and n.source == real.source), None)
        wanted = replace(wanted, name=earlier.name if earlier else self.name(real.source))
        if earlier is None:
            self.emit(wanted)
        elif earlier != wanted:
            wanted = replace(wanted, name=self.name(f"{real.source}_{tensor}"))
            self.emit(wanted)
        return self._scaled(replace(real, base=wanted.name, source=""), steps, tensor)

    def _scaled(self, real: Real, steps: Vector, tensor: str) -> Real:
        """`steps` times the integers of real's base, its waiting movements done; notes where the integers come from."""
        steps = per_channel(steps, self.values[real.base].shape)
        if len(steps) > self.values[real.base].shape[0]:
            raise InexpressibleError("scales per channel run along another axis than the channels", where=tensor)
        settled = self.settle(replace(real, chain=compose((Affine(a=steps, b=(ZERO,)),))), tensor)
        if settled.posts:
            raise InexpressibleError("scales per channel run along another axis than the channels", where=tensor)
        self.origins[tensor] = settled.base
        return settled


def _of(values: Sequence[int], channel: int) -> int:
    return values[0] if len(values) == 1 else values[channel]
