"""What a benchmark tells: rows of a figure of ours, a peer's or yardstick's on the same data, and the budget; tables of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import msgspec


class Spread(msgspec.Struct, frozen=True):
    """The median of repeated measurements, with the lowest and the highest of them."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def times(self, factor: float) -> Spread:
        """The same in another unit."""
        return Spread(self.value * factor, self.low * factor, self.high * factor)

    def per(self, amount: float) -> Spread:
        """From the time that `amount` things took to things per unit of time."""
        return Spread(amount / self.value, amount / self.high, amount / self.low)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of ours in `unit` and, where there is one, a peer's in the same unit, measured in the same run.

    `budget` is a limit on our figure: at most so much, or at least where `more_is_better`.
    """

    what: str
    ours: Spread
    unit: str
    more_is_better: bool = False
    peer: str = ""
    theirs: Spread | None = None
    budget: float | None = None

    @property
    def advantage(self) -> float | None:
        """How many times better ours is than the peer's (faster, smaller); below 1 it is worse."""
        if self.theirs is None:
            return None
        ours, theirs = self.ours.value, self.theirs.value
        return ours / theirs if self.more_is_better else theirs / ours

    @property
    def met(self) -> bool | None:
        """Whether the budget is met; `None` where there is none."""
        if self.budget is None:
            return None
        return self.ours.value >= self.budget if self.more_is_better else self.ours.value <= self.budget


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """All rows of one benchmark. `foreign_cores` is how many cores other processes kept busy meanwhile."""

    name: str
    about: str
    rows: list[Row]
    seconds: float = 0.0
    foreign_cores: float = 0.0
    fault: str = ""


def figure(value: float) -> str:
    """A number as people read it: three digits, or whole from a thousand on.

    >>> figure(0.0213), figure(7.125), figure(12_345.6)
    ('0.0213', '7.12', '12,346')
    """
    if not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def table(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table with aligned columns."""
    lines = [("what", "crypy", "lowest to highest", "peer or yardstick", "its figure", "advantage", "budget", "met")]
    for row in rows:
        limit = "" if row.budget is None else f"{'at least' if row.more_is_better else 'at most'} {figure(row.budget)}"
        lines.append(
            (
                row.what,
                f"{figure(row.ours.value)} {row.unit}",
                f"{figure(row.ours.low)} to {figure(row.ours.high)}",
                row.peer,
                "" if row.theirs is None else figure(row.theirs.value),
                "" if row.advantage is None else f"{figure(row.advantage)} x",
                limit,
                {None: "", True: "yes", False: "NO"}[row.met],
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    shown = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    return "\n".join([shown[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *shown[1:]])
