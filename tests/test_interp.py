"""The interpreter against node definitions written out in Python integers, and what it must refuse."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, assert_never

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecomp import interp
from edgecomp.errors import DataError
from edgecomp.ir import (
    Add,
    ArgMax,
    Concat,
    Conv,
    Dense,
    Encoding,
    Input,
    Ints,
    MaxPool,
    Mul,
    Network,
    Node,
    Output,
    Pad,
    Requant,
    Reshape,
    Rounding,
    Slice,
    Step,
    SumPool,
    TableDense,
    Transpose,
    operands,
)
from tests.networks import random_inputs, random_network

Codes = NDArray[Any]
Tensor = NDArray[np.object_]  # one sample, Python integers


def per_channel(vector: Ints, channel: int) -> int:
    return int(vector.array[channel if len(vector.array) > 1 else 0])


def naive_rescale(node: Requant | Step, x: int, channel: int) -> int:
    if isinstance(node, Step):
        row = channel if len(node.values.array) > 1 else 0
        return int(node.values.array[row, sum(int(t) <= x for t in node.thresholds.array[row])])
    v = per_channel(node.multiplier, channel) * x + per_channel(node.addend, channel)
    y, rest = divmod(v, 1 << node.shift)
    if node.rounding is Rounding.HALF_EVEN and rest == 0 and y % 2 == 1:
        y -= 1
    return min(max(y, per_channel(node.lo, channel)), per_channel(node.hi, channel))


def taps(node: Conv | MaxPool | SumPool, kernel: tuple[int, ...], place: tuple[int, ...], x: Tensor) -> Iterator[
    tuple[tuple[int, ...], tuple[int, ...]]
]:  # fmt: skip
    """(tap, place of x) of every tap of the window at `place` that does not meet padding."""
    dilation = (1,) * len(kernel) if isinstance(node, SumPool) else node.dilation
    for tap in product(*map(range, kernel)):
        at = tuple(p * s - pad[0] + t * d for p, s, pad, t, d in
                   zip(place, node.stride, node.pads, tap, dilation, strict=True))  # fmt: skip
        if all(0 <= a < size for a, size in zip(at, x.shape[1:], strict=True)):
            yield tap, at


def naive_window(node: Conv | MaxPool | SumPool, x: Tensor, index: tuple[int, ...]) -> Any:
    channel, place = index[0], index[1:]
    match node:
        case MaxPool():
            return max(x[(channel, *at)] for _, at in taps(node, node.kernel, place, x))
        case SumPool():
            return sum(x[(channel, *at)] for _, at in taps(node, node.kernel, place, x))
        case Conv():
            weight = node.weight.array.astype(object)
            outputs, inputs = weight.shape[:2]
            first = channel // (outputs // node.groups) * inputs
            total = per_channel(node.bias, channel)
            for tap, at in taps(node, weight.shape[2:], place, x):
                total += sum(weight[(channel, i, *tap)] * x[(first + i, *at)] for i in range(inputs))
            return int(total)


def naive(node: Node, xs: list[Tensor], shape: tuple[int, ...]) -> Tensor:
    """The value of one node for one sample, element by element."""
    out = np.empty(shape, dtype=object)
    for index in np.ndindex(*shape):
        out[index] = naive_element(node, xs, index)
    return out


def naive_element(node: Node, xs: list[Tensor], index: tuple[int, ...]) -> Any:
    x, channel = xs[0], index[0]
    match node:
        case Dense():
            row = node.weight.array[channel]
            return sum(int(w) * x[i] for i, w in enumerate(row)) + per_channel(node.bias, channel)
        case Conv() | MaxPool() | SumPool():
            return naive_window(node, x, index)
        case Add():
            a, b = met(xs, index)
            return per_channel(node.p, channel) * a + per_channel(node.q, channel) * b
        case Mul():
            a, b = met(xs, index)
            return a * b
        case Requant() | Step():
            return naive_rescale(node, x[index], channel)
        case TableDense():
            return sum(int(node.tables.array[channel, i, v - per_channel(node.lo, i)]) for i, v in enumerate(x))
        case ArgMax():
            return next(i for i, v in enumerate(x) if v == max(x))
        case Input() | Output():
            return naive_end(node, x[index])
        case Concat() | Slice() | Reshape() | Transpose() | Pad():
            return naive_move(node, xs, index)
        case _:
            assert_never(node)


def met(xs: list[Tensor], index: tuple[int, ...]) -> list[Any]:
    """The elements that meet at `index` when axes of size 1 are broadcast."""
    return [v[tuple(0 if size == 1 else i for i, size in zip(index, v.shape, strict=True))] for v in xs]


def naive_end(node: Input | Output, code: int) -> int:
    if isinstance(node, Input):
        return 2 * code - 1 if node.encoding is Encoding.BIPOLAR else code - node.zero_point
    return (code + 1) // 2 if node.encoding is Encoding.BIPOLAR else code + node.zero_point


def naive_move(node: Concat | Slice | Reshape | Transpose | Pad, xs: list[Tensor], index: tuple[int, ...]) -> Any:
    x, place = xs[0], list(index)
    match node:
        case Concat():
            for x in xs:
                if place[node.axis] < x.shape[node.axis]:
                    return int(x[tuple(place)])
                place[node.axis] -= x.shape[node.axis]
            raise AssertionError("beyond the last operand")
        case Slice():
            place[node.axis] = node.start + node.step * place[node.axis]
        case Reshape():
            return int(x.reshape(-1)[np.ravel_multi_index(index, node.shape)])
        case Transpose():
            place = [index[node.perm.index(axis)] for axis in range(x.ndim)]
        case Pad():
            place = [i - pad[0] for i, pad in zip(index, node.pads, strict=True)]
            if not all(0 <= i < size for i, size in zip(place, x.shape, strict=True)):
                return node.value
    return int(x[tuple(place)])


@pytest.mark.parametrize("seed", range(40))
def test_every_node_is_what_its_definition_says(seed: int) -> None:
    network = random_network(seed)
    inputs = random_inputs(network, seed, 6)
    values, got = network.values(), interp.run(network, inputs)
    for sample in range(6):
        for node in network.nodes:
            xs = [got[name][sample].astype(object) for name in operands(node)] or [
                inputs[node.name][sample].astype(object)
            ]
            want = naive(node, xs, values[node.name].shape)
            assert np.array_equal(got[node.name][sample], want), (node, sample)


def dense(shape: int, *, lo: int = -128, hi: int = 127, weight: list[list[int]] | None = None) -> Network:
    rows = Ints(weight or [[(7 * i + 3 * j) % 11 - 5 for j in range(shape)] for i in range(4)])
    return Network(nodes=(
        Input(name="x", shape=(shape,), lo=lo, hi=hi),
        Dense(name="d", x="x", weight=rows, bias=Ints([1])),
        Requant(name="r", x="d", multiplier=Ints([1]), addend=Ints([2]), shift=2, lo=Ints([-8]), hi=Ints([7])),
        Output(name="y", x="r"),
    ))  # fmt: skip


def test_chunks_and_row_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network(6)
    inputs = random_inputs(network, 1, 50)
    whole = interp.run(network, inputs)
    monkeypatch.setattr(interp, "CHUNK_ELEMENTS", 1000)
    monkeypatch.setattr(interp, "SINGLE_THREADED", 2000)
    for name, codes in interp.run(network, inputs).items():
        assert np.array_equal(codes, whole[name])
    assert all(len(codes) == 0 for codes in interp.run(network, {k: v[:0] for k, v in inputs.items()}).values())


@pytest.mark.parametrize(("scale", "kind"), [(1, np.float32), (1 << 14, np.float64), (1 << 45, np.int64)])
def test_products_run_in_the_narrowest_exact_type(scale: int, kind: type[np.generic]) -> None:
    random = np.random.default_rng(0)
    weight = random.integers(-9, 10, size=(3, 5)) * scale + 1
    assert interp.factor(Ints(weight), 1, 1000).dtype == kind
    x = random.integers(-1000, 1001, size=(100, 5))
    want = x.astype(object) @ weight.T.astype(object)
    assert np.array_equal(interp.matmul(x, interp.factor(Ints(weight), 1, 1000)[0]), want)


@pytest.mark.parametrize("edge", [24, 53])
def test_the_exact_types_end_where_their_mantissa_does(edge: int) -> None:
    """At the bound itself the wider type is used: 2^24 + 1 is no float32, 2^53 + 1 no float64."""
    weight = Ints([[(1 << edge) - 1, 2]])
    x = np.array([[1, 1]])
    assert interp.matmul(x, interp.factor(weight, 1, 1)[0]).tolist() == [[(1 << edge) + 1]]


def refused(message: str, network: Network, inputs: dict[str, Codes], fed: dict[str, Codes] | None = None) -> None:
    with pytest.raises(DataError) as caught:
        interp.run(network, inputs, fed=fed)
    assert str(caught.value) == message


def test_inputs_that_do_not_fit_are_refused() -> None:
    network, good = dense(2), np.zeros((3, 2), dtype=np.int64)
    refused("x: no codes are given for this input", network, {})
    refused("x: codes are float64 of shape (3, 2); integers of shape ('N', 2) are wanted", network, {"x": good * 1.0})
    refused("x: codes are int64 of shape (3, 1); integers of shape ('N', 2) are wanted", network, {"x": good[:, :1]})
    refused("x: codes span 0..128, allowed are -128..127", network, {"x": good + np.array([0, 128])})
    two = Network(nodes=(Input(name="z", shape=(1,), lo=0, hi=1), *network.nodes))
    refused("the inputs hold [2, 3] samples; one count is wanted", two, {"x": good, "z": good[:2, :1]})


def test_fed_codes_replace_what_later_nodes_read() -> None:
    network, inputs = dense(2), {"x": np.array([[1, 2], [3, 4]])}
    own = interp.run(network, inputs)
    fed = interp.run(network, inputs, fed={"d": np.array([[40, -40, 3, 6], [0, 0, 0, 0]])})
    assert np.array_equal(fed["d"], own["d"])
    assert fed["r"].tolist() == [[7, -8, 1, 2], [0, 0, 0, 0]]


def test_fed_codes_outside_the_interval_stay_exact() -> None:
    """The float32 proof rests on 0..1; feeding 2^20 needs another one."""
    nodes = (
        Input(name="x", shape=(2,), lo=0, hi=1),
        Requant(name="r", x="x", multiplier=Ints([1]), addend=Ints([0]), shift=0, lo=Ints([0]), hi=Ints([1])),
        Dense(name="d", x="r", weight=Ints([[1001, 1]]), bias=Ints([0])),
        Output(name="y", x="d"),
    )
    network = Network(nodes=nodes)
    fed = {"r": np.array([[1 << 20, 1]])}
    assert interp.run(network, {"x": np.zeros((1, 2), dtype=np.int64)}, fed=fed)["d"].tolist() == [[(1001 << 20) + 1]]


def test_fed_codes_that_no_proof_covers_are_refused() -> None:
    network, inputs = dense(2), {"x": np.zeros((1, 2), dtype=np.int64)}
    huge = np.full((1, 4), 1 << 61)
    refused("q: int64 codes of shape (1, 4) cannot be fed here", network, inputs, {"q": huge})
    refused("d: int64 codes of shape (4,) cannot be fed here", network, inputs, {"d": huge[0]})
    refused("d: float64 codes of shape (1, 4) cannot be fed here", network, inputs, {"d": huge * 0.5})
    refused("r: the codes fed to earlier nodes cannot be taken here: multiplier * x + addend needs 63 bits; 62 is the "
            "most", network, inputs, {"d": huge})  # fmt: skip
    table = Network(nodes=(
        Input(name="x", shape=(1,), lo=0, hi=1),
        Requant(name="r", x="x", multiplier=Ints([1]), addend=Ints([0]), shift=0, lo=Ints([0]), hi=Ints([1])),
        TableDense(name="t", x="r", tables=Ints([[[5, 6]]]), lo=Ints([0])),
        Output(name="y", x="t"),
    ))  # fmt: skip
    refused("t: the codes fed to earlier nodes cannot be taken here: an input code lies outside its table", table,
            {"x": np.zeros((1, 1), dtype=np.int64)}, {"r": np.array([[2]])})  # fmt: skip
