"""Compiled scores of many genes: how many rows they classify right, and the area that they foretell."""

from __future__ import annotations

import numpy as np
from numba import njit

BLOCK = 1024  # rows at a time: all of a block's values stay in the first cache
FULL, HALF = 9.0, 5.0  # an adder, in smallest cells
FULL_CARRY, HALF_CARRY = 5.5, 1.7  # one whose sum bit nobody reads
GATE, SATURATE, COMPARE, CHOOSE = 1.5, 1.6, 5.0, 3.3
NOTHING = 31


@njit(cache=True, nogil=True)
def starts_of(table):  # type: ignore[no-untyped-def]
    """Where each layer's genes start, and where those of the comparisons do; the order is that of `Space`."""
    starts = np.zeros(table.shape[0] + 1, np.int64)
    for layer in range(table.shape[0]):
        inputs, outputs, slots = table[layer, 0], table[layer, 1], table[layer, 3]
        starts[layer + 1] = starts[layer] + 2 * inputs * outputs * slots + 2 * outputs + inputs
    return starts


@njit(cache=True, nogil=True, inline="always")
def add_term(sums, row, digit, mask, count):  # type: ignore[no-untyped-def]
    """sums += +-((row & mask) << e) over `count` rows; the inner loop is what a search spends its time in."""
    if digit > 0:
        e = np.int32(digit - 1)
        for n in range(count):
            sums[n] += np.int32((row[n] & mask) << e)
    else:
        e = np.int32(-digit - 1)
        for n in range(count):
            sums[n] -= np.int32((row[n] & mask) << e)


@njit(cache=True, nogil=True, inline="always")
def activate(sums, shift, top, count):  # type: ignore[no-untyped-def]
    """clip(sums >> shift, 0, 2^top - 1)."""
    most, zero, s = np.int32((1 << top) - 1), np.int32(0), np.int32(abs(shift))
    if shift >= 0:
        for n in range(count):
            sums[n] = min(max(np.int32(sums[n] >> s), zero), most)
    else:
        for n in range(count):
            sums[n] = min(max(np.int32(sums[n] << s), zero), most)


@njit(cache=True, nogil=True, inline="always")
def decide(values, index, masks, pairs, count):  # type: ignore[no-untyped-def]
    """Run the comparisons; the slot that holds the class of each row."""
    for j in range(pairs.shape[0] + 1):
        index[j, :count] = j
    for c in range(pairs.shape[0]):
        a, b, mask = pairs[c, 0], pairs[c, 1], np.int32(masks[c])
        if mask == 0:
            continue
        for n in range(count):
            later = (values[b, n] & mask) > (values[a, n] & mask)
            values[a, n] = values[b, n] if later else values[a, n]
            index[a, n] = index[b, n] if later else index[a, n]
    return pairs[pairs.shape[0] - 1, 0]


@njit(cache=True, nogil=True)
def layer_of(genes, at, row, old, new, count):  # type: ignore[no-untyped-def]
    """One layer of the genes from `at` on a block of rows; `row` is its line of the table."""
    inputs, outputs, slots = row[0], row[1], row[3]
    masks = at + inputs * outputs * slots
    consts = masks + inputs * outputs * slots
    used, tops = consts + outputs, consts + outputs + inputs
    for j in range(outputs):
        new[j, :count] = genes[consts + j]
        for i in range(inputs):
            for d in range(slots):
                place = (j * inputs + i) * slots + d
                mask = np.int32(genes[masks + place] & genes[used + i])
                if genes[at + place] != 0 and mask != 0:
                    add_term(new[j], old[i], genes[at + place], mask, count)
        if row[5] > 0:
            activate(new[j], row[4], genes[tops + j], count)


@njit(cache=True, nogil=True)
def correct(genes, table, pairs, x, y):  # type: ignore[no-untyped-def]
    """Rows classified right, for one vector of genes. x (features, N) int32, y (N,) int32."""
    widest = max(table[:, 0].max(), table[:, 1].max())
    old, new = np.empty((widest, BLOCK), np.int32), np.empty((widest, BLOCK), np.int32)
    index = np.empty((widest, BLOCK), np.int32)
    starts = starts_of(table)
    right = 0
    for start in range(0, x.shape[1], BLOCK):
        count = min(BLOCK, x.shape[1] - start)
        old[: x.shape[0], :count] = x[:, start : start + count]
        for layer in range(table.shape[0]):
            layer_of(genes, starts[layer], table[layer], old, new, count)
            old, new = new, old
        last = decide(old, index, genes[starts[table.shape[0]] :], pairs, count)
        for n in range(count):
            right += index[last, n] == y[start + n]
    return right


@njit(cache=True, nogil=True)
def width_of(lo, hi):  # type: ignore[no-untyped-def]
    """Bits of two's complement, or unsigned where lo is not negative."""
    width = 1
    if lo < 0:
        while lo < -(1 << (width - 1)) or hi >= 1 << (width - 1):
            width += 1
    else:
        while hi >= 1 << width:
            width += 1
    return width


@njit(cache=True, nogil=True)
def heap(columns, const, width, first):  # type: ignore[no-untyped-def]
    """The price of a sum of `width` bits of which those below `first` are not read."""
    price, carries = 0.0, 0
    for place in range(width):
        bits, one = columns[place] + carries, const >> place & 1
        full = max(0, bits - 1) // 2
        half = 1 if bits > 0 and bits % 2 == 0 else 0
        price += FULL * full + HALF * half
        if place < first:
            if half:
                price -= HALF - HALF_CARRY
            elif full:
                price -= FULL - FULL_CARRY
        if place == width - 1:
            price -= 4.0 * full + 1.0 * half
        carries = full + half + (one if bits % 2 else 0)
    return price


@njit(cache=True, nogil=True)
def zeros_below(mask):  # type: ignore[no-untyped-def]
    """The place of a mask's lowest bit; NOTHING where it has none."""
    place = 0
    while place < NOTHING and not mask >> place & 1:
        place += 1
    return place


@njit(cache=True, nogil=True)
def lowest(genes, at, pairs):  # type: ignore[no-untyped-def]
    """Of each logit, the lowest bit that a comparison reads; NOTHING where none does."""
    lows = np.full(pairs.shape[0] + 1, NOTHING, np.int64)
    for c in range(pairs.shape[0] - 1, -1, -1):
        a, b, low = pairs[c, 0], pairs[c, 1], zeros_below(genes[at + c])
        lows[b] = min(low, lows[a]) if low < NOTHING else NOTHING
        lows[a] = min(low, lows[a])
    return lows


@njit(cache=True, nogil=True)
def add_bits(columns, bounds, digit, mask):  # type: ignore[no-untyped-def]
    """Put one summand's bits on the heap; bounds are the sum's lowest and highest value and its constant."""
    place = abs(digit) - 1
    while mask:
        if mask & 1:
            columns[place] += 1
            if digit > 0:
                bounds[1] += 1 << place
            else:
                bounds[0] -= 1 << place
                bounds[2] -= 1 << place
        mask >>= 1
        place += 1


@njit(cache=True, nogil=True)
def activation(bounds, columns, width, shift, wires, cap):  # type: ignore[no-untyped-def]
    """The price of a hidden code of which the bits `wires` are read, its sum included."""
    first = max(shift, 0)
    if wires == 0 or bounds[1] >> first <= 0:
        return 0.0
    kept = 0
    for k in range(cap):
        kept += wires >> k & 1
    signed = 1 if bounds[0] < 0 else 0
    price = GATE * kept * signed
    over = max(0, width - signed - first - cap)
    if over > 0:
        price += GATE * (over - 1) + SATURATE * kept
    while not wires >> (first - max(shift, 0)) & 1:
        first += 1
    return price + heap(columns, bounds[2], width, min(first, width))


@njit(cache=True, nogil=True)
def comparisons(genes, at, pairs, lows, least, most):  # type: ignore[no-untyped-def]
    """The price of choosing the class from logits within least..most."""
    classes = pairs.shape[0] + 1
    choices = max(1, int(np.ceil(np.log2(classes))))
    price = 0.0
    for c in range(classes - 1):
        a, b, mask = pairs[c, 0], pairs[c, 1], genes[at + c]
        if mask == 0:
            continue
        whole = width_of(min(least[a], least[b]), max(most[a], most[b]))
        moved = max(0, whole - lows[a]) if c < classes - 2 else 0
        wires = 0
        for k in range(whole):
            wires += mask >> k & 1
        price += COMPARE * wires + CHOOSE * moved + (choices if c >= classes // 2 else 0)
        least[a], most[a] = min(least[a], least[b]), max(most[a], most[b])
    return price


@njit(cache=True, nogil=True)
def price_layer(genes, at, row, read, lows, ends):  # type: ignore[no-untyped-def]
    """The price of a layer whose output bits `read` are read; `ends` gets the logits' bounds; and what it reads."""
    inputs, outputs, slots, top = row[0], row[1], row[3], row[5]
    masks = at + inputs * outputs * slots
    consts = masks + inputs * outputs * slots
    below = np.zeros(read.shape[0], np.int64)
    price = 0.0
    for j in range(outputs):
        if (read[j] == 0) if top > 0 else (lows[j] >= NOTHING):
            continue
        columns, bounds = np.zeros(64, np.int64), np.full(3, genes[consts + j], np.int64)
        for i in range(inputs):
            for d in range(slots):
                place = (j * inputs + i) * slots + d
                mask = genes[masks + place] & genes[consts + outputs + i]
                if genes[at + place] != 0 and mask != 0:
                    add_bits(columns, bounds, genes[at + place], mask)
                    below[i] |= mask
        width = width_of(bounds[0], bounds[1])
        if top > 0:
            cap = genes[consts + outputs + inputs + j]
            price += activation(bounds, columns, width, row[4], read[j] & ((1 << cap) - 1), cap)
        else:
            ends[0, j], ends[1, j] = bounds[0], bounds[1]
            price += heap(columns, bounds[2], width, min(lows[j], width))
    return price, below


@njit(cache=True, nogil=True)
def area(genes, table, pairs):  # type: ignore[no-untyped-def]
    """The foretold area of one vector of genes, in smallest cells, from the class back to the inputs."""
    starts = starts_of(table)
    last = starts[table.shape[0]]
    lows = lowest(genes, last, pairs)
    ends = np.zeros((2, pairs.shape[0] + 1), np.int64)
    read = np.zeros(max(table[:, 0].max(), table[:, 1].max()), np.int64)  # bits of each code that are read
    price = 0.0
    for layer in range(table.shape[0] - 1, -1, -1):
        more, read = price_layer(genes, starts[layer], table[layer], read, lows, ends)
        price += more
    return price + comparisons(genes, last, pairs, lows, ends[0], ends[1])


@njit(cache=True, nogil=True)
def scores(population, table, pairs, x, y):  # type: ignore[no-untyped-def]
    """(P, 2) float64: share of rows classified wrong, foretold area in smallest cells."""
    found = np.empty((population.shape[0], 2), np.float64)
    for p in range(population.shape[0]):
        found[p, 0] = 1.0 - correct(population[p], table, pairs, x, y) / x.shape[1]
        found[p, 1] = area(population[p], table, pairs)
    return found
