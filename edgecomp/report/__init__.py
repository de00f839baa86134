"""The report of a build: one object, and its JSON and text forms."""

from edgecomp.report.codec import plain, read_report, to_json
from edgecomp.report.figures import Figure, Source
from edgecomp.report.model import (
    Accuracy,
    Agreement,
    Confusion,
    Latency,
    Layer,
    ModelFacts,
    NearTie,
    NetworkNode,
    Report,
    Requantiser,
    Resource,
    Stage,
    TargetFacts,
    ToolVersion,
    Verdict,
    measured,
)
from edgecomp.report.text import render, side_by_side, table

__all__ = [
    "Accuracy", "Agreement", "Confusion", "Figure", "Latency", "Layer", "ModelFacts", "NearTie", "NetworkNode",
    "Report", "Requantiser", "Resource", "Source", "Stage", "TargetFacts", "ToolVersion", "Verdict", "measured",
    "plain", "read_report", "render", "side_by_side", "table", "to_json",
]  # fmt: skip
