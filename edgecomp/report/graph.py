"""The network as a layered drawing: boxes in rows by their distance from the inputs, wires as curves between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgecomp.report.model import NetworkNode

MAX_SLOTS = 1500  # boxes, and wires passing a row; a drawing of more is neither readable nor small
TALL, FLAT = 46, 26  # heights: of a layer that computes, of one that rescales or moves
WIDTH, PASSING, GAP, ROW_GAP, MARGIN, LETTERS = 214, 14, 18, 24, 8, 28
SWEEPS = 4
GROUPS = {
    "compute": ("Dense", "Conv", "TableDense", "Add", "Mul"),
    "rescale": ("Requant", "Step"),
    "pool": ("MaxPool", "SumPool", "ArgMax"),
    "end": ("Input", "Output"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A node's rectangle: its left upper corner and size in pixels, and the group that colours it."""

    index: int
    label: str
    group: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """Boxes, and wires as SVG paths, in a picture of width x height pixels."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    wires: tuple[str, ...]


@dataclass(slots=True, eq=False)
class _Slot:
    """A place in a row: a node's, or of a wire that passes (index -1). `above` are the slots it is wired to."""

    index: int
    row: int
    above: list[_Slot]
    below: list[_Slot]
    order: float = 0.0
    x: float = 0.0


def group_of(kind: str) -> str:
    """The colour group of a kind of node; moving data is "move"."""
    return next((group for group, kinds in GROUPS.items() if kind in kinds), "move")


def draw(nodes: Sequence[NetworkNode]) -> Drawing | None:
    """The drawing, or None where there is nothing to draw or too much. Reads of unknown names are left out."""
    rows = _rows(nodes)
    if rows is None or not nodes:
        return None
    _untangle(rows)
    for row in rows:
        x = -sum(_width(slot) + GAP for slot in row) / 2
        for slot in row:
            slot.x = x + (_width(slot) + GAP) / 2
            x += _width(slot) + GAP
    left = min(slot.x - _width(slot) / 2 for row in rows for slot in row) - MARGIN
    right = max(slot.x + _width(slot) / 2 for row in rows for slot in row) + MARGIN
    heights = [max((_height(nodes, slot) for slot in row if slot.index >= 0), default=FLAT) for row in rows]
    tops = [MARGIN + sum(heights[:i]) + ROW_GAP * i for i in range(len(rows))]
    for slot in (slot for row in rows for slot in row):
        slot.x -= left
    slots = [slot for row in rows for slot in row]
    boxes = [_box(nodes, slot, tops[slot.row], heights[slot.row]) for slot in slots if slot.index >= 0]
    wires = [_wire(nodes, slot, above, tops, heights) for slot in slots for above in slot.above]
    wires += [f"M{slot.x:.1f} {tops[slot.row]:.1f}v{heights[slot.row]:.1f}" for slot in slots if slot.index < 0]
    return Drawing(width=right - left, height=tops[-1] + heights[-1] + MARGIN, boxes=tuple(boxes), wires=tuple(wires))


def _rows(nodes: Sequence[NetworkNode]) -> list[list[_Slot]] | None:
    """Slots by row, every wire between neighbouring rows; None where there are more than MAX_SLOTS."""
    rows: list[list[_Slot]] = []
    known: dict[str, _Slot] = {}
    count = 0
    for index, node in enumerate(nodes):
        reads = [known[name] for name in dict.fromkeys(node.reads) if name in known]
        slot = _Slot(index, max((read.row + 1 for read in reads), default=0), [], [])
        count += 1 + sum(slot.row - read.row - 1 for read in reads)
        if count > MAX_SLOTS:
            return None
        _put(rows, slot)
        for read in reads:
            _connect(rows, read, slot)
        known[node.name] = slot
    return rows


def _put(rows: list[list[_Slot]], slot: _Slot) -> None:
    while len(rows) <= slot.row:
        rows.append([])
    slot.order = float(len(rows[slot.row]))
    rows[slot.row].append(slot)


def _connect(rows: list[list[_Slot]], upper: _Slot, lower: _Slot) -> None:
    """Wire two slots, through a passing slot in every row between them."""
    for row in range(upper.row + 1, lower.row):
        passing = _Slot(-1, row, [upper], [])
        upper.below.append(passing)
        _put(rows, passing)
        upper = passing
    upper.below.append(lower)
    lower.above.append(upper)


def _untangle(rows: list[list[_Slot]]) -> None:
    """Order each row by the mean place of the neighbours above, then below, a few times (Sugiyama's barycentres)."""
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            means = {id(slot): _mean(slot.above if down else slot.below, slot.order) for slot in row}
            row.sort(key=lambda slot: means[id(slot)])
            for place, slot in enumerate(row):
                slot.order = place - (len(row) - 1) / 2


def _mean(slots: Sequence[_Slot], otherwise: float) -> float:
    return sum(slot.order for slot in slots) / len(slots) if slots else otherwise


def _width(slot: _Slot) -> float:
    return WIDTH if slot.index >= 0 else PASSING


def _height(nodes: Sequence[NetworkNode], slot: _Slot) -> float:
    return TALL if slot.index >= 0 and group_of(nodes[slot.index].kind) in ("compute", "end") else FLAT


def _box(nodes: Sequence[NetworkNode], slot: _Slot, top: float, row_height: float) -> Box:
    node, height = nodes[slot.index], _height(nodes, slot)
    half = LETTERS // 2 - 1
    label = node.name if len(node.name) <= LETTERS else f"{node.name[:half]}…{node.name[-half:]}"
    return Box(index=slot.index, label=label, group=group_of(node.kind), x=slot.x - WIDTH / 2,
               y=top + (row_height - height) / 2, width=WIDTH, height=height)  # fmt: skip


def _wire(
    nodes: Sequence[NetworkNode], lower: _Slot, upper: _Slot, tops: Sequence[float], heights: Sequence[float]
) -> str:
    start, end = tops[upper.row] + heights[upper.row], tops[lower.row]
    if upper.index >= 0:
        start -= (heights[upper.row] - _height(nodes, upper)) / 2
    if lower.index >= 0:
        end += (heights[lower.row] - _height(nodes, lower)) / 2
    middle = (start + end) / 2
    return f"M{upper.x:.1f} {start:.1f}C{upper.x:.1f} {middle:.1f} {lower.x:.1f} {middle:.1f} {lower.x:.1f} {end:.1f}"
