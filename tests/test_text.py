"""The text form: an exact round trip, and errors that name the line."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecomp.errors import ModelError
from edgecomp.ir import Dense, Input, Ints, Network, Output, Step
from edgecomp.ir import text as text_module
from edgecomp.ir.text import HEADER, dump, parse
from tests.networks import random_network

SMALL = Network(
    nodes=(
        Input(name="x", shape=(2,), lo=-8, hi=7, scale=(Fraction(1, 3), Fraction(5, 1 << 149)), source='a "b", c]\n#'),
        Dense(name="fc", x="x", weight=Ints([[1, -2], [3, 4], [5, 6]]), bias=Ints([0])),
        Output(name="y", x="fc", offset=(Fraction(-1, 7),)),
    )
)


@pytest.mark.parametrize("seed", range(40))
def test_random_networks_come_back_equal(seed: int) -> None:
    network = random_network(seed)
    text = dump(network)
    assert parse(text) == network
    assert dump(parse(text)) == text


def test_the_text_is_for_people() -> None:
    assert "fc = Dense x=x  # 3, -88..77, 8 bits signed\n  weight 3x2:\n    1 -2\n" in dump(SMALL)
    assert f"scale=[1/3,{5}/{1 << 149}]" in dump(SMALL)
    assert parse(dump(SMALL)) == SMALL


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    name=st.text(max_size=8),
    source=st.text(max_size=20),
    scale=st.lists(st.fractions(), max_size=3),
    shape=st.lists(st.integers(-99, 99), max_size=3),
    rows=st.integers(0, 3),
    values=st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=4),
)
def test_any_field_comes_back_even_of_an_unsound_network(
    name: str, source: str, scale: list[Fraction], shape: list[int], rows: int, values: list[int]
) -> None:
    tensor = Ints(np.array([values] * rows, dtype=np.int64).reshape(rows, len(values)))
    nodes = (
        Input(name=name, shape=tuple(shape), lo=-(1 << 62), hi=5, source=source, scale=tuple(scale)),
        Step(name=name, x=source, thresholds=tensor, values=Ints(np.array(values, dtype=np.int64))),
    )
    assert parse(dump(Network(nodes=nodes))) == Network(nodes=nodes)


def edited(old: str, new: str) -> str:
    text = dump(SMALL)
    assert text.count(old) >= 1, old
    return text.replace(old, new, 1)


BROKEN = {
    "network text, line 1: the first line of a network is 'edgecomp network 1'": lambda: edited(HEADER, "network"),
    "network text, line 3: 'name = Kind field=value ...' is wanted": lambda: edited("x = Input", "x Input"),
    "network text, line 4: Danse is no kind of node; there are Input, Dense, .*": lambda: edited("Dense", "Danse"),
    "network text, line 4: Dense has no field z": lambda: edited("Dense x=x", "Dense x=x z=1"),
    "network text, line 4: Dense lacks the field x": lambda: edited("Dense x=x", "Dense"),
    "network text, line 4: the field x is given twice": lambda: edited("Dense x=x", "Dense x=x x=x"),
    "network text, line 4: the name goes in front of '='": lambda: edited("Dense x=x", "Dense x=x name=q"),
    r"network text, line 4: 'field=value' is wanted where it says '\?  # 3, .*'": lambda: edited(
        "Dense x=x  #", "Dense x=x ?  #"
    ),
    "network text, line 3: '-8.5' is no integer": lambda: edited("lo=-8", "lo=-8.5"),
    "network text, line 3: '1/0' is no fraction": lambda: edited("1/3", "1/0"),
    r"network text, line 3: '\(2\)' is no list": lambda: edited("[2]", "(2)"),
    "network text, line 3: 'maybe' is neither true nor false": lambda: edited("zero_point=false", "zero_point=maybe"),
    "network text, line 3: 'odd' is not one of integer, bipolar": lambda: edited("encoding=integer", "encoding=odd"),
    "network text, line 3: 'R-U' is no text": lambda: edited("rounding=ROUND", "rounding=R-U"),
    "network text, line 5: the tensor '  weight SHAPE:' is wanted": lambda: edited("  weight", "  wait"),
    "network text, line 6: 2 integers are wanted": lambda: edited("1 -2", "1 -2 3"),
    "network text, line 7: 2 integers are wanted": lambda: edited("3 4", "3 x"),
    "network text, line 9: 1 integers are wanted": lambda: edited("bias 1: 0", "bias 1:"),
    "network text, line 6: an integer needs more than 64 bits": lambda: edited("1 -2", f"{1 << 63} 0"),
    "network text, line 5: weight wants 999999999 rows, more than the text has left": (
        lambda: edited("weight 3x2", "weight 999999999x2")
    ),
    "network text, line 5: the rows of weight go on lines of their own": lambda: edited("3x2:", "3x2: 1"),
    "network text, line 5: the text ends too early": lambda: dump(SMALL).split("  weight")[0],
}


@pytest.mark.parametrize("message", BROKEN)
def test_what_does_not_parse_is_named_with_its_line(message: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse(BROKEN[message]())
    assert re.fullmatch(message, str(caught.value)), str(caught.value)


def test_pairs_want_two() -> None:
    head = f"{HEADER}\np = Pad x=x pads=[[1,2,3]] value=0\n"
    with pytest.raises(ModelError, match=r"^network text, line 2: '\[\[1,2,3\]\]' is no list of pairs$"):
        parse(head)


def test_a_text_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_module, "MAX_CHARACTERS", 10)
    with pytest.raises(ModelError, match=r"^\d+ characters of network text; 10 is the most$"):
        parse(dump(SMALL))
