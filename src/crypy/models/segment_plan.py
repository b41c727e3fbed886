"""Which cells of a sequence's blocks make the segments of the past.

Segment i covers the time from edge i to edge i + 1 before the end, edges log-spaced from nothing to a week. They lie on borders of blocks:
the finest block serves as far as it reaches (down to a border of the next), then the next one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError
from crypy.marketdata.schema import Block

Ints = NDArray[np.int64]

_MINUTES: Final = (
    1,
    2,
    3,
    5,
    8,
    12,
    18,
    27,
    40,
    60,
    90,
    135,
    200,
    300,
    480,
    720,
    1_080,
    1_440,
    2_160,
    2_880,
    4_320,
    7_200,
    10_080,
)
_EDGES_S: Final = (1, 2, 3, 5, 8, 12, 18, 27, 40, *(60 * edge for edge in _MINUTES))
_DAY_S: Final = 86_400


def edges_s(blocks: tuple[Block, ...]) -> tuple[int, ...]:
    """Edges of the segments in seconds before the end, ascending from 0. Raises `ConfigError` for blocks that do not join."""
    found = {0}
    begin_s = 0
    for index, block in enumerate(blocks):
        reach_s = _reach_s(blocks, index)
        if reach_s <= begin_s or begin_s % block.step_s:
            raise ConfigError(f"{block} adds nothing beyond {begin_s} s or does not begin there; choose other blocks")
        nominal = [edge for edge in _EDGES_S if begin_s < edge <= reach_s]
        found.update(min(reach_s, max(1, round(edge / block.step_s)) * block.step_s) for edge in nominal)
        found.add(reach_s)
        begin_s = reach_s
    return tuple(sorted(found))


def segments_plan(blocks: tuple[Block, ...]) -> Ints:
    """One row per segment: its block, and the cells that it covers, counted back from the end: [first, last)."""
    reach = [_reach_s(blocks, index) for index in range(len(blocks))]
    rows: list[tuple[int, int, int]] = []
    for near, far in pairwise(edges_s(blocks)):
        index = next(index for index, end_s in enumerate(reach) if far <= end_s)
        rows.append((index, near // blocks[index].step_s, far // blocks[index].step_s))
    return np.array(rows, np.int64)


def windows_plan(blocks: tuple[Block, ...]) -> Ints:
    """The same with one row per window of each block, oldest first."""
    return np.array(
        [(index, cell, cell + 1) for index, block in enumerate(blocks) for cell in reversed(range(block.length))],
        np.int64,
    )


def day_cells(blocks: tuple[Block, ...]) -> tuple[int, int]:
    """The block that tells the volatility of the last day, and how many of its cells are that day (or all there is)."""
    longest = max(block.step_s * block.length for block in blocks)
    wanted = min(_DAY_S, longest)
    index = next(index for index, block in enumerate(blocks) if block.step_s * block.length >= wanted)
    return index, max(1, wanted // blocks[index].step_s)


def _reach_s(blocks: tuple[Block, ...], index: int) -> int:
    """How far back a block serves: to a border of the next one, so that the next can take over."""
    own = blocks[index].step_s * blocks[index].length
    return own if index + 1 == len(blocks) else own // blocks[index + 1].step_s * blocks[index + 1].step_s
