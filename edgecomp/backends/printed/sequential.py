"""A perceptron as one multiplexed neuron: a clocked machine that computes one neuron in a cycle.

A counter tells the neuron. Every summand bit of the shared adder is a choice, by the counter, among the bits that the
neurons add at that place; constants and signs are tables over the counter. Registers hold the hidden codes, then the
greatest logit and its class. The registers are cut open: what is between them is one combinational circuit, mapped and
proven like any other, whose ports `<name>` and `<name>_next` are a register's output and input.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgecomp.backends.printed.argmax import centre
from edgecomp.backends.printed.forms import Form
from edgecomp.backends.printed.gates import FALSE, TRUE, Circuit, Gates, Kind, Port
from edgecomp.backends.printed.lower import Lowering, array, entry
from edgecomp.backends.printed.sums import Sum, Word, combine, digits, of_word, to_word
from edgecomp.backends.printed.words import choose, clip, half_even, less, shifted, step
from edgecomp.errors import InexpressibleError, Problem, raise_all
from edgecomp.ir import (
    ArgMax,
    Dense,
    Input,
    Network,
    Node,
    Output,
    Requant,
    Reshape,
    Rounding,
    Step,
    TableDense,
    operands,
)
from edgecomp.ir.ranges import bits_of

HINT = "leave --set form=sequential out; it takes multi-layer perceptrons"

Linear = Dense | TableDense
Activation = Requant | Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """`circuit` between registers of `registers` (name, bits). The machine works `cycles` cycles after one in which
    `start` is high, and holds its outputs, `done` being high, until the next."""

    circuit: Circuit
    registers: tuple[tuple[str, int], ...]
    cycles: int
    start: str
    done: str

    @property
    def bits(self) -> int:
        return sum(bits for _, bits in self.registers)

    @property
    def own(self) -> frozenset[str]:
        """The names of ports that are not the network's."""
        names = [name for name, _ in self.registers]
        return frozenset([self.start, self.done, *names, *(f"{name}_next" for name in names)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A layer: its sums, and the function of each behind them, None for the logits."""

    linear: Linear
    act: Activation | None


def check(network: Network) -> tuple[Problem, ...]:
    """What one multiplexed neuron cannot compute."""
    problems = []
    readers = Counter(name for node in network.nodes for name in operands(node))
    for node in network.nodes:
        if not isinstance(node, Input | Dense | TableDense | Activation | Reshape | ArgMax | Output):
            what = f"{type(node).__name__} is no part of a perceptron that one neuron computes in turns"
            problems.append(Problem(what=what, where=node.name, hint=HINT))
        elif isinstance(node, ArgMax) and node.tree.array.size:
            problems.append(Problem(what="stated comparisons take all logits at once", where=node.name, hint=HINT))
    if problems:
        return tuple(problems)
    nodes = {node.name: node for node in network.nodes}
    for node in network.nodes:
        before = _behind(nodes, node)
        codes, sums = (Input, Requant, Step), (Dense, TableDense)
        fits: dict[type[Node], tuple[type[Node], ...]] = {
            Dense: codes, TableDense: codes, Requant: sums, Step: sums, ArgMax: sums, Output: (*sums, ArgMax)
        }  # fmt: skip
        wanted = fits.get(type(node))
        if wanted is not None and not isinstance(before, wanted):
            what = f"{type(node).__name__} follows {type(before).__name__}"
            problems.append(Problem(what=what, where=node.name, hint=HINT))
        if isinstance(node, Activation) and readers[node.x] > 1:
            problems.append(Problem(what="its sums are read elsewhere too", where=node.name, hint=HINT))
        if isinstance(node, Dense | TableDense) and len(network.values()[node.name].shape) != 1:
            problems.append(Problem(what="its values are no vector", where=node.name, hint=HINT))
    linears = [node for node in network.nodes if isinstance(node, Dense | TableDense)]
    if len({node.x for node in linears}) < len(linears) or not linears:
        problems.append(Problem(what="the layers do not stand in one chain", hint=HINT))
    return tuple(problems)


def _behind(nodes: Mapping[str, Node], node: Node) -> Node | None:
    """The node before, reshapes passed over."""
    found: Node | None = node
    while found is not None and (found is node or isinstance(found, Reshape)):
        found = nodes[operands(found)[0]] if operands(found) else None
    return found


def to_machine(network: Network) -> Machine:
    """The machine, the neuron shared by all layers or one for each layer, whichever has the fewer gates.

    InexpressibleError for what is no perceptron.
    """
    raise_all(InexpressibleError, check(network))
    made = [_build(network, shared=shared) for shared in (False, True)]
    return min(made, key=lambda machine: _gates(machine.circuit))


def _gates(circuit: Circuit) -> float:
    return float((circuit.kind == Kind.AND).sum() + 3.3 * (circuit.kind == Kind.XOR).sum())


@dataclass(slots=True, kw_only=True)
class Build:
    """The machine so far. `states` counts the neurons given a state."""

    network: Network
    lowering: Lowering
    count: Word
    states: int = 0
    registers: list[tuple[str, int]] = field(default_factory=list)
    nexts: list[Port] = field(default_factory=list)
    made: dict[tuple[tuple[int, int], ...], int] = field(default_factory=dict)

    @property
    def gates(self) -> Gates:
        return self.lowering.gates

    def named(self, name: str) -> str:
        taken = {node.name for node in self.network.nodes} | {name for name, _ in self.registers}
        while name in taken or f"{name}_next" in taken:
            name += "_"
        return name

    def hold(self, name: str, count: int, lo: int, hi: int) -> tuple[str, list[Word]]:
        """Registers for `count` numbers within lo..hi."""
        name, width = self.named(name), bits_of(lo, hi)
        words = []
        for index in range(count):
            port = self.gates.add_input(name, index, width, signed=lo < 0)
            words.append(Word(bits=port.bits, signed=lo < 0, lo=lo, hi=hi))
        self.registers.append((name, count * width))
        return name, words

    def load(self, name: str, index: int, held: Word, word: Word) -> None:
        """What the register takes at the end of a cycle."""
        width = len(held.bits)
        fill = word.bits[-1] if word.signed else FALSE
        bits = (*word.bits, *[fill] * width)[:width]
        self.nexts.append(Port(node=f"{name}_next", index=index, bits=bits, signed=held.signed))

    def by_state(self, values: Mapping[int, int]) -> int:
        """A literal that is values[state]; any value where none is given."""
        key = tuple(sorted(values.items()))
        if key not in self.made:
            self.made[key] = _tree(
                self.gates, self.count.bits, [values.get(s) for s in range(1 << len(self.count.bits))]
            )
        return self.made[key]

    def in_states(self, states: Sequence[int], whole: Sequence[int]) -> int:
        """Whether the counter stands at one of `states`; any answer outside of `whole`."""
        chosen = set(states)
        return self.by_state({state: int(state in chosen) for state in whole})


def _tree(gates: Gates, bits: Sequence[int], table: Sequence[int | None]) -> int:
    """Multiplexers over the bits; halves that agree where both are given are one."""
    known = {value for value in table if value is not None}
    if len(known) <= 1:
        return TRUE if known == {1} else FALSE
    half = len(table) // 2
    low, high = table[:half], table[half:]
    if all(a is None or b is None or a == b for a, b in zip(low, high, strict=True)):
        return _tree(gates, bits[:-1], [b if a is None else a for a, b in zip(low, high, strict=True)])
    return gates.choose(bits[-1], _tree(gates, bits[:-1], low), _tree(gates, bits[:-1], high))


def _build(network: Network, *, shared: bool) -> Machine:
    stages = _stages(network)
    values = network.values()
    total = sum(values[stage.linear.name].size for stage in stages)
    readers = Counter(name for node in network.nodes for name in set(operands(node)))
    lowering = Lowering(form=Form(), readers=readers, known=values)
    build = Build(network=network, lowering=lowering, count=Word(bits=(), signed=False, lo=0, hi=total))
    for node in network.nodes:
        if isinstance(node, Input):
            lowering.values[node.name] = lowering.lower(node)
    start = build.named("start")
    begin = lowering.gates.add_input(start, 0, 1, signed=False).bits[0]
    counter, (build.count,) = build.hold("count", 1, 0, total)
    rows: list[list[Sum]] = []
    held: list[tuple[str, list[Word]]] = []
    for number, stage in enumerate(stages):
        rows.append(_sums(build, stage, network))
        if stage.act is not None:
            known = values[stage.act.name]
            lo, hi = int(min(known.lo)), int(max(known.hi))
            held.append(build.hold(f"hidden{number}", known.size, lo, hi))
            lowering.values[stage.act.name] = array([of_word(word) for word in held[-1][1]], (known.size,))
    adders = _adders(build, rows, shared=shared)
    for number, stage in enumerate(stages[:-1]):
        _keep_codes(build, stage, rows[number], adders[number], held[number], first=_first(rows, number))
    _end(build, stages[-1].linear, rows[-1], adders[-1], first=_first(rows, len(rows) - 1))
    following = {s: min(s + 1, total) for s in range(total + 1)}
    bits = [build.gates.both(build.by_state({s: n >> k & 1 for s, n in following.items()}), begin ^ 1)
            for k in range(len(build.count.bits))]  # fmt: skip
    build.load(counter, 0, build.count, Word(bits=tuple(bits), signed=False, lo=0, hi=total))
    done = build.named("done")
    ready = build.in_states([total], range(total + 1))
    outputs = [*lowering.outputs, *build.nexts, Port(node=done, index=0, bits=(ready,), signed=False)]
    return Machine(circuit=build.gates.finish(outputs), registers=tuple(build.registers), cycles=total,
                   start=start, done=done)  # fmt: skip


def _first(rows: Sequence[Sequence[Sum]], number: int) -> int:
    """The state of a stage's first neuron."""
    return sum(len(row) for row in rows[:number])


def _stages(network: Network) -> list[Stage]:
    nodes = {node.name: node for node in network.nodes}
    acts = {before.name: node for node in network.nodes if isinstance(node, Activation)
            and (before := _behind(nodes, node)) is not None}  # fmt: skip
    return [Stage(linear=node, act=acts.get(node.name)) for node in network.nodes
            if isinstance(node, Dense | TableDense)]  # fmt: skip


def _sums(build: Build, stage: Stage, network: Network) -> list[Sum]:
    """What each neuron of a layer adds up, its requantiser's multiplier and addend taken in."""
    lowering = build.lowering
    for node in network.nodes:  # reshapes between here and the layer before
        if isinstance(node, Reshape) and node.x in lowering.values and node.name not in lowering.values:
            lowering.values[node.name] = lowering.lower(node)
    sums = list(lowering.lower(stage.linear).reshape(-1))
    if stage.act is None:
        return sums if _gives_logits(network, stage.linear) else centre(sums)
    if isinstance(stage.act, Step):
        return sums
    return [combine([(entry(stage.act.multiplier, j), s)], entry(stage.act.addend, j)) for j, s in enumerate(sums)]


def _adders(build: Build, rows: Sequence[Sequence[Sum]], *, shared: bool) -> list[Word]:
    """The accumulator that each layer reads."""
    if shared:
        return [_adder(build, [s for row in rows for s in row], first=0)] * len(rows)
    return [_adder(build, row, first=_first(rows, number)) for number, row in enumerate(rows)]


def _adder(build: Build, sums: Sequence[Sum], *, first: int) -> Word:
    """sums[state - first]: at every place a literal chosen by the state, and a constant that is a table."""
    whole = range(first, first + len(sums))
    places: dict[tuple[int, int, int], dict[int, tuple[int, bool]]] = {}  # (port, slot, column): state -> literal
    consts = {}
    owner = _owners(build.gates)
    for state, value in zip(whole, sums, strict=True):
        const = value.const
        used: set[tuple[int, int, int]] = set()
        for node, coefficient in value.terms:
            port = owner.get(node, -node)
            for column, sign in digits(coefficient):
                slot = next(k for k in range(len(value.terms) + 1) if (port, k, column) not in used)
                used.add((port, slot, column))
                places.setdefault((port, slot, column), {})[state] = (node, sign < 0)
                const -= (sign < 0) << column
        consts[state] = const
    lo, hi = min(s.lo for s in sums), max(s.hi for s in sums)
    width = bits_of(lo, hi)
    parts = []
    for (_, _, column), by in sorted(places.items()):
        if column < width:
            parts.append((1 << column, of_word(_bit(_chosen(build, by, whole)))))
    for column in range(width):
        lit = build.by_state({state: const >> column & 1 for state, const in consts.items()})
        parts.append((1 << column, of_word(_bit(lit))))
    total = combine(parts)
    return to_word(build.gates, Sum(const=total.const, terms=total.terms, lo=lo, hi=hi))


def _bit(literal: int) -> Word:
    return Word(bits=(literal,), signed=False, lo=0, hi=1)


def _owners(gates: Gates) -> dict[int, int]:
    """The number of the port that each input bit belongs to."""
    return {lit >> 1: number for number, port in enumerate(gates.inputs) for lit in port.bits}


def _chosen(build: Build, by: Mapping[int, tuple[int, bool]], whole: Sequence[int]) -> int:
    """The literal of each state, false where a state has none."""
    sources: dict[tuple[int, bool], list[int]] = {}
    for state, source in by.items():
        sources.setdefault(source, []).append(state)
    out = FALSE
    for (node, inverted), states in sources.items():
        out = build.gates.either(out, build.gates.both(build.in_states(states, whole), 2 * node + inverted))
    return out


def _keep_codes(
    build: Build, stage: Stage, sums: Sequence[Sum], adder: Word, held: tuple[str, list[Word]], *, first: int
) -> None:
    """A hidden layer's registers: each takes the code of its own neuron in its own cycle."""
    act = stage.act
    assert act is not None
    whole = range(first, first + len(sums))
    if isinstance(act, Step):
        rows = [j if len(act.values.array) > 1 else 0 for j in range(len(sums))]
        kinds = [tuple(act.thresholds.array[j].tolist() + act.values.array[j].tolist()) for j in rows]
    else:
        rounded = (half_even(build.gates, adder, act.shift) if act.rounding is Rounding.HALF_EVEN
                   else shifted(adder, act.shift))  # fmt: skip
        kinds = [(entry(act.lo, j), entry(act.hi, j)) for j in range(len(sums))]

    def of(kind: tuple[int, ...]) -> Word:
        if isinstance(act, Step):
            count = act.thresholds.shape[1]
            return step(build.gates, adder, kind[:count], kind[count:])
        return clip(build.gates, rounded, *kind)

    different = sorted(set(kinds))
    code = of(different[0])
    for kind in different[1:]:
        states = [state for state, other in zip(whole, kinds, strict=True) if other == kind]
        code = choose(build.gates, build.in_states(states, whole), code, of(kind))
    _store(build, held, code, first)


def _store(build: Build, held: tuple[str, list[Word]], code: Word, first: int) -> None:
    """Each register takes the code in its own cycle and keeps what it has in all others."""
    for index, word in enumerate(held[1]):
        now = build.in_states([first + index], range(build.count.hi + 1))
        build.load(held[0], index, word, choose(build.gates, now, word, code))


def _end(build: Build, last: Linear, sums: Sequence[Sum], adder: Word, *, first: int) -> None:
    """The logits' registers where an output gives them, and the class; then the outputs."""
    network, lowering = build.network, build.lowering
    if _gives_logits(network, last):
        held = build.hold("logits", len(sums), adder.lo, adder.hi)
        _store(build, held, adder, first)
        lowering.values[last.name] = array([of_word(word) for word in held[1]], (len(sums),))
    for node in network.nodes:
        if isinstance(node, ArgMax):
            lowering.values[node.name] = array([of_word(_class(build, len(sums), adder, first))], (1,))
        elif isinstance(node, Reshape) and node.x in lowering.values and node.name not in lowering.values:
            lowering.values[node.name] = lowering.lower(node)
    for node in network.nodes:
        if isinstance(node, Output):
            lowering.lower(node)


def _gives_logits(network: Network, last: Linear) -> bool:
    nodes = {node.name: node for node in network.nodes}
    return any(_behind(nodes, node) is last for node in network.nodes if isinstance(node, Output))


def _class(build: Build, classes: int, logit: Word, first: int) -> Word:
    """The register of the class: a logit greater than all before it puts its number there."""
    gates, everything = build.gates, range(build.count.hi + 1)
    best, (greatest,) = build.hold("greatest", 1, logit.lo, logit.hi)
    name, (found,) = build.hold("winner", 1, 0, classes - 1)
    own = range(first, first + classes)
    active, fresh = build.in_states(own, everything), build.in_states([first], own)
    take = gates.both(active, gates.either(fresh, less(gates, greatest, logit)))
    numbers = [build.by_state({state: state - first >> k & 1 for state in own}) for k in range(len(found.bits))]
    build.load(best, 0, greatest, choose(gates, take, greatest, logit))
    build.load(name, 0, found, choose(gates, take, found, Word(bits=tuple(numbers), signed=False, lo=0, hi=found.hi)))
    return found
