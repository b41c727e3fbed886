"""Candles that are not stored: told by their open times, and apart from those that the venue itself does not have.

Binance writes a candle for each interval, traded or not. One that is missing is a hole of ours, to be filled, or the venue stood still and
says so when asked by REST; that answer is noted, and counts as a halt, not as a loss.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.times import DAY_S, US_PER_S, iso
from crypy.marketdata.candle_rows import interval_text
from crypy.marketdata.coverage import Gap
from crypy.marketdata.trade_facts import FileFacts, Pause
from crypy.marketdata.trade_plan import Span, missing_spans
from crypy.marketdata.trade_source import Edge

# Venues mend their past within days: what one did not have when it was younger than this is asked for again.
MENDED_WITHIN_US: Final = 7 * DAY_S * US_PER_S


class MissingCandles(msgspec.Struct, frozen=True, order=True):
    """Candles that open in `[first_open_us, end_us)`, and why they are not there, empty where nobody knows."""

    first_open_us: int
    end_us: int
    interval_s: int
    reason: str = ""

    @property
    def count(self) -> int:
        return (self.end_us - self.first_open_us) // (self.interval_s * US_PER_S)

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return (
            f"{self.count:,} candles of {interval_text(self.interval_s)} missing, "
            f"{iso(self.first_open_us)} to {iso(self.end_us)}{why}"
        )


# Made before any thread needs it: see `marketdata.trade_files`.
_ABSENT: Final = msgspec.json.Decoder(tuple[MissingCandles, ...])


def decode_absent(data: bytes) -> tuple[MissingCandles, ...]:
    """The spans that `encode_absent` wrote. Raises `msgspec.DecodeError` for anything else."""
    return _ABSENT.decode(data)


def encode_absent(spans: Iterable[MissingCandles]) -> bytes:
    """Spans of one length as JSON, in order; neighbours told for one reason become one."""
    merged: list[MissingCandles] = []
    for span in sorted(spans):
        before = merged[-1] if merged else None
        if before and before.end_us >= span.first_open_us and before.reason == span.reason:
            merged[-1] = msgspec.structs.replace(before, end_us=max(before.end_us, span.end_us))
        else:
            merged.append(span)
    return msgspec.json.format(msgspec.json.encode(merged))


def holes_in(facts: FileFacts, interval_s: int) -> list[MissingCandles]:
    """Everything missing between the stored runs."""
    step_us = interval_s * US_PER_S
    return [
        MissingCandles((before.last_id + 1) * step_us, after.first_id * step_us, interval_s)
        for before, after in zip(facts.runs, facts.runs[1:], strict=False)
    ]


def spans_missing(facts: FileFacts, interval_s: int, first_open_us: int, last_open_us: int) -> list[MissingCandles]:
    """Everything that is not stored from the candle that opens at the first to the one at the last, both included."""
    step_us = interval_s * US_PER_S
    first, last = Edge(first_open_us // step_us, first_open_us), Edge(last_open_us // step_us, last_open_us)
    return [
        MissingCandles(span.first_id * step_us, (span.last_id + 1) * step_us, interval_s)
        for span in missing_spans(facts, first, last)
    ]


def uncovered(
    opens_us: NDArray[np.int64], start_us: int, end_us: int, interval_s: int, reason: str
) -> list[MissingCandles]:
    """The stretches of `[start_us, end_us)` that no candle of these ascending open times covers."""
    step_us = interval_s * US_PER_S
    edges = np.concatenate([[start_us - step_us], opens_us, [end_us]])
    return [
        MissingCandles(int(edges[at]) + step_us, int(edges[at + 1]), interval_s, reason)
        for at in np.flatnonzero(np.diff(edges) > step_us).tolist()
    ]


def without(holes: Iterable[MissingCandles], absent: Iterable[MissingCandles]) -> list[MissingCandles]:
    """What of the holes is left when the absent spans are cut out."""
    left = list(holes)
    for known in absent:
        left = [piece for hole in left for piece in _cut(hole, known)]
    return left


def within(holes: Iterable[MissingCandles], absent: Iterable[MissingCandles]) -> list[MissingCandles]:
    """The parts of the absent spans that lie in the holes, each with its reason, in order."""
    holes = list(holes)
    return sorted(
        msgspec.structs.replace(
            known, first_open_us=max(known.first_open_us, hole.first_open_us), end_us=min(known.end_us, hole.end_us)
        )
        for known in absent
        for hole in holes
        if known.first_open_us < hole.end_us and hole.first_open_us < known.end_us
    )


def as_gap(hole: MissingCandles) -> Gap:
    """A hole as `Coverage` tells it, ids being numbers of candles."""
    step_us = hole.interval_s * US_PER_S
    return Gap(hole.first_open_us // step_us - 1, hole.end_us // step_us, hole.first_open_us - step_us, hole.end_us)


def as_pause(halt: MissingCandles) -> Pause:
    """A halt as `Coverage` tells it."""
    step_us = halt.interval_s * US_PER_S
    return Pause(halt.first_open_us // step_us - 1, halt.first_open_us - step_us, halt.end_us)


def as_span(hole: MissingCandles) -> Span:
    """A hole as plans of downloads take it."""
    step_us = hole.interval_s * US_PER_S
    return Span(hole.first_open_us // step_us, hole.end_us // step_us - 1, hole.first_open_us, hole.end_us - step_us)


def _cut(hole: MissingCandles, known: MissingCandles) -> list[MissingCandles]:
    ends = (
        (hole.first_open_us, min(hole.end_us, known.first_open_us)),
        (max(hole.first_open_us, known.end_us), hole.end_us),
    )
    return [msgspec.structs.replace(hole, first_open_us=first, end_us=end) for first, end in ends if first < end]
