"""Export to QONNX, checked against PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from onnx import helper
from torch import nn

from examples.muon.simulate import Hits

EXECUTED: Final = 50
"""Samples that the qonnx executor runs (5 to 13 ms each)."""


def restore_one_bit_input(model: onnx.ModelProto) -> None:
    """Turn the input's BipolarQuant back to a one-bit unsigned Quant.

    Brevitas 0.13.4 exports every one-bit quantiser as bipolar (-1, 1), unsigned ones (0, 1) too.
    """
    for index, node in enumerate(model.graph.node):
        if node.op_type == "BipolarQuant":
            zero, bits = f"{node.name}_zero_point", f"{node.name}_bit_width"
            model.graph.initializer.append(helper.make_tensor(zero, onnx.TensorProto.FLOAT, [], [0.0]))
            model.graph.initializer.append(helper.make_tensor(bits, onnx.TensorProto.FLOAT, [], [1.0]))
            quant = helper.make_node(
                "Quant",
                [*node.input, zero, bits],
                list(node.output),
                name=node.name,
                domain="qonnx.custom_op.general",
                signed=0,
                narrow=0,
                rounding_mode="ROUND",
            )
            model.graph.node.remove(node)
            model.graph.node.insert(index, quant)


def execute(path: Path, hits: Hits) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Outputs (n,) of an exported model by the qonnx executor."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    source = onnx.load(path)
    for value in (*source.graph.input[:1], *source.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    model = ModelWrapper(source).transform(InferShapes())
    outputs = [execute_onnx(model, {"x": sample[None].astype(np.float32)})["angle"] for sample in hits[:EXECUTED]]
    return np.concatenate(outputs).reshape(-1).astype(np.float64)


def export_checked(network: nn.Module, path: Path, hits: Hits) -> None:
    """Write the network as QONNX (input x (batch, 7, 50), output angle (batch, 1) in mrad).

    Raises ValueError when the written file and PyTorch differ on any of the first `EXECUTED` samples.
    """
    from brevitas.export import export_qonnx

    network.eval()
    x = torch.from_numpy(hits[:EXECUTED]).float()
    with torch.no_grad():
        expected = network(x)[:, 0].double().numpy()
    export_qonnx(
        network,
        args=x[:1],
        export_path=str(path),
        dynamo=False,
        opset_version=17,
        input_names=["x"],
        output_names=["angle"],
        dynamic_axes={"x": {0: "batch"}, "angle": {0: "batch"}},
    )
    model = onnx.load(path)
    restore_one_bit_input(model)
    onnx.save(model, path)
    difference = np.abs(execute(path, hits) - expected)
    if difference.max() != 0:
        raise ValueError(f"{path.name}: {np.count_nonzero(difference)} of {len(expected)} outputs differ from PyTorch")
