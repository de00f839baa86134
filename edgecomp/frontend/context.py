"""What every operator's lowering works with: the tensors known so far, attributes, and constants as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgecomp.errors import InexpressibleError, ModelError
from edgecomp.frontend.builder import Builder
from edgecomp.frontend.model import tensor_array
from edgecomp.frontend.numbers import Numbers
from edgecomp.frontend.symbols import Const, Objects, Quantised, Real, Symbol, Tabular, fractions
from edgecomp.frontend.tabular import materialised


@dataclass(slots=True, kw_only=True)
class Context:
    """The state of one lowering."""

    builder: Builder
    env: dict[str, Symbol]
    readers: Mapping[str, int]
    outputs: frozenset[str]
    softened: dict[str, str] = field(default_factory=dict)  # graph output -> argument of the softmax that gives it
    numbers: Numbers = field(default_factory=Numbers)
    stored: dict[str, tuple[int, int]] = field(default_factory=dict)  # code range of initialisers of under a byte

    def symbol(self, name: str) -> Symbol:
        if name not in self.env:
            raise ModelError("the tensor is read before any node gives it", where=name)
        return self.env[name]

    def real(self, node: onnx.NodeProto, index: int = 0) -> Real:
        """An operand that depends on the graph's input."""
        symbol = self.symbol(node.input[index])
        if isinstance(symbol, Tabular):
            return materialised(self.builder, symbol, node.input[index])
        if not isinstance(symbol, Real):
            raise InexpressibleError(f"operand {index} of {node.op_type} is a constant", where=where(node))
        return symbol

    def optional(self, node: onnx.NodeProto, index: int) -> Symbol | None:
        return self.symbol(node.input[index]) if len(node.input) > index and node.input[index] else None

    def exact(self, node: onnx.NodeProto, index: int, default: Fraction | None = None) -> Objects:
        """A constant operand as Fractions."""
        symbol = self.optional(node, index)
        if isinstance(symbol, Const | Quantised):
            return symbol.exact()
        if symbol is None and default is not None:
            return fractions(np.array(default, dtype=object))
        raise InexpressibleError(f"operand {index} of {node.op_type} must be a constant", where=where(node))

    def scalar(self, node: onnx.NodeProto, index: int, default: Fraction | None = None) -> Fraction:
        array = self.exact(node, index, default)
        if array.size != 1:
            raise InexpressibleError(f"operand {index} of {node.op_type} must be one number", where=where(node))
        return Fraction(array.reshape(-1)[0])

    def integers(self, node: onnx.NodeProto, index: int) -> list[int] | None:
        """A constant operand of integers (axes, shapes, pads), None where it is left out."""
        symbol = self.optional(node, index)
        if symbol is None:
            return None
        if not isinstance(symbol, Const):
            raise InexpressibleError(f"operand {index} of {node.op_type} must be a constant", where=where(node))
        return [int(v) for v in symbol.array.reshape(-1).tolist()]


def where(node: onnx.NodeProto) -> str:
    """How messages name a node."""
    return str(node.output[0]) if node.output else str(node.name or node.op_type)


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """An attribute's value; strings are decoded, tensors become arrays, floats stay the float32 they are."""
    for found in node.attribute:
        if found.name == name:
            if found.type == onnx.AttributeProto.TENSOR:
                return tensor_array(found.t)
            value = onnx.helper.get_attribute_value(found)
            return value.decode(errors="replace") if isinstance(value, bytes) else value
    return default


def number(node: onnx.NodeProto, name: str, default: float) -> Fraction:
    """A float attribute as the exact rational of the float32 that it is."""
    value = float(np.float32(attribute(node, name, default)))
    if not np.isfinite(value):
        raise ModelError(f"attribute {name} is {value}", where=where(node))
    return Fraction(value)


def axis_of(node: onnx.NodeProto, axis: int, rank: int) -> int:
    """An axis without the batch: 0 is the first axis behind it. `rank` leaves the batch out."""
    full = axis + rank + 1 if axis < 0 else axis
    if not 0 <= full <= rank:
        raise ModelError(f"axis {axis} of a value of {rank + 1} axes", where=where(node))
    if full == 0:
        raise InexpressibleError(f"{node.op_type} works along the batch axis", where=where(node))
    return full - 1


def unbatched(array: NDArray[Any], rank: int, node: onnx.NodeProto) -> NDArray[Any]:
    """A constant that broadcasts over (N, ...) as one that broadcasts over `rank` axes without the batch."""
    if array.ndim <= rank:
        return array
    if array.ndim == rank + 1 and array.shape[0] == 1:
        first: NDArray[Any] = array[0]
        return first
    raise InexpressibleError(
        f"a constant of shape {array.shape} does not fit a value of {rank} axes and a batch", where=where(node)
    )


def ones(value: int | Fraction = 1) -> Objects:
    return fractions(np.array(Fraction(value), dtype=object))
