"""Drives hls4ml from a Circuit: every type is stated, the project is written to a scratch folder and read back."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

from edgecomp.backends.hls.circuit import (
    Circuit,
    ConvLayer,
    DenseLayer,
    Entry,
    Flat,
    IntType,
    KernelLayer,
    Layer,
    Probe,
    type_of_ints,
)
from edgecomp.backends.hls.options import HlsOptions, Strategy
from edgecomp.errors import ToolError
from edgecomp.project import FpgaTarget

PROJECT = "classifier"

# What hls4ml writes beside the project: its own testbench (which compares nothing), a Python bridge, a build script
# with a random stamp, its configuration with absolute paths and a pickled model, and scripts for its own flow.
DROPPED = ("hls4ml_config.yml", "build_lib.sh", "vivado_synth.tcl", f"{PROJECT}_test.cpp", f"{PROJECT}_bridge.cpp")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightArray:
    """A constant array of the project: C++ name and type, and its integers."""

    name: str
    type: str
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port of the top function: the C++ variable and type, the IR node, and the elements that lie at one place."""

    node: str
    variable: str
    type: str
    size: int
    channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """hls4ml's files (path -> content), the constant arrays, the ports, and what each trace number shows."""

    files: Mapping[str, bytes]
    weights: tuple[WeightArray, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    probes: tuple[Probe, ...]


def write_project(circuit: Circuit, target: FpgaTarget, options: HlsOptions) -> Project:
    """The HLS project of a circuit, the same for the same circuit in any process and folder."""
    from edgecomp.backends.hls.extension import register

    register()
    if options.strategy is Strategy.DISTRIBUTED_ARITHMETIC:
        _need_da4ml()
    with tempfile.TemporaryDirectory(prefix="edgecomp-hls-") as scratch:
        with contextlib.redirect_stdout(io.StringIO()):
            graph = _graph(circuit, target, options, Path(scratch) / "project")
            probes = _attach_probes(graph, circuit)
            graph.write()
        files = _read_back(Path(scratch) / "project")
    weights = tuple(_weight(weight) for layer in graph.get_layers() for weight in layer.get_weights())
    nodes = {layer.wire.name: layer.node for layer in circuit.layers if isinstance(layer, Entry)}
    ports = {layer.wire.name: layer.port for layer in circuit.layers if isinstance(layer, KernelLayer)}
    return Project(
        files=files, weights=weights, probes=probes,
        inputs=tuple(_port(graph, circuit, name, nodes[name]) for name in circuit.inputs),
        outputs=tuple(_port(graph, circuit, name, ports[name]) for name in circuit.outputs),
    )  # fmt: skip


def _need_da4ml() -> None:
    try:
        import da4ml  # noqa: F401
    except ImportError as error:
        hint = "pip install 'edgecomp[da]', or take another strategy"
        where = "--set strategy=distributed_arithmetic"
        raise ToolError("hls4ml's distributed arithmetic needs da4ml 0.5", where=where, hint=hint) from error


def _graph(circuit: Circuit, target: FpgaTarget, options: HlsOptions, folder: Path) -> Any:
    from hls4ml.model.graph import ModelGraph
    from hls4ml.utils.config import create_config

    config = create_config(
        output_dir=str(folder), project_name=PROJECT, backend=options.vendor.value.capitalize(), part=target.part,
        clock_period=options.clock_ns or target.clock_ns, io_type=f"io_{options.io.value}",
    )  # fmt: skip
    config["HLSConfig"] = {
        "Model": {"Precision": "ap_int<64>", "ReuseFactor": 1, "Strategy": options.strategy.value},
        "LayerName": {layer.wire.name: _layer_config(layer, options) for layer in circuit.layers},
    }
    layers = [_layer(layer) for layer in circuit.layers]
    return ModelGraph.from_layer_list(config, layers, list(circuit.inputs), list(circuit.outputs))


def _layer_config(layer: Layer, options: HlsOptions) -> dict[str, Any]:
    """What HLSConfig says of a layer: every precision and the reuse factor.

    hls4ml's distributed arithmetic wants fixed-point values; everything else takes integers, which compile faster.
    """
    fixed = options.strategy is Strategy.DISTRIBUTED_ARITHMETIC
    precision = {"result": layer.wire.type.fixed if fixed else str(layer.wire.type)}
    config: dict[str, Any] = {"Precision": precision}
    if isinstance(layer, DenseLayer | ConvLayer):
        precision["weight"] = weight_type(type_of_ints(layer.weight))
        precision["bias"] = str(type_of_ints(layer.bias))
        precision["accum"] = str(layer.accumulator)
        config["ReuseFactor"] = layer.reuse
    return config


def weight_type(kind: IntType) -> str:
    """The C++ type of a Dense's or Conv's weights.

    hls4ml reads a 1-bit ap_uint weight as a binary network's -1 and +1, and a 2-bit ap_int weight as ternary, where -2
    would be +1; the fixed-point types of the same width have no such second meaning.
    """
    return str(kind) if kind.bits > 2 else kind.fixed


def _layer(layer: Layer) -> dict[str, Any]:
    """The layer as hls4ml's dict."""
    match layer:
        case Entry():
            return {"class_name": "Input", "name": layer.wire.name, "input_shape": list(layer.wire.shape)}
        case Flat():
            shape = list(layer.wire.shape)
            return {"class_name": "Reshape", "name": layer.wire.name, "inputs": [layer.x], "target_shape": shape}
        case DenseLayer():
            inputs, outputs = layer.weight.shape
            return {"class_name": "Dense", "n_in": inputs, "n_out": outputs, **_weighted(layer)}
        case ConvLayer():
            return {"class_name": f"Conv{len(layer.stride)}D", **_window(layer), **_weighted(layer)}
        case KernelLayer():
            return {"class_name": "EdgecompKernel", "name": layer.wire.name, "inputs": list(layer.xs), "kernel": layer}
        case _:
            assert_never(layer)


def _weighted(layer: DenseLayer | ConvLayer) -> dict[str, Any]:
    return {
        "name": layer.wire.name, "inputs": [layer.x],
        "weight_data": layer.weight.array.copy(), "bias_data": layer.bias.array.copy(),
    }  # fmt: skip


def _window(layer: ConvLayer) -> dict[str, Any]:
    """hls4ml's attributes of a convolution, channels last."""
    axes = ("height", "width")[2 - len(layer.stride) :]
    sides = (("top", "bottom"), ("left", "right"))[2 - len(layer.stride) :]
    found: dict[str, Any] = {
        "data_format": "channels_last", "padding": "same" if any(map(any, layer.pads)) else "valid",
        "n_chan": layer.in_shape[-1], "n_filt": layer.wire.shape[-1], "dilation": 1,
    }  # fmt: skip
    for axis, name in enumerate(axes):
        found[f"in_{name}"], found[f"out_{name}"] = layer.in_shape[axis], layer.wire.shape[axis]
        found[f"filt_{name}"], found[f"stride_{name}"] = layer.weight.shape[axis], layer.stride[axis]
        found |= {f"pad_{side}": pad for side, pad in zip(sides[axis], layer.pads[axis], strict=True)}
    return found


def _attach_probes(graph: Any, circuit: Circuit) -> tuple[Probe, ...]:
    """Have each layer that gives an IR value followed by its trace point; trace numbers count these layers."""
    probed = {layer.wire.name: layer.probe for layer in circuit.layers
              if isinstance(layer, DenseLayer | ConvLayer | KernelLayer) and layer.probe}  # fmt: skip
    probes: list[Probe] = []
    for layer in graph.get_layers():
        if layer.name in probed:
            variable = layer.get_output_variable()
            point = f"EDGECOMP_TRACE({len(probes)}, {variable.name}, {variable.size_cpp()});"
            layer.set_attr("function_cpp", [layer.get_attr("function_cpp"), point])
            probes.append(probed[layer.name])
    return tuple(probes)


def _read_back(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    return {name: data for name, data in found.items() if name not in DROPPED}


def _weight(variable: Any) -> WeightArray:
    assert variable.data.dtype.kind == "i", f"{variable.name} is no longer integers"
    return WeightArray(name=variable.name, type=variable.type.name, values=tuple(map(int, variable.data.ravel())))


def _port(graph: Any, circuit: Circuit, name: str, node: str) -> Port:
    wire = circuit.wire(name)
    variable = graph.get_layer_output_variable(name)
    return Port(node=node, variable=variable.name, type=variable.type.name, size=wire.size, channels=wire.shape[-1])
