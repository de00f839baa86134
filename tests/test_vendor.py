"""--synth and --cosim with a stand-in for the vendor's program, which writes reports of the documented format."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest

from edgecomp.backends.hls import vendor
from edgecomp.backends.hls.options import Vendor
from edgecomp.cli import main
from edgecomp.errors import MismatchError, ToolError
from tests.generator import make_handmade

# The forms of UG1399 (Vitis HLS) and UG902 (Vivado HLS), with numbers of no real run.
CSYNTH = """<?xml version="1.0" encoding="UTF-8"?>
<profile>
  <UserAssignments><ProductFamily>virtexuplus</ProductFamily></UserAssignments>
  <PerformanceEstimates>
    <SummaryOfTimingAnalysis><unit>ns</unit><EstimatedClockPeriod>{period}</EstimatedClockPeriod></SummaryOfTimingAnalysis>
    <SummaryOfOverallLatency>
      <unit>clock cycles</unit><Best-caseLatency>7</Best-caseLatency><Worst-caseLatency>{latency}</Worst-caseLatency>
      <Interval-min>1</Interval-min><Interval-max>1</Interval-max>
    </SummaryOfOverallLatency>
  </PerformanceEstimates>
  <AreaEstimates>
    <Resources><BRAM_18K>2</BRAM_18K><{dsp}>3</{dsp}><FF>400</FF><LUT>{lut}</LUT><URAM>0</URAM></Resources>
    <AvailableResources><LUT>1728000</LUT></AvailableResources>
  </AreaEstimates>
</profile>
"""
COSIM = """
+----------+----------+-----------------------------------+-----------------------------------+
|          |          |       Latency(Clock Cycles)       |       Interval(Clock Cycles)      |
+   RTL    +  Status  +-----------------------------------+-----------------------------------+
|          |          |    min    |    avg    |    max    |    min    |    avg    |    max    |
+----------+----------+-----------------------------------+-----------------------------------+
|      VHDL|        NA|         NA|         NA|         NA|         NA|         NA|         NA|
|   Verilog|{status:>10}|          7|          7|          8|          1|          1|          2|
+----------+----------+-----------------------------------+-----------------------------------+
"""
STAND_IN = """#!{python}
import os, pathlib, sys, time
assert {arguments!r} == sys.argv[1:], sys.argv
assert pathlib.Path("build_prj.tcl").is_file() and pathlib.Path("firmware").is_dir()
print("INFO: stand-in")
mode = os.environ.get("STAND_IN", "")
if mode == "fail":
    print("ERROR: [HLS 200-70] no licence found"); sys.exit(1)
if mode == "hang":
    time.sleep(600)
report = pathlib.Path("classifier_prj/solution1/syn/report")
report.mkdir(parents=True)
if mode != "silent":
    latency = {{"unknown": "eight", "undetermined": "?"}}.get(mode, "8")
    lut = 9000000 if mode == "large" else 5000
    text = {csynth!r}.format(period="12.5" if mode == "slow" else "3.5", latency=latency, lut=lut, dsp={dsp!r})
    (report / "classifier_csynth.xml").write_text("<profile>" if mode == "garbage" else text)
options = pathlib.Path("build_opt.tcl").read_text()
if "cosim" in options and any(line.split()[-1:] == ["1"] for line in options.splitlines() if "cosim" in line):
    folder = pathlib.Path("classifier_prj/solution1/sim/report")
    folder.mkdir(parents=True)
    status = "Fail" if mode == "differs" else "Pass"
    (folder / "classifier_cosim.rpt").write_text("" if mode == "no row" else {cosim!r}.format(status=status))
"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(make_handmade(2, 8).onnx_bytes)
    monkeypatch.setattr("edgecomp.flows.hls.verify_hls", lambda folder: "")  # its g++ run is tested elsewhere
    return path


@pytest.fixture(params=list(Vendor))
def tool(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vendor:
    """The stand-in of one vendor, first on the PATH."""
    return install(request.param, tmp_path, monkeypatch)


def install(which: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vendor:
    name, *arguments = vendor.COMMANDS[which]
    path = tmp_path / "bin" / name
    path.parent.mkdir()
    dsp = "DSP" if which is Vendor.VITIS else "DSP48E"
    text = STAND_IN.format(python=sys.executable, arguments=list(arguments), csynth=CSYNTH, cosim=COSIM, dsp=dsp)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("STAND_IN", raising=False)
    return which


def run(model: Path, which: Vendor, *more: str) -> tuple[int, Path]:
    out = model.parent / "out"
    return main(["build", str(model), "--out", str(out), "--set", f"vendor={which.value}", *more]), out


def test_the_tools_figures_stand_in_the_report(model: Path, tool: Vendor) -> None:
    code, out = run(model, tool, "--cosim")
    assert code == 0
    report = json.loads((out / "report.json").read_text())
    figures = report["synthesis"]
    values = {name: figure["value"] for name, figure in figures.items()}
    assert values == {"cycles": 8, "initiation_interval": 1, "clock_estimate_ns": 3.5, "lut": 5000, "ff": 400, "dsp": 3,
                      "bram18": 2, "cosim_cycles": 8, "cosim_initiation_interval": 2}  # fmt: skip
    assert {figure["source"] for figure in figures.values()} == {"tool"}
    assert report["latency"]["cycles"]["source"] == "estimate"
    assert "synthesis" in (out / "report.txt").read_text()


def test_synthesis_alone_has_no_cosimulation(model: Path, tool: Vendor) -> None:
    code, out = run(model, tool, "--synth")
    assert code == 0
    assert "cosim_cycles" not in json.loads((out / "report.json").read_text())["synthesis"]


def test_without_the_tool_nothing_is_done(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for which in Vendor:
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
        code, out = run(model, which, "--synth")
        assert code == 4
        said = capsys.readouterr().err
        assert f"{vendor.COMMANDS[which][0]} is not on the PATH" in said
        assert "without --synth" in said
        assert "[" not in said, "no stage has run"
        assert not out.exists()


@pytest.mark.parametrize(
    ("mode", "code", "message"),
    [
        ("fail", 4, "no licence found"),
        ("silent", 4, "wrote no classifier_csynth.xml"),
        ("garbage", 4, "classifier_csynth.xml is no XML"),
        ("unknown", 4, "as PerformanceEstimates/SummaryOfOverallLatency/Worst-caseLatency, not a number"),
        ("no row", 4, "has no row of results"),
        ("differs", 1, "the co-simulation's status is Fail"),
    ],
)
def test_a_failing_tool_leaves_nothing(
    model: Path, mode: str, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    which = install(Vendor.VITIS, model.parent, monkeypatch)
    monkeypatch.setenv("STAND_IN", mode)
    got, out = run(model, which, "--cosim")
    said = capsys.readouterr().err
    assert (got, message in said) == (code, True), said
    assert "Traceback" not in said
    assert not out.exists()


@pytest.mark.parametrize(("mode", "reason"), [("large", "9000000 LUT of 1728000 (tool)"), ("slow", "12.5 ns, ")])
def test_the_tools_word_decides_what_fits(
    model: Path, mode: str, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    which = install(Vendor.VITIS, model.parent, monkeypatch)
    monkeypatch.setenv("STAND_IN", mode)
    code, out = run(model, which, "--synth")
    assert code == 1
    assert reason in capsys.readouterr().err
    assert json.loads((out / "report.json").read_text())["verdict"]["fits"] is False


def test_a_latency_that_the_tool_does_not_know(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    which = install(Vendor.VITIS, model.parent, monkeypatch)
    monkeypatch.setenv("STAND_IN", "undetermined")
    code, out = run(model, which, "--synth")
    assert code == 0
    assert json.loads((out / "report.json").read_text())["synthesis"]["cycles"]["value"] == "undetermined"


def test_a_hanging_tool_is_ended(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    which = install(Vendor.VITIS, model.parent, monkeypatch)
    hls = model.parent / "bundle" / "hls"
    (hls / "firmware").mkdir(parents=True)
    (hls / "build_prj.tcl").write_text("")
    monkeypatch.setenv("STAND_IN", "hang")
    monkeypatch.setattr(vendor, "SYNTH_SECONDS", 1.0)
    with pytest.raises(ToolError, match="vitis-run"):
        vendor.synthesize(hls.parent, which, cosim=False)


def test_a_cosimulation_that_fails_is_a_mismatch(tmp_path: Path) -> None:
    (tmp_path / "classifier_cosim.rpt").write_text(COSIM.format(status="Fail"))
    with pytest.raises(MismatchError, match="status is Fail"):
        vendor.read_cosim(tmp_path / "classifier_cosim.rpt", Vendor.VITIS)
