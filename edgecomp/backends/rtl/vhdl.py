"""The top entity in VHDL; see `top`."""

from __future__ import annotations

from collections.abc import Sequence

from edgecomp.backends.rtl.circuit import Circuit
from edgecomp.backends.rtl.top import CORE, TOP, Run, core_width, from_core, to_core, width_of


def vhdl_top(circuit: Circuit) -> str:
    """The top entity: the same ports and timing as the Verilog one."""
    cycles = circuit.cycles
    shifted = "in_valid" if cycles == 1 else f"valid({cycles - 2} downto 0) & in_valid"
    first = "valid(0) <= in_valid;" if cycles == 1 else f"valid <= {shifted};"
    return "\n".join([
        "library ieee;", "use ieee.std_logic_1164.all;", "",
        f"-- {TOP}: takes a sample in every cycle in which in_valid is high; its result stands at out_data with",
        f"-- out_valid {cycles} cycles later. rst clears the valid bits only. Buses hold host codes, lowest element",
        "-- first, as layout.txt lists them.",
        f"entity {TOP} is port (", "    clk, rst, in_valid : in std_logic;",
        f"    in_data : in std_logic_vector({width_of(circuit.inputs) - 1} downto 0);",
        "    out_valid : out std_logic;",
        f"    out_data : out std_logic_vector({width_of(circuit.outputs) - 1} downto 0)", ");",
        f"end entity {TOP};", "", f"architecture rtl of {TOP} is",
        f"    signal core_in : std_logic_vector({core_width(circuit, 0) - 1} downto 0);",
        f"    signal core_data : std_logic_vector({core_width(circuit, 1) - 1} downto 0);",
        f"    signal valid : std_logic_vector({cycles - 1} downto 0) := (others => '0');", "begin",
        "    process (clk) begin", "        if rising_edge(clk) then",
        "            if rst = '1' then valid <= (others => '0');", f"            else {first}", "            end if;",
        "        end if;", "    end process;", f"    out_valid <= valid({cycles - 1});",
        *_assigned("core_in", to_core(circuit)),
        f"    core : entity work.{CORE} port map (clk => clk, model_inp => core_in, model_out => core_data);",
        *_assigned("out_data", from_core(circuit)), "end architecture rtl;", "",
    ])  # fmt: skip


def _assigned(target: str, runs: Sequence[Run]) -> list[str]:
    """One assignment a run, from the lowest bit up."""
    lines, place = [], 0
    for run in runs:
        width = run.count or run.high - run.low + 1
        source = f"{run.signal}({run.high} downto {run.low})"
        if run.count:
            source = f"(others => {run.signal}({run.low}))" if run.signal else "(others => '0')"
        lines.append(f"    {target}({place + width - 1} downto {place}) <= {source};")
        place += width
    return lines
