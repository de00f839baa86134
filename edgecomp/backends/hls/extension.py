"""hls4ml's extension interface: one layer class for every kernel of `hls/`, and the two templates that print it.

Importing this module imports hls4ml; `register` adds the class and its templates to hls4ml's registries once.
"""

from __future__ import annotations

from typing import Any

from hls4ml.backends import get_backend
from hls4ml.backends.template import FunctionCallTemplate, LayerConfigTemplate
from hls4ml.model.layers import Layer, layer_map, register_layer
from hls4ml.model.types import IntegerPrecisionType

from edgecomp.backends.hls.circuit import IntType, KernelLayer

CLASS_NAME = "EdgecompKernel"
BACKEND_NAMES = ("Vivado", "Vitis")


def precision(kind: IntType) -> Any:
    return IntegerPrecisionType(width=kind.bits, signed=kind.signed)


class EdgecompKernel(Layer):  # type: ignore[misc]
    """A KernelLayer, given as attribute `kernel`, in a ModelGraph."""

    def initialize(self) -> None:
        kernel: KernelLayer = self.get_attr("kernel")
        variable = kernel.wire.name if kernel.port else "layer{index}_out"
        self.add_output_variable(list(kernel.wire.shape), var_name=variable)
        for parameter in kernel.parameters:
            self.add_weights_variable(
                name=parameter.name, var_name=parameter.name + "{index}", type_name=parameter.name + "{index}_t",
                precision=precision(parameter.type), data=parameter.values.array,
            )  # fmt: skip


class KernelConfig(LayerConfigTemplate):  # type: ignore[misc]
    """The struct of sizes and types that a kernel is instantiated with."""

    def __init__(self) -> None:
        super().__init__(EdgecompKernel)

    def format(self, node: Any) -> str:
        kernel: KernelLayer = node.get_attr("kernel")
        lines = [f"    static const {_c_type(value)} {name} = {_literal(value)};" for name, value in kernel.sizes]
        for parameter in kernel.parameters:
            lines.append(f"    static const unsigned n_{parameter.name} = {parameter.values.array.size};")
            lines.append(f"    typedef {node.get_weights(parameter.name).type.name} {parameter.name}_t;")
        lines += [f"    typedef {kind} {name}_t;" for name, kind in kernel.types]
        return f"struct config{node.index} {{\n" + "\n".join(lines) + "\n};\n"


def _c_type(value: int) -> str:
    return "unsigned" if 0 <= value < 1 << 32 else "long long"


def _literal(value: int) -> str:
    return str(value) if -(1 << 31) < value < 1 << 31 else f"{value}LL"


class KernelCall(FunctionCallTemplate):  # type: ignore[misc]
    """The call of the kernel: inputs, output, constant arrays."""

    def __init__(self) -> None:
        super().__init__(EdgecompKernel, include_header=[])

    def format(self, node: Any) -> str:
        kernel: KernelLayer = node.get_attr("kernel")
        node.set_attr("include_header", [f"nnet_utils/{kernel.kernel.header}", "nnet_utils/edgecomp_trace.h"])
        sources = [node.get_input_variable(name) for name in node.inputs]
        output = node.get_output_variable()
        types = [variable.type.name for variable in (*sources, output)]
        arguments = [variable.name for variable in (*sources, output)]
        arguments += [node.get_weights(parameter.name).name for parameter in kernel.parameters]
        called = f"edgecomp::{kernel.kernel.value}<{', '.join(types)}, config{node.index}>"
        return f"{called}({', '.join(arguments)});"


def register() -> None:
    """Make the kernels known to hls4ml's Vivado and Vitis back ends; again is harmless."""
    if CLASS_NAME not in layer_map:
        register_layer(CLASS_NAME, EdgecompKernel)
        backend = get_backend("Vivado")
        for template in (KernelConfig, KernelCall):
            backend.register_template(template)
