"""emlearn's C for a perceptron in fixed point, with what release 0.23.2 leaves open filled in.

emlearn has one form without floats, `net_fixedpoint`: activations with 16 fractional bits, weights with 23, all of 32
bits. In 0.23.2 it cannot be used as it comes: generating it ends in a ValueError (the activation's name is read as a
number), its layer is a skeleton under `#if 0`, and its argmax gives -1 where the first class wins. So this module hands
emlearn the activation's number and puts a finished header in the place of the skeleton: the same functions and
formats, the product by emlearn's own `eml_q16_mul`, whose sum needs no 64-bit arithmetic. Everything else, the tables,
buffers and copies, is as emlearn writes it. The last layer is `identity`: a softmax changes no class.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from edgecomp.backends.mcu.project import CProgram

INPUT_BITS = 16  # fractional bits of an input
COMMON = ("eml_common.h", "eml_log.h", "eml_net_common.h", "eml_fixedpoint.h")
LAYER = """\
#ifndef EML_NET_FIXEDPOINT_H
#define EML_NET_FIXEDPOINT_H
#include "eml_common.h"
#include "eml_net_common.h"
#include "eml_fixedpoint.h"

/* A product of 16 and 23 fractional bits has 23 by eml_q16_mul, as biases have: 7 too many for an activation. */
EmlError eml_net_forward_q16(const eml_q16_t *in, int32_t in_length, const eml_fixed32_t *weights,
                             const eml_fixed32_t *biases, EmlNetActivationFunction activation, eml_q16_t *out,
                             int32_t out_length)
{
    for (int o = 0; o < out_length; o++) {
        eml_fixed32_t sum = biases[o];
        for (int i = 0; i < in_length; i++) sum += eml_q16_mul(in[i], weights[o + i * out_length]);
        sum >>= 7;
        out[o] = activation == EmlNetActivationRelu && sum < 0 ? 0 : sum;
    }
    return EmlOk;
}

int32_t eml_argmax_fixed32(const eml_fixed32_t *values, int values_length)
{
    int32_t best = 0;
    for (int i = 1; i < values_length; i++) {
        if (values[i] > values[best]) best = i;
    }
    return best;
}
#endif
"""
TEST = """\
#include <stdint.h>
int32_t rival_predict(const int32_t *in, int32_t in_length);
#define INPUTS(X) X(int32_t, x, "x", {features})
#define OUTPUTS(X) X(uint8_t, y, "y", 1)
#define CALL v_y[0] = (uint8_t)rival_predict(v_x, {features})
"""


def fixed_point(weights: Sequence[NDArray[np.float64]], biases: Sequence[NDArray[np.float64]]) -> CProgram:
    """emlearn's program for weights (inputs, outputs) of each layer, ReLU between them; it gives the class."""
    with np.errstate():  # importing it makes numpy raise on underflow from then on, everywhere
        import emlearn
        from emlearn import net

    activations = ["relu"] * (len(weights) - 1) + ["identity"]
    with mock.patch.object(net, "c_activation_function", net.ACTIVATION_FUNCTIONS.index):
        source = net.c_generate_net_inline(activations, weights, biases, prefix="rival", use_fixedpoint=True)
    folder = Path(emlearn.__file__).parent
    sources = {name: (folder / name).read_text() for name in COMMON}
    sources |= {"eml_net_fixedpoint.h": LAYER, "rival.c": source.replace("<eml_", '"eml_').replace(".h>", '.h"')}
    return CProgram(sources=sources, entries=("rival_predict",), test=TEST.format(features=weights[0].shape[0]))


def fixed_inputs(x: NDArray[np.float64]) -> NDArray[np.int64]:
    """Inputs with 16 fractional bits, as emlearn's EML_Q16_FROMFLOAT makes them."""
    return np.asarray(np.trunc(x * 2**INPUT_BITS), dtype=np.int64)
