"""The HLS back end on small networks: every strategy and kind of io through the real C simulation, and its refusals."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from edgecomp import interp, vectors
from edgecomp.backends import BACKENDS
from edgecomp.errors import ToolError, UsageError
from edgecomp.golden import compare
from edgecomp.ir import Dense, Input, Ints, Network, Output, Requant, Rounding
from edgecomp.project import load_target
from edgecomp.simulate.hls import run_hls

HLS = BACKENDS["hls"]
TARGET = load_target("fpga")


def two_layers() -> Network:
    """12 codes of 4 bits, 6 neurons with half-even rescaling, 3 logits."""
    draw = np.random.default_rng(3)
    return Network(
        nodes=(
            Input(name="x", shape=(12,), lo=-8, hi=7),
            Dense(name="first", x="x", weight=Ints(draw.integers(-8, 8, (6, 12))), bias=Ints([5, 0, -50, 9, 31, 2])),
            Requant(name="code", x="first", multiplier=Ints([3, 1, -2, 5, 1, 4]), addend=Ints([8]), shift=4,
                    lo=Ints([0]), hi=Ints([15]), rounding=Rounding.HALF_EVEN),
            Dense(name="second", x="code", weight=Ints(draw.integers(-8, 8, (3, 6))), bias=Ints([1, 0, -7])),
            Output(name="y", x="second"),
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        {"strategy": "distributed_arithmetic"},
        {"strategy": "resource", "reuse": "3", "reuse.second": "2", "io": "stream"},
        {"vendor": "vivado", "reuse.first": "2"},
    ],
    ids=lambda settings: ",".join(settings.values()),
)
def test_strategies_compute_the_same_codes(settings: dict[str, str]) -> None:
    network = two_layers()
    options = HLS.parse(settings)
    assert HLS.check(network, TARGET, options) == ()
    legal = HLS.legalize(network, TARGET, options)
    made = vectors.make(legal, None, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        HLS.emit(legal, TARGET, options).spill(Path(folder))
        simulated = run_hls(Path(folder), legal, made.inputs)
    first, count = compare(interp.outputs(network, made.inputs), simulated.outputs)
    assert first is None, (first, count)


def test_distributed_arithmetic_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "da4ml", None)
    with pytest.raises(ToolError, match=r"needs da4ml 0\.5"):
        HLS.emit(two_layers(), TARGET, HLS.parse({"strategy": "distributed_arithmetic"}))


@pytest.mark.parametrize(
    ("settings", "message", "hint"),
    [
        ({"reuse.first": "7"}, "reuse cannot be 7", "legal values: 1, 2, 3, 4, 6, 12"),
        ({"reuse.frist": "2"}, "no Dense or Conv is called frist", "first"),
        (
            {"reuse": "2", "strategy": "distributed_arithmetic"},
            "distributed arithmetic shares nothing",
            "leave reuse at 1",
        ),
    ],
)
def test_reuse_factors_that_cannot_be(settings: dict[str, str], message: str, hint: str) -> None:
    options = HLS.parse(settings)
    with pytest.raises(UsageError) as caught:
        HLS.legalize(two_layers(), TARGET, options)
    problem = caught.value.problems[0]
    assert problem.what.startswith(message)
    assert hint in problem.hint
