"""What a sync has to fetch, worked out from nothing but what is stored and what the venue has.

There is no list of things done that could be wrong after a crash: a sync that was killed asks the store again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Final

import msgspec

from crypy.domain.times import US_PER_S
from crypy.marketdata.trade_days import DAY_US, day_of, day_start_us
from crypy.marketdata.trade_facts import FileFacts
from crypy.marketdata.trade_source import Edge

# A hole of so few ids in a day that has rows is quicker asked for by REST than by a day's archive.
_FEW_IDS: Final = 20_000
# A stored day whose first or last minute only is open is left to REST: its archive holds hardly anything new.
_EDGE_US: Final = 60 * US_PER_S
# From so many wanted days on, a month's file is taken instead of its days'.
_DAYS_FOR_A_MONTH: Final = 10


class Span(msgspec.Struct, frozen=True):
    """Ids `first_id..last_id` are missing; their trades happened in `[from_us, to_us]`."""

    first_id: int
    last_id: int
    from_us: int
    to_us: int

    @property
    def ids(self) -> int:
        return self.last_id - self.first_id + 1


class Batch(msgspec.Struct, frozen=True):
    """Archive files to fetch: whole months, each with the days it is wanted for, and single days."""

    months: Mapping[str, tuple[str, ...]]
    days: tuple[str, ...]


def missing_spans(facts: FileFacts, first: Edge, last: Edge) -> list[Span]:
    """The ids between `first` and `last`, both included, that are not stored."""
    spans: list[Span] = []
    next_id, from_us = first.id, first.time_us
    for run in facts.runs:
        if run.last_id < next_id:
            continue
        if run.first_id > last.id:
            break
        if run.first_id > next_id:
            spans.append(Span(next_id, run.first_id - 1, from_us, run.first_time_us))
        next_id, from_us = run.last_id + 1, run.last_time_us
    if next_id <= last.id:
        spans.append(Span(next_id, last.id, from_us, max(from_us, last.time_us)))
    return spans


def archive_files(spans: Iterable[Span], stored: Mapping[str, FileFacts], now_us: int) -> Batch:
    """Which archive files to ask for: those of days that are over and that a span lies in."""
    today = day_of(now_us)
    wanted = sorted({day for span in spans for day in _days(span) if day < today and _worth_a_file(span, day, stored)})
    by_month: dict[str, list[str]] = defaultdict(list)
    for day in wanted:
        by_month[day[:7]].append(day)
    months = {
        month: tuple(days) for month, days in by_month.items() if month < today[:7] and len(days) >= _DAYS_FOR_A_MONTH
    }
    return Batch(months, tuple(day for day in wanted if day[:7] not in months))


def _days(span: Span) -> list[str]:
    first, last = date.fromisoformat(day_of(span.from_us)), date.fromisoformat(day_of(span.to_us))
    return [(first + timedelta(days=k)).isoformat() for k in range((last - first).days + 1)]


def _worth_a_file(span: Span, day: str, stored: Mapping[str, FileFacts]) -> bool:
    if day not in stored or not stored[day].rows:
        return True
    start_us = day_start_us(day)
    touched_us = min(span.to_us, start_us + DAY_US) - max(span.from_us, start_us)
    return span.ids > _FEW_IDS and touched_us > _EDGE_US
