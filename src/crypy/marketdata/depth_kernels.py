"""The compiled half of the order book: sorted levels in one flat array a side, changed in place.

A side is an array [row, (price_e8, quantity_e8)], worst price first and best last. `sign` is 1 for bids and -1 for asks; a row's key is
`sign * price`, so that keys ascend on both sides. Rows of quantity 0 are empty, and still in order. A level that goes leaves such a
row behind; one that comes takes the nearest, and only the rows between have to move. When that has cost as many moves as
there are levels, all are spread anew with an empty row behind every eighth. So a change anywhere among 5,000 levels costs little more
than its search, which begins at the touch. Empty rows at the ends are given back at once: the last row is always the best level. Of rows
with one price only the first can hold it.

`state` holds, of the bids and then of the asks: the first row, the row behind the last, how many levels there are between, and how many
rows have moved since they were spread; and then the best bid and the best ask, each price and quantity, 0 where there is none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crypy.runtime.kernels import inlined, kernel

Ints = NDArray[np.int64]

BID, ASK = 1, -1
DONE, NO_ROOM = -1, -2
FIRST, END, COUNT, MOVED = 0, 1, 2, 3
ASKS = 4
BEST = 8
STATE_SIZE = 12
_GAP = 8


@kernel
def change_sides(bids: Ints, asks: Ints, state: Ints, bid_changes: Ints, ask_changes: Ints, most: int) -> int:
    """Set levels of both sides, later changes over earlier ones; quantity 0 removes. Only the best `most` of each side are kept.

    Returns `DONE`; or, with nothing changed, the index of the first impossible change (asks counted on after bids), or
    `NO_ROOM`: each side needs a row for every level and every change.
    """
    bad = _first_impossible(bid_changes)
    if bad >= 0:
        return bad
    bad = _first_impossible(ask_changes)
    if bad >= 0:
        return len(bid_changes) + bad
    if not (_has_room(bids, state, 0, len(bid_changes)) and _has_room(asks, state, ASKS, len(ask_changes))):
        return NO_ROOM
    _change_side(bids, state, 0, bid_changes, BID, most)
    _change_side(asks, state, ASKS, ask_changes, ASK, most)
    _note_best(bids, state, 0, BEST)
    _note_best(asks, state, ASKS, BEST + 2)
    return DONE


@inlined
def _note_best(levels: Ints, state: Ints, side: int, to: int) -> None:
    state[to], state[to + 1] = 0, 0
    if state[side + COUNT] > 0:
        row = state[side + END] - 1
        state[to], state[to + 1] = levels[row, 0], levels[row, 1]


@kernel
def best_rows(levels: Ints, state: Ints, side: int, out: Ints) -> int:
    """Copy the best levels of a side (0: bids, 1: asks) to `out`, best first; how many there were, at most its length."""
    row, count = state[ASKS * side + END], 0
    first = state[ASKS * side + FIRST]
    while row > first and count < len(out):
        row -= 1
        if levels[row, 1] > 0:
            out[count, 0] = levels[row, 0]
            out[count, 1] = levels[row, 1]
            count += 1
    return count


@inlined
def _first_impossible(changes: Ints) -> int:
    """Index of the first row whose price is not positive or whose quantity is negative; -1 where there is none."""
    for i in range(len(changes)):
        if changes[i, 0] <= 0 or changes[i, 1] < 0:
            return i
    return -1


@inlined
def _has_room(levels: Ints, state: Ints, side: int, more: int) -> bool:
    """Whether so many rows more fit behind the last one, after spreading all anew if need be."""
    if state[side + END] + more <= len(levels):
        return True
    count = state[side + COUNT]
    if count + count // _GAP + more > len(levels):
        return False
    _spread(levels, state, side)
    return True


@inlined
def _spread(levels: Ints, state: Ints, side: int) -> None:
    """Move the levels to the front of the array, with an empty row behind every eighth where there is room for that."""
    count = 0
    for row in range(state[side + FIRST], state[side + END]):
        if levels[row, 1] > 0:
            levels[count, 0] = levels[row, 0]
            levels[count, 1] = levels[row, 1]
            count += 1
    end = count
    if count + count // _GAP <= len(levels):
        for row in range(count - 1, -1, -1):
            to = row + row // _GAP
            levels[to, 0] = levels[row, 0]
            levels[to, 1] = levels[row, 1]
            if row % _GAP == _GAP - 1 and row < count - 1:
                levels[to + 1, 0] = levels[row, 0]
                levels[to + 1, 1] = 0
        end = count + (count - 1) // _GAP if count > 0 else 0
    state[side + FIRST], state[side + END], state[side + MOVED] = 0, end, 0


@inlined
def _change_side(levels: Ints, state: Ints, side: int, changes: Ints, sign: int, most: int) -> None:
    """Set levels of the side whose state begins at `side`. One long function: numba counts references to an array at each call."""
    first, end, count, moved = state[side + FIRST], state[side + END], state[side + COUNT], state[side + MOVED]
    for i in range(len(changes)):
        price, quantity = changes[i, 0], changes[i, 1]
        key = sign * price
        # The first row whose key is not below: by steps that double from the touch, then by halves.
        at, step = end, 1
        while at - step >= first and sign * levels[at - step, 0] >= key:
            at -= step
            step *= 2
        below = max(first - 1, at - step)
        while at - below > 1:
            middle = (below + at) // 2
            if sign * levels[middle, 0] >= key:
                at = middle
            else:
                below = middle
        if at < end and levels[at, 0] == price:
            count += (quantity > 0) - (levels[at, 1] > 0)
            levels[at, 1] = quantity
            continue
        if quantity == 0:
            continue
        # The nearest empty row, upwards from here or downwards from the row below; at an end a new one.
        up, down = at, at - 1
        while up < end and levels[up, 1] > 0:
            if down >= first:
                if levels[down, 1] == 0:
                    break
                down -= 1
            elif first > 0:
                break
            up += 1
        if up == end or levels[up, 1] == 0:
            for row in range(up, at, -1):
                levels[row, 0] = levels[row - 1, 0]
                levels[row, 1] = levels[row - 1, 1]
            moved += up - at
            end = max(end, up + 1)
        else:
            at -= 1
            moved += at - down
            for row in range(down, at):
                levels[row, 0] = levels[row + 1, 0]
                levels[row, 1] = levels[row + 1, 1]
            first = min(first, down)
        levels[at, 0] = price
        levels[at, 1] = quantity
        count += 1
    while count > most:
        count -= levels[first, 1] > 0
        first += 1
    while first < end and levels[first, 1] == 0:
        first += 1
    while end > first and levels[end - 1, 1] == 0:
        end -= 1
    state[side + FIRST], state[side + END], state[side + COUNT], state[side + MOVED] = first, end, count, moved
    if moved > count or end - first > 2 * count:
        _spread(levels, state, side)
