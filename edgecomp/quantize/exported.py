"""The export held against PyTorch: every code of every quantiser, each computed from PyTorch's own operands.

PyTorch computes in float32, the export's integers are exact. Behind scales that are powers of two float32 is exact too,
and not one number may differ. Behind other scales a sum divided by a scale is off by some units in the last place,
which turns a code where the exact value lies that near to a rounding boundary, by one, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray

from edgecomp import interp, oracle
from edgecomp.check import host_codes, showing
from edgecomp.contract import real_output
from edgecomp.errors import MismatchError
from edgecomp.frontend import Lowered

if TYPE_CHECKING:
    from torch import Tensor

    from edgecomp.quantize.net import Net

Codes = NDArray[np.int64]
Reals = NDArray[np.floating]

ROWS = 1024  # compared at most, CHUNK at a time, which bounds time and memory
CHUNK = 256
NEAR = 2.0**-20  # of a tensor's largest position: 16 units in the last place of float32
FEW = 3  # differing codes that any tensor may have, beside SHARE of them and twice what even positions put so near
SHARE = 0.01
QUARTER = 0.25  # code units: integers that differ do so by one at least
FAULT = "this is a fault of edgecomp: please report it with the model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """How many codes were compared, and how many lay so near a boundary that float32 put them on its other side."""

    codes: int
    near_ties: int


def float32_is_exact(net: Net, lowered: Lowered, *, powers: bool) -> bool:
    """Whether float32 computes `net` without error: scales that are `powers` of two, sums of 24 bits, no curves."""
    from torch import nn

    from edgecomp.quantize.net import Op

    straight = all(isinstance(step.module, nn.ReLU | nn.Hardtanh) for step in net.steps if step.op is Op.ACTIVATION)
    narrow = all(value.bits <= 24 for value in lowered.network.values().values())
    return powers and straight and narrow and not any(step.op is Op.AFFINE for step in net.steps)


def against_pytorch(
    model: onnx.ModelProto, lowered: Lowered, net: Net, inputs: tuple[Tensor, ...], *, exact: bool
) -> Compared:
    """Compare the export's integers with the network (in eval mode) that it is of; MismatchError where they differ.

    `exact` allows no difference, else one code beside a boundary is allowed.
    """
    model = showing(model, lowered.finals.values())
    counts: dict[str, tuple[int, int, float]] = {}
    for start in range(0, min(ROWS, len(inputs[0])), CHUNK):
        part = tuple(x[start : min(start + CHUNK, ROWS)] for x in inputs)
        for tensor, found in _chunk(model, lowered, net, part, exact).items():
            size, differing, near = counts.get(tensor, (0, 0, 0.0))
            counts[tensor] = size + found[0], differing + found[1], max(near, found[2])
    for tensor, (size, differing, near) in counts.items():
        if differing > FEW + min(SHARE, 4 * near) * size:
            raise MismatchError(f"{differing} of {size} codes differ between the export and PyTorch",
                                where=tensor, hint=FAULT)  # fmt: skip
    return Compared(codes=sum(c[0] for c in counts.values()), near_ties=sum(c[1] for c in counts.values()))


def _chunk(
    model: onnx.ModelProto, lowered: Lowered, net: Net, part: tuple[Tensor, ...], exact: bool
) -> dict[str, tuple[int, int, float]]:
    """For each quantiser its codes, how many differ, and how near a boundary those must be, in code units."""
    data = {name: x.numpy() for name, x in zip(net.inputs, part, strict=True)}
    ordered, outputs = _pytorch(net, part)
    keys = list(oracle.run(model, {name: x[:1] for name, x in data.items()}).codes)
    assert len(keys) == len(ordered), f"{len(keys)} quantisers exported of {len(ordered)}"
    theirs = dict(zip(keys, ordered, strict=True))
    trace = oracle.run(model, data, fed=theirs)
    fed = {node: theirs[tensor] for tensor, node in lowered.origins.items()}
    own = interp.run(lowered.network, host_codes(lowered, data), fed=fed)
    found = {}
    for tensor, node in lowered.origins.items():
        near = 0.0 if exact else NEAR * max(1.0, float(np.abs(trace.positions[tensor]).max()))
        differing = _judge(tensor, own[node], theirs[tensor], np.abs(trace.distance(tensor)), near)
        found[tensor] = theirs[tensor].size, differing, near
    _compare_outputs(lowered, own, outputs, exact)
    return found


def _pytorch(net: Net, part: tuple[Tensor, ...]) -> tuple[list[Codes], Reals]:
    """Codes (N, ...) of every quantiser in the order of the steps, and the outputs."""
    import torch

    from edgecomp.quantize.net import Op, plain

    with torch.no_grad():
        values = net.tensors(*part)
    codes = [values[step.output].int().numpy().astype(np.int64) for step in net.steps if step.op is Op.QUANT]
    return codes, plain(values[net.output]).numpy()


def _judge(tensor: str, own: Codes, theirs: Codes, distance: Reals, near: float) -> int:
    """How many codes differ; MismatchError where one does by more than one, or farther than `near` from a boundary."""
    off = np.abs(own - theirs.reshape(own.shape))
    wrong = np.argwhere((off > 1) | ((off == 1) & (distance.reshape(own.shape) > near)) | ((off == 1) & (near == 0)))
    if len(wrong):
        place = tuple(int(v) for v in wrong[0])
        what = f"the export gives {own[place]}, PyTorch {theirs.reshape(own.shape)[place]}"
        raise MismatchError(f"sample {place[0]}, index {list(place[1:])}: {what}", where=tensor, hint=FAULT)
    return int((off == 1).sum())


def _compare_outputs(lowered: Lowered, own: Mapping[str, Codes], outputs: Reals, exact: bool) -> None:
    end = lowered.network.outputs[0]
    got = real_output(end, own[end.name])
    unit = real_output(end, own[end.name] + 1) - got
    want = outputs.reshape(got.shape)
    slack = 0.0 if exact else QUARTER * unit + NEAR * np.abs(want).max()
    wrong = np.argwhere(np.abs(got - want) > slack)
    if len(wrong):
        place = tuple(int(v) for v in wrong[0])
        raise MismatchError(f"sample {place[0]}, index {list(place[1:])}: the export gives {got[place]:.9g}, "
                            f"PyTorch {want[place]:.9g}", where=end.name, hint=FAULT)  # fmt: skip
