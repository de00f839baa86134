"""Structural Verilog, and BLIF for proofs: of a circuit before mapping, and of a mapped netlist."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgecomp.backends.printed.gates import Circuit, Kind, Port
from edgecomp.backends.printed.library import OUTPUT, PrintedTarget
from edgecomp.backends.printed.netlist import INVERTER, Netlist, bit_names
from edgecomp.backends.printed.sequential import Machine

LATCH = """\
// A level-sensitive latch: follows d while e is high.
module LATCH(input d, input e, output reg O);
    always @* if (e) O = d;
endmodule
"""
OPERATORS = {Kind.AND: "&", Kind.XOR: "^"}


def header(name: str, inputs: Sequence[Port], outputs: Sequence[Port]) -> list[str]:
    """A node's elements lie in one flat bus in row-major order, the first lowest."""
    widths: dict[tuple[str, str], int] = {}
    for kind, ports in (("input ", inputs), ("output", outputs)):
        for port in ports:
            widths[kind, port.node] = widths.get((kind, port.node), 0) + len(port.bits)
    spans = {key: "" if width == 1 else f"[{width - 1}:0] " for key, width in widths.items()}
    return [
        f"module {name} (",
        ",\n".join(f"    {kind} wire {span}{node}" for (kind, node), span in spans.items()),
        ");",
    ]


def ends(ports: Sequence[Port]) -> list[tuple[str, int]]:
    """(name, literal or signal) of every port bit."""
    pairs = zip(bit_names(ports), ports, strict=True)
    return [(name, bit) for names, port in pairs for name, bit in zip(names, port.bits, strict=True)]


def named_bits(ports: Sequence[Port]) -> dict[int, str]:
    return {bit: name for name, bit in ends(ports)}


def fresh(stem: str, holder: Circuit | Netlist) -> str:
    """The stem of numbered names that no port has: one of an input called n7 would be another wire."""
    while any(re.fullmatch(rf"{stem}\d+", port.node) for port in (*holder.inputs, *holder.outputs)):
        stem += "_"
    return stem


def circuit_verilog(circuit: Circuit, name: str) -> str:
    """The circuit, one wire for each gate."""
    named, n = named_bits(circuit.inputs), fresh("n", circuit)

    def literal(lit: int) -> str:
        if lit < 2:
            return f"1'b{lit}"
        return ("~" if lit & 1 else "") + named.get(lit & ~1, f"{n}{lit >> 1}")

    lines = header(name, circuit.inputs, circuit.outputs)
    for node, kind in enumerate(circuit.kind):
        if kind >= Kind.AND:
            a, b = literal(int(circuit.a[node])), literal(int(circuit.b[node]))
            lines.append(f"    wire {n}{node} = {a} {OPERATORS[Kind(int(kind))]} {b};")
    return "\n".join(
        [*lines, *(f"    assign {end} = {literal(bit)};" for end, bit in ends(circuit.outputs)), "endmodule", ""]
    )


def circuit_blif(circuit: Circuit, name: str) -> str:
    """The circuit as ABC reads it, one table for each gate."""
    named, n = named_bits(circuit.inputs), fresh("n", circuit)
    lines = [
        f".model {name}",
        f".inputs {' '.join(named.values())}",
        f".outputs {' '.join(end for end, _ in ends(circuit.outputs))}",
        f".names {n}0",
    ]
    for node in (circuit.kind >= Kind.AND).nonzero()[0].tolist():
        a, b = int(circuit.a[node]), int(circuit.b[node])
        lines.append(f".names {named.get(a & ~1, f'{n}{a >> 1}')} {named.get(b & ~1, f'{n}{b >> 1}')} {n}{node}")
        up, down = f"{1 ^ a & 1}{1 ^ b & 1} 1", f"{a & 1}{1 ^ b & 1} 1"
        lines += [up] if circuit.kind[node] == Kind.AND else [f"{1 ^ a & 1}{b & 1} 1", down]
    for end, bit in ends(circuit.outputs):
        lines += [f".names {named.get(bit & ~1, f'{n}{bit >> 1}')} {end}", f"{1 ^ bit & 1} 1"]
    return "\n".join([*lines, ".end", ""])


def netlist_verilog(netlist: Netlist, target: PrintedTarget, name: str) -> str:
    """The mapped netlist, one instance a line: CELL u7 (.a(x[0]), .b(n3), .O(n7));"""
    named, n, u = named_bits(netlist.inputs), fresh("n", netlist), fresh("u", netlist)

    def signal(bit: int) -> str:
        return f"1'b{bit}" if bit < 2 else named.get(bit, f"{n}{bit - netlist.first}")

    lines = header(name, netlist.inputs, netlist.outputs)
    lines += [f"    wire {n}{i};" for i in range(netlist.cells)]
    for i, kind in enumerate(netlist.kind):
        cell = target.cells[netlist.names[kind]]
        pins = [f".{pin}({signal(int(bit))})" for pin, bit in zip(cell.pins, netlist.pins[i], strict=False)]
        lines.append(f"    {cell.name} {u}{i} ({', '.join(pins)}, .{OUTPUT}({n}{i}));")
    return "\n".join(
        [*lines, *(f"    assign {end} = {signal(bit)};" for end, bit in ends(netlist.outputs)), "endmodule", ""]
    )


def machine_verilog(netlist: Netlist, machine: Machine, name: str) -> str:
    """The whole machine: the mapped netlist between its registers, each bit a master and a slave latch."""
    ports = {port.node: 0 for port in (*netlist.inputs, *netlist.outputs)}
    for port in (*netlist.inputs, *netlist.outputs):
        ports[port.node] += len(port.bits)
    held = dict(machine.registers)
    inner = {name for register in held for name in (register, f"{register}_next")}
    outer = [("input ", "clk", 1)]
    outer += [("input ", port, width) for port, width in ports.items()
              if port not in inner and any(p.node == port for p in netlist.inputs)]  # fmt: skip
    outer += [("output", port, width) for port, width in ports.items()
              if port not in inner and any(p.node == port for p in netlist.outputs)]  # fmt: skip
    lines = [f"module {name}_machine (",
             ",\n".join(f"    {kind} wire {_span(width)}{port}" for kind, port, width in outer), ");",
             "    wire clk_n;", f"    {INVERTER} turn (.a(clk), .O(clk_n));"]  # fmt: skip
    for register, width in held.items():
        lines.append(f"    wire {_span(width)}{register}, {register}_next, {register}_master;")
        for k in range(width):
            at = "" if width == 1 else f"[{k}]"
            lines.append(f"    LATCH {register}_m{k} (.d({register}_next{at}), .e(clk_n), .O({register}_master{at}));")
            lines.append(f"    LATCH {register}_s{k} (.d({register}_master{at}), .e(clk), .O({register}{at}));")
    joined = ", ".join(f".{port}({port})" for port in ports)
    return "\n".join([*lines, f"    {name} between ({joined});", "endmodule", ""])


def _span(width: int) -> str:
    return "" if width == 1 else f"[{width - 1}:0] "


def netlist_blif(netlist: Netlist, target: PrintedTarget, name: str) -> str:
    """The mapped netlist as ABC reads it: cells as gates, ports and constants through tables."""
    named, n, tie = named_bits(netlist.inputs), fresh("n", netlist), fresh("tie", netlist)

    def signal(bit: int) -> str:
        return f"{tie}{bit}" if bit < 2 else named.get(bit, f"{n}{bit - netlist.first}")

    lines = [
        f".model {name}",
        f".inputs {' '.join(named.values())}",
        f".outputs {' '.join(end for end, _ in ends(netlist.outputs))}",
    ]
    lines += [f".names {tie}0", f".names {tie}1", "1"]
    for i, kind in enumerate(netlist.kind):
        cell = target.cells[netlist.names[kind]]
        read = [signal(int(bit)) for bit in netlist.pins[i, : len(cell.pins)]]
        lines.append(f".names {' '.join(read)} {n}{i}")
        states = (s for s, value in enumerate(cell.truth) if value)
        lines += ["".join(str(s >> k & 1) for k in range(len(read))) + " 1" for s in states]
    for end, bit in ends(netlist.outputs):
        lines += [f".names {signal(bit)} {end}", "1 1"]
    return "\n".join([*lines, ".end", ""])
