"""What the page computes: the drawing of the network, the verdict on speed, time lines, ranges and bars."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, seed
from hypothesis import strategies as st

from edgecomp.report import Figure, Latency, Report, Source
from edgecomp.report.graph import LETTERS, MAX_SLOTS, Drawing, draw
from edgecomp.report.model import NetworkNode
from edgecomp.report.views import State, columns, compared, in_flight, range_of, rate, ratio, speed, timeline
from tests.reports import count, estimate, node, small_report

WORD = Figure(value="none", unit="clock", source=Source.TOOL, method="m")


@st.composite
def networks(draw_from: st.DrawFn) -> tuple[NetworkNode, ...]:
    """Up to 14 nodes that read any names: earlier, later, their own, unknown."""
    names = [f"n{i}" for i in range(draw_from(st.integers(1, 14)))]
    reads = st.lists(st.sampled_from([*names, "nowhere"]), max_size=3).map(tuple)
    kinds = st.sampled_from(["Dense", "Requant", "MaxPool", "Reshape", "Input", "odd"])
    return tuple(node(name, draw_from(kinds), draw_from(reads), 0, 1) for name in names)


def drawn(nodes: tuple[NetworkNode, ...]) -> Drawing:
    drawing = draw(nodes)
    assert drawing is not None
    return drawing


@seed(6)
@given(networks())
def test_boxes_stand_apart_inside_the_picture_and_wires_run_down(nodes: tuple[NetworkNode, ...]) -> None:
    drawing = drawn(nodes)
    boxes = {box.index: box for box in drawing.boxes}
    assert sorted(boxes) == list(range(len(nodes)))
    for a in drawing.boxes:
        assert 0 <= a.x <= a.x + a.width <= drawing.width
        assert 0 <= a.y <= a.y + a.height <= drawing.height
        for b in drawing.boxes:
            apart = a.x + a.width <= b.x or b.x + b.width <= a.x or a.y + a.height <= b.y or b.y + b.height <= a.y
            assert a is b or apart
    places = {n.name: i for i, n in enumerate(nodes)}
    for i, one in enumerate(nodes):
        for name in one.reads:
            if places.get(name, i) < i:
                above = boxes[places[name]]
                assert above.y + above.height < boxes[i].y
    for path in drawing.wires:
        numbers = [float(text) for text in re.findall(r"-?\d+\.\d", path)]
        assert "v" in path or numbers[-1] > numbers[1]


@seed(7)
@given(networks())
def test_every_read_of_an_earlier_node_reaches_its_box(nodes: tuple[NetworkNode, ...]) -> None:
    drawing = drawn(nodes)
    boxes = {box.index: box for box in drawing.boxes}
    ends = [tuple(map(float, path.split()[-2:])) for path in drawing.wires if "C" in path]
    places = {n.name: i for i, n in enumerate(nodes)}
    for i, one in enumerate(nodes):
        expected = len({name for name in one.reads if places.get(name, i) < i})
        box = boxes[i]
        at_top = [end for end in ends if abs(end[0] - box.x - box.width / 2) < 0.1 and abs(end[1] - box.y) < 0.1]
        assert len(at_top) == expected


def test_a_branch_passes_beside_the_boxes_between() -> None:
    drawing = drawn(
        (node("x", "Input", (), 0, 1), node("a", "Dense", ("x",), 0, 1), node("b", "Add", ("a", "x"), 0, 1))
    )
    assert len(drawing.wires) == 5  # x to a, a to b, and x to b in three pieces
    (middle,) = [box for box in drawing.boxes if box.index == 1]
    (passing,) = [float(path[1:].split()[0]) for path in drawing.wires if "v" in path]
    assert not middle.x <= passing <= middle.x + middle.width
    curves = [path for path in drawing.wires if "C" in path]
    assert sum(path.startswith(f"M{passing:.1f} ") for path in curves) == 1
    assert sum(path.split()[-2] == f"{passing:.1f}" for path in curves) == 1


def test_nothing_and_too_much_are_not_drawn() -> None:
    assert draw(()) is None
    assert draw(tuple(node(f"n{i}", "Dense", (), 0, 1) for i in range(MAX_SLOTS + 1))) is None
    chain = tuple(node(f"n{i}", "Add", (f"n{i - 1}", "n0"), 0, 1) for i in range(100))
    assert draw(chain) is None


def test_a_long_name_is_cut_in_the_middle() -> None:
    (box,) = drawn((node("start" + "x" * 50 + "end", "Dense", (), 0, 1),)).boxes
    assert len(box.label) <= LETTERS
    assert re.fullmatch("startx+…x+end", box.label)


def timed(totals: Mapping[str, Figure], synthesis: Mapping[str, Figure] | None = None) -> Report:
    return replace(small_report(), totals=totals, synthesis=synthesis or {})


@pytest.mark.parametrize(
    ("report", "state", "path"),
    [
        (timed({}), State.OPEN, ()),
        (timed({"stage_delay": estimate(10.0, "ns")}), State.YES, ("totals", "stage_delay")),
        (timed({"stage_delay": estimate(10.1, "ns")}), State.NO, ("totals", "stage_delay")),
        (timed({"stage_delay": estimate(9.0, "ms")}), State.OPEN, ()),
        (timed({"delay_1V": estimate(3, "ns"), "delay_0.6V": estimate(11, "ns")}), State.NO, ("totals", "delay_0.6V")),
        (timed({"stage_delay": estimate(9.0, "ns")}, {"clock_estimate_ns": estimate(12.0, "ns")}), State.NO,
         ("synthesis", "clock_estimate_ns")),
        (timed({}, {"fmax_mhz": estimate(99.0, "MHz")}), State.NO, ("synthesis", "fmax_mhz")),
        (timed({}, {"fmax_mhz": estimate(101.0, "MHz")}), State.YES, ("synthesis", "fmax_mhz")),
    ],
)  # fmt: skip
def test_fast_enough_is_the_delay_found_against_the_clock(report: Report, state: State, path: tuple[str, ...]) -> None:
    found = speed(report)
    assert (found.state, found.path) == (state, path)


def test_without_a_clock_nothing_is_said_of_speed() -> None:
    small = small_report()
    report = replace(small, target=replace(small.target, clock=WORD), latency=None)
    assert speed(report).said == "nothing is timed on this target"
    assert rate(report) == ""
    assert rate(small) == "100 million samples/s at the clock aimed at"


def test_layers_start_when_what_they_read_is_there() -> None:
    small = small_report()
    layer = small.layers[0]
    layers = tuple(replace(layer, name=n, figures={"cycles": estimate(c, "cycles")}) for n, c in
                   (("a", 4), ("b", 2), ("c", 3)))  # fmt: skip
    nodes = (node("x", "Input", (), 0, 1), node("a", "Dense", ("x",), 0, 1), node("b", "Dense", ("x",), 0, 1),
             node("r", "Reshape", ("b",), 0, 1), node("c", "Add", ("a", "r"), 0, 1))  # fmt: skip
    report = replace(small_report(cycles=8), layers=layers, network=nodes)
    assert [(s.name, s.at, s.width) for s in timeline(report)] == [("a", 0, 50), ("b", 0, 25), ("c", 50, 37.5)]
    assert [s.path for s in timeline(report)] == [("layers", i, "figures", "cycles") for i in range(3)]
    assert timeline(replace(small_report(cycles=6), layers=layers, network=nodes)) == ()  # they overlap: not known
    assert timeline(replace(report, latency=None)) == ()
    assert timeline(replace(report, layers=())) == ()


def test_samples_follow_each_other_by_the_initiation_interval() -> None:
    latency = Latency(cycles=count(6, "cycles"), time=count(6, "ns"), initiation_interval=count(1, "cycles"))
    assert in_flight(latency) == ((0, 60), (10, 60), (20, 60), (30, 60), (40, 60))
    assert in_flight(replace(latency, cycles=WORD)) == ()


@pytest.mark.parametrize(
    ("least", "greatest", "expected"),
    [(0, 15, (0, 15, 0, 100)), (-8, 7, (-8, 7, 0, 100)), (-4, 3, (-4, 3, 0, 100)), (-1, 6, (-8, 7, 43.75, 50)),
     (8, 15, (0, 15, 50, 50)), (0, 0, (0, 1, 0, 50))],
)  # fmt: skip
def test_a_range_stands_inside_its_type(least: int, greatest: int, expected: tuple[float, ...]) -> None:
    found = range_of(node("n", "Dense", (), least, greatest))
    assert found is not None
    assert (found.low, found.high, found.at, found.width) == expected


def test_a_range_that_makes_no_sense_is_not_drawn() -> None:
    sound = node("n", "Dense", (), 0, 15)
    odd = (replace(sound, bits=count(3)), replace(sound, bits=count(0)), replace(sound, least=count(16)),
           replace(sound, greatest=WORD), replace(sound, bits=count(65)))  # fmt: skip
    assert [range_of(one) for one in odd] == [None] * 5


def test_columns_ratios_and_sums() -> None:
    small = small_report()
    assert [(c.name, c.unit, c.most) for c in columns(small.layers)] == [("cycles", "cycles", 4), ("LUT", "LUT", 1e6)]
    assert ratio(count(5), count(20)) == 25
    assert ratio(count(5), count(0)) is None
    assert ratio(WORD, count(5)) is None
    assert compared(small) == {"codes": 1280, "differences": 0}
