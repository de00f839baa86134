"""What the HLS back end takes: options that fit the network, and the few networks that a stream cannot carry."""

from __future__ import annotations

import numpy as np

from edgecomp.backends.hls.options import HlsOptions, Io, Strategy
from edgecomp.backends.hls.windows import stuffed
from edgecomp.errors import InexpressibleError, Problem, UsageError, raise_all
from edgecomp.ir import ArgMax, Conv, Dense, Network, operands
from edgecomp.project import nearest


def check(network: Network, options: HlsOptions) -> tuple[Problem, ...]:
    """Every problem that keeps the network from this back end; UsageError where the options do not fit it."""
    problems = network.problems()
    if problems:
        return problems
    _check_reuse(network, options)
    hint = "build it for printed, or leave the comparisons exact"
    trees = tuple(Problem(what="approximate comparisons have no HLS kernel", where=node.name, hint=hint)
                  for node in network.nodes if isinstance(node, ArgMax) and node.tree.array.size)  # fmt: skip
    return trees + (_stream_problems(network) if options.io is Io.STREAM else ())


def legalize(network: Network, options: HlsOptions) -> Network:
    """The network itself once it is checked: what hls4ml lacks is a kernel here, not a rewrite."""
    raise_all(InexpressibleError, check(network, options))
    return network


def _check_reuse(network: Network, options: HlsOptions) -> None:
    """Each reuse factor must be one that hls4ml takes for the layer as it is, or it would silently use another."""
    layers = {node.name: node for node in network.nodes if isinstance(node, Dense | Conv)}
    unknown = [name for name, _ in options.layer_reuse if name not in layers]
    if unknown:
        hint = nearest(unknown[0], layers)
        raise UsageError(f"no Dense or Conv is called {unknown[0]}", where=f"--set reuse.{unknown[0]}", hint=hint)
    problems = []
    for name, node in layers.items():
        reuse = options.reuse_of(name)
        if reuse == 1:
            continue
        if options.strategy is Strategy.DISTRIBUTED_ARITHMETIC:
            hint = "leave reuse at 1, or take strategy=latency or resource"
            problems.append(Problem(what="distributed arithmetic shares nothing: reuse is 1", where=name, hint=hint))
        elif reuse not in legal_reuse(node):
            legal = ", ".join(map(str, legal_reuse(node)))
            problems.append(Problem(what=f"reuse cannot be {reuse}", where=name, hint=f"legal values: {legal}"))
    raise_all(UsageError, problems)


def legal_reuse(node: Dense | Conv) -> tuple[int, ...]:
    """The reuse factors that hls4ml takes for a layer."""
    from hls4ml.backends import get_backend

    weight = node.weight.array if isinstance(node, Dense) else stuffed(node)
    outputs, inputs = weight.shape[0], int(np.prod(weight.shape[1:]))
    return tuple(get_backend("Vitis").get_valid_reuse_factors(inputs, outputs))


def _stream_problems(network: Network) -> tuple[Problem, ...]:
    read = {name for node in network.nodes for name in operands(node)}
    what = "a streamed input that nothing reads would block the circuit"
    hint = "take io=parallel, or a model without this input"
    return tuple(Problem(what=what, where=node.name, hint=hint) for node in network.inputs if node.name not in read)
