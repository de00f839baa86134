"""The integer IR: nodes, the Network that orders them, its exact ranges, its verifier and its text form."""

from edgecomp.ir.network import Network
from edgecomp.ir.nodes import (
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
    Node,
    Output,
    Pad,
    Requant,
    Reshape,
    Rounding,
    Scale,
    Slice,
    Step,
    SumPool,
    TableDense,
    Ties,
    Transpose,
    operands,
)
from edgecomp.ir.ranges import Value

__all__ = [
    "Add", "ArgMax", "Concat", "Conv", "Dense", "Encoding", "Input", "Ints", "MaxPool", "Mul", "Network",
    "Node", "Output", "Pad", "Requant", "Reshape", "Rounding", "Scale", "Slice", "Step", "SumPool", "TableDense",
    "Ties", "Transpose", "Value", "operands",
]  # fmt: skip
