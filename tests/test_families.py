"""The twelve families: every committed network through the oracle, ONNX Runtime, C and, where quick, the RTL."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgecomp import interp
from edgecomp.backends.rtl.circuit import make_circuit
from edgecomp.backends.rtl.forms import Form
from edgecomp.cli import main
from edgecomp.frontend import read, read_file
from edgecomp.ir import TableDense
from examples.digits.train import accuracy
from examples.families.layers import EdgeTables, FixedLookUps, LookUps, codes, export, hats, picked
from examples.families.networks import FAMILIES, Branches
from examples.families.train import DENSITY, HERE, Masks, merge, rows_of, weights_of
from examples.integer import integer_outputs
from examples.muon.export import restore_one_bit_input

NOTES = json.loads((HERE / "trained.json").read_text())
QUICK = ("mlp", "kolmogorov_arnold", "gated_linear_unit")


@pytest.mark.parametrize("name", FAMILIES)
def test_oracle_onnx_runtime_and_c_agree_on_every_code(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["build", str(HERE / f"{name}.onnx"), "--target", "host", "--set", "vectors=20", "--out", str(out)]
    assert main(words) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["verdict"]["exact"]
    assert len(report["golden"]) == 3  # the source at its quantisers, ONNX Runtime, the compiled C
    assert all(one["codes"]["value"] > 0 and one["differences"]["value"] == 0 for one in report["golden"])


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "depthwise_separable"])
def test_the_integers_have_the_accuracy_that_is_noted(name: str) -> None:
    _, test = rows_of(name)
    known = NOTES[name]
    found = accuracy(integer_outputs(HERE / f"{name}.onnx", test.x), test.y)
    assert found == known["integer"] == known["quantised"]
    assert found > known["majority"] + 0.5
    assert known["weights"] >= 1000
    assert (HERE / f"{name}.onnx").stat().st_size < 50_000


@pytest.mark.parametrize("name", QUICK)
def test_the_circuit_is_exact_in_alkaid_s_interpreter(name: str) -> None:
    network = read_file(HERE / f"{name}.onnx").network
    (entry,) = network.inputs
    codes = np.random.default_rng(0).integers(entry.lo, entry.hi + 1, (50, *entry.shape))
    found = make_circuit(network, Form(packed=True), cutoff=6).predict(codes.reshape(50, -1))
    np.testing.assert_array_equal(found, interp.outputs(network, {entry.name: codes})["logits"])


@pytest.mark.long
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_exact_in_rtl(name: str, tmp_path: Path) -> None:
    words = ["build", str(HERE / f"{name}.onnx"), "--target", "fpga", "--flow", "rtl", "--set", "effort=quick"]
    assert main([*words, "--set", "vectors=20", "--out", str(tmp_path / "out")]) == 0


@pytest.mark.long
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_exact_in_hls(name: str, tmp_path: Path) -> None:
    words = ["build", str(HERE / f"{name}.onnx"), "--target", "fpga", "--flow", "hls", "--set", "vectors=20"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0


@pytest.mark.long
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_exact_in_printed_gates(name: str, tmp_path: Path) -> None:
    """No printed supply carries one of them, which is what the verdict says; every code is compared none the less."""
    words = ["build", str(HERE / f"{name}.onnx"), "--target", "printed", "--set", "effort=quick"]
    assert main([*words, "--set", "vectors=20", "--out", str(tmp_path / "out")]) == 1
    verdict = json.loads((tmp_path / "out" / "report.json").read_text())["verdict"]
    assert (verdict["exact"], verdict["fits"]) == (True, False)


@pytest.mark.parametrize(
    ("target", "name", "doubt"),
    [
        ("printed", "kolmogorov_arnold", r"\d+\.\d mW at 0\.6 V, 30 mW is the strongest supply \(estimate\)"),
        ("xc7a35t", "mixer", r"\d+ LUT of 20800 \(estimate\); \d+ FF of 41600 \(estimate\)"),
        ("avr", "mlp", ""),
    ],
)
def test_check_says_what_is_foretold_not_to_fit(
    capsys: pytest.CaptureFixture[str], target: str, name: str, doubt: str
) -> None:
    assert main(["check", str(HERE / f"{name}.onnx"), "--target", target]) == 0
    said = f"{target} refuses nothing, but it is foretold not to fit: {doubt}"
    wanted = said if doubt else f"nothing stands in the way of {target}"
    assert re.search(rf"{name}\.onnx: {wanted}\n", capsys.readouterr().out)


def test_edge_tables_are_lifted_as_they_are_exported(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = EdgeTables(3, 2, bits=2, step=0.5, table_bits=4)
    inputs = torch.nn.Sequential(codes(2, 4.0), layer)
    with torch.no_grad():
        layer.step = 4.0
    export(inputs, tmp_path / "edges.onnx", 3)
    (node,) = (n for n in read_file(tmp_path / "edges.onnx").network.nodes if isinstance(n, TableDense))
    want = layer.tables.quant_weight().value.detach().view(2, 3, 4)
    unit = want.abs()[want != 0].min()
    ratio = node.tables.array / (want / unit).numpy().round()
    assert np.unique(ratio[np.isfinite(ratio)]).size == 1


def test_hats_pick_codes_and_pass_the_slope_of_straight_lines() -> None:
    x = torch.tensor([0.0, 1.0, 3.0], requires_grad=True)
    values = torch.tensor([0.0, 2.0, 3.0, 7.0])
    basis = picked(x, 4)
    assert torch.equal(basis, torch.eye(4)[[0, 1, 3]])
    (basis @ values).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 1.5, 2.0]  # half a step to either side, within the codes
    assert hats(torch.tensor([0.25]), 2).tolist() == [[0.75, 0.25]]


def test_branches_merge_into_one_convolution() -> None:
    torch.manual_seed(0)
    block = Branches(4, 4)
    block.train()
    for _ in range(3):
        block(torch.randn(8, 4, 6, 6))
    block.eval()
    weight, bias = block.merged()
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(torch.nn.functional.conv2d(x, weight, bias, padding=1), block(x))
    plain = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3, padding=1))
    merge(torch.nn.Sequential(block), plain)
    torch.testing.assert_close(plain(x), block(x))


def test_sparse_training_moves_connections_and_keeps_their_number() -> None:
    torch.manual_seed(0)
    network = FAMILIES["sparse"]()
    masks = Masks(network)
    masks.apply()
    before = [mask.clone() for mask in masks.masks]
    assert weights_of(network) <= sum(int(mask.sum()) for mask in masks.masks)
    masks.evolve()
    assert [int(m.sum()) for m in masks.masks] == [int(m.sum()) for m in before]
    moved = int((masks.masks[0] != before[0]).sum())
    assert moved == 2 * int(0.2 * before[0].sum())
    assert abs(float(before[0].mean()) - DENSITY) < 0.05


def test_look_ups_learn_which_bits_to_read() -> None:
    """Three of twelve bits decide by an exclusive or of two and the third: no single bit tells anything."""
    torch.manual_seed(0)
    bits = torch.randint(0, 2, (4096, 12)).float()
    wanted = (bits[:, 3] != bits[:, 7]) & (bits[:, 10] > 0)
    layer = LookUps(12, 8, fan_in=4)
    optimiser = torch.optim.Adam(layer.parameters(), 0.05)
    for _ in range(150):
        rows = torch.randint(len(bits), (256,))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(layer(bits[rows]).sum(1) - 4, wanted[rows].float())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        found = layer(bits).sum(1) > 4
    assert (found == wanted).float().mean() > 0.95


def test_a_weightless_network_is_exact_as_it_is_exported(tmp_path: Path) -> None:
    torch.manual_seed(0)
    learned = LookUps(20, 12)
    network = torch.nn.Sequential(codes(1, 1.0), FixedLookUps(learned))
    export(network, tmp_path / "bits.onnx", 20, fill=0.5)
    model = onnx.load(tmp_path / "bits.onnx")
    restore_one_bit_input(model)
    lowered = read(model).network
    x = torch.randint(0, 2, (200, 20))
    found = interp.outputs(lowered, {lowered.inputs[0].name: x.numpy()})["logits"]
    with torch.no_grad():
        np.testing.assert_array_equal(found, network(x.float()).numpy())
        np.testing.assert_array_equal(found, learned(x.float()).numpy())
