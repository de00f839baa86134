"""What a back end foresees before synthesis: figures for each layer and in total."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgecomp.report.figures import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCost:
    """One layer: the node's name, its kind ("Dense"), and its figures by name ("cycles", "lut", ...)."""

    node: str
    kind: str
    figures: Mapping[str, Figure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Figures per layer, in the network's order, and in total; the same names in both where a sum makes sense."""

    layers: tuple[LayerCost, ...]
    total: Mapping[str, Figure]
