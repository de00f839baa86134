"""The figures of an exported model's integer network: what the built circuit computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecomp.contract import quantise_input, real_output
from edgecomp.frontend import read_file
from edgecomp.interp import outputs


def integer_outputs(model: Path, x: NDArray[np.generic]) -> NDArray[np.float64]:
    """Real outputs (N, ...) of a model with one input and one output for real inputs x (N, ...), by its integers."""
    network = read_file(model).network
    (entry,), (exit_,) = network.inputs, network.outputs
    codes = outputs(network, {entry.name: quantise_input(entry, x.astype(np.float64))})
    return real_output(exit_, codes[exit_.name])
