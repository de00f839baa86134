"""C measured on cores: random networks exact on each, sizes and counts, and what is refused."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecomp import interp
from edgecomp.backends.mcu import CProgram, McuBackend, McuTarget, load_machine
from edgecomp.backends.mcu.emit import emit
from edgecomp.backends.mcu.many import emit_many
from edgecomp.cli import main
from edgecomp.errors import MismatchError, ToolError
from edgecomp.export import to_onnx
from edgecomp.ir import Concat, Dense, Input, Ints, Network, Node, Output, Requant
from edgecomp.simulate.mcu import Measured, measure, over
from tests.growth import Codes
from tests.networks import random_inputs, random_network

CORES = ("cortex_m0", "cortex_m3", "cortex_m4", "rv32imc", "avr", "host")
SAMPLES = 40
HASTY = dataclasses.replace(
    load_machine("host"), flags=("-std=c99", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
)
RAM = 10000  # bytes of inputs, outputs and buffers together in one program


def batches(seeds: Sequence[int]) -> list[list[int]]:
    """Seeds of random networks, as many in one program as its memory holds."""
    found: list[list[int]] = [[]]
    held = 0
    for seed in seeds:
        network = random_network(seed)
        values = network.values()
        size = 8 * sum(values[node.name].size for node in network.nodes if isinstance(node, Input | Output))
        size += emit(network, "n").ram_bytes + 300  # its files on the core
        if held and held + size > RAM:
            found.append([])
            held = 0
        found[-1].append(seed)
        held += size
    return found


def together(seeds: Sequence[int], *, many: bool) -> tuple[CProgram, dict[str, Codes], dict[str, Codes]]:
    """(one program of many networks, with `many` also for many samples at a time; its inputs, its expected outputs)."""
    sources: dict[str, str] = {}
    heads: list[str] = []
    entries: list[str] = []
    lists: dict[str, list[str]] = {"INPUTS": [], "OUTPUTS": [], "CALL": [], "MANY": []}
    inputs: dict[str, Codes] = {}
    expected: dict[str, Codes] = {}
    for seed in seeds:
        network, name = random_network(seed), f"net{seed}"
        given = random_inputs(network, seed, SAMPLES)
        ends: tuple[Input | Output, ...] = (*network.inputs, *network.outputs)
        renames = {node.name: f"n{seed}_{node.name}" for node in ends}
        inputs |= {renames[end]: codes for end, codes in given.items()}
        expected |= {renames[end]: codes for end, codes in interp.outputs(network, given).items()}
        made = emit(renamed(network, renames), name)
        sources |= {f"{name}.h": made.header, f"{name}.c": made.source}
        heads.append(f'#include "{name}.h"')
        if many:
            sources[f"{name}_many.c"], text = emit_many(renamed(network, renames), made)
            head, _, call = text.strip().partition("\n#define MANY(count) ")
            heads.append(head)
            lists["MANY"].append(call)
        entries += made.entries
        for line in made.test.splitlines()[1:]:
            _, key, text = line.split(" ", 2)
            lists[key.removesuffix("(X)")].append(text)
    test = [*heads, *(f"#define {key}(X) {' '.join(lists[key])}" for key in ("INPUTS", "OUTPUTS")),
            f"#define CALL {'; '.join(lists['CALL'])}",
            *([f"#define MANY(count) {'; '.join(lists['MANY'])}"] if many else []), ""]  # fmt: skip
    return CProgram(sources=sources, entries=tuple(entries), test="\n".join(test)), inputs, expected


def renamed(network: Network, names: dict[str, str]) -> Network:
    """The same network with other names of its ends."""
    nodes: list[Node] = []
    for node in network.nodes:
        changed: dict[str, Any] = {"name": names.get(node.name, node.name)}
        for field in ("x", "a", "b"):
            if hasattr(node, field):
                changed[field] = names.get(getattr(node, field), getattr(node, field))
        if isinstance(node, Concat):
            changed["xs"] = tuple(names.get(x, x) for x in node.xs)
        nodes.append(dataclasses.replace(node, **changed))
    return Network(nodes=tuple(nodes))


def all_equal(machine: McuTarget, seeds: Sequence[int]) -> None:
    for batch in batches(seeds):
        program, inputs, expected = together(batch, many=machine.name == "host")
        found = measure(program, machine, inputs, expected)
        assert found.samples == SAMPLES
        assert found.codes == sum(codes.size for codes in expected.values())


@pytest.mark.parametrize("core", CORES)
def test_random_networks_are_exact_on_the_core(core: str) -> None:
    all_equal(HASTY if core == "host" else load_machine(core), range(20))


@pytest.mark.long
@pytest.mark.parametrize("core", CORES)
def test_many_random_networks_are_exact_on_the_core(core: str) -> None:
    all_equal(load_machine(core), range(100, 300))


def perceptron(sizes: Sequence[int], seed: int = 0) -> Network:
    rng = np.random.default_rng(seed)
    nodes: list[Input | Dense | Requant | Output] = [Input(name="x", shape=(sizes[0],), lo=0, hi=255)]
    for k, (inputs, outputs) in enumerate(pairwise(sizes)):
        weight, bias = rng.integers(-127, 128, (outputs, inputs)), rng.integers(-1000, 1000, outputs)
        nodes.append(Dense(name=f"fc{k}", x=nodes[-1].name, weight=Ints(weight), bias=Ints(bias)))
        if k < len(sizes) - 2:
            nodes.append(Requant(name=f"q{k}", x=f"fc{k}", multiplier=Ints([1]), addend=Ints([128]), shift=8,
                                 lo=Ints([0]), hi=Ints([255])))  # fmt: skip
    return Network(nodes=(*nodes, Output(name="y", x=nodes[-1].name)))


def measured(sizes: Sequence[int], core: str) -> Measured:
    network = perceptron(sizes)
    inputs = random_inputs(network, 1, SAMPLES)
    return measure(McuBackend().program(network), load_machine(core), inputs, interp.outputs(network, inputs))


def test_a_small_perceptron_is_small_on_a_cortex_m0() -> None:
    found = measured((16, 10, 10), "cortex_m0")
    assert 260 < found.flash_bytes < 2000
    assert found.ram_bytes + found.stack_bytes < 200
    assert 260 < found.least <= found.mean <= found.most < 5000


@pytest.mark.parametrize(("core", "most"), [("cortex_m0", 10), ("rv32imc", 10), ("avr", 20)])
def test_what_is_counted_is_what_was_executed(core: str, most: int) -> None:
    """A known number of instructions, or cycles, beside the call and the return."""
    text = "#include <stdint.h>\nvoid f(const uint8_t *x, uint8_t *y);\n"
    body = '__asm__ volatile(".rept 500\\nnop\\n.endr");'
    source = f'#include "f.h"\nvoid f(const uint8_t *x, uint8_t *y) {{ {body} *y = *x; }}\n'
    test = ('#include "f.h"\n#define INPUTS(X) X(uint8_t, x, "x", 1)\n#define OUTPUTS(X) X(uint8_t, y, "y", 1)\n'
            "#define CALL f(v_x, v_y)\n")  # fmt: skip
    program = CProgram(sources={"f.c": source, "f.h": text}, entries=("f",), test=test)
    codes = np.arange(9).reshape(9, 1)
    found = measure(program, load_machine(core), {"x": codes})
    assert np.array_equal(found.outputs["y"], codes)
    assert 500 <= found.least <= found.most <= 500 + most
    assert 1000 <= found.flash_bytes <= 1040 or core == "rv32imc"


@pytest.mark.parametrize("core", CORES)
def test_a_wrong_code_is_found_on_the_core(core: str) -> None:
    network = perceptron((4, 3, 2))
    inputs = random_inputs(network, 1, SAMPLES)
    expected = interp.outputs(network, inputs)
    expected["y"] = expected["y"].copy()
    expected["y"][7, 1] += 1
    with pytest.raises(MismatchError, match=r"first difference: sample 7, y\[1\]: expected"):
        measure(McuBackend().program(network), load_machine(core), inputs, expected)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((300, 150, 2), r"its constant tables alone take 45\d{3} bytes of flash of 32768"),
        ((2, 3000, 2), r"its buffers alone take 2\d{3} bytes of RAM of 2048"),
        ((214, 150, 2), r"3[23]\d{3} bytes of flash of 32768 \(measured\)"),
    ],
)
def test_a_program_that_the_part_cannot_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sizes: tuple[int, ...], message: str
) -> None:
    (tmp_path / "net.onnx").write_bytes(to_onnx(perceptron(sizes)).SerializeToString())
    command = ["build", str(tmp_path / "net.onnx"), "--target", "avr", "--out", str(tmp_path / "out")]
    assert main(command) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_what_is_over_is_told_with_its_numbers() -> None:
    assert over(load_machine("avr"), 0, 2000, 60) == ("2000 bytes of RAM and 60 of stack of 2048 (measured)",)
    assert over(load_machine("avr"), 32768, 2000, 48) == ()
    assert over(load_machine("host"), 1 << 30, 1 << 30, 0) == ()


def test_a_simulator_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "qemu").write_text("#!/bin/sh\nsleep 600\n")
    (tmp_path / "qemu").chmod(0o755)
    monkeypatch.setenv("EDGECOMP_QEMU_SYSTEM_ARM", str(tmp_path / "qemu"))
    network = perceptron((4, 3, 2))
    inputs = random_inputs(network, 1, SAMPLES)
    with pytest.raises(ToolError, match="did not end within 5 s"):
        measure(McuBackend().program(network), load_machine("cortex_m0"), inputs, seconds=5)


@pytest.mark.parametrize(
    ("status", "message"), [(124, "did not end and was killed"), (77, "run.sh ended with status 77")]
)
def test_a_simulator_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, message: str) -> None:
    (tmp_path / "qemu").write_text(f"#!/bin/sh\nexit {status}\n")
    (tmp_path / "qemu").chmod(0o755)
    monkeypatch.setenv("EDGECOMP_QEMU_SYSTEM_ARM", str(tmp_path / "qemu"))
    network = perceptron((4, 3, 2))
    with pytest.raises(ToolError, match=message):
        measure(McuBackend().program(network), load_machine("cortex_m0"), random_inputs(network, 1, SAMPLES))


def test_c_that_does_not_compile() -> None:
    network = perceptron((4, 3, 2))
    program = McuBackend().program(network)
    broken = dataclasses.replace(program, sources={**program.sources, "network.c": "int;;x"})
    with pytest.raises(ToolError, match="arm-none-eabi-gcc failed"):
        measure(broken, load_machine("cortex_m0"), random_inputs(network, 1, SAMPLES))


def test_the_host_counts_calls_alone_and_many_at_a_time() -> None:
    """How much faster many are is the benchmark's to say: a busy machine turns it."""
    network = perceptron((64, 32, 10))
    inputs = random_inputs(network, 1, 300)
    program = McuBackend().program(network, many=True)
    found = measure(program, load_machine("host"), inputs, interp.outputs(network, inputs))
    assert found.codes == 3000
    assert found.per_second > 0
    assert found.many_per_second > 0
    alone = measure(McuBackend().program(network), load_machine("host"), inputs, interp.outputs(network, inputs))
    assert alone.per_second > 0
    assert alone.many_per_second == 0


def test_a_wrong_code_of_many_is_found() -> None:
    network = perceptron((4, 3, 2))
    program = McuBackend().program(network, many=True)
    text = program.sources["network_many.c"]
    wrong = {
        **program.sources,
        "network_many.c": text.replace("[k * LANES + lane];", "[k * LANES + lane] + (first == 64 && lane == 5 && k);"),
    }
    inputs = random_inputs(network, 1, 300)
    with pytest.raises(MismatchError, match=r"sample 69, y, many at a time\[1\]: expected"):
        measure(dataclasses.replace(program, sources=wrong), HASTY, inputs, interp.outputs(network, inputs))
