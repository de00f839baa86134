"""A small Report for tests; its figures are made up and checked for form only."""

from __future__ import annotations

from edgecomp.ir.ranges import bits_of
from edgecomp.report import (
    Accuracy,
    Agreement,
    Confusion,
    Figure,
    Latency,
    Layer,
    ModelFacts,
    NearTie,
    NetworkNode,
    Report,
    Requantiser,
    Resource,
    Source,
    Stage,
    TargetFacts,
    ToolVersion,
    Verdict,
    measured,
)


def estimate(value: float, unit: str) -> Figure:
    return Figure(value=value, unit=unit, source=Source.ESTIMATE, method="a model")


def count(value: int, unit: str = "codes") -> Figure:
    return measured(value, unit, "counted")


def node(name: str, kind: str, reads: tuple[str, ...], least: int, greatest: int, work: int = 0) -> NetworkNode:
    bits = bits_of(least, greatest)
    return NetworkNode(name=name, kind=kind, reads=reads, shape="16", bits=count(bits, "bits"), least=count(least),
                       greatest=count(greatest), weights=count(work, "weights"),
                       operations=count(work, "multiply-accumulates"))  # fmt: skip


def small_report(*, fits: bool = True, cycles: int = 9) -> Report:
    return Report(
        model=ModelFacts(name="net", form="QONNX", sha256="00", task="classes", head="logits",
                         inputs=("x: 16 codes of 8 bits",), outputs=("y: 5 codes of 12 bits",)),
        target=TargetFacts(name="xc7z020", part="xc7z020clg400-1", flow="hls", clock=estimate(10.0, "ns")),
        verdict=Verdict(exact=True, fits=fits, reasons=() if fits else ("LUT: 60,000 of 53,200",)),
        latency=Latency(cycles=estimate(cycles, "cycles"), time=estimate(cycles * 10.0, "ns"),
                        initiation_interval=estimate(1, "cycles")),
        resources=(Resource(name="LUT", used=estimate(5320, "LUT"), available=estimate(53200, "LUT")),),
        totals={"multipliers": count(80, "multipliers")},
        synthesis={},
        accuracy=(Accuracy(stage="quantised", metrics={"accuracy": measured(0.9, "fraction", "labelled data")}),
                  Accuracy(stage="integer", metrics={"accuracy": measured(0.875, "fraction", "labelled data")},
                           flips=count(1, "classes"))),
        golden=(Agreement(execution="ONNX Runtime", samples=count(256, "samples"), codes=count(1280),
                          differences=count(0)),),
        near_tie_count=count(12),
        near_ties=tuple(NearTie(quantiser="q0", sample=i, index=(1, 2), distance=measured(1e-7, "code", "exact"))
                        for i in range(12)),
        layers=(Layer(name="fc1", kind="Dense", figures={"cycles": estimate(4, "cycles"), "LUT": estimate(1e6, "LUT")}),
                Layer(name="r1", kind="Requant", figures={"cycles": estimate(1, "cycles")})),
        requantisers=(Requantiser(name="r1", form="shift", multiplier_bits=count(1, "bits"), proof="15 breakpoints"),),
        stages=(Stage(name="reading", time=measured(0.25, "s", "wall clock")),),
        tools=(ToolVersion(name="g++", version="12.2.0"),),
        notes=("softmax replaced by integer logits",),
        network=(node("x", "Input", (), 0, 255), node("fc1", "Dense", ("x",), -900, 700, work=80),
                 node("r1", "Requant", ("fc1",), 0, 15), node("y", "Output", ("r1",), 0, 15)),
        confusion=Confusion(stage="integer", unit="samples", source=Source.MEASURED, method="8 labelled samples",
                            counts=((4, 1), (0, 3))),
    )  # fmt: skip
