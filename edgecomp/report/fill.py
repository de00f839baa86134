"""The Report of a build from what its stages found."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecomp import __version__
from edgecomp.check import Agreement as SourceAgreement
from edgecomp.contract import real_output
from edgecomp.doctor import version_of
from edgecomp.flows.base import Built
from edgecomp.frontend import Lowered
from edgecomp.ir import Network
from edgecomp.passes import decides
from edgecomp.project import Task
from edgecomp.report.facts import confusion, network_facts
from edgecomp.report.figures import Figure
from edgecomp.report.model import (
    Accuracy,
    Agreement,
    Confusion,
    Layer,
    ModelFacts,
    NearTie,
    Report,
    Requantiser,
    Stage,
    TargetFacts,
    ToolVersion,
    Verdict,
    measured,
)
from edgecomp.vectors import Vectors

Reals = NDArray[np.float64]
MAX_TIES = 20
PACKAGES = ("alkaid", "hls4ml", "numpy", "onnx", "onnxruntime", "pyosys")


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the stages of a build found."""

    model: Path
    lowered: Lowered | None
    network: Network
    target: TargetFacts
    task: Task
    labels: NDArray[np.generic]
    outlier: float | None  # differences from here on are counted apart in a regression
    vectors: Vectors
    expected: Mapping[str, NDArray[np.int64]]
    agreement: SourceAgreement | None
    quantised: Mapping[str, Reals] | None
    built: Built
    seconds: Mapping[str, float]
    notes: tuple[str, ...] = ()
    exact: Mapping[str, NDArray[np.int64]] | None = None  # of the network that this one approximates


def fill(found: Findings) -> Report:
    """One report; it stands only for builds in which every execution agreed."""
    built = found.built
    return Report(
        model=model_facts(found),
        target=found.target,
        verdict=Verdict(exact=True, fits=not built.reasons, reasons=built.reasons),
        latency=built.latency,
        resources=built.resources,
        totals=built.totals,
        synthesis=built.synthesis,
        accuracy=accuracies(found),
        golden=agreements(found),
        near_tie_count=measured(len(_ties(found)), "codes", "codes where float and exact arithmetic differ"),
        near_ties=tuple(_ties(found)[:MAX_TIES]),
        layers=tuple(Layer(name=c.node, kind=c.kind, figures=c.figures) for c in built.layers),
        requantisers=requantisers(found.lowered),
        stages=tuple(Stage(name=n, time=measured(round(s, 3), "s", "wall clock")) for n, s in found.seconds.items()),
        tools=tool_versions(built.programs),
        notes=(() if found.lowered is None else found.lowered.notes) + found.notes,
        network=network_facts(found.network),
        confusion=_confusion(found),
    )


def _confusion(found: Findings) -> Confusion | None:
    """Of the network as built, on the labelled samples of a classifier."""
    count = len(found.labels)
    if found.task is not Task.CLASSES or not count:
        return None
    node = found.network.outputs[0]
    outputs = real_output(node, found.expected[node.name][:count]).reshape(count, -1)
    decided = outputs[:, 0].astype(np.int64) if decides(found.network) else classes(outputs)
    stage = "integer" if found.exact is None else "approximated"
    return confusion(np.asarray(found.labels, dtype=np.int64).reshape(-1), decided, stage=stage)


def model_facts(found: Findings) -> ModelFacts:
    values = found.network.values()
    forms = {"qonnx": "QONNX", "qdq": "QDQ"}
    ends = [
        tuple(f"{n.name}: {'x'.join(map(str, values[n.name].shape))} codes of {values[n.name].bits} bits" for n in side)
        for side in (found.network.inputs, found.network.outputs)
    ]
    return ModelFacts(
        name=found.model.name, form=forms[found.lowered.dialect] if found.lowered else "integer ONNX",
        sha256=hashlib.sha256(found.model.read_bytes()).hexdigest(), task=found.task.value,
        head="argmax" if decides(found.network) else "logits",
        inputs=ends[0], outputs=ends[1],
    )  # fmt: skip


def agreements(found: Findings) -> tuple[Agreement, ...]:
    samples = found.vectors.samples
    codes = sum(v.size for v in found.expected.values())
    executions = ("interpreter and ONNX Runtime (integer graph)", *found.built.executions)
    out = [
        Agreement(
            execution=name, samples=measured(samples, "samples", "compared"),
            codes=measured(codes, "codes", "compared"),
            differences=measured(0, "codes", "counted; a build with any stops"),
        )
        for name in executions
    ]  # fmt: skip
    if found.agreement is not None:
        own = found.agreement
        out.insert(
            0,
            Agreement(
                execution=f"interpreter and source graph at {own.quantisers} quantisers",
                samples=measured(own.samples, "samples", "compared"), codes=measured(own.codes, "codes", "compared"),
                differences=measured(0, "codes", "against exact arithmetic; a build with any stops"),
            ),
        )  # fmt: skip
    return tuple(out)


def _ties(found: Findings) -> list[NearTie]:
    if found.agreement is None:
        return []
    return [
        NearTie(quantiser=t.tensor, sample=t.sample, index=t.index,
                distance=measured(t.distance, "code units", "exact arithmetic"))
        for t in (*found.agreement.float64_ties, *found.agreement.float32_ties)
    ]  # fmt: skip


def requantisers(lowered: Lowered | None) -> tuple[Requantiser, ...]:
    records = () if lowered is None else lowered.records
    return tuple(
        Requantiser(name=r.node, form=f"{r.form.value}, {r.rounding.value}",
                    multiplier_bits=measured(r.multiplier_bits, "bits", "widest multiplier found"), proof=r.proof)
        for r in records
    )  # fmt: skip


def tool_versions(programs: Sequence[str]) -> tuple[ToolVersion, ...]:
    """edgecomp, Python, the packages that computed, and the outside programs that ran."""
    versions = {"edgecomp": __version__, "python": platform.python_version()}
    versions |= {name: importlib.metadata.version(name) for name in PACKAGES}
    versions |= {name: version_of(name) for name in programs}
    return tuple(ToolVersion(name=name, version=version) for name, version in versions.items())


# ---- accuracy -------------------------------------------------------------------------------------------------------


def accuracies(found: Findings) -> tuple[Accuracy, ...]:
    """The quantised source, the integer network, and its approximation on the labelled vectors."""
    count = len(found.labels)
    if not count:
        return ()
    node = found.network.outputs[0]
    integer = real_output(node, found.expected[node.name][:count])
    stages = [("integer", integer.reshape(count, -1), decides(found.network))]
    if found.exact is not None:
        plain = real_output(node, found.exact[node.name][:count]).reshape(count, -1)
        stages = [("integer", plain, decides(found.network)), ("approximated", *stages[0][1:])]
    if found.quantised is not None:
        decided_there = found.lowered is not None and decides(found.lowered.network)
        stages.insert(0, ("quantised", found.quantised[node.name][:count].reshape(count, -1), decided_there))
    out, before = [], None
    for stage, outputs, is_class in stages:
        decided = outputs[:, 0].astype(np.int64) if is_class else classes(outputs)
        metrics = metrics_of(found, outputs, decided)
        flips = None
        if found.task is Task.CLASSES:
            if before is not None:
                flips = measured(int((decided != before).sum()), "samples", "classes unlike the stage before")
            before = decided
        out.append(Accuracy(stage=stage, metrics=metrics, flips=flips))
    return tuple(out)


def classes(outputs: Reals) -> NDArray[np.int64]:
    """The decided class: the greatest output, the lowest index among ties; the sign of a single one."""
    if outputs.shape[1] == 1:
        return (outputs[:, 0] > 0).astype(np.int64)
    return np.asarray(outputs.argmax(axis=1), dtype=np.int64)


def metrics_of(found: Findings, outputs: Reals, decided: NDArray[np.int64]) -> dict[str, Figure]:
    count = len(outputs)
    if found.task is Task.CLASSES:
        right = float((decided == found.labels).mean())
        return {"accuracy": measured(right, "fraction", f"{count} labelled samples")}
    error = outputs - np.asarray(found.labels, dtype=np.float64).reshape(count, -1)
    metrics = {"rms": measured(_rms(error), "target units", f"root mean square over {count} labelled samples")}
    if found.outlier is not None:
        kept = np.abs(error) < found.outlier
        what = f"differences below {found.outlier:g}"
        near = _rms(error[kept]) if kept.any() else 0.0
        metrics["rms_kept"] = measured(near, "target units", f"root mean square of the {what}")
        metrics["kept"] = measured(float(kept.mean()), "fraction", what)
    return metrics


def _rms(error: Reals) -> float:
    return float(np.sqrt((error**2).mean()))
