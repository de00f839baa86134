"""Post-training quantisation: equalised, scales from calibration data, biases corrected."""

from __future__ import annotations

import copy
import operator
import warnings
from dataclasses import replace

import torch
from torch import Tensor, fx

from edgecomp.quantize.net import Add, Concat, Net, Op, Step, plain
from edgecomp.quantize.options import Equalisation, Recipe
from edgecomp.quantize.placement import fold_affine, owner, quantised_tensors
from edgecomp.quantize.quantisers import layer, quantiser

ROWS = 1024  # calibration rows at most
CLOSE = 1e-3  # of the largest output: what equalisation may change of a float network


def calibrated(net: Net, inputs: tuple[Tensor, ...], recipe: Recipe) -> Net:
    """The quantised network of a float one after calibration on inputs (N, ...)."""
    rows = tuple(x[:ROWS] for x in inputs)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folded = equalised(fold_affine(copy.deepcopy(net)), rows, recipe.equalisation)
        made = quantised(folded, rows, recipe)
        if recipe.bias_correction:
            _correct_biases(made, rows)
    return made


def _graph(net: Net) -> fx.GraphModule:
    """The net as Brevitas' equalisation walks over it; it shares the modules."""
    graph = fx.Graph()
    nodes = {name: graph.placeholder(f"input_{at}") for at, name in enumerate(net.inputs)}
    for at, step in enumerate(net.steps):
        operands = tuple(nodes[name] for name in step.inputs)
        match step.module:
            case Add():
                nodes[step.output] = graph.call_function(operator.add, operands)
            case Concat():
                nodes[step.output] = graph.call_function(torch.cat, (operands, step.module.axis))
            case _:
                nodes[step.output] = graph.call_module(f"layers.{at}", operands)
    graph.output(nodes[net.output])
    return fx.GraphModule(net, graph)


def equalised(net: Net, inputs: tuple[Tensor, ...], kind: Equalisation) -> Net:
    """Scales moved between layers by Brevitas; the net as it was where its outputs would not stay what they are."""
    from brevitas.graph.equalize import EqualizeGraph, activation_equalization_mode

    if kind is Equalisation.NONE:
        return net
    tried = copy.deepcopy(net)
    before = net(*inputs)
    graph = _graph(tried)
    if kind is Equalisation.CROSS_LAYER:
        EqualizeGraph(bias_shrinkage="vaiq").apply(graph)
    else:
        with activation_equalization_mode(graph, 0.5, add_mul_node=False, layerwise=False):
            graph(*inputs)
    off = (tried(*inputs) - before).abs().max()
    return tried if bool(off <= CLOSE * before.abs().max()) else net


def quantised(net: Net, inputs: tuple[Tensor, ...], recipe: Recipe) -> Net:
    """Brevitas layers in the place of float ones, a quantiser behind every tensor that needs one."""
    values = net.tensors(*inputs)
    groups = quantised_tensors(net)
    members: dict[int, list[str]] = {}
    for name, number in groups.items():
        members.setdefault(number, []).append(name)
    made = {}
    for number, names in members.items():
        owners = [owner(net, name) for name in names]
        bits = max(recipe.codes_of(of) if of else recipe.input_bits for of in owners)
        made[number] = quantiser([plain(values[name]) for name in names], bits, recipe)

    def coded(name: str) -> str:
        return f"{name}_q" if name in groups else name

    def quant(name: str, shape: tuple[int, ...]) -> Step:
        return Step(name=coded(name), op=Op.QUANT, inputs=(name,), output=coded(name), shape=shape,
                    module=made[groups[name]])  # fmt: skip

    steps = [quant(name, net.shapes[name]) for name in net.inputs if name in groups]
    for step in net.steps:
        module = layer(step, recipe) if step.op is Op.LINEAR else step.module
        steps.append(replace(step, module=module, inputs=tuple(coded(name) for name in step.inputs)))
        if step.output in groups:
            steps.append(quant(step.output, step.shape))
    result = Net(shapes=net.shapes, steps=steps, output=coded(net.output))
    return result.eval()


def _correct_biases(net: Net, inputs: tuple[Tensor, ...]) -> None:
    from brevitas.graph.calibrate import bias_correction_mode

    with bias_correction_mode(net):
        net(*inputs)
