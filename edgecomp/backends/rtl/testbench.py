"""The testbenches for Icarus Verilog and GHDL; the one for Verilator is hls/rtl_testbench.cpp."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edgecomp.backends.rtl.circuit import Circuit, Ends
from edgecomp.backends.rtl.top import TOP, width_of


def verilog_testbench(circuit: Circuit) -> str:
    """Feeds the samples, back to back at first and with gaps later, and compares every code; says `passed` at its end.

    +samples=N bounds how many are read.
    """
    inputs, outputs = circuit.inputs, circuit.outputs
    return "\n".join([
        "`timescale 1 ns / 1 ps", "module testbench;", "    reg clk = 0, rst = 1, in_valid = 0;",
        f"    reg [{width_of(inputs) - 1}:0] in_data = 0;", "    wire out_valid;",
        f"    wire [{width_of(outputs) - 1}:0] out_data;",
        f"    integer {', '.join(files(circuit))}, found, total, count, wanted, bound, k;",
        "    integer fed = 0, checked = 0, cycle = 0, first_in = -1, first_out = -1;",
        "    reg signed [63:0] value, got;", "    reg [8*16:1] word;",
        f"    {TOP} dut (.clk(clk), .rst(rst), .in_valid(in_valid), .in_data(in_data), .out_valid(out_valid),",
        "        .out_data(out_data));", "    always #5 clk = !clk;", "",
        "    task give_up(input [8*64:1] what);",
        '        begin $display("ERROR: %0s", what); $finish; #1000; end', "    endtask", "",
        "    initial begin", "        total = -1;", *openings(circuit), "        bound = total;",
        '        if ($value$plusargs("samples=%d", wanted) && wanted < total) bound = wanted;',
        "        repeat (4) @(negedge clk);", "        rst = 0;",
        "        while (fed < bound) begin", "            @(negedge clk);",
        "            if (fed >= bound / 2 && ($random & 1)) in_valid = 0;", "            else begin", *feeds(circuit),
        "                in_valid = 1; fed = fed + 1;", "                if (first_in < 0) first_in = cycle;",
        "            end", "        end",
        f"        @(negedge clk) in_valid = 0; repeat ({circuit.cycles + 4}) @(negedge clk);",
        "        if (checked != bound) give_up(\"not every sample came out\");",
        "        if (bound == total) begin",
        *closings(circuit),
        "        end",
        '        $display("passed: %0d samples, latency %0d cycles", bound, first_out - first_in);',
        "        $finish;", "    end", "", "    always @(posedge clk) cycle <= cycle + 1;",
        "    always @(negedge clk) if (out_valid && !rst) begin",
        "        if (first_out < 0) first_out = cycle;", *checks(circuit),
        "        checked = checked + 1;", "    end", "endmodule", "",
    ])  # fmt: skip


class Ended(Protocol):
    """What has inputs and outputs, whose vectors lie in files."""

    @property
    def inputs(self) -> tuple[Ends, ...]: ...

    @property
    def outputs(self) -> tuple[Ends, ...]: ...


def files(circuit: Ended) -> list[str]:
    return [f"fi{i}" for i in range(len(circuit.inputs))] + [f"fo{i}" for i in range(len(circuit.outputs))]


def openings(circuit: Ended) -> list[str]:
    """Opens every file; `total` is the number of samples."""
    return [*(_opened(f"fi{i}", "inputs", end) for i, end in enumerate(circuit.inputs)),
            *(_opened(f"fo{i}", "expected", end) for i, end in enumerate(circuit.outputs))]  # fmt: skip


def closings(circuit: Ended) -> list[str]:
    return [f'            found = $fscanf({file}, " %s %d", word, count);\n'
            '            if (found != 2 || word != "end" || count != total) give_up("a file does not end well");'
            for file in files(circuit)]  # fmt: skip


def _opened(file: str, kind: str, end: Ends) -> str:
    path = f"tb_data/{kind}_{end.node}.dat"
    return "\n".join([
        f'        {file} = $fopen("{path}", "r");', f'        if ({file} == 0) give_up("{path[:60]} is missing");',
        f'        found = $fscanf({file}, "samples %d values %d", count, k);',
        f"        if (found != 2 || k != {end.elements} || (total >= 0 && count != total))",
        '            give_up("a file does not begin well");', "        total = count;",
    ])  # fmt: skip


def feeds(circuit: Ended) -> list[str]:
    """The next sample of every file into `in_data`."""
    lines, place = [], 0
    for i, end in enumerate(circuit.inputs):
        lines += [
            f"                for (k = 0; k < {end.elements}; k = k + 1) begin",
            f'                    found = $fscanf(fi{i}, "%d", value);',
            '                    if (found != 1) give_up("a file of inputs is short");',
            f"                    in_data[{place} + k * {end.bits} +: {end.bits}] = value[{end.bits - 1}:0];",
            "                end",
        ]
        place += end.elements * end.bits
    return lines


def checks(circuit: Ended) -> list[str]:
    """`out_data` against the next row of every file."""
    lines, place = [], 0
    for i, end in enumerate(circuit.outputs):
        taken = f"out_data[{place} + k * {end.bits} +: {end.bits}]"
        sign = f"out_data[{place} + k * {end.bits} + {end.bits - 1}]" if end.signed else "1'b0"
        lines += [
            f"        for (k = 0; k < {end.elements}; k = k + 1) begin",
            f'            found = $fscanf(fo{i}, "%d", value);',
            '            if (found != 1) give_up("a file of expected codes is short");',
            f"            got = {{{{{64 - end.bits}{{{sign}}}}}, {taken}}};",
            "            if (got !== value) begin",
            f'                $display("first difference: sample %0d, {end.node}[%0d]: expected %0d, got %0d",',
            "                    checked, k, value, got);", "                $finish; #1000;", "            end",
            "        end",
        ]  # fmt: skip
        place += end.elements * end.bits
    return lines


def vhdl_testbench(circuit: Circuit) -> str:
    """As the Verilog one, for GHDL: every sample, back to back in the first half and with a gap after each later."""
    inputs, outputs = circuit.inputs, circuit.outputs
    return "\n".join([
        "library ieee;", "use ieee.std_logic_1164.all;", "use ieee.numeric_std.all;", "use std.textio.all;", "",
        "entity testbench is end entity;", "", "architecture sim of testbench is",
        "    signal clk, in_valid, out_valid : std_logic := '0';", "    signal rst : std_logic := '1';",
        f"    signal in_data : std_logic_vector({width_of(inputs) - 1} downto 0) := (others => '0');",
        f"    signal out_data : std_logic_vector({width_of(outputs) - 1} downto 0);",
        "    signal done, finished : boolean := false;", "    signal total : integer := 0;",
        "    signal cycle, first_in : integer := 0;", *_vhdl_helpers(), "begin",
        "    clk <= not clk after 5 ns when not finished;", "    cycle <= cycle + 1 when rising_edge(clk);",
        f"    dut : entity work.{TOP} port map (clk => clk, rst => rst, in_valid => in_valid, in_data => in_data,",
        "        out_valid => out_valid, out_data => out_data);", "    feed : process",
        *[f"        file f{i} : text;" for i in range(len(inputs))], "        variable l : line;",
        "        variable n : integer;", "        variable value : std_logic_vector(63 downto 0);", "    begin",
        *[f'        open_file(f{i}, "tb_data/inputs_{e.node}.dat", {e.elements}, n);' for i, e in enumerate(inputs)],
        "        for i in 1 to 4 loop wait until falling_edge(clk); end loop;", "        rst <= '0';",
        "        total <= n;", "        for sample in 0 to n - 1 loop", "            wait until falling_edge(clk);",
        "            if sample = 0 then first_in <= cycle; end if;",
        "            if sample > n / 2 then in_valid <= '0'; wait until falling_edge(clk); end if;",
        *_vhdl_rows(inputs, _vhdl_feed), "            in_valid <= '1';",
        "        end loop;", "        wait until falling_edge(clk);", "        in_valid <= '0';",
        *[f"        close_file(f{i}, n);" for i in range(len(inputs))],
        f"        for i in 1 to {circuit.cycles + 4} loop wait until falling_edge(clk); end loop;",
        "        done <= true;", "        wait;", "    end process;", "    check : process",
        *[f"        file f{i} : text;" for i in range(len(outputs))], "        variable l : line;",
        "        variable n, checked, first_out : integer := 0;",
        "        variable want : std_logic_vector(63 downto 0);",
        "        variable found : std_logic_vector(63 downto 0);", "    begin",
        *[f'        open_file(f{i}, "tb_data/expected_{e.node}.dat", {e.elements}, n);' for i, e in enumerate(outputs)],
        "        while not done loop", "            wait until falling_edge(clk) or done;",
        "            if not done and out_valid = '1' and rst = '0' then",
        "                if checked = 0 then first_out := cycle; end if;", *_vhdl_rows(outputs, _vhdl_check),
        "                checked := checked + 1;", "            end if;", "        end loop;",
        *[f"        close_file(f{i}, n);" for i in range(len(outputs))],
        "        assert checked = n and n = total report \"ERROR: not every sample came out\" severity failure;",
        '        report "passed: " & integer\'image(n) & " samples, latency " & integer\'image(first_out - first_in)',
        '            & " cycles";', "        finished <= true;", "        wait;", "    end process;",
        "end architecture;", "",
    ])  # fmt: skip


def _vhdl_helpers() -> list[str]:
    return """
    procedure open_file(file f : text; name : string; values : integer; n : out integer) is
        variable l : line; variable word : string(1 to 8); variable count : integer;
    begin
        file_open(f, name, read_mode);
        readline(f, l);
        read(l, word); read(l, count); n := count;
        read(l, word); read(l, count);
        assert count = values report "ERROR: a file does not begin well" severity failure;
    end procedure;

    procedure close_file(file f : text; n : integer) is
        variable l : line; variable word : string(1 to 4); variable count : integer;
    begin
        readline(f, l);
        read(l, word); read(l, count);
        assert word = "end " and count = n report "ERROR: a file does not end well" severity failure;
    end procedure;

    procedure take(l : inout line; value : out std_logic_vector(63 downto 0)) is
        variable c : character; variable good : boolean; variable minus : boolean := false;
        variable sum : unsigned(63 downto 0) := (others => '0');
        variable digits : integer := 0;
    begin
        loop
            read(l, c, good);
            exit when not good or (c = ' ' and digits > 0);
            if c = '-' then minus := true;
            else
                assert c >= '0' and c <= '9' report "ERROR: a file holds what is no number" severity failure;
                sum := resize(sum * 10, 64) + (character'pos(c) - character'pos('0'));
                digits := digits + 1;
            end if;
        end loop;
        assert digits > 0 report "ERROR: a row is short" severity failure;
        if minus then sum := not sum + 1; end if;
        value := std_logic_vector(sum);
    end procedure;
""".strip("\n").splitlines()


def _vhdl_rows(ends: tuple[Ends, ...], act: Callable[[Ends, int], list[str]]) -> list[str]:
    """A row of every file, then `act` on each of its elements."""
    lines, place = [], 0
    for i, end in enumerate(ends):
        lines += [f"            readline(f{i}, l);", f"            for k in 0 to {end.elements - 1} loop"]
        lines += [*act(end, place), "            end loop;"]
        place += end.elements * end.bits
    return lines


def _vhdl_feed(end: Ends, place: int) -> list[str]:
    span = f"{place} + k * {end.bits} + {end.bits - 1} downto {place} + k * {end.bits}"
    return ["                take(l, value);", f"                in_data({span}) <= value({end.bits - 1} downto 0);"]


def _vhdl_check(end: Ends, place: int) -> list[str]:
    span = f"{place} + k * {end.bits} + {end.bits - 1} downto {place} + k * {end.bits}"
    kind = "signed" if end.signed else "unsigned"
    return [
        "                take(l, want);",
        f"                found := std_logic_vector(resize({kind}(out_data({span})), 64));",
        '                assert found = want report "ERROR: first difference: sample " & integer\'image(checked)',
        f'                    & ", {end.node}["',
        '                    & integer\'image(k) & "]: expected " & to_hstring(want) & ", got " & to_hstring(found)',
        "                    severity failure;",
    ]  # fmt: skip
