"""AXI4-Stream ports and the Vivado project of the RTL flow: built, simulated, and broken on purpose."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edgecomp import interp, tools
from edgecomp.backends.rtl import RtlBackend, parse_options
from edgecomp.backends.rtl.circuit import make_circuit
from edgecomp.backends.rtl.emit import project_files, vector_files
from edgecomp.backends.rtl.forms import Form
from edgecomp.backends.rtl.options import Interface, Language
from edgecomp.cli import main
from edgecomp.errors import MismatchError, UsageError
from edgecomp.export import to_onnx
from edgecomp.project import load_target
from edgecomp.simulate import verify_script
from tests.networks import random_inputs
from tests.test_flows import classifier

# Vivado's commands, which say what they were given; get_timing_paths gives $env(SLACKS).
STUBS = """
foreach name {create_project read_verilog read_vhdl read_xdc synth_design opt_design place_design phys_opt_design
              route_design write_checkpoint report_utilization report_timing_summary} {
    proc $name {args} "puts \\"$name \\$args\\""
}
proc get_timing_paths {args} { return $::env(SLACKS) }
proc get_property {name path} { return $path }
source [lindex $argv 0]
"""


def project(folder: Path, cutoff: float) -> int:
    """An AXI4-Stream project with its vectors; the latency of the circuit within."""
    network = classifier()
    inputs = random_inputs(network, 1, 120)
    circuit = make_circuit(network, Form(), cutoff=cutoff)
    files = project_files(circuit, Language.VERILOG, Interface.AXIS)
    files.merge(vector_files(inputs, interp.outputs(network, inputs))).spill(folder)
    return circuit.cycles


@pytest.mark.parametrize(("cutoff", "cycles"), [(100.0, 1), (2.5, 2), (2.0, 3)])
def test_every_latency_keeps_a_word_a_cycle(cutoff: float, cycles: int, tmp_path: Path) -> None:
    assert project(tmp_path, cutoff) == cycles
    said = verify_script(tmp_path, "rtl")
    entries = 1 << (cycles + 1).bit_length()
    assert f"passed: 120 samples in 120 cycles, latency {cycles + 1} cycles" in said
    assert f"{entries} words held under back-pressure" in said
    assert said.endswith(f"passed: 100 samples, latency {cycles + 1} cycles")


BREAKS = {
    "one credit too many": ("ENTRIES[ADDRESS_BITS:0] : left", "ENTRIES[ADDRESS_BITS:0] + 1'b1 : left"),
    "one credit too few": ("ENTRIES[ADDRESS_BITS:0] : left", "ENTRIES[ADDRESS_BITS:0] - 1'b1 : left"),
    "a credit is not given back": ("b0}}, give};\n    assign", "b0}}, 1'b0};\n    assign"),
    "words are taken in spite of TREADY": ("take = s_valid && s_ready", "take = s_valid"),
    "the reading pointer moves by itself": ("b0}}, give};\n    end", "b0}}, m_valid};\n    end"),
    "the writing pointer skips": ("b0}}, out_valid};", "b0}}, out_valid} + (head == 3);"),
    "the pointers' highest bits are left out": ("head != tail", "head[ADDRESS_BITS-1:0] != tail[ADDRESS_BITS-1:0]"),
    "TLAST is a cycle early": ("lasts = {last, s_last}", "lasts = {last, s_last} << 1 | s_last"),
    "TLAST is tied low": ("{last[LATENCY-1], out_data}", "{1'b0, out_data}"),
    "TVALID waits for TREADY": ("m_valid = head != tail", "m_valid = m_ready && head != tail"),
    "the reset leaves words": ("tail <= rst ? {(ADDRESS_BITS+1){1'b0}} :", "tail <= rst ? tail :"),
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("axis")
    project(folder, 2.5)
    return folder


def broken(whole: Path, folder: Path, name: str) -> Path:
    before, after = BREAKS[name]
    shutil.copytree(whole, folder, dirs_exist_ok=True)
    source = folder / "rtl" / "src" / "axis.v"
    text = source.read_text()
    assert text.count(before) == 1, name
    source.write_text(text.replace(before, after))
    return folder


QUICK = ("one credit too many", "TLAST is a cycle early")


@pytest.mark.parametrize("name", QUICK)
def test_broken_ports_are_seen(name: str, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match="the simulation does not pass"):
        verify_script(broken(whole, tmp_path, name), "rtl")


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(BREAKS.keys() - set(QUICK)))
def test_every_way_of_breaking_the_ports_is_seen(name: str, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match="the simulation does not pass"):
        verify_script(broken(whole, tmp_path, name), "rtl")


@pytest.mark.parametrize("name", ["one credit too many", "the writing pointer skips", "TLAST is a cycle early"])
def test_the_second_simulator_sees_them_too(name: str, whole: Path, tmp_path: Path) -> None:
    folder = broken(whole, tmp_path, name) / "rtl"
    sources = sorted(folder.glob("src/*.v"))
    simulator = tools.need("iverilog", hint="install it")
    tools.run([simulator, "-g2005", "-o", "bench", "testbench.v", *sources], cwd=folder, seconds=60)
    said = tools.run([tools.need("vvp", hint="install it"), "-n", "bench"], cwd=folder, seconds=60).output
    assert "ERROR" in said or "first difference" in said


def test_a_bundle_is_built_and_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.onnx").write_bytes(to_onnx(classifier()).SerializeToString())
    arguments = ["build", str(tmp_path / "net.onnx"), "--target", "fpga", "--flow", "rtl", "--out", str(tmp_path / "o")]
    assert main([*arguments, "--set", "latency_cutoff=2", "--set", "interface=axis", "--set", "effort=quick"]) == 0
    report = json.loads((tmp_path / "o" / "report.json").read_text())
    cycles = report["latency"]["cycles"]
    assert cycles["method"] == "counted at the AXI4-Stream ports, sink always ready, in verilator"
    assert report["totals"]["interface"]["method"].endswith("are of the circuit within, without its FIFO")
    assert any("AXI4-Stream" in row["execution"] for row in report["golden"])
    capsys.readouterr()
    assert main(["verify", str(tmp_path / "o")]) == 0
    assert f"latency {cycles['value']} cycles" in capsys.readouterr().out
    top = (tmp_path / "o" / "rtl" / "src" / "network_axis.v").read_text()
    assert f".LATENCY({cycles['value'] - 1})" in top
    expected = tmp_path / "o" / "rtl" / "tb_data" / "expected_y.dat"
    head, first, *rows = expected.read_text().splitlines()
    expected.write_text(
        "\n".join([head, first.replace(first.split()[0], str(int(first.split()[0]) ^ 1), 1), *rows, ""])
    )
    assert main(["verify", str(tmp_path / "o")]) == 1
    assert "first difference: sample 0, y[0]" in capsys.readouterr().err


def test_axis_is_refused_in_vhdl() -> None:
    with pytest.raises(UsageError, match="the AXI4-Stream ports are written in Verilog only"):
        parse_options({"interface": "axis", "language": "vhdl"})
    with pytest.raises(UsageError, match="interface cannot be axi"):
        parse_options({"interface": "axi"})


VIVADO = {"plain": {}, "axis": {"interface": "axis"}, "vhdl": {"language": "vhdl"}}


def run_tcl(folder: Path, slacks: str, status: int) -> str:
    (folder / "stubs.tcl").write_text(STUBS)
    script = folder / "rtl" / "vivado" / "project.tcl"
    env = tools.need("env", hint="install coreutils")
    tclsh = tools.need("tclsh", hint="install tclsh (Debian: apt-get install tcl)")
    return tools.run([env, f"SLACKS={slacks}", tclsh, folder / "stubs.tcl", script], cwd=folder, seconds=60,
                     accept=(status,)).output  # fmt: skip


@pytest.mark.parametrize("name", VIVADO)
def test_the_vivado_project_reads_every_source_and_fails_on_negative_slack(name: str, tmp_path: Path) -> None:
    options = parse_options({**VIVADO[name], "effort": "quick", "clock_ns": "6.25"})
    RtlBackend().emit(classifier(), load_target("xc7a35t"), options).spill(tmp_path)
    said = run_tcl(tmp_path, "0.125", 0)
    read = [Path(line.split()[-1]).resolve() for line in said.splitlines() if line.startswith("read_")]
    sources = sorted(path.resolve() for path in (tmp_path / "rtl" / "src").iterdir())
    assert read == [*sources, (tmp_path / "rtl" / "vivado" / "constraints.xdc").resolve()]
    top = "network_axis" if name == "axis" else "network"
    assert f"synth_design -top {top} -part xc7a35tcpg236-1 -mode out_of_context" in said
    assert "worst setup slack: 0.125 ns" in said
    assert (tmp_path / "rtl" / "vivado" / "build").is_dir()
    assert "the clock is not met: worst setup slack -0.001 ns" in run_tcl(tmp_path, "-0.001", 1)
    assert "no path is timed" in run_tcl(tmp_path, "", 1)


@pytest.mark.parametrize("name", VIVADO)
def test_the_constraints_name_every_port(name: str, tmp_path: Path) -> None:
    options = parse_options({**VIVADO[name], "effort": "quick", "clock_ns": "6.25"})
    RtlBackend().emit(classifier(), load_target("fpga"), options).spill(tmp_path)
    text = (tmp_path / "rtl" / "vivado" / "constraints.xdc").read_text()
    clock = "aclk" if name == "axis" else "clk"
    assert f"create_clock -name {clock} -period 6.250 [get_ports {clock}]" in text
    inputs, outputs = re.findall(r"get_ports \{(.*)\}", text)
    found: dict[str, set[str]] = {"in": {clock}, "out": set()}
    found["in"] |= {port.removesuffix("[*]") for port in inputs.split()}
    found["out"] |= {port.removesuffix("[*]") for port in outputs.split()}
    assert found == ports_of(tmp_path / "rtl" / "src", "network_axis" if name == "axis" else "network", name)


def ports_of(folder: Path, stem: str, name: str) -> dict[str, set[str]]:
    if name != "vhdl":
        text = (folder / f"{stem}.v").read_text()
        return {
            side: set(re.findall(rf"^    {side}put wire (?:\[.*\] )?(\w+),?$", text, re.M)) for side in ("in", "out")
        }
    text = (folder / f"{stem}.vhd").read_text().partition("end entity")[0]
    lists = {side: re.findall(rf"([\w, ]+) : {side} std_logic", text) for side in ("in", "out")}
    return {side: {port.strip() for names in found for port in names.split(",")} for side, found in lists.items()}


def test_only_xilinx_parts_get_a_vivado_project(tmp_path: Path) -> None:
    part = replace(load_target("fpga"), part="LFE5U-25F")
    files = RtlBackend().emit(classifier(), part, parse_options({"effort": "quick"})).files
    assert not [name for name in files if "vivado" in name]
