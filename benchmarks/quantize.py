"""`quantize --preset int6` on the digits CNN: float and integer accuracy over seeds, and the seconds of a run.

Run `python -m benchmarks.quantize [SEEDS]`. Each seed trains the float network of examples/digits on its own split.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from edgecomp.quantize.options import Asked, Preset
from edgecomp.quantize.run import Quantised, QuantizeRequest, quantize
from examples.digits.train import Recipe, load_images, make_network, run_epochs


class Quiet:
    """No progress."""

    def stage(self, name: str) -> None:
        """Say nothing."""

    def advance(self, done: int, total: int, said: str) -> None:
        """Say nothing."""


def measure(seed: int, folder: Path) -> tuple[Quantised, float]:
    """What quantising gives on one seed, and its seconds without the float training."""
    recipe = replace(Recipe(), seed=seed)
    train, test = load_images(recipe)
    torch.manual_seed(seed)
    network = make_network(False)
    run_epochs(network, train, recipe, epochs=recipe.float_epochs, rate=recipe.float_rate)
    torch.save(network.state_dict(), folder / "state.pt")
    np.savez(folder / "train.npz", x=train.x, y=train.y)
    np.savez(folder / "test.npz", x=test.x, y=test.y)
    request = QuantizeRequest(model="benchmarks.quantize:digits", state=folder / "state.pt", data=folder / "train.npz",
                              test=folder / "test.npz", out=folder / "out", seed=seed,
                              asked=Asked(preset=Preset.INT6))  # fmt: skip
    start = time.monotonic()
    return quantize(request, Quiet()), time.monotonic() - start


def digits() -> torch.nn.Module:
    """The float network of examples/digits."""
    return make_network(False)


def main() -> None:
    torch.set_num_threads(1)
    losses = []
    for seed in range(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
        with tempfile.TemporaryDirectory() as folder:
            found, seconds = measure(seed, Path(folder))
        stages = {stage.name: stage.value for stage in found.stages}
        losses.append(stages["float"] - stages["integer"])
        shown = ", ".join(f"{name} {value:.4f}" for name, value in stages.items())
        print(f"seed {seed}: {shown}; {found.stages[-1].flips} of {found.rows} classes changed; {seconds:.1f} s")
    print(f"mean loss {100 * sum(losses) / len(losses):.2f} points")


if __name__ == "__main__":
    main()
