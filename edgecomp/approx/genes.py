"""An MLP classifier as a vector of integers, its genes, in which every approximation is a change of some of them.

A layer's accumulator j is const[j] + the sum over inputs i and digits d of +-((x_i & mask[j, i, d] & used[i]) << e): a
weight is a few signed digits, any bits of any summand can be left out, and so can bits of an input. A hidden code is
clip(accumulator >> shift, 0, 2^top[j] - 1). The class comes from a tree of comparisons, each of the bits in its mask
`compared`; one of no bits is no comparison. `to_network` states it all in the integer IR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecomp.backends.printed.sums import digits
from edgecomp.errors import InexpressibleError
from edgecomp.ir import ArgMax, Dense, Input, Ints, Network, Node, Output, Requant, Reshape, Rounding, TableDense, Value
from edgecomp.ir.nodes import NO_TREE

Genes = NDArray[np.int32]

SUM_BITS = 30  # the compiled scores count in 32 bits
MAX_CONST = 1 << (SUM_BITS - 2)
HINT = "explore takes multi-layer perceptrons as `edgecomp train` makes them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Sizes of a layer. `bits` is the width of its input codes; `top` that of its output codes, 0 for the logits."""

    inputs: int
    outputs: int
    bits: int
    slots: int
    shift: int
    top: int

    @property
    def places(self) -> int:
        """The most a digit can be so that no sum of all summands needs more than SUM_BITS bits."""
        return SUM_BITS - 1 - self.bits - (self.inputs * self.slots + 1).bit_length()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Where one kind of genes of a layer lies, and the shape it has there."""

    start: int
    shape: tuple[int, ...]

    @property
    def stop(self) -> int:
        return self.start + int(np.prod(self.shape))

    def of(self, genes: Genes) -> Genes:
        return genes[..., self.start : self.stop].reshape(*genes.shape[:-1], *self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """The layers, and the order of the genes: layer by layer digit, mask, const, used, top; at the end, compared.

    A digit is 0, or +-(e + 1) for +-2^e.
    """

    layers: tuple[Layer, ...]

    @property
    def classes(self) -> int:
        return self.layers[-1].outputs

    @property
    def size(self) -> int:
        return self.compared.stop

    def parts(self) -> list[dict[str, Part]]:
        found, at = [], 0
        for layer in self.layers:
            weights = (layer.outputs, layer.inputs, layer.slots)
            shapes = {"digit": weights, "mask": weights, "const": (layer.outputs,), "used": (layer.inputs,),
                      "top": (layer.outputs,)}  # fmt: skip
            parts = {}
            for name, shape in shapes.items():
                parts[name] = Part(start=at, shape=shape)
                at = parts[name].stop
            found.append(parts)
        return found

    @property
    def compared(self) -> Part:
        return Part(start=self.parts()[-1]["top"].stop, shape=(self.classes - 1,))

    def table(self) -> NDArray[np.int64]:
        """The layers' sizes for the kernel: inputs, outputs, bits, slots, shift, top."""
        rows = [(x.inputs, x.outputs, x.bits, x.slots, x.shift, x.top) for x in self.layers]
        return np.array(rows, dtype=np.int64)


def tournament(classes: int) -> list[tuple[int, int]]:
    """Pairs of slots (a, b), a with the lower classes: exact comparisons give the lowest index among ties."""
    held, rows = list(range(classes)), []
    while len(held) > 1:
        pairs = [(held[i], held[i + 1]) for i in range(0, len(held) - 1, 2)]
        rows += pairs
        held = [a for a, _ in pairs] + ([held[-1]] if len(held) % 2 else [])
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Exact:
    """A classifier read from a network: integer weights (O, I), constants (O,) and the genes that compute just that.

    `starts` are exact genes, one row each: the weights as they are, and with what most logits share taken off.
    """

    space: Space
    head: Input
    name: str
    starts: Genes


@dataclass(slots=True, kw_only=True)
class _Found:
    weight: NDArray[np.int64]
    const: NDArray[np.int64]
    bits: int
    shift: int = 0
    top: int = 0


def read_classifier(network: Network) -> Exact:
    """The genes of a network Input, Dense, (Requant, Dense)*, ArgMax, Output; InexpressibleError for any other."""
    head, found, name = _walk(network)
    layers, plain = [], []
    for each in found:
        plain.append((each.weight, each.const))
    last = found[-1]
    spared = [*plain[:-1], (last.weight - _common(last.weight), last.const - int(last.const.min()))]
    slots = [max(len(digits(int(w))) for pick in (plain, spared) for w in pick[at][0].flat) or 1
             for at in range(len(found))]  # fmt: skip
    for each, count in zip(found, slots, strict=True):
        outputs, inputs = each.weight.shape
        layers.append(Layer(inputs=inputs, outputs=outputs, bits=each.bits, slots=count, shift=each.shift,
                            top=each.top))  # fmt: skip
        place = max(len(f"{abs(int(w)):b}") for w in [*each.weight.flat, 1])
        if place + 1 > layers[-1].places or abs(each.const).max() >= MAX_CONST:
            raise _refused(name, f"sums of layer {len(layers)} may need more than {SUM_BITS} bits")
    space = Space(layers=tuple(layers))
    rows = [genes_of(space, plain), genes_of(space, spared)]
    return Exact(space=space, head=head, name=name, starts=np.stack(rows))


def _common(weight: NDArray[np.int64]) -> NDArray[np.int64]:
    """What to take off every row of weight (O, I), by column, so that the fewest signed digits are left."""
    found = []
    for column in weight.T.tolist():
        candidates = sorted({0, *column}, key=lambda c: (abs(c), c))
        found.append(min(candidates, key=lambda c: sum(len(digits(v - c)) for v in column)))
    return np.array(found, dtype=np.int64)


def genes_of(space: Space, layers: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> Genes:
    """The genes of integer weights and constants, nothing left out."""
    genes = np.zeros(space.size, dtype=np.int32)
    for layer, parts, (weight, const) in zip(space.layers, space.parts(), layers, strict=True):
        digit, mask = parts["digit"].of(genes), parts["mask"].of(genes)
        for (j, i), w in np.ndenumerate(weight):
            for d, (place, sign) in enumerate(digits(int(w))):
                digit[j, i, d] = sign * (place + 1)
        mask[...] = (1 << layer.bits) - 1
        parts["const"].of(genes)[...] = const
        parts["used"].of(genes)[...] = (1 << layer.bits) - 1
        parts["top"].of(genes)[...] = layer.top
    space.compared.of(genes)[...] = -1
    return genes


def _walk(network: Network) -> tuple[Input, list[_Found], str]:
    nodes, values = {node.name: node for node in network.nodes}, network.values()
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise InexpressibleError("explore wants one input and one output", where="explore", hint=HINT)
    end = network.outputs[0]
    chain: list[Node] = [nodes[end.x]]
    while not isinstance(chain[-1], Input):
        node = chain[-1]
        if not isinstance(node, ArgMax | Dense | Requant | Reshape):
            raise _refused(node.name, f"{type(node).__name__} is no part of a perceptron")
        chain.append(nodes[node.x])
    head = chain[-1]
    steps: list[Node] = [node for node in reversed(chain[:-1]) if not isinstance(node, Reshape)]
    assert isinstance(head, Input)
    if head.lo != 0 or head.zero_point != 0 or head.hi & (head.hi + 1) or head.encoding.value != "integer":
        raise _refused(head.name, f"input codes {head.lo}..{head.hi} are not all of an unsigned width")
    if not isinstance(steps[-1], ArgMax) or steps[-1].tree.array.size:
        raise _refused(steps[-1].name, "the network does not end in an exact choice of the class")
    found, bits = [], head.hi.bit_length()
    for step in steps[:-1]:
        if isinstance(step, Dense):
            found.append(_Found(weight=step.weight.array, const=_row(step.bias, len(step.weight.array)), bits=bits))
        else:
            assert isinstance(step, Requant)
            bits = _activate(found[-1] if found else None, step, values[step.x])
    if not found or found[-1].top:
        raise _refused(steps[-1].name, "the class does not come straight from a Dense layer")
    return head, found, end.name


def _activate(layer: _Found | None, node: Requant, x: Value) -> int:
    """Fold multiplier and addend into the layer before; the width of the codes. A bound that no value meets is none."""
    if layer is None or layer.top or node.rounding is not Rounding.FLOOR or node.lo.array.any():
        raise _refused(node.name, "it is no floored ReLU after a Dense layer")
    count = len(layer.const)
    factor, hi = _row(node.multiplier, count), _row(node.hi, count)
    ends = np.maximum(factor * np.array(x.lo), factor * np.array(x.hi)) + _row(node.addend, count)
    most = (1 << int(hi.max()).bit_length()) - 1
    if ((hi < most) & (ends >> node.shift > hi)).any():
        raise _refused(node.name, "its codes are not all of one unsigned width")
    layer.weight, layer.const = layer.weight * factor[:, None], layer.const * factor + _row(node.addend, count)
    layer.shift, layer.top = node.shift, most.bit_length()
    return layer.top


def _row(vector: Ints, count: int) -> NDArray[np.int64]:
    return np.broadcast_to(vector.array, (count,)).copy()


def _refused(name: str, what: str) -> InexpressibleError:
    return InexpressibleError(what, where=name, hint=HINT)


def to_network(exact: Exact, genes: Genes) -> Network:
    """What the genes compute, in the integer IR."""
    space = exact.space
    found: list[Node] = [exact.head]
    x = exact.head.name
    for number, (layer, parts) in enumerate(zip(space.layers, space.parts(), strict=True)):
        name = f"layer{number}"
        found.append(TableDense(name=name, x=x, tables=Ints(tables_of(layer, parts, genes)), lo=Ints([0])))
        x = name
        if layer.top:
            tops = parts["top"].of(genes).astype(np.int64)
            found.append(Requant(name=f"code{number}", x=x, multiplier=Ints([1]), addend=Ints([0]), shift=layer.shift,
                                 lo=Ints([0]), hi=Ints((1 << tops) - 1)))  # fmt: skip
            x = f"code{number}"
    masks = space.compared.of(genes).tolist()
    rows = [(a, b, mask) for (a, b), mask in zip(tournament(space.classes), masks, strict=True)]
    plain = all(mask == -1 for _, _, mask in rows)
    tree = NO_TREE if plain else Ints(np.array(rows, dtype=np.int64).reshape(-1, 3))
    found += [ArgMax(name="class", x=x, tree=tree), Output(name=exact.name, x="class")]
    return Network(nodes=tuple(found))


def tables_of(layer: Layer, parts: dict[str, Part], genes: Genes) -> NDArray[np.int64]:
    """T[j, i, x]: what input i at code x adds to accumulator j; the constant rides on input 0."""
    digit, mask = parts["digit"].of(genes).astype(np.int64), parts["mask"].of(genes).astype(np.int64)
    used = parts["used"].of(genes).astype(np.int64)
    kept = np.arange(1 << layer.bits) & (mask & used[:, None])[..., None]
    factor = np.where(digit == 0, 0, np.sign(digit) * (1 << np.maximum(np.abs(digit) - 1, 0)))
    tables: NDArray[np.int64] = (kept * factor[..., None]).sum(axis=2)
    tables[:, 0, :] += parts["const"].of(genes)[:, None]
    return tables
