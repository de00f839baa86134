"""Random Brevitas models: drawn, calibrated, exported as QONNX or QCDQ, and the export compared with PyTorch."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch

from tests.generator.brevitas_net import network
from tests.generator.brevitas_parts import Style
from tests.generator.draw import Draw
from tests.generator.evaluate import Array, evaluate
from tests.generator.model import GeneratedModel
from tests.generator.tape import Program, Tape

CALIBRATION = 64


def make_brevitas(seed: int, vectors: int = 64) -> GeneratedModel:
    """A Brevitas model; draws that come out constant are drawn again (the attempt is part of the key)."""
    for attempt in range(20):
        draw = Draw(seed, attempt, 1)
        torch.manual_seed(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = _attempt(seed, draw, vectors)
        if model is not None:
            return model
    raise RuntimeError(f"seed {seed}: twenty draws in a row gave constant codes")


def _attempt(seed: int, draw: Draw, vectors: int) -> GeneratedModel | None:
    style = Style(qcdq=draw.chance(0.35), po2=draw.chance(0.5))
    draw.tag("qcdq" if style.qcdq else "qonnx", "po2" if style.po2 else "float_scale")
    calibration = _inputs(draw)
    tape = Tape([torch.from_numpy(value) for value in calibration.values()])
    network(tape, draw, style)
    program = tape.program()
    inputs = {name: _vectors(draw, value, vectors) for name, value in calibration.items()}
    proto = _export(program, inputs, qcdq=style.qcdq)
    evaluated = evaluate(proto, inputs)
    result = evaluated.tensors[proto.graph.output[0].name]
    with torch.no_grad():
        reference = program(*(torch.from_numpy(value) for value in inputs.values())).numpy()
    if len(np.unique(reference)) < 2 or any(c.distinct < 2 for c in evaluated.counts):
        return None
    _compare(draw, result, reference)
    return GeneratedModel(
        seed=seed,
        source="brevitas",
        dialect="qcdq" if style.qcdq else "qonnx",
        onnx_bytes=proto.SerializeToString(deterministic=True),
        tags=tuple(sorted(draw.tags)),
        refusable=draw.refusable,
        input_shapes={name: value.shape[1:] for name, value in inputs.items()},
        inputs=inputs,
        counts=evaluated.counts,
        module=program,
    )


def _inputs(draw: Draw) -> dict[str, Array]:
    """Calibration data per input, channels first or last."""
    shape = draw.weighted({"vector": 3, "line": 3, "image": 5})
    sizes = {
        "vector": (draw.whole(4, 16),),
        "line": (draw.whole(1, 3), draw.whole(8, 14)),
        "image": (draw.whole(1, 3), draw.whole(5, 8), draw.whole(5, 8)),
    }[shape]
    draw.tag(f"input:{shape}")
    if shape == "image" and draw.chance(0.3):
        sizes = (*sizes[1:], sizes[0])
        draw.tag("nhwc")
    values = {"x": draw.normal((CALIBRATION, *sizes), draw.pick([0.5, 1.0, 3.0]))}
    if draw.chance(0.2):
        values["z"] = draw.normal((CALIBRATION, draw.whole(3, 8)), draw.pick([0.5, 2.0]))
    return values


def _vectors(draw: Draw, like: Array, count: int) -> Array:
    """Vectors distributed as the calibration data, some far outside (saturation), some on a coarse grid (ties)."""
    picked = like[draw.rng.integers(len(like), size=count)]
    value = picked + draw.normal(picked.shape, 0.3) * float(like.std())
    value[::8] *= 4
    value[1::8] = np.round(value[1::8] * 8) / 8
    return np.asarray(value, dtype=np.float32)


def _export(program: Program, inputs: dict[str, Array], *, qcdq: bool) -> onnx.ModelProto:
    from brevitas.export import export_onnx_qcdq, export_qonnx

    export = export_onnx_qcdq if qcdq else export_qonnx
    names = list(inputs)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export(
            program,
            args=tuple(torch.from_numpy(inputs[name][:2]) for name in names),
            export_path=str(path),
            dynamo=False,
            opset_version=17,
            input_names=names,
            output_names=["y"],
            dynamic_axes={name: {0: "N"} for name in [*names, "y"]},
        )
        proto = onnx.load(path)
    for node in proto.graph.node:
        node.doc_string = ""
    return proto


def _compare(draw: Draw, result: Array, reference: Array) -> None:
    """Tag how the export differs from PyTorch, and the cause where it is a known habit of the exporter.

    - weight_rounding: the QONNX export writes the float weight with half-even, whatever the weight's rounding was.
    - zero_point_order: a Brevitas code is round(x / s + z), ONNX's is round(x / s) + z: ties differ when z is odd.
    - float_noise: at arbitrary scales float32 sums lie beside a rounding boundary: a few values with half-even, more
      with FLOOR and CEIL, where every exact zero is on a boundary.
    """
    size = float(np.abs(reference).max()) + 1e-9
    differing = float((np.abs(result - reference) > 1e-4 * size).mean())
    if not differing:
        return
    directed = {"round:FLOOR", "round:CEIL"}
    causes = {
        "weight_rounding": "weight_rounding" in draw.tags,
        "zero_point_order": {"qcdq", "asymmetric_act"} <= draw.tags,
        "float_noise": "float_scale" in draw.tags and (differing < 0.05 or not directed.isdisjoint(draw.tags)),
    }
    cause = next((name for name, holds in causes.items() if holds), "unknown")
    draw.tag(f"export_differs:{cause}", *([] if cause == "float_noise" else ["export_mismatch"]))
