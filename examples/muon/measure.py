"""The figures of this example: RMS below 30 mrad of the fit, of the position alone, and of a network."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from examples.muon.fit import FitOptions, fit_deflection, predict_from_position, tune
from examples.muon.simulate import TEST_SEED, Chamber, Floats, Hits, Tracks, rms_below, simulate

Figure = dict[str, float]

TUNING_TRACKS: Final = 50_000
"""Training tracks on which the fit is tuned."""


def figure(difference_mrad: Floats) -> Figure:
    """RMS of the differences below 30 mrad, and the share kept."""
    rms, kept = rms_below(difference_mrad)
    return {"rms_mrad": round(rms, 4), "kept": round(kept, 5)}


def measure_fit(data: Tracks, test: Tracks) -> dict[str, Any]:
    """The bound on realistic and clean tracks, the stronger rival, the position alone, and the tuned options."""
    chamber = Chamber()
    sample = Tracks(hits=data.hits[:TUNING_TRACKS], deflection_mrad=data.deflection_mrad[:TUNING_TRACKS])
    options = tune(sample, chamber)
    merged = tune(sample, chamber, FitOptions(merge_neighbours=True))
    clean = simulate(len(test), TEST_SEED, chamber.clean())
    y = test.deflection_mrad
    return {
        "fit_clean": figure(fit_deflection(clean.hits, chamber, options) - clean.deflection_mrad),
        "fit": figure(fit_deflection(test.hits, chamber, options) - y),
        "fit_merged_neighbours": figure(fit_deflection(test.hits, chamber, merged) - y),
        "position_only": figure(predict_from_position(data, test.hits, chamber) - y),
        "options": asdict(options),
        "options_merged_neighbours": asdict(merged),
    }


def predict(network: nn.Module, hits: Hits) -> Floats:
    """Output of the network for hits (n, gaps, channels), shape (n,)."""
    network.eval()
    with torch.no_grad():
        parts = [network(torch.from_numpy(part).float()) for part in np.array_split(hits, max(1, len(hits) // 10_000))]
    found: Floats = torch.cat(parts)[:, 0].double().numpy()
    return found


def weight_counts(network: nn.Module) -> dict[str, int]:
    """Parameters, and weights whose quantised value is not zero."""
    layers: list[Any] = [layer for layer in network.modules() if hasattr(layer, "quant_weight")]
    sizes = [layer.weight.numel() + (0 if layer.bias is None else layer.bias.numel()) for layer in layers]
    nonzero = sum(int((layer.quant_weight().value != 0).sum()) for layer in layers)
    return {"parameters": sum(sizes), "nonzero_weights": nonzero}
